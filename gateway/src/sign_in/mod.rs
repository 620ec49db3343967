//! How people sign in with a browser.

pub(crate) mod pages;
