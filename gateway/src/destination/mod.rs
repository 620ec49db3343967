//! What a destination on the Internet is: which lists and services know its name, before anything is asked or dialled.

pub mod addresses;
pub mod builtin;
pub mod catalogue;
pub mod feeds;
pub mod formats;
pub mod lists;
pub mod lookalike;
pub mod name;
pub mod pac;
pub mod services;
pub mod table;

pub use self::catalogue::Catalogue;
pub use self::feeds::{Connect, FeedEnvironment, FeedFault, FeedProblem, FeedReport, FeedStatus};
pub use self::lists::{Finding, Lists};
pub use self::services::Service;
pub use crate::config::egress::{CloudService as ServiceSpec, Feed as FeedSpec};
