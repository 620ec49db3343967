//! A checked address becomes a connection; nothing is resolved again.
