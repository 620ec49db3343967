//! Certificates of every kind for the tests of this crate, a clock to move by hand, and TLS without sockets.

use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, SerialNumber, SigningKey as _,
};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::der;
use crate::issue::{Authority, DeviceSubject, Issued, Revoked, Validity};
use crate::name::unhex;

/// In January 2027.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn days(count: i64) -> i64 {
    count * 86_400
}

/// The encoder's time type has no name here.
macro_rules! at {
    ($seconds:expr) => {
        rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(u64::try_from($seconds).unwrap())
    };
}
pub(crate) use at;

#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(NOW as u64)))
    }
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
    pub(crate) fn set_back(&self, seconds: u64) {
        self.0.fetch_sub(seconds, Ordering::SeqCst);
    }
    pub(crate) fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            self.0.load(Ordering::SeqCst),
        ))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// A CA made by this crate, which can also make what this crate never would.
pub(crate) struct Pki {
    authority: Authority,
    serials: Cell<u8>,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        Self::valid(name, Validity::days(NOW, 300))
    }

    pub(crate) fn valid(name: &str, validity: Validity) -> Self {
        Self {
            authority: Authority::create(name, validity, &[1; 16]).unwrap(),
            serials: Cell::new(1),
        }
    }

    pub(crate) fn pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    pub(crate) fn server(&self, names: &[&str]) -> (String, String) {
        self.server_until(names, NOW + days(90))
    }

    pub(crate) fn server_until(&self, names: &[&str], not_after_seconds: i64) -> (String, String) {
        let validity = Validity {
            not_before_seconds: NOW - days(1),
            not_after_seconds,
        };
        texts(
            self.authority
                .issue_server(names, validity, &self.serial())
                .unwrap(),
        )
    }

    pub(crate) fn device(&self, spiffe_id: &str) -> (String, String) {
        let subject = DeviceSubject {
            spiffe_id: Some(spiffe_id),
            common_name: "device",
            ..DeviceSubject::default()
        };
        texts(
            self.authority
                .issue_device(subject, Validity::days(NOW, 90), &self.serial())
                .unwrap(),
        )
    }

    pub(crate) fn device_with_point(&self, uri: &str) -> String {
        self.leaf(|params| {
            params.crl_distribution_points = vec![CrlDistributionPoint {
                uris: vec![uri.to_owned()],
            }]
        })
        .0
    }

    /// A device certificate changed at will.
    pub(crate) fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.leaf_for(&key, change), key.serialize_pem())
    }

    pub(crate) fn leaf_for(
        &self,
        key: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = at!(NOW - days(1));
        params.not_after = at!(NOW + days(90));
        params.serial_number = Some(SerialNumber::from_slice(&self.serial()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(key, &self.issuer()).unwrap().pem()
    }

    /// A device certificate with these subject serialNumbers and this subjectAltName extension.
    pub(crate) fn custom_leaf(
        &self,
        serials: &[&str],
        names: Option<CustomExtension>,
    ) -> CertificateDer<'static> {
        // The encoder keeps one attribute of a kind. So both values stand under kinds of equal length, renamed after.
        let mut pem_or_der = self.leaf(|params| {
            for (index, serial) in serials.iter().enumerate() {
                let kind = DnType::CustomDnType(vec![2, 5, 4, if index == 0 { 5 } else { 105 }]);
                params
                    .distinguished_name
                    .push(kind, DnValue::Utf8String((*serial).to_owned()));
            }
            params.custom_extensions.extend(names);
        });
        let der = crate::pem::certificates(std::mem::take(&mut pem_or_der.0).as_bytes())
            .unwrap()
            .remove(0);
        let renamed = replace(&der, &[0x06, 3, 0x55, 4, 105], &[0x06, 3, 0x55, 4, 5]);
        CertificateDer::from(renamed)
    }

    /// A CA below this one, and its serial. This one may issue none by its path length, but nothing here validates that
    /// unless a test does so on purpose; see `root_without_limit`.
    pub(crate) fn intermediate(&self, name: &str) -> (Self, String) {
        self.constrained_intermediate(name, |_| {})
    }

    pub(crate) fn constrained_intermediate(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Self, String) {
        let key = crate::key::Key::generate().unwrap();
        let serial = self.serial();
        let pem = self.leaf_for(&key, |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from_slice(&serial));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.extended_key_usages.clear();
            change(params);
        });
        let authority = Authority::load(pem.as_bytes(), key.expose_pem().as_bytes()).unwrap();
        (
            Self {
                authority,
                serials: Cell::new(1),
            },
            crate::name::hex(&serial),
        )
    }

    /// A root that may have CAs below it.
    pub(crate) fn root_without_limit(name: &str) -> Self {
        let key = crate::key::Key::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = at!(NOW - days(1));
        params.not_after = at!(NOW + days(900));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            authority: Authority::load(pem.as_bytes(), key.expose_pem().as_bytes()).unwrap(),
            serials: Cell::new(1),
        }
    }

    pub(crate) fn list(&self, serials: &[&str], next_update_seconds: i64) -> String {
        self.list_of(serials, NOW - 60, next_update_seconds)
    }

    pub(crate) fn list_of(
        &self,
        serials: &[&str],
        this_update_seconds: i64,
        next_update_seconds: i64,
    ) -> String {
        let entries: Vec<_> = serials
            .iter()
            .map(|serial| Revoked {
                serial: (*serial).to_owned(),
                at_seconds: NOW - 60,
            })
            .collect();
        let period = Validity {
            not_before_seconds: this_update_seconds,
            not_after_seconds: next_update_seconds,
        };
        self.authority.revocation_list(&entries, period, 1).unwrap()
    }

    pub(crate) fn list_der(
        &self,
        serials: &[&str],
        next_update_seconds: i64,
        point: Option<CrlIssuingDistributionPoint>,
    ) -> Vec<u8> {
        let entry = |serial: &&str| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&unhex(serial).unwrap()),
            revocation_time: at!(NOW - 60),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at!(NOW - 60),
            next_update: at!(next_update_seconds),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: point,
            revoked_certs: serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// An empty list with one more extension, signed anew.
    pub(crate) fn list_with_extension(&self, oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
        let list = self.list_der(&[], NOW + days(1), None);
        let mut outer = der::Reader::new(der::sole(&list, der::SEQUENCE).unwrap().content);
        let body = outer.expect(der::SEQUENCE).unwrap();
        let algorithm = outer.expect(der::SEQUENCE).unwrap();
        let mut fields = Vec::new();
        let mut reader = der::Reader::new(body.content);
        while let Some(field) = reader.next() {
            if field.tag == der::CONTEXT_0 {
                let extensions = der::sole(field.content, der::SEQUENCE).unwrap().content;
                let criticality = if critical {
                    element(0x01, &[0xff])
                } else {
                    Vec::new()
                };
                let one = [
                    element(der::OBJECT_IDENTIFIER, oid),
                    criticality,
                    element(der::OCTET_STRING, value),
                ]
                .concat();
                let all = [extensions, &element(der::SEQUENCE, &one)].concat();
                fields.extend(element(der::CONTEXT_0, &element(der::SEQUENCE, &all)));
            } else {
                fields.extend(field.whole);
            }
        }
        let body = element(der::SEQUENCE, &fields);
        let signature = [&[0], self.authority.key().sign(&body).unwrap().as_slice()].concat();
        element(
            der::SEQUENCE,
            &[
                body,
                algorithm.whole.to_vec(),
                element(der::BIT_STRING, &signature),
            ]
            .concat(),
        )
    }

    fn issuer(&self) -> Issuer<'_, &crate::key::Key> {
        Issuer::from_ca_cert_pem(self.pem(), self.authority.key()).unwrap()
    }

    fn serial(&self) -> [u8; 16] {
        self.serials.set(self.serials.get() + 1);
        let mut serial = [0x55; 16];
        serial[15] = self.serials.get();
        serial
    }
}

fn texts(issued: Issued) -> (String, String) {
    (issued.certificate_pem, issued.key.expose_pem().to_string())
}

/// DER of one element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

pub(crate) fn uri(text: &str) -> Vec<u8> {
    element(0x86, text.as_bytes())
}

pub(crate) fn other_name(oid: &[u8], value: &[u8]) -> Vec<u8> {
    element(
        0xa0,
        &[
            element(der::OBJECT_IDENTIFIER, oid),
            element(der::CONTEXT_0, value),
        ]
        .concat(),
    )
}

pub(crate) fn names_extension(names: &[Vec<u8>]) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], element(der::SEQUENCE, &names.concat()))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(start) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[start..start + from.len()].copy_from_slice(to);
    }
    bytes
}

/// Both ends of one TLS connection after everything there was to say has been said.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) server: ServerConnection,
    pub(crate) client: ClientConnection,
}

/// # Errors
/// What the server complained of, or else the client.
pub(crate) fn connect(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Pair, Error> {
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut client = ClientConnection::new(
        Arc::clone(client),
        ServerName::try_from(name.to_owned()).unwrap(),
    )
    .unwrap();
    client.writer().write_all(b"hello").unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    let mut heard = [0; 5];
    server.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    Ok(Pair { server, client })
}
