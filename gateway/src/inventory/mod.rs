//! The device inventory: which devices exist, whose they are, and what is known of their state.
//!
//! A verified certificate becomes a device here and nowhere else. One immutable [`Inventory`] is made per reload, from a
//! `.toml` or `.csv` file; rows that did not change keep their `Arc<Device>`, so that decisions about them stay
//! reusable; owners keep theirs, too. Live sources add newer observations with [`Inventory::with_observations`].

mod csv;
mod live;
pub mod raw;
mod rows;
mod text;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use masugata_policy::{Device, DevicePosture, Principal};

pub use self::csv::reference as csv_reference;
pub use self::text::{Identity, Instant, PrincipalId, Version};
use crate::config::error::{LoadError, Problem};
use crate::config::{INVENTORY_SCHEMA, Report, parse_checked, read_text};

type Map<V> = HashMap<Box<str>, V, ahash::RandomState>;

/// All enrolled devices.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// In file order.
    records: Vec<Arc<Record>>,
    index: Arc<Index>,
    /// What live sources said, by device id; laid over the file again at each reload.
    live: Map<DevicePosture>,
    warnings: Arc<[Problem]>,
}

/// Positions in `records`.
#[derive(Debug, Default)]
struct Index {
    by_identity: Map<usize>,
    by_id: Map<usize>,
}

/// One row: what measure B-1 asks to be known of a device, and the part of it that decisions use.
#[derive(Clone, Debug)]
pub struct Record {
    /// What decisions see: id, kind, ownership, owner, groups, posture.
    pub device: Arc<Device>,
    pub state: DeviceState,
    /// Who its certificate alone stands for at the egress; `None` where nobody is enrolled as owner.
    pub owner: Option<Arc<Principal>>,
    /// Identities of its certificates, in the text form of `masugata_certs::DeviceIdentity`.
    pub identities: Vec<Box<str>>,
    pub serial: Option<Box<str>>,
    pub model: Option<Box<str>>,
    pub hostname: Option<Box<str>>,
    pub os_kind: Option<Box<str>>,
    pub os_version: Option<Box<str>>,
    pub applications: Vec<Box<str>>,
    pub patch_status: Option<Box<str>>,
    pub location: Option<Box<str>>,
    /// Its id or one of its identities is in another row too.
    ambiguous: bool,
}

/// Where a device is in its life. Only active devices have rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceState {
    Active,
    Suspended,
    Lost,
    Retired,
}

impl DeviceState {
    /// The word used in files and records.
    pub fn as_str(self) -> &'static str {
        crate::config::text::Vocabulary::word(self)
    }
}

/// What an identity leads to.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'a> {
    /// No row has it.
    Unknown,
    /// Its row shares an id or an identity with another; neither has rights.
    Ambiguous,
    /// Exactly one row; its [`Record::state`] still has to be looked at.
    Found(&'a Record),
}

impl Inventory {
    /// Reads an inventory; the file's ending, `.toml` or `.csv`, says how.
    ///
    /// # Errors
    /// Every malformed row, each at its position. Rows that claim the same id or identity are not errors: they are
    /// [`Lookup::Ambiguous`] and reported by [`Inventory::warnings`], so that one bad row locks out two devices and not
    /// a company.
    pub fn load(path: &Path, default_max_age: Duration) -> Result<Self, LoadError> {
        Self::load_with(path, default_max_age, None)
    }

    /// As [`Inventory::load`]; devices that did not change are the same `Arc<Device>` as in `previous`, and what live
    /// sources told `previous` is kept.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn load_with(
        path: &Path,
        default_max_age: Duration,
        previous: Option<&Self>,
    ) -> Result<Self, LoadError> {
        let text = read_text(path)?;
        Self::parse(&text, path, default_max_age, previous)
    }

    /// As [`Inventory::load_with`], from text; the ending of `path` says how it is read.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        default_max_age: Duration,
        previous: Option<&Self>,
    ) -> Result<Self, LoadError> {
        let mut report = Report::new(path, text);
        let file = if path.extension().is_some_and(|extension| extension == "csv") {
            csv::read(text, &mut report)
        } else {
            parse_checked(text, &INVENTORY_SCHEMA, &mut report)
        };
        let rows = rows::judge(file.unwrap_or_default(), default_max_age, &mut report);
        let (records, index) = rows::index(rows, &mut report);
        let warnings = report.finish()?;
        Ok(live::carried_over(
            records,
            index,
            warnings.into(),
            previous,
        ))
    }

    /// The device of a certificate identity, in the text form of `masugata_certs::DeviceIdentity`. Constant time in the
    /// number of devices; does not allocate.
    pub fn resolve(&self, identity: &str) -> Lookup<'_> {
        self.lookup(self.index.by_identity.get(identity))
    }

    /// The device of an inventory id.
    pub fn find(&self, id: &str) -> Lookup<'_> {
        self.lookup(self.index.by_id.get(id))
    }

    fn lookup(&self, place: Option<&usize>) -> Lookup<'_> {
        match place.and_then(|place| self.records.get(*place)) {
            None => Lookup::Unknown,
            Some(record) if record.ambiguous => Lookup::Ambiguous,
            Some(record) => Lookup::Found(record),
        }
    }

    /// Every row in file order, ambiguous ones included.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.iter().map(AsRef::as_ref)
    }

    /// What the inventory's author should know: rows that took each other's rights.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests;
