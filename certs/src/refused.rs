//! Client certificates that were refused: rustls tells why and forgets which, but the record has to name them.
//!
//! Nothing in here proves anything about whoever sent them.

use std::cell::RefCell;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;

use crate::error::CertError;

thread_local! {
    // Verification happens inside one poll of the handshake, and on the thread that polls. Whoever polls takes what is
    // here before another connection can have its turn.
    static LAST: RefCell<Option<CertificateDer<'static>>> = const { RefCell::new(None) };
}

pub(crate) fn remember(certificate: &CertificateDer<'_>) {
    let certificate = certificate.clone().into_owned();
    LAST.with_borrow_mut(|last| *last = Some(certificate));
}

/// Takes the client certificate that a verifier of this crate refused last on this thread. To be called after each poll
/// of a handshake, by whoever polled it.
pub fn take_refused() -> Option<CertificateDer<'static>> {
    LAST.with_borrow_mut(Option::take)
}

/// Why a client certificate was refused, as one of a few words that never change their meaning.
pub fn refusal_word(error: &CertificateError) -> &'static str {
    use CertificateError as Tls;
    if let Tls::Other(other) = error {
        return other
            .0
            .downcast_ref::<CertError>()
            .map_or("certificate-refused", own_word);
    }
    if matches!(error, Tls::Expired | Tls::ExpiredContext { .. }) {
        "certificate-expired"
    } else if matches!(error, Tls::NotValidYet | Tls::NotValidYetContext { .. }) {
        "certificate-not-yet-valid"
    } else if matches!(error, Tls::UnknownIssuer) {
        "certificate-issuer-unknown"
    } else if matches!(error, Tls::BadSignature) {
        "certificate-signature-wrong"
    } else if matches!(error, Tls::BadEncoding) {
        "certificate-malformed"
    } else {
        "certificate-refused"
    }
}

fn own_word(error: &CertError) -> &'static str {
    if matches!(
        error,
        CertError::WeakKey { .. } | CertError::WeakSignature { .. }
    ) {
        "certificate-too-weak"
    } else if matches!(
        error,
        CertError::Purpose { .. } | CertError::KeyUsage { .. } | CertError::AuthorityAsLeaf { .. }
    ) {
        "certificate-of-other-use"
    } else if matches!(error, CertError::AuthorityNotValid { .. }) {
        "certificate-issuer-expired"
    } else if matches!(error, CertError::Malformed { .. }) {
        "certificate-malformed"
    } else {
        "certificate-refused"
    }
}
