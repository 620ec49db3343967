//! The proxy auto-configuration file: which destinations go through the gateway.
