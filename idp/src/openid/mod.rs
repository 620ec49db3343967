//! The OpenID provider: what machines ask for. Errors follow RFC 6749 §4.1.2.1 and §5.2: nothing is ever sent to an
//! address that is not the client's.

pub(crate) mod authorize;
mod endpoints;
pub(crate) mod grant;
pub(crate) mod keys;
pub(crate) mod level;
mod metadata;
pub(crate) mod params;
pub(crate) mod request;
