//! What can be wrong with certificates, keys, lists and identities, in words an operator can act on.
//! Nothing of a private key ever gets into a message.

use crate::spiffe::SpiffeError;
use crate::strength::KeyKind;

/// A problem together with the file it is in, counted from 0 in the order the files were given.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct InFile<E: std::error::Error + 'static> {
    /// Index of the file, or of the pair of files.
    pub file: usize,
    /// What is wrong in it.
    #[source]
    pub problem: E,
}

/// A certificate, chain or key that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CertError {
    /// The text is not PEM.
    #[error("not valid PEM; expected `-----BEGIN CERTIFICATE-----` blocks")]
    Pem,
    /// PEM without a certificate in it.
    #[error("no certificate found; expected a `-----BEGIN CERTIFICATE-----` block")]
    NoCertificate,
    /// Not exactly one usable private key.
    #[error("no private key found; expected one unencrypted `-----BEGIN PRIVATE KEY-----` block")]
    NoKey,
    /// A key of a kind that cannot sign TLS handshakes.
    #[error(
        "the private key is of no kind that TLS can use; take RSA, ECDSA P-256 or stronger, or Ed25519"
    )]
    UnusableKey,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate `{subject}`")]
    KeyMismatch {
        /// Subject of the leaf.
        subject: String,
    },
    /// Not an X.509 v3 certificate in DER.
    #[error("certificate {position} is not a valid X.509 v3 certificate")]
    Malformed {
        /// Counted from 1.
        position: usize,
    },
    /// A chain that is not leaf first, each followed by its issuer.
    #[error(
        "certificate {position} of the chain (`{subject}`) did not issue the one before it; put the leaf first, then its issuers in order"
    )]
    ChainOrder {
        /// Counted from 1.
        position: usize,
        /// Subject of the certificate at that position.
        subject: String,
    },
    /// A key below the profile's strength.
    #[error(
        "the key of `{subject}` is too weak ({key}); required are RSA of 2048 bit or more, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    WeakKey {
        /// Whose key.
        subject: String,
        /// What it is.
        key: KeyKind,
    },
    /// Signed with SHA-1, MD5 or something unknown.
    #[error(
        "`{subject}` is signed with {algorithm}, which is not accepted; required is SHA-256 or stronger"
    )]
    WeakSignature {
        /// Subject of the certificate.
        subject: String,
        /// The algorithm, by name or object identifier.
        algorithm: String,
    },
    /// A server certificate without names.
    #[error(
        "`{subject}` names no host in subjectAltName; clients ignore the common name (RFC 9525 §2)"
    )]
    NoHostNames {
        /// Subject of the leaf.
        subject: String,
    },
    /// A name that no client can match.
    #[error(
        "`{name}` in subjectAltName is no host name; a wildcard must be the whole first label of at least three"
    )]
    HostName {
        /// The name as found, made safe for a terminal.
        name: String,
    },
    /// extendedKeyUsage forbids the use.
    #[error(
        "`{subject}` may not be used for {purpose}; its extendedKeyUsage must contain {purpose}"
    )]
    Purpose {
        /// Subject of the certificate.
        subject: String,
        /// `serverAuth` or `clientAuth`.
        purpose: &'static str,
    },
    /// keyUsage forbids signing, or allows more than a leaf may.
    #[error("the keyUsage of `{subject}` does not fit: {rule}")]
    KeyUsage {
        /// Subject of the certificate.
        subject: String,
        /// What is required.
        rule: &'static str,
    },
    /// A CA certificate was presented as a device.
    #[error("`{subject}` is a CA certificate, which no device or server may use as its own")]
    AuthorityAsLeaf {
        /// Subject of the certificate.
        subject: String,
    },
    /// A certificate in a CA file that is no CA.
    #[error(
        "`{subject}` is not a CA certificate (basicConstraints cA, keyUsage keyCertSign); list the CA that issues device certificates"
    )]
    NotAnAuthority {
        /// Subject of the certificate.
        subject: String,
    },
    /// More intermediates than any sensible PKI has.
    #[error("the client sent {sent} intermediate certificates; at most {limit} are looked at")]
    ChainTooLong {
        /// How many came.
        sent: usize,
        /// How many may come.
        limit: usize,
    },
    /// The CA the path ends at is not valid now.
    #[error("the CA `{subject}` is expired or not yet valid")]
    AuthorityNotValid {
        /// Subject of the CA.
        subject: String,
    },
    /// rustls refused the combination.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A certificate revocation list that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Neither PEM nor DER.
    #[error("not a certificate revocation list; expected DER or `-----BEGIN X509 CRL-----` blocks")]
    Malformed,
    /// PEM without a list in it.
    #[error("no revocation list found; expected a `-----BEGIN X509 CRL-----` block")]
    NoList,
    /// Signed by a CA that is not configured.
    #[error(
        "the list of `{issuer}` comes from none of the configured device CAs; add that CA, or remove the list"
    )]
    UnknownIssuer {
        /// Distinguished name in the list.
        issuer: String,
    },
    /// The CA's own certificate says that it does not sign lists.
    #[error("`{issuer}` may not sign revocation lists; its keyUsage lacks cRLSign")]
    NotASigner {
        /// Distinguished name of the CA.
        issuer: String,
    },
    /// Changed after signing, or signed by another key.
    #[error("the signature of the list of `{issuer}` is wrong")]
    BadSignature {
        /// Distinguished name in the list.
        issuer: String,
    },
    /// Signed with SHA-1 or something unknown.
    #[error(
        "the list of `{issuer}` is signed with an algorithm that is not accepted; required is SHA-256 or stronger"
    )]
    WeakSignature {
        /// Distinguished name in the list.
        issuer: String,
    },
    /// A delta list (RFC 5280 §5.2.4).
    #[error("delta lists are not supported; use the CA's full list")]
    Delta,
    /// An indirect list, or one for some reasons or attribute certificates only (RFC 5280 §5.2.5).
    #[error("lists of scope `{scope}` are not supported; use the CA's full list")]
    Scope {
        /// The field of issuingDistributionPoint.
        scope: &'static str,
    },
    /// A critical extension that nobody here understands (RFC 5280 §5.2).
    #[error("the list has a critical extension that is not supported")]
    CriticalExtension,
    /// RFC 5280 §5.1.2.5 requires it.
    #[error("the list of `{issuer}` has no nextUpdate, so nobody could tell when it is overdue")]
    NoNextUpdate {
        /// Distinguished name in the list.
        issuer: String,
    },
}

/// A certificate that passed path validation but names no single device. Its holder has no rights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Asked too early; a mistake of the caller.
    #[error("the TLS handshake is not finished")]
    HandshakeUnfinished,
    /// Cannot be read, although TLS accepted it.
    #[error("the device certificate cannot be read")]
    Malformed,
    /// Not valid now; happens on resumption, where TLS checks nothing again.
    #[error("the device certificate is expired or not yet valid")]
    NotValidNow,
    /// More than one SPIFFE ID, or a SPIFFE ID beside another URI (X509-SVID §2).
    #[error("a certificate with a SPIFFE ID must have no other URI name")]
    SeveralUris,
    /// A URI that begins like a SPIFFE ID and is none.
    #[error("invalid SPIFFE ID in the device certificate: {0}")]
    Spiffe(#[from] SpiffeError),
    /// A SPIFFE ID without a path names a trust domain, not a device (X509-SVID §5.2).
    #[error("the SPIFFE ID names a trust domain and no device")]
    SpiffeWithoutPath,
    /// A value that is not what its kind requires.
    #[error("invalid {kind} in the device certificate")]
    Value {
        /// `urn:uuid`, `permanentIdentifier`, `hardwareModuleName` or `serialNumber`.
        kind: &'static str,
    },
    /// Two different values of one kind.
    #[error("the device certificate has several values of {kind}")]
    Conflict {
        /// As in `Value`.
        kind: &'static str,
    },
}

/// A certificate, key or list that could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// The cryptographic library failed; on a healthy machine it does not.
    #[error("the key could not be made")]
    KeyGeneration,
    /// Only P-256 keys in PKCS#8 can issue.
    #[error(
        "the issuing key cannot be used; required is ECDSA P-256 as `-----BEGIN PRIVATE KEY-----` (PKCS#8)"
    )]
    IssuingKey,
    /// The CA file is not usable.
    #[error(transparent)]
    Authority(#[from] CertError),
    /// A name that cannot stand in a certificate.
    #[error("`{name}` cannot stand in a certificate as {field}")]
    Name {
        /// As given, made safe for a terminal.
        name: String,
        /// Which field.
        field: &'static str,
    },
    /// Nothing to name the device or server by.
    #[error("a certificate without a name would identify nobody; give at least one")]
    NoName,
    /// The identity would not be accepted back.
    #[error("the certificate would be refused: {0}")]
    Identity(#[from] IdentityError),
    /// The end is not after the beginning, or lies beyond what certificates can say.
    #[error("the validity period is empty or out of range")]
    Validity,
    /// A serial number that is not hexadecimal.
    #[error("`{serial}` is not a serial number in hexadecimal")]
    Serial {
        /// As given.
        serial: String,
    },
    /// The encoder refused.
    #[error("the certificate could not be encoded: {0}")]
    Encoding(String),
}
