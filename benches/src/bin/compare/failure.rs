//! What goes wrong in a measuring tool is read by the person who started it; so it is a sentence.

use std::fmt;

/// Why the comparison, or one measurement of it, did not come about.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Everything that the libraries below report as an error becomes a sentence.
macro_rules! sentences {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })+
    };
}

sentences!(
    std::io::Error,
    serde_json::Error,
    rcgen::Error,
    rustls::Error,
    rustls::client::VerifierBuilderError,
    rustls_pki_types::pem::Error,
    rustls_pki_types::InvalidDnsNameError,
    hyper::Error,
    hyper::http::Error,
    aws_lc_rs::error::Unspecified,
    aws_lc_rs::error::KeyRejected,
    tokio::task::JoinError,
);

/// Says what was being done when it failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into())))
    }
}
