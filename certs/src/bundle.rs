//! The CAs whose device certificates count.

use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::error::{CertError, InFile};
use crate::inspect::{self, CertificateSummary, parse, subject};
use crate::profile::Profile;
use crate::strength::KeyKind;

/// Device CAs with what path validation and revocation need of them. Never empty.
///
/// CAs of the same distinguished name are taken for one CA that changed its key.
#[derive(Debug)]
pub struct DeviceAuthorities {
    profile: Profile,
    // INVARIANT: `anchors` and `authorities` describe the same CAs in the same order.
    anchors: Vec<TrustAnchor<'static>>,
    authorities: Vec<DeviceAuthority>,
    hints: Vec<DistinguishedName>,
}

/// One CA, reduced to what is asked of it later.
#[derive(Debug)]
pub(crate) struct DeviceAuthority {
    /// Subject, DER of the whole Name.
    pub(crate) name: Box<[u8]>,
    /// Issuer, DER of the whole Name: a CA may itself be revoked by another.
    pub(crate) issuer: Box<[u8]>,
    pub(crate) serial: Box<[u8]>,
    /// SubjectPublicKeyInfo in DER.
    pub(crate) key: Box<[u8]>,
    pub(crate) may_sign_lists: bool,
    pub(crate) summary: CertificateSummary,
}

impl DeviceAuthorities {
    /// Takes PEM files with one or more CA certificates each. The same certificate twice counts once.
    ///
    /// # Errors
    /// The first problem and the index of its file: not PEM, not a CA, a weak key. An expired CA is no error here, but
    /// nothing it issued is accepted; see `summaries`.
    pub fn load(pems: &[&[u8]], profile: Profile) -> Result<Self, InFile<CertError>> {
        let mut bundle = Self {
            profile,
            anchors: Vec::new(),
            authorities: Vec::new(),
            hints: Vec::new(),
        };
        for (file, pem) in pems.iter().enumerate() {
            bundle
                .add_file(pem)
                .map_err(|problem| InFile { file, problem })?;
        }
        if bundle.anchors.is_empty() {
            return Err(InFile {
                file: 0,
                problem: CertError::NoCertificate,
            });
        }
        Ok(bundle)
    }

    /// The CAs, in the order given.
    pub fn summaries(&self) -> impl Iterator<Item = &CertificateSummary> {
        self.authorities.iter().map(|authority| &authority.summary)
    }

    /// The same CAs under the same profile, so that both accept the same certificates.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.profile == other.profile
            && self
                .summaries()
                .map(|summary| &summary.thumbprint)
                .eq(other.summaries().map(|summary| &summary.thumbprint))
    }

    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Subjects for the CertificateRequest, by which browsers find the right certificate (RFC 8446 §4.2.4).
    pub(crate) fn hints(&self) -> &[DistinguishedName] {
        &self.hints
    }

    pub(crate) fn authorities(&self) -> &[DeviceAuthority] {
        &self.authorities
    }

    /// Whether a CA that webpki trusted at the end of a path is valid itself, which webpki does not ask. A renewed
    /// certificate of the same name and key will do.
    pub(crate) fn is_valid_at(&self, anchor: &TrustAnchor<'_>, now_seconds: i64) -> bool {
        let same = |known: &TrustAnchor<'_>| {
            known.subject == anchor.subject
                && known.subject_public_key_info == anchor.subject_public_key_info
        };
        let valid = |summary: &CertificateSummary| {
            (summary.not_before_seconds..=summary.not_after_seconds).contains(&now_seconds)
        };
        self.anchors
            .iter()
            .zip(&self.authorities)
            .any(|(known, authority)| same(known) && valid(&authority.summary))
    }

    fn add_file(&mut self, pem: &[u8]) -> Result<(), CertError> {
        for (position, der) in (1..).zip(crate::pem::certificates(pem)?) {
            self.add(&der, position)?;
        }
        Ok(())
    }

    fn add(&mut self, der: &CertificateDer<'static>, position: usize) -> Result<(), CertError> {
        let certificate = parse(der, position)?;
        let summary = inspect::summarize(der)?;
        let usage = certificate
            .key_usage()
            .map_err(|_| CertError::Malformed { position })?;
        if !certificate.is_ca()
            || usage
                .as_ref()
                .is_some_and(|usage| !usage.value.key_cert_sign())
        {
            return Err(CertError::NotAnAuthority {
                subject: subject(&certificate),
            });
        }
        let key = KeyKind::of(certificate.public_key());
        if !key.is_accepted() {
            return Err(CertError::WeakKey {
                subject: subject(&certificate),
                key,
            });
        }
        if self
            .authorities
            .iter()
            .any(|known| known.summary.thumbprint == summary.thumbprint)
        {
            return Ok(());
        }
        let anchor = anchor_from_trusted_cert(der)
            .map_err(|_| CertError::Malformed { position })?
            .to_owned();
        let hint = DistinguishedName::in_sequence(&anchor.subject);
        if !self
            .hints
            .iter()
            .any(|known| known.as_ref() == hint.as_ref())
        {
            self.hints.push(hint);
        }
        self.anchors.push(anchor);
        self.authorities.push(DeviceAuthority {
            name: certificate.subject().as_raw().into(),
            issuer: certificate.issuer().as_raw().into(),
            serial: certificate.raw_serial().into(),
            key: certificate.public_key().raw.into(),
            may_sign_lists: usage.is_none_or(|usage| usage.value.crl_sign()),
            summary,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pki;

    fn load(pem: &str) -> Result<DeviceAuthorities, InFile<CertError>> {
        DeviceAuthorities::load(&[pem.as_bytes()], Profile::CryptrecRecommended)
    }

    #[test]
    fn several_authorities_in_one_file_are_all_hinted_at() {
        let (one, two) = (Pki::new("CA 1"), Pki::new("CA 2"));
        let bundle = load(&format!("{}{}{}", one.pem(), two.pem(), one.pem())).unwrap();
        assert_eq!((bundle.anchors().len(), bundle.hints().len()), (2, 2));
        assert!(bundle.hints()[0].as_ref().starts_with(&[0x30]));
    }

    #[test]
    fn a_leaf_is_no_authority() {
        let (leaf, _) = Pki::new("CA").device("spiffe://corp.example/device/1");
        assert!(matches!(
            load(&leaf).unwrap_err().problem,
            CertError::NotAnAuthority { .. }
        ));
    }

    #[test]
    fn no_authority_at_all_is_an_error_and_not_everyone() {
        assert_eq!(
            DeviceAuthorities::load(&[], Profile::CryptrecHigh)
                .unwrap_err()
                .problem,
            CertError::NoCertificate
        );
        assert_eq!(load("").unwrap_err().problem, CertError::NoCertificate);
    }
}
