//! Who a client certificate says its holder is.

use std::fmt;

use rustls_pki_types::CertificateDer;

/// The name a certificate gives a device, in the order of preference in which it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceIdentity {
    /// URI SAN `spiffe://…`
    Spiffe(Box<str>),
    /// URI SAN `urn:uuid:…`, lower case
    Uuid(Box<str>),
    /// otherName permanentIdentifier (RFC 4043), as `permanent-id:<value>`, or `permanent-id:<assigner oid>/<value>`
    PermanentIdentifier(Box<str>),
    /// otherName hardwareModuleName (RFC 4108), as `hardware:<type oid>/<hex serial>`
    HardwareModule(Box<str>),
    /// subject serialNumber, as `serial:<value>`
    SerialNumber(Box<str>),
    /// SHA-256 of the leaf, as `sha256:<hex>`
    Thumbprint(Box<str>),
}

impl DeviceIdentity {
    /// The one text form, used in the inventory and in records.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(text)
            | Self::Uuid(text)
            | Self::PermanentIdentifier(text)
            | Self::HardwareModule(text)
            | Self::SerialNumber(text)
            | Self::Thumbprint(text) => text,
        }
    }
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The client side of a TLS connection.
#[derive(Debug)]
pub enum Peer {
    /// Sent no certificate.
    Anonymous,
    /// Proved possession of the key of a certificate that a configured CA issued.
    Verified(VerifiedPeer),
}

/// A client certificate that passed path validation. Made only by the verifier of this crate.
#[derive(Clone, Debug)]
pub struct VerifiedPeer {
    pub(crate) identity: DeviceIdentity,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) serial: Box<str>,
    pub(crate) issuer: Box<str>,
    pub(crate) not_before_seconds: i64,
    pub(crate) not_after_seconds: i64,
    /// Where to look in revocation lists: for the leaf, then for each other certificate the client sent.
    pub(crate) traces: Box<[RevocationTrace]>,
    /// As sent, leaf first: for asking again when the CAs have changed.
    pub(crate) chain: Box<[CertificateDer<'static>]>,
}

/// Precomputed keys into `Revocations`, so that a look-up neither hashes names nor allocates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationTrace {
    /// Issuer and serial number.
    pub(crate) certificate: [u8; 16],
    /// Issuer alone.
    pub(crate) issuer: [u8; 16],
    /// The scopes of lists that would name the certificate; any one suffices.
    pub(crate) scopes: Box<[[u8; 16]]>,
}

impl VerifiedPeer {
    /// The device this certificate names.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }
    /// SHA-256 of the DER leaf: what RFC 8705 `x5t#S256` is compared with.
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }
    /// Serial number, lower-case hex without separators.
    pub fn serial(&self) -> &str {
        &self.serial
    }
    /// Issuer distinguished name (RFC 4514 text).
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// Seconds since the epoch after which the certificate is not valid.
    pub fn not_after_seconds(&self) -> i64 {
        self.not_after_seconds
    }
    /// Whether the certificate is valid at a time in seconds since the epoch. Ask again on long-lived connections.
    pub fn is_valid_at(&self, now_seconds: i64) -> bool {
        (self.not_before_seconds..=self.not_after_seconds).contains(&now_seconds)
    }
}
