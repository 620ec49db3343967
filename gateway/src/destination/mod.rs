//! What a destination on the Internet is: which lists and services know its name, before anything is asked or dialled.

pub mod addresses;
pub mod builtin;
pub mod feeds;
pub mod formats;
pub mod lookalike;
pub mod name;
pub mod pac;
pub mod table;
