//! What a request is, before anybody asks whether it may pass: where it ends, which host and path it names, and that
//! nobody after us can read it differently.
//!
//! Everything here refuses and nothing repairs. A gateway that mends a request decides about one text while the app
//! behind it reads another; request smuggling and path confusion live in that gap. `h1` watches the bytes below
//! hyper, because hyper mends (it drops a `Content-Length` beside a `Transfer-Encoding`, folds equal lengths into one,
//! takes bare line feeds); `target`, `host`, `path` and `fields` read the parsed head of either protocol.

mod chunked;
mod fields;
mod h1;
mod head;
mod host;
mod line;
mod path;
mod stream;
mod target;

#[cfg(test)]
mod corpus;

use std::error::Error;
use std::{fmt, io};

use crate::denial::{Denial, DenialReason};

pub use fields::{check_fields, check_overrides};
pub use h1::{Guarded, Handle, Switching};
pub use host::{Authority, parse_authority};
pub use path::{check_path, decoded_path};
pub use stream::{Inspector, Stop};
pub use target::{Proxied, Target, Upgrade, action_of, parse, parse_proxied, upgrade_of};

/// Why a request cannot be read in exactly one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// One of `RequestMalformed`, `RequestAmbiguous`, `HeaderTooLarge`, `MethodNotAllowed`.
    pub reason: DenialReason,
    /// For the record: what is wrong, in a fixed text that carries nothing the client sent.
    pub what: &'static str,
}

impl Violation {
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self {
            reason: DenialReason::RequestMalformed,
            what,
        }
    }

    pub(crate) const fn ambiguous(what: &'static str) -> Self {
        Self {
            reason: DenialReason::RequestAmbiguous,
            what,
        }
    }

    pub(crate) const fn large(what: &'static str) -> Self {
        Self {
            reason: DenialReason::HeaderTooLarge,
            what,
        }
    }

    pub(crate) const fn method(what: &'static str) -> Self {
        Self {
            reason: DenialReason::MethodNotAllowed,
            what,
        }
    }
}

impl Violation {
    /// The violation that ended a body, in the error that its reader meets.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if let Some(violation) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(*violation);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.what)
    }
}

impl Error for Violation {}

impl From<Violation> for Denial {
    fn from(violation: Violation) -> Self {
        Self::new(violation.reason).with_detail(violation.what)
    }
}

/// How much a head may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of request line and fields together; also of a trailer section.
    pub head_bytes: usize,
    /// Fields in a head; also in a trailer section.
    pub fields: usize,
}

impl Limits {
    /// Longest request line, bytes; RFC 9112 §3 asks for 8,000 at least.
    pub const REQUEST_LINE: usize = 16 * 1024;

    /// The configured bounds.
    pub fn of(bounds: &crate::config::Bounds) -> Self {
        Self {
            head_bytes: bounds.header_bytes,
            fields: bounds.header_count,
        }
    }
}
