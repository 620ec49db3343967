//! A small certificate authority: enough for the demonstration, for tests, and for a company that has none yet.
//! Time and serial numbers are arguments; only keys are drawn from the cryptographic library's own randomness.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use crate::error::{CertError, IssueError};
use crate::identify;
use crate::inspect::{self, CertificateSummary};
use crate::key::Key;
use crate::name::{printable, unhex};

/// From when to when something is valid, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before_seconds: i64,
    /// Last second.
    pub not_after_seconds: i64,
}

/// A CA with its key: P-256, allowed to issue leaves only.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    key: Key,
}

/// A certificate together with its new key.
pub struct Issued {
    /// The leaf alone, PEM.
    pub certificate_pem: String,
    /// The key that goes with it.
    pub key: Key,
    /// What it says.
    pub summary: CertificateSummary,
}

/// How a device certificate names its device. At least one of the first three; the first given is the identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceSubject<'a> {
    /// `spiffe://<trust domain>/<path>`; excludes `uuid`, because a SPIFFE ID tolerates no second URI.
    pub spiffe_id: Option<&'a str>,
    /// With or without `urn:uuid:`.
    pub uuid: Option<&'a str>,
    /// The device's own serial number; a PrintableString (RFC 5280 appendix A).
    pub serial_number: Option<&'a str>,
    /// For people; decides nothing.
    pub common_name: &'a str,
}

/// One entry of a revocation list.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// Hexadecimal, as `VerifiedPeer::serial` and `CertificateSummary::serial` give it.
    pub serial: String,
    /// Seconds since the epoch.
    pub at_seconds: i64,
}

impl Validity {
    /// From a minute before `now_seconds`, for clocks that lag, until `days` days after it.
    pub fn days(now_seconds: i64, days: u32) -> Self {
        Self {
            not_before_seconds: now_seconds.saturating_sub(60),
            not_after_seconds: now_seconds.saturating_add(i64::from(days).saturating_mul(86_400)),
        }
    }
}

impl Authority {
    /// A new CA. `serial` are random octets.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate or the period is empty.
    pub fn create(
        common_name: &str,
        validity: Validity,
        serial: &[u8; 16],
    ) -> Result<Self, IssueError> {
        let key = Key::generate()?;
        let mut params = params(validity, serial)?;
        params
            .distinguished_name
            .push(DnType::CommonName, utf8(common_name, "common name")?);
        // May issue leaves and lists, but no further CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(encoding)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.into(),
            key,
        })
    }

    /// A CA made earlier.
    ///
    /// # Errors
    /// When the certificate is no CA certificate, the key is no P-256 key in PKCS#8, or they do not belong together.
    pub fn load(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, IssueError> {
        let certificate = crate::pem::certificates(certificate_pem)?
            .into_iter()
            .next()
            .ok_or(CertError::NoCertificate)?;
        let key = Key::from_pem(key_pem)?;
        let parsed = inspect::parse(&certificate, 1)?;
        if !parsed.is_ca() {
            return Err(CertError::NotAnAuthority {
                subject: inspect::subject(&parsed),
            }
            .into());
        }
        if parsed.public_key().subject_public_key.data.as_ref()
            != rcgen::PublicKeyData::der_bytes(&key)
        {
            return Err(CertError::KeyMismatch {
                subject: inspect::subject(&parsed),
            }
            .into());
        }
        let pem = String::from_utf8_lossy(certificate_pem).into_owned();
        Ok(Self {
            certificate,
            pem,
            key,
        })
    }

    /// The CA certificate, to be given to those who shall trust it.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The CA's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What the CA certificate says.
    ///
    /// # Errors
    /// None in practice: it has been read before.
    pub fn summary(&self) -> Result<CertificateSummary, IssueError> {
        Ok(inspect::summarize(&self.certificate)?)
    }

    /// A server certificate for host names, wildcards and IP addresses, with a new key.
    ///
    /// # Errors
    /// When there is no name, or one that cannot stand in a certificate.
    pub fn issue_server(
        &self,
        names: &[&str],
        validity: Validity,
        serial: &[u8; 16],
    ) -> Result<Issued, IssueError> {
        let first = names.first().ok_or(IssueError::NoName)?;
        let mut params = params(validity, serial)?;
        params
            .distinguished_name
            .push(DnType::CommonName, utf8(first, "common name")?);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    crate::store::host_name(name)?
                        .into_string()
                        .try_into()
                        .map_err(|_| unfit(name, "host name"))?,
                ),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// A device certificate with a new key.
    ///
    /// # Errors
    /// When nothing names the device, or the name would not be accepted back by `peer_of`.
    pub fn issue_device(
        &self,
        subject: DeviceSubject<'_>,
        validity: Validity,
        serial: &[u8; 16],
    ) -> Result<Issued, IssueError> {
        if subject
            .spiffe_id
            .or(subject.uuid)
            .or(subject.serial_number)
            .is_none()
        {
            return Err(IssueError::NoName);
        }
        let mut params = params(validity, serial)?;
        params.distinguished_name.push(
            DnType::CommonName,
            utf8(subject.common_name, "common name")?,
        );
        if let Some(number) = subject.serial_number {
            let value = DnValue::PrintableString(
                number
                    .try_into()
                    .map_err(|_| unfit(number, "serial number"))?,
            );
            params
                .distinguished_name
                .push(DnType::CustomDnType(vec![2, 5, 4, 5]), value);
        }
        let uuid = subject.uuid.map(|uuid| {
            if uuid.starts_with("urn:") {
                uuid.to_owned()
            } else {
                format!("urn:uuid:{uuid}")
            }
        });
        for uri in subject.spiffe_id.map(str::to_owned).into_iter().chain(uuid) {
            params.subject_alt_names.push(SanType::URI(
                uri.as_str().try_into().map_err(|_| unfit(&uri, "URI"))?,
            ));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = self.issue(params)?;
        let leaf = crate::pem::certificates(issued.certificate_pem.as_bytes())?;
        identify::peer_from_chain(&leaf, validity.not_before_seconds)?;
        Ok(issued)
    }

    /// A revocation list in PEM. `number` must grow from list to list (RFC 5280 §5.2.3).
    ///
    /// # Errors
    /// When a serial is not hexadecimal or the period is empty.
    pub fn revocation_list(
        &self,
        entries: &[Revoked],
        period: Validity,
        number: u64,
    ) -> Result<String, IssueError> {
        let mut revoked_certs = Vec::with_capacity(entries.len());
        for entry in entries {
            let serial = unhex(&entry.serial).ok_or_else(|| IssueError::Serial {
                serial: printable(&entry.serial),
            })?;
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: date_time_ymd(1970, 1, 1) + since_epoch(entry.at_seconds)?,
                reason_code: None,
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_epoch(period.not_before_seconds)?,
            next_update: date_time_ymd(1970, 1, 1) + since_epoch(period.not_after_seconds)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()?)
            .and_then(|list| list.pem())
            .map_err(encoding)
    }

    fn issuer(&self) -> Result<Issuer<'_, &Key>, IssueError> {
        Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(encoding)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, IssueError> {
        params.use_authority_key_identifier_extension = true;
        let key = Key::generate()?;
        let certificate = params.signed_by(&key, &self.issuer()?).map_err(encoding)?;
        let leaf = inspect::parse(certificate.der(), 1)?;
        let authority = inspect::parse(&self.certificate, 1)?;
        // The encoder rebuilds the CA's name from its parts. A name it cannot rebuild octet for octet would give
        // certificates that no path leads to.
        if leaf.issuer().as_raw() != authority.subject().as_raw() {
            return Err(unfit(&inspect::subject(&authority), "issuer"));
        }
        let summary = inspect::summarize(certificate.der())?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key,
            summary,
        })
    }
}

fn params(validity: Validity, serial: &[u8; 16]) -> Result<CertificateParams, IssueError> {
    if validity.not_after_seconds <= validity.not_before_seconds {
        return Err(IssueError::Validity);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(validity.not_before_seconds)?;
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(validity.not_after_seconds)?;
    params.serial_number = Some(positive(serial));
    Ok(params)
}

/// RFC 5280 §4.1.2.2: positive, at most 20 octets. Two bits are fixed; 126 random ones remain.
fn positive(octets: &[u8; 16]) -> SerialNumber {
    let mut octets = *octets;
    if let Some(first) = octets.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from_slice(&octets)
}

/// To be added to 1970-01-01; certificates end with the year 9999.
fn since_epoch(seconds: i64) -> Result<Duration, IssueError> {
    const END_OF_9999: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= END_OF_9999);
    seconds.map(Duration::from_secs).ok_or(IssueError::Validity)
}

fn utf8(text: &str, field: &'static str) -> Result<DnValue, IssueError> {
    let fits = !text.is_empty() && text.chars().count() <= 64 && printable(text) == text;
    if fits {
        Ok(DnValue::Utf8String(text.to_owned()))
    } else {
        Err(unfit(text, field))
    }
}

fn unfit(name: &str, field: &'static str) -> IssueError {
    IssueError::Name {
        name: printable(name),
        field,
    }
}

fn encoding(problem: rcgen::Error) -> IssueError {
    IssueError::Encoding(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::DeviceIdentity;
    use crate::testing::{NOW, days};

    const SERIAL: [u8; 16] = [0xff; 16];

    fn authority() -> Authority {
        Authority::create("Example CA", Validity::days(NOW, 30), &SERIAL).unwrap()
    }

    #[test]
    fn an_authority_survives_its_own_files() {
        let first = authority();
        let again = Authority::load(
            first.certificate_pem().as_bytes(),
            first.key().expose_pem().as_bytes(),
        )
        .unwrap();
        assert_eq!(again.summary().unwrap(), first.summary().unwrap());
        assert!(again.summary().unwrap().is_authority);
        let other = authority();
        let problem = Authority::load(
            first.certificate_pem().as_bytes(),
            other.key().expose_pem().as_bytes(),
        )
        .err();
        assert!(matches!(
            problem,
            Some(IssueError::Authority(CertError::KeyMismatch { .. }))
        ));
    }

    #[test]
    fn servers_get_host_names_and_addresses() {
        let issued = authority()
            .issue_server(
                &["localhost", "*.localhost", "127.0.0.1", "::1"],
                Validity::days(NOW, 9),
                &SERIAL,
            )
            .unwrap();
        assert_eq!(
            issued.summary.names,
            ["dns:localhost", "dns:*.localhost", "ip:127.0.0.1", "ip:::1"]
        );
        assert_eq!(issued.summary.serial, "7f".to_owned() + &"ff".repeat(15));
        assert_eq!(
            (
                issued.summary.not_before_seconds,
                issued.summary.not_after_seconds
            ),
            (NOW - 60, NOW + days(9))
        );
        assert!(
            issued
                .summary
                .warnings(NOW)
                .iter()
                .any(|text| text.ends_with("expires in 9 days"))
        );
    }

    #[test]
    fn devices_get_the_identity_asked_for() {
        let subject = DeviceSubject {
            spiffe_id: Some("spiffe://corp.example/device/7"),
            serial_number: Some("S-7"),
            common_name: "端末 7",
            ..DeviceSubject::default()
        };
        let issued = authority()
            .issue_device(subject, Validity::days(NOW, 9), &SERIAL)
            .unwrap();
        let chain = crate::pem::certificates(issued.certificate_pem.as_bytes()).unwrap();
        let peer = identify::peer_from_chain(&chain, NOW).unwrap();
        assert_eq!(
            peer.identity(),
            &DeviceIdentity::Spiffe("spiffe://corp.example/device/7".into())
        );
        assert_eq!(issued.summary.subject, "serialNumber=S-7,CN=端末 7");
        assert_eq!(peer.issuer(), "CN=Example CA");
        let subject = DeviceSubject {
            uuid: Some("F81D4FAE-7dec-11d0-a765-00a0c91e6bf6"),
            common_name: "7",
            ..DeviceSubject::default()
        };
        assert!(
            authority()
                .issue_device(subject, Validity::days(NOW, 9), &SERIAL)
                .is_ok()
        );
    }

    #[test]
    fn what_would_not_be_accepted_back_is_not_issued() {
        let refused = |subject: DeviceSubject<'_>| {
            authority()
                .issue_device(subject, Validity::days(NOW, 9), &SERIAL)
                .err()
                .unwrap()
        };
        let named = DeviceSubject {
            common_name: "x",
            ..DeviceSubject::default()
        };
        assert_eq!(refused(named), IssueError::NoName);
        assert!(matches!(
            refused(DeviceSubject {
                spiffe_id: Some("spiffe://Corp/x"),
                ..named
            }),
            IssueError::Identity(_)
        ));
        assert!(matches!(
            refused(DeviceSubject {
                uuid: Some("7"),
                ..named
            }),
            IssueError::Identity(_)
        ));
        let both = DeviceSubject {
            spiffe_id: Some("spiffe://a/b"),
            uuid: Some("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            ..named
        };
        assert!(matches!(refused(both), IssueError::Identity(_)));
        assert!(matches!(
            refused(DeviceSubject {
                serial_number: Some("a\nb"),
                ..named
            }),
            IssueError::Name { .. }
        ));
        let device = DeviceSubject {
            serial_number: Some("7"),
            common_name: "a\u{202e}b",
            ..named
        };
        assert!(matches!(refused(device), IssueError::Name { .. }));
    }

    #[test]
    fn empty_or_impossible_periods_are_refused() {
        for (from, to) in [(NOW, NOW), (NOW, NOW - 1), (-1, NOW), (NOW, i64::MAX)] {
            let period = Validity {
                not_before_seconds: from,
                not_after_seconds: to,
            };
            assert_eq!(
                Authority::create("CA", period, &SERIAL).err(),
                Some(IssueError::Validity)
            );
        }
        assert!(
            authority()
                .issue_server(&["*.com"], Validity::days(NOW, 9), &SERIAL)
                .is_err()
        );
        assert_eq!(
            authority()
                .issue_server(&[], Validity::days(NOW, 9), &SERIAL)
                .err(),
            Some(IssueError::NoName)
        );
        let bad = [Revoked {
            serial: "xyz".to_owned(),
            at_seconds: NOW,
        }];
        assert!(matches!(
            authority().revocation_list(&bad, Validity::days(NOW, 1), 1),
            Err(IssueError::Serial { .. })
        ));
    }
}
