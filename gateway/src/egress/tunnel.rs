//! A CONNECT tunnel from the 200 to its last byte.
