//! What can go wrong with accounts as a whole. Messages are for operators; what strangers are told is in
//! `factors::refusal`.

/// The accounts could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process has `{0}` open; each gateway needs a `store` of its own")]
    InUse(Box<str>),
    #[error("`{path}` cannot be read as accounts: {cause}; restore it from a copy")]
    Damaged { path: Box<str>, cause: String },
    #[error("`{path}` was written by a newer version (format {found}, known is {known})")]
    Newer {
        path: Box<str>,
        found: u64,
        known: u64,
    },
    #[error("`{missing}` is missing but `{present}` is there; restore both from the same copy")]
    HalfMissing {
        missing: Box<str>,
        present: Box<str>,
    },
    #[error("`{path}` is not the key of these accounts; restore both from the same copy")]
    WrongKey { path: Box<str> },
    #[error("`{path}` can be read by others (mode {mode:o}); make it 0600")]
    TooOpen { path: Box<str>, mode: u32 },
    #[error("{path}: {source}")]
    Io {
        path: Box<str>,
        source: std::io::Error,
    },
    #[error("`{0}` cannot be the origin of passkeys: it must be `https://` and a host name")]
    Origin(String),
    #[error("breached passwords `{path}`, line {line}: {problem}")]
    Breached {
        path: Box<str>,
        line: usize,
        problem: &'static str,
    },
}

/// An account could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no account `{0}`")]
    Unknown(Box<str>),
    #[error("there is already an account `{0}`")]
    Exists(Box<str>),
    #[error("`{0}` was the name of a removed account, and names are never given out again")]
    Used(Box<str>),
    #[error("the external id belongs to the account `{0}`")]
    ExternalId(Box<str>),
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: &'static str,
    },
    #[error("the account `{0}` is disabled")]
    Disabled(Box<str>),
    #[error("the change could not be written: {0}")]
    Store(String),
}

/// A first sign-in link leads nowhere. One answer for all reasons: a stranger learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the link is unknown, used, replaced by a newer one or over")]
    Void,
}

/// A file of accounts was refused; nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Every problem, in the order of lines.
    #[error("{} problems in the file, nothing was imported", .0.len())]
    Problems(Vec<ImportProblem>),
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ImportProblem {
    /// From 1; the header is a line too.
    pub line: u64,
    pub problem: String,
}
