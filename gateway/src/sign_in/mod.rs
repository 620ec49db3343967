//! How people sign in with a browser: at the sign-in host, which knows the providers, and at the hosts of apps, to which a
//! one-time code hands a session over.

pub(crate) mod fault;
pub(crate) mod pages;
