//! Short-lived proxy passwords for programs that can only do Basic: sealed, bound to the device certificate, not stored.
