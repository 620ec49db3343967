//! The server's own certificates: checked when loaded, chosen by server name in the handshake.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::error::{CertError, InFile};
use crate::inspect::{self, CertificateSummary, parse, subject};
use crate::name::{printable, signature_of};
use crate::profile::Profile;
use crate::signed::Signed;
use crate::strength::KeyKind;

/// Several certificates with their keys. Never empty.
pub struct ServerCertificates {
    exact: Names,
    /// By what follows `*.`.
    wildcard: Names,
    /// Presented to clients that send no server name; only when there is no choice.
    only: Option<Arc<CertifiedKey>>,
    leaves: Vec<CertificateSummary>,
}

// INVARIANT: the keys of one name are sorted by expiry, latest first; `resolve` takes the first the client can verify.
type Names = HashMap<Box<str>, Vec<Arc<CertifiedKey>>, ahash::RandomState>;

struct Loaded {
    key: Arc<CertifiedKey>,
    names: Vec<Box<str>>,
    leaf: CertificateSummary,
}

impl ServerCertificates {
    /// Takes pairs of PEM chain (leaf first) and PEM key. Checked are: that the key fits, the order of the chain and its
    /// signatures, strength of keys and signatures, host names, extendedKeyUsage. Expiry is not an error, because an
    /// expired certificate must not stop a reload that brings others; see `summaries`.
    ///
    /// # Errors
    /// The first problem and the index of its pair; `NoCertificate` when there is no pair.
    pub fn load(pairs: &[(&[u8], &[u8])], profile: Profile) -> Result<Self, InFile<CertError>> {
        if pairs.is_empty() {
            return Err(InFile {
                file: 0,
                problem: CertError::NoCertificate,
            });
        }
        let mut loaded = Vec::with_capacity(pairs.len());
        for (file, (chain, key)) in pairs.iter().enumerate() {
            loaded
                .push(load_pair(chain, key, profile).map_err(|problem| InFile { file, problem })?);
        }
        let leaves = loaded.iter().map(|pair| pair.leaf.clone()).collect();
        let only = match loaded.as_slice() {
            [pair] => Some(Arc::clone(&pair.key)),
            _ => None,
        };
        loaded.sort_by_key(|pair| std::cmp::Reverse(pair.leaf.not_after_seconds));
        let mut certificates = Self {
            exact: Names::default(),
            wildcard: Names::default(),
            only,
            leaves,
        };
        for pair in loaded {
            certificates.enter(&pair);
        }
        Ok(certificates)
    }

    /// The leaves, in the order given.
    pub fn summaries(&self) -> &[CertificateSummary] {
        &self.leaves
    }

    /// Whether a client that asks for `host` (lower case) would be shown a certificate with that name.
    pub fn covers(&self, host: &str) -> bool {
        self.candidates(host).is_some()
    }

    /// Whether a client is shown any certificate at all; `host` in lower case, `None` where it sends no server name.
    pub fn answers(&self, host: Option<&str>) -> bool {
        host.map_or(self.only.is_some(), |host| self.covers(host))
    }

    fn enter(&mut self, pair: &Loaded) {
        for name in &pair.names {
            let (table, name) = match name.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, &**name),
            };
            table
                .entry(name.into())
                .or_default()
                .push(Arc::clone(&pair.key));
        }
    }

    /// An exact name goes before a wildcard; a wildcard stands for one label (RFC 9525 §6.3).
    fn candidates(&self, host: &str) -> Option<&[Arc<CertifiedKey>]> {
        if let Some(keys) = self.exact.get(host) {
            return Some(keys);
        }
        let (label, suffix) = host.split_once('.')?;
        if label.is_empty() {
            None
        } else {
            self.wildcard.get(suffix).map(Vec::as_slice)
        }
    }

    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let Some(host) = host else {
            return self.only.clone();
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let keys = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.candidates(&host.to_ascii_lowercase())
        } else {
            self.candidates(host)
        };
        keys?
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .cloned()
    }
}

impl ResolvesServerCert for ServerCertificates {
    /// A name nobody here has ends the handshake: showing some other certificate would only teach people to click
    /// warnings away.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

impl fmt::Debug for ServerCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerCertificates")
            .field("leaves", &self.leaves)
            .finish_non_exhaustive()
    }
}

/// A chain with its key, for either side of TLS: order, signatures, strength and fit are checked.
pub(crate) fn certified_key(
    chain: &[u8],
    key: &[u8],
    profile: Profile,
) -> Result<CertifiedKey, CertError> {
    let chain = crate::pem::certificates(chain)?;
    check_chain(&chain, profile)?;
    let key = crate::pem::private_key(key)?;
    CertifiedKey::from_der(chain.clone(), key, &profile.provider(false)).map_err(|problem| {
        if problem == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            CertError::KeyMismatch {
                subject: chain
                    .first()
                    .and_then(|leaf| inspect::summarize(leaf).ok())
                    .map_or_else(String::new, |leaf| leaf.subject),
            }
        } else {
            CertError::UnusableKey
        }
    })
}

fn load_pair(chain: &[u8], key: &[u8], profile: Profile) -> Result<Loaded, CertError> {
    let key = certified_key(chain, key, profile)?;
    let leaf = key.cert.first().ok_or(CertError::NoCertificate)?;
    let certificate = parse(leaf, 1)?;
    let purpose = certificate
        .extended_key_usage()
        .map_err(|_| CertError::Malformed { position: 1 })?;
    if purpose.is_some_and(|purpose| !purpose.value.server_auth) {
        return Err(CertError::Purpose {
            subject: subject(&certificate),
            purpose: "serverAuth",
        });
    }
    let names = host_names(&certificate)?;
    let leaf = inspect::summarize(leaf)?;
    Ok(Loaded {
        names,
        leaf,
        key: Arc::new(key),
    })
}

fn check_chain(chain: &[CertificateDer<'_>], profile: Profile) -> Result<(), CertError> {
    let algorithms = profile.algorithms();
    let mut issued: Option<(X509Certificate<'_>, Signed<'_>)> = None;
    for (position, der) in (1..).zip(chain) {
        let certificate = parse(der, position)?;
        let signed = Signed::split(der).ok_or(CertError::Malformed { position })?;
        check_strength(&certificate, &signed, position, profile)?;
        if let Some((before, signed)) = &issued {
            let key = certificate.public_key().raw;
            if before.issuer().as_raw() != certificate.subject().as_raw()
                || signed.verify(key, algorithms.all).is_err()
            {
                return Err(CertError::ChainOrder {
                    position,
                    subject: subject(&certificate),
                });
            }
        }
        issued = Some((certificate, signed));
    }
    Ok(())
}

fn check_strength(
    certificate: &X509Certificate<'_>,
    signed: &Signed<'_>,
    position: usize,
    profile: Profile,
) -> Result<(), CertError> {
    let key = KeyKind::of(certificate.public_key());
    if !key.is_accepted() {
        return Err(CertError::WeakKey {
            subject: subject(certificate),
            key,
        });
    }
    // The signature of a root on itself proves nothing, so it may be of any kind.
    let is_root = position > 1 && certificate.issuer().as_raw() == certificate.subject().as_raw();
    if !is_root && !signed.is_accepted(profile.algorithms().all) {
        return Err(CertError::WeakSignature {
            subject: subject(certificate),
            algorithm: signature_of(certificate),
        });
    }
    Ok(())
}

fn host_names(certificate: &X509Certificate<'_>) -> Result<Vec<Box<str>>, CertError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| CertError::Malformed { position: 1 })?;
    let mut names = Vec::new();
    let mut addresses = false;
    for name in extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        if let GeneralName::DNSName(text) = name {
            names.push(host_name(text)?);
        }
        addresses |= matches!(name, GeneralName::IPAddress(_));
    }
    if names.is_empty() && !addresses {
        return Err(CertError::NoHostNames {
            subject: subject(certificate),
        });
    }
    Ok(names)
}

pub(crate) fn host_name(text: &str) -> Result<Box<str>, CertError> {
    let lower = text.to_ascii_lowercase();
    let (wildcard, rest) = match lower.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, lower.as_str()),
    };
    let labels_are_fine = rest.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    // `*.localhost` is for demonstrations; it belongs to nobody (RFC 6761 §6.3). `*.com` would be a whole registry.
    let too_wide = wildcard && !rest.contains('.') && rest != "localhost";
    if !labels_are_fine || lower.len() > 253 || too_wide {
        return Err(CertError::HostName {
            name: printable(text),
        });
    }
    Ok(lower.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, Pki, days};

    const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];

    fn store(names: &[&[&str]]) -> ServerCertificates {
        let pki = Pki::new("Server CA");
        let issued: Vec<_> = names.iter().map(|names| pki.server(names)).collect();
        let pairs: Vec<_> = issued
            .iter()
            .map(|(chain, key)| (chain.as_bytes(), key.as_bytes()))
            .collect();
        ServerCertificates::load(&pairs, Profile::CryptrecRecommended).unwrap()
    }

    fn chosen(store: &ServerCertificates, host: Option<&str>) -> Option<String> {
        let key = store.choose(host, &SCHEMES)?;
        Some(
            inspect::summarize(key.cert.first().unwrap())
                .unwrap()
                .names
                .join(" "),
        )
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_of_one_label() {
        let store = store(&[&["*.corp.example"], &["wiki.corp.example", "corp.example"]]);
        assert_eq!(
            chosen(&store, Some("wiki.corp.example")).unwrap(),
            "dns:wiki.corp.example dns:corp.example"
        );
        assert_eq!(
            chosen(&store, Some("mail.corp.example")).unwrap(),
            "dns:*.corp.example"
        );
        assert_eq!(
            chosen(&store, Some("MAIL.Corp.Example.")).unwrap(),
            "dns:*.corp.example"
        );
        assert_eq!(chosen(&store, Some("a.mail.corp.example")), None);
        assert_eq!(chosen(&store, Some(".corp.example")), None);
    }

    #[test]
    fn unknown_names_are_never_shown_some_other_certificate() {
        let one = store(&[&["a.example"]]);
        assert_eq!(chosen(&one, Some("b.example")), None);
        assert!(chosen(&one, None).is_some(), "no name and no choice");
        let two = store(&[&["a.example"], &["b.example"]]);
        assert_eq!(chosen(&two, None), None);
        assert!(two.covers("b.example") && !two.covers("c.example"));
    }

    #[test]
    fn of_two_certificates_for_a_name_the_one_that_lasts_longer_is_shown() {
        let pki = Pki::new("Server CA");
        let (old, old_key) = pki.server_until(&["a.example"], NOW + days(5));
        let (new, new_key) = pki.server_until(&["a.example"], NOW + days(50));
        let pairs = [
            (old.as_bytes(), old_key.as_bytes()),
            (new.as_bytes(), new_key.as_bytes()),
        ];
        let store = ServerCertificates::load(&pairs, Profile::CryptrecRecommended).unwrap();
        let key = store.choose(Some("a.example"), &SCHEMES).unwrap();
        assert_eq!(
            inspect::summarize(&key.cert[0]).unwrap().not_after_seconds,
            NOW + days(50)
        );
    }

    #[test]
    fn a_certificate_the_client_cannot_verify_is_not_chosen() {
        let store = store(&[&["a.example"]]);
        assert!(
            store
                .choose(Some("a.example"), &[SignatureScheme::ED25519])
                .is_none()
        );
    }

    fn problem(chain: &str, key: &str) -> CertError {
        ServerCertificates::load(
            &[(chain.as_bytes(), key.as_bytes())],
            Profile::CryptrecRecommended,
        )
        .unwrap_err()
        .problem
    }

    #[test]
    fn the_key_must_belong_to_the_certificate() {
        let pki = Pki::new("Server CA");
        let ((chain, _), (_, other)) = (pki.server(&["a.example"]), pki.server(&["a.example"]));
        assert!(matches!(
            problem(&chain, &other),
            CertError::KeyMismatch { .. }
        ));
    }

    #[test]
    fn the_chain_must_be_in_order_and_signed() {
        let pki = Pki::new("Server CA");
        let (leaf, key) = pki.server(&["a.example"]);
        assert!(
            ServerCertificates::load(
                &[(format!("{leaf}{}", pki.pem()).as_bytes(), key.as_bytes())],
                Profile::CryptrecHigh
            )
            .is_ok()
        );
        let impostor = Pki::new("Server CA");
        assert!(matches!(
            problem(&format!("{leaf}{}", impostor.pem()), &key),
            CertError::ChainOrder { position: 2, .. }
        ));
        assert!(matches!(
            problem(&format!("{}{leaf}", pki.pem()), &key),
            CertError::ChainOrder { position: 2, .. }
        ));
    }

    #[test]
    fn files_that_hold_something_else_are_refused_without_quoting_them() {
        let pki = Pki::new("Server CA");
        let (leaf, key) = pki.server(&["a.example"]);
        assert_eq!(problem("<html>", &key), CertError::NoCertificate);
        assert_eq!(problem(&leaf, &leaf), CertError::NoKey);
        assert_eq!(problem(&leaf, &format!("{key}{key}")), CertError::NoKey);
        assert_eq!(
            problem(&leaf, &key.replace("-----END", "-----ENDE")),
            CertError::NoKey
        );
        assert_eq!(
            problem(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key
            ),
            CertError::Malformed { position: 1 }
        );
        assert!(ServerCertificates::load(&[], Profile::CryptrecHigh).is_err());
    }

    #[test]
    fn a_certificate_needs_a_host_name_and_the_right_purpose() {
        let pki = Pki::new("Server CA");
        let (leaf, key) = pki.device("spiffe://corp.example/device/1");
        assert!(matches!(
            problem(&leaf, &key),
            CertError::Purpose {
                purpose: "serverAuth",
                ..
            }
        ));
        for name in ["*.com", "a.*.example", "*", "*a.corp.example", "a..example"] {
            assert!(host_name(name).is_err(), "{name}");
        }
        assert_eq!(&*host_name("*.LOCALHOST").unwrap(), "*.localhost");
    }

    #[test]
    fn sha_1_and_short_rsa_are_refused() {
        let (chain, key) = (
            include_str!("../testdata/sha1-leaf.pem"),
            include_str!("../testdata/sha1-leaf.key"),
        );
        assert!(matches!(
            problem(chain, key),
            CertError::WeakSignature { .. }
        ));
        let (chain, key) = (
            include_str!("../testdata/rsa1024-leaf.pem"),
            include_str!("../testdata/rsa1024-leaf.key"),
        );
        assert!(matches!(
            problem(chain, key),
            CertError::WeakKey {
                key: KeyKind::Rsa { bits: 1024 },
                ..
            }
        ));
    }

    #[test]
    fn debug_output_has_no_key() {
        let pki = Pki::new("Server CA");
        let (chain, key) = pki.server(&["a.example"]);
        let store =
            ServerCertificates::load(&[(chain.as_bytes(), key.as_bytes())], Profile::CryptrecHigh)
                .unwrap();
        let planted = key.lines().nth(1).unwrap();
        assert!(!format!("{store:?}").contains(planted));
    }
}
