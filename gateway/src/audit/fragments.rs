//! Parts of lines that many records share, put into words once: who, on which device, over which connection, to which app.
//!
//! Only the writer's thread comes here. A fragment is kept under the revision of the value it tells (or the number of its
//! connection), which never stands for another value; one that depends on the time also says when its words hold.

use std::collections::HashMap;

use masugata_policy::Timestamp;
use serde::Serialize;

use super::line::put;
use super::text::{Caps, Cutter, Stamps};

/// Fragments kept of one kind, about 300 bytes each. When there are more values than this, all are put into words anew.
const MOST: usize = 4096;

/// When the words of a fragment hold: from the first instant, and before the second.
pub(super) type Window = (Timestamp, Timestamp);

/// For what does not depend on the time.
pub(super) const ALWAYS: Window = (Timestamp::from_millis(i64::MIN), Timestamp::MAX);

/// See the module's first lines.
#[derive(Default)]
pub(super) struct Fragments {
    pub(super) stamps: Stamps,
    pub(super) apps: Kind,
    pub(super) principals: Kind,
    pub(super) authentications: Kind,
    pub(super) devices: Kind,
    pub(super) connections: Kind,
}

/// The fragments of one kind.
#[derive(Default)]
pub(super) struct Kind(HashMap<u64, Fragment, ahash::RandomState>);

struct Fragment {
    /// `,"member":{…}`, once or more.
    text: Box<[u8]>,
    /// Names of the fields that are not whole.
    cut: Box<[&'static str]>,
    window: Window,
}

impl Kind {
    /// Appends the fragment of `key`; `write` puts it into words where that has not been done, or holds no longer.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        cutter: &mut Cutter,
        key: u64,
        now: Timestamp,
        write: impl FnOnce(&mut Vec<u8>, &mut Cutter) -> serde_json::Result<Window>,
    ) -> serde_json::Result<()> {
        if let Some(known) = self.0.get(&key)
            && known.window.0 <= now
            && now < known.window.1
            && cutter.caps.is_usual()
        {
            buffer.extend_from_slice(&known.text);
            cutter.cut.extend_from_slice(&known.cut);
            return Ok(());
        }
        let (start, cut_before) = (buffer.len(), cutter.cut.len());
        let window = write(buffer, cutter)?;
        if cutter.caps.is_usual() {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            let fragment = Fragment {
                text: buffer.get(start..).unwrap_or_default().into(),
                cut: cutter.cut.get(cut_before..).unwrap_or_default().into(),
                window,
            };
            self.0.insert(key, fragment);
        }
        Ok(())
    }
}

/// Appends `,"name":value`.
pub(super) fn member(
    buffer: &mut Vec<u8>,
    name: &'static str,
    value: &impl Serialize,
) -> serde_json::Result<()> {
    buffer.extend_from_slice(b",\"");
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(b"\":");
    put(buffer, value)
}

impl Caps {
    /// The caps under which fragments are kept.
    fn is_usual(&self) -> bool {
        self.path == Self::USUAL.path
    }
}
