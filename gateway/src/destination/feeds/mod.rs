//! Lists from files and over HTTPS: fetched on schedule, verified, the last good copy kept.
//!
//! A list is believed for a reason that the configuration writes down, and replaced only by something better: what is cut
//! short, empty, nonsense, older, much smaller, too large or not what was signed is refused, and the last good copy stays.

pub mod content;
pub mod fetch;
pub mod store;

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use masugata_policy::Timestamp;
use tokio::net::TcpStream;

use self::fetch::FetchError;
use crate::capability::{Clock, Entropy};

/// What lists need of the world around them.
#[derive(Clone)]
pub struct FeedEnvironment {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// How servers of lists are reached.
    pub connect: Arc<dyn Connect>,
    /// Told what becomes of fetched lists; called from a task, and to return soon.
    pub report: Arc<dyn Fn(&FeedReport<'_>) + Send + Sync>,
}

impl fmt::Debug for FeedEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedEnvironment")
    }
}

/// A way to a server. The gateway hands in its own, which looks at addresses before it dials.
pub trait Connect: Send + Sync + 'static {
    /// A connection to `host` (no brackets) and `port`.
    fn connect(&self, host: Box<str>, port: u16) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// As the system resolves names, to any address.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemConnect;

impl Connect for SystemConnect {
    fn connect(&self, host: Box<str>, port: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(async move { TcpStream::connect((&*host, port)).await })
    }
}

/// What became of a list.
#[derive(Clone, Copy, Debug)]
pub enum FeedReport<'a> {
    /// A newer one is in use.
    Loaded {
        feed: &'a str,
        /// First 12 hexadecimal digits of its SHA-256.
        version: &'a str,
        entries: u64,
    },
    /// What came is not used; the last good copy stays.
    Refused { feed: &'a str, fault: &'a FeedFault },
    /// Nothing came.
    Unreachable { feed: &'a str, fault: &'a FeedFault },
}

/// How a list stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    pub name: Box<str>,
    /// First 12 hexadecimal digits of the SHA-256 of what is in use; `None`: nothing.
    pub version: Option<Box<str>>,
    pub entries: u64,
    /// Lines that make no sense, and entries that would cover a public suffix.
    pub bad: u64,
    /// The first such line, counted from 1.
    pub first_bad: Option<u64>,
    /// Lines about what a list of destinations cannot say.
    pub unsupported: u64,
    /// When what is in use was fetched or read.
    pub loaded_at: Option<Timestamp>,
    /// When the server last answered; `None` for files.
    pub checked_at: Option<Timestamp>,
    /// When it last said what is in use, or that there is nothing newer; `None` for files.
    pub confirmed_at: Option<Timestamp>,
    /// Why what came last is not used.
    pub fault: Option<Box<str>>,
    pub required: bool,
}

/// A list that cannot be used, by name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("list `{feed}` {fault}")]
pub struct FeedProblem {
    pub feed: Box<str>,
    pub fault: FeedFault,
}

/// Why a list is not used. Continues "list `name` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("has not been fetched yet")]
    Missing,
    #[error("could not be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    #[error("has no signature")]
    Unsigned,
    #[error("has a signature that is not good: {0}")]
    Signature(String),
    #[error("is not the one whose SHA-256 is configured")]
    Pin,
    #[error("is older than the one in use")]
    RolledBack,
    #[error("has no entries")]
    Empty,
    #[error("makes no sense in {bad} of {lines} lines, first in line {first}")]
    Nonsense { bad: u64, lines: u64, first: u64 },
    #[error("has {after} entries, and had {before} before")]
    Shrunk { before: u64, after: u64 },
    #[error("allows more than {0} names")]
    TooManyAllowed(usize),
    #[error("is one list too many")]
    TooMany,
    #[error("cannot be kept: {0}")]
    Store(String),
    #[error("has an authority file that is not good: {0}")]
    Authority(String),
}
