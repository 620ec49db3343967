//! What people see while they sign in.
