//! Addresses and ranges of lists.
