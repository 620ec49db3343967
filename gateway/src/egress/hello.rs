//! The first bytes of a tunnel: the TLS ClientHello, read and not touched.
