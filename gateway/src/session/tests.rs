//! What holds for sessions as a whole.
