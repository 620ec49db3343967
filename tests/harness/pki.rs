//! A certificate authority for one test: a server certificate for `*.corp.test`, and device certificates on first use.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand;
use masugata_certs::{Authority, DeviceSubject, Issued, Revoked, Validity};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// See the module's first line.
pub struct Pki {
    authority: Authority,
    server: Issued,
    devices: Mutex<BTreeMap<String, Device>>,
    now: i64,
}

/// A device's certificate and key.
#[derive(Clone, Debug)]
pub struct Device {
    pub certificate_pem: String,
    pub key_pem: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    pub thumbprint: [u8; 32],
}

impl Device {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .map(Result::unwrap)
            .collect()
    }
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }
    fn of(issued: &Issued) -> Self {
        let mut thumbprint = [0; 32];
        for (byte, digits) in thumbprint
            .iter_mut()
            .zip(issued.summary.thumbprint.as_bytes().chunks(2))
        {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
        Self {
            certificate_pem: issued.certificate_pem.clone(),
            key_pem: issued.key.expose_pem().to_string(),
            serial: issued.summary.serial.clone(),
            thumbprint,
        }
    }
}

fn serial() -> [u8; 16] {
    let mut serial = [0; 16];
    rand::fill(&mut serial).unwrap();
    serial
}

impl Pki {
    pub fn new(now: i64) -> Self {
        let authority = Authority::create("Test CA", Validity::days(now, 3650), &serial()).unwrap();
        let names = ["*.corp.test", "localhost", "proxy.localhost", "127.0.0.1"];
        let server = authority
            .issue_server(&names, Validity::days(now, 365), &serial())
            .unwrap();
        Self {
            authority,
            server,
            devices: Mutex::default(),
            now,
        }
    }

    /// What the inventory calls a device's certificate.
    pub fn identity(name: &str) -> String {
        format!("spiffe://test/device/{name}")
    }

    /// The device of that name, always the same.
    pub fn device(&self, name: &str) -> Device {
        let mut devices = self.devices.lock().unwrap();
        devices
            .entry(name.to_owned())
            .or_insert_with(|| self.issue(name, 365))
            .clone()
    }

    /// A new certificate for a device, valid for that many days.
    pub fn issue(&self, name: &str, days: u32) -> Device {
        let id = Self::identity(name);
        let subject = DeviceSubject {
            spiffe_id: Some(&id),
            common_name: name,
            ..DeviceSubject::default()
        };
        Device::of(
            &self
                .authority
                .issue_device(subject, Validity::days(self.now, days), &serial())
                .unwrap(),
        )
    }

    /// A certificate of the same device from a CA that nobody configured.
    pub fn forge(&self, name: &str) -> Device {
        Self::new(self.now).device(name)
    }

    /// A list that names these devices, in PEM.
    pub fn revocation_list(&self, devices: &[&Device], days: u32, number: u64) -> String {
        let entries: Vec<Revoked> = devices
            .iter()
            .map(|device| Revoked {
                serial: device.serial.clone(),
                at_seconds: self.now,
            })
            .collect();
        self.authority
            .revocation_list(&entries, Validity::days(self.now, days), number)
            .unwrap()
    }

    pub fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap()
    }

    /// The authority's own certificate, in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.certificate_pem().to_owned()
    }

    /// Another server certificate, as chain and key.
    pub fn server(&self, names: &[&str], days: u32) -> (String, String) {
        let issued = self
            .authority
            .issue_server(names, Validity::days(self.now, days), &serial())
            .unwrap();
        (
            issued.certificate_pem.clone(),
            issued.key.expose_pem().to_string(),
        )
    }

    /// A server with a certificate of ours, for an app that speaks TLS; it may ask for one of ours in turn.
    pub fn server_config(&self, names: &[&str], alpn: &[&[u8]], asks: bool) -> ServerConfig {
        let (chain, key) = self.server(names, 90);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }

    pub(crate) fn write(&self, directory: &Path) {
        let key = self.server.key.expose_pem();
        for (name, content) in [
            ("ca.pem", self.authority.certificate_pem()),
            ("server.pem", &self.server.certificate_pem),
            ("server.key", &key),
        ] {
            std::fs::write(directory.join(name), content).unwrap();
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(directory.join("server.key"), private).unwrap();
        }
    }
}
