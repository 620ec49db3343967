//! See the parts.
