//! Identities and keys: device certificates in, verified identities out; keys and certificates made on request.
//!
//! Imports no `hyper`, no `tokio`, and nothing of the gateway or the policies. Files are read by the gateway: everything
//! here takes bytes.

mod identity;

pub use identity::{DeviceIdentity, Peer, VerifiedPeer};
