//! The service side: which server of an app takes a request, over which connection, and whether it is well.
//!
//! One [`Group`] per app. The pool is our own, on `hyper::client::conn`: HTTP/1.1 connections are driven by the task
//! that uses them (no task switch, no timer of their own), HTTP/2 connections by a task each.

mod connect;
mod error;
mod group;
mod health;
mod pool;
mod server;
mod tls;
mod upload;
mod wire;

pub(crate) use connect::{interleaved, race};
pub use error::{ForwardError, Retry, UpstreamError};
pub use group::Group;
pub(crate) use pool::{Checkout, Link, SendFailure, Want};
pub use server::Server;
pub(crate) use server::TICK;
pub use tls::TlsTerms;
pub(crate) use tls::system_roots;
pub(crate) use upload::{RequestBody, UploadEnd, UploadState};
pub(crate) use wire::Http2Facts;
