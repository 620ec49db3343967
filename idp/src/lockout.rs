//! Lockout.
