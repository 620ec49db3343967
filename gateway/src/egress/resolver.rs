//! Names become addresses, once: fixed ones, the system, DNS over TLS or HTTPS.
