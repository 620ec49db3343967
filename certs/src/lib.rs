//! Identities and keys: device certificates in, verified identities out; keys and certificates made on request.
//!
//! Imports no `hyper`, no `tokio`, and nothing of the gateway or the policies. Files are read by the gateway: everything
//! here takes bytes, and the time as an argument or as a rustls `TimeProvider`.

mod bundle;
mod client;
mod der;
mod error;
mod identify;
mod identity;
mod insecure;
mod inspect;
mod issue;
mod key;
mod name;
mod pem;
mod profile;
mod refused;
mod revocation;
mod server;
mod signed;
mod spiffe;
mod store;
mod strength;
mod tickets;
mod verify;

#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod testing;

pub use bundle::DeviceAuthorities;
pub use client::{ClientIdentity, ClientOptions, Roots, client_config};
pub use error::{CertError, CrlError, IdentityError, InFile, IssueError};
pub use identify::{claim_of, peer_of};
pub use identity::{DeviceIdentity, Peer, VerifiedPeer};
pub use inspect::{CertificateSummary, certificates, summarize, thumbprint};
pub use issue::{Authority, DeviceSubject, Issued, Revoked, Validity};
pub use key::Key;
pub use profile::{Profile, ProfileDescription, group_name, suite_name, version_name};
pub use refused::{refusal_word, take_refused};
pub use revocation::{ListSummary, RevocationStatus, Revocations};
pub use server::{ClientAuth, ServerOptions, server_config};
pub use spiffe::{SpiffeError, SpiffeId};
pub use store::ServerCertificates;
pub use strength::KeyKind;
