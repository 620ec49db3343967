//! Client certificates in the handshake: path validation by webpki, and the rules it leaves to others.
//!
//! Revocation is not checked here: TLS would ask only in full handshakes (RFC 8446 §2.2), and webpki would verify the
//! signature of the whole list each time. `Revocations` answers for every connection and request instead.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;

use crate::bundle::DeviceAuthorities;
use crate::error::CertError;
use crate::identity::VerifiedPeer;
use crate::inspect::{parse, subject};
use crate::name::signature_of;
use crate::refused::remember;
use crate::signed::Signed;
use crate::strength::KeyKind;

/// Intermediates a client may send. webpki's own bound is on the path, after it has begun to search.
const MAX_INTERMEDIATES: usize = 6;

/// Verifies device certificates for one server configuration.
#[derive(Debug)]
pub(crate) struct DeviceVerifier {
    authorities: Arc<DeviceAuthorities>,
    mandatory: bool,
}

impl DeviceVerifier {
    pub(crate) fn new(authorities: Arc<DeviceAuthorities>, mandatory: bool) -> Self {
        Self {
            authorities,
            mandatory,
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.authorities.verify(leaf, intermediates, now)
    }
}

impl DeviceAuthorities {
    /// Whether the certificate behind a connection would be accepted by these CAs, too. TLS asks once per connection;
    /// ask this when the CAs have changed since. Costs a path validation.
    pub fn vouch_for(&self, peer: &VerifiedPeer, now_seconds: i64) -> bool {
        let Ok(now) = u64::try_from(now_seconds) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        peer.chain
            .split_first()
            .is_some_and(|(leaf, others)| self.verify(leaf, others, now).is_ok())
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(refused(CertError::ChainTooLong {
                sent: intermediates.len(),
                limit: MAX_INTERMEDIATES,
            }));
        }
        let algorithms = self.profile().algorithms();
        check_leaf(leaf, algorithms.all).map_err(refused)?;
        let certificate = EndEntityCert::try_from(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let path = certificate
            .verify_for_usage(
                algorithms.all,
                self.anchors(),
                intermediates,
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(path_problem)?;
        if self.is_valid_at(path.anchor(), seconds(now)) {
            return Ok(());
        }
        let issuer = parse(leaf, 1)
            .map(|leaf| crate::name::distinguished_name(leaf.issuer()))
            .unwrap_or_default();
        Err(refused(CertError::AuthorityNotValid { subject: issuer }))
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.hints()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
            .inspect_err(|_| remember(end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.authorities.profile().algorithms())
            .inspect_err(|_| remember(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.authorities.profile().algorithms())
            .inspect_err(|_| remember(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.profile().algorithms().supported_schemes()
    }
}

pub(crate) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// What webpki does not ask of a leaf: keyUsage, the presence of extendedKeyUsage, and the strength of its own key.
fn check_leaf(
    der: &CertificateDer<'_>,
    algorithms: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm],
) -> Result<(), CertError> {
    let leaf = parse(der, 1)?;
    if leaf.is_ca() {
        return Err(CertError::AuthorityAsLeaf {
            subject: subject(&leaf),
        });
    }
    check_usage(&leaf)?;
    let key = KeyKind::of(leaf.public_key());
    if !key.is_accepted() {
        return Err(CertError::WeakKey {
            subject: subject(&leaf),
            key,
        });
    }
    let signed = Signed::split(der).ok_or(CertError::Malformed { position: 1 })?;
    if !signed.is_accepted(algorithms) {
        return Err(CertError::WeakSignature {
            subject: subject(&leaf),
            algorithm: signature_of(&leaf),
        });
    }
    Ok(())
}

fn check_usage(leaf: &X509Certificate<'_>) -> Result<(), CertError> {
    let malformed = |_| CertError::Malformed { position: 1 };
    if let Some(usage) = leaf.key_usage().map_err(malformed)? {
        let rule = if !usage.value.digital_signature() {
            Some("a device certificate needs digitalSignature")
        } else if usage.value.key_cert_sign() || usage.value.crl_sign() {
            Some("a device certificate must have neither keyCertSign nor cRLSign")
        } else {
            None
        };
        if let Some(rule) = rule {
            return Err(CertError::KeyUsage {
                subject: subject(leaf),
                rule,
            });
        }
    }
    // RFC 5280 §4.2.1.12 lets a certificate without the extension serve any purpose. A CA that also issues for mail or
    // documents would thereby enrol devices without meaning to.
    let purpose = leaf.extended_key_usage().map_err(malformed)?;
    if purpose.is_some_and(|purpose| purpose.value.client_auth) {
        return Ok(());
    }
    Err(CertError::Purpose {
        subject: subject(leaf),
        purpose: "clientAuth",
    })
}

fn refused(problem: CertError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(problem))))
}

/// Chooses the alert: one of the kinds TLS has words for, or the whole reason.
fn path_problem(problem: webpki::Error) -> Error {
    use webpki::Error as Path;
    let kind = if matches!(problem, Path::CertExpired { .. }) {
        CertificateError::Expired
    } else if matches!(problem, Path::CertNotValidYet { .. }) {
        CertificateError::NotValidYet
    } else if matches!(problem, Path::UnknownIssuer) {
        CertificateError::UnknownIssuer
    } else if matches!(problem, Path::InvalidSignatureForPublicKey) {
        CertificateError::BadSignature
    } else if matches!(
        problem,
        Path::BadDer | Path::BadDerTime | Path::TrailingData(_)
    ) {
        CertificateError::BadEncoding
    } else {
        CertificateError::Other(OtherError(Arc::new(problem)))
    };
    Error::InvalidCertificate(kind)
}
