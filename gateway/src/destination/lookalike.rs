//! Names that look like protected ones.
