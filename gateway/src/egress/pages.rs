//! What the door tells people: why something was refused, how to set a program up.

pub mod form;
pub mod why;
