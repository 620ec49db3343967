//! How browsers, systems and programs are told to use the gateway.
