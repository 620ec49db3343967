//! The demo's directory: what is made once, what is made at every start, and who may read it.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use masugata_certs::{Authority, DeviceSubject, Issued, Key, Validity};
use masugata_policy::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::internet::SITES;
use super::people::Person;
use super::{DemoError, free_port, is_free};
use crate::gateway::Capabilities;

const CONFIG: &str = include_str!("masugata.toml");
const DEVICES: &str = include_str!("devices.toml");
const LISTS: [(&str, &str); 3] = [
    ("threats.txt", include_str!("threats.txt")),
    ("harmful.txt", include_str!("harmful.txt")),
    ("file-sharing.txt", include_str!("file-sharing.txt")),
];
const POLICIES: [(&str, &str); 6] = [
    (
        "apps.cedar",
        include_str!("../../../deploy/policies/apps.cedar"),
    ),
    (
        "confidential.cedar",
        include_str!("../../../deploy/policies/confidential.cedar"),
    ),
    (
        "egress.cedar",
        include_str!("../../../deploy/policies/egress.cedar"),
    ),
    (
        "internal.cedar",
        include_str!("../../../deploy/policies/internal.cedar"),
    ),
    (
        "public.cedar",
        include_str!("../../../deploy/policies/public.cedar"),
    ),
    (
        "services.cedar",
        include_str!("../../../deploy/policies/services.cedar"),
    ),
];

/// Devices. The second one's posture is stale; the third one is Ada's own.
pub(super) const DEVICE_NAMES: [&str; 3] = ["laptop", "stale-laptop", "ada-laptop"];
/// Tokens: name, user, groups, methods.
const TOKENS: [(&str, &str, &[&str], &[&str]); 4] = [
    (
        "ada",
        "ada",
        &["employees", "finance"],
        &["pwd", "otp", "mfa"],
    ),
    (
        "ben",
        "ben",
        &["employees", "engineering"],
        &["pwd", "otp", "mfa"],
    ),
    ("chie", "chie", &["employees", "hr"], &["pwd", "otp", "mfa"]),
    (
        "ada-password-only",
        "ada",
        &["employees", "finance"],
        &["pwd"],
    ),
];
/// Apps: name, host, level.
pub(super) const APPS: [(&str, &str, &str); 3] = [
    ("portal", "localhost", "public"),
    ("projects", "projects.localhost", "internal"),
    ("payroll", "payroll.localhost", "confidential"),
];
/// Names in the server's certificate. Many TLS libraries take no wildcard directly below a top-level name, so those
/// that people are likely to add are written out.
const SERVER_NAMES: [&str; 20] = [
    "localhost",
    "*.localhost",
    "portal.localhost",
    "projects.localhost",
    "payroll.localhost",
    "app.localhost",
    "api.localhost",
    "chat.localhost",
    "git.localhost",
    "grpc.localhost",
    "jupyter.localhost",
    "login.localhost",
    "notebook.localhost",
    "pac.localhost",
    "proxy.localhost",
    "test.localhost",
    "why.localhost",
    "wiki.localhost",
    "127.0.0.1",
    "::1",
];
const TOKEN_LIFETIME_SECONDS: i64 = 12 * 3600;

/// The gateway's ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) ingress: u16,
    pub(super) egress: u16,
    pub(super) admin: u16,
}

/// Where what the demo needs beside the gateway listens: on loopback, at ports of the system's choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) app: SocketAddr,
    /// The demo's Internet, with TLS and without.
    pub(super) sites: SocketAddr,
    pub(super) plain_sites: SocketAddr,
}

impl Places {
    /// In the order in which they are remembered.
    const NAMES: [&str; 3] = ["app_address", "sites_address", "plain_sites_address"];

    /// What an earlier start has written, where it is still free or must be kept.
    fn find(before: Option<&Value>, keep: bool) -> Result<Self, DemoError> {
        let mut found = [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0); 3];
        let mut taken = Vec::new();
        for (place, name) in found.iter_mut().zip(Self::NAMES) {
            let known = before
                .and_then(|before| before.get(name)?.as_str()?.parse::<SocketAddr>().ok())
                .filter(|known| keep || is_free(known.port()));
            let port = match known {
                Some(known) => known.port(),
                None => loop {
                    let port = free_port(0, "")?;
                    if !taken.contains(&port) {
                        break port;
                    }
                },
            };
            taken.push(port);
            place.set_port(port);
        }
        let [app, sites, plain_sites] = found;
        Ok(Self {
            app,
            sites,
            plain_sites,
        })
    }
}

/// A prepared directory.
pub(super) struct Demo {
    pub(super) directory: PathBuf,
    pub(super) config: PathBuf,
    pub(super) places: Places,
    /// The certificate of the sites.
    pub(super) sites: Issued,
    devices: Vec<Value>,
}

impl Demo {
    /// Makes what is missing. A file that is there is kept, whoever wrote it.
    pub(super) fn prepare(
        directory: &Path,
        ports: Ports,
        world: &Capabilities,
    ) -> Result<Self, DemoError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(DemoError::file("make the directory", directory))?;
        let directory = directory
            .canonicalize()
            .map_err(DemoError::file("find", directory))?;
        let maker = Maker {
            directory: &directory,
            world,
            now: world.clock.now(),
        };
        let authority = maker.authority()?;
        maker.server(&authority)?;
        let devices = DEVICE_NAMES
            .iter()
            .map(|name| maker.device(&authority, name))
            .collect::<Result<_, _>>()?;
        let key = maker.issuer()?;
        maker.tokens(&key)?;
        maker.password_key()?;
        let sites = maker.sites(&authority)?;
        let places = maker.configuration(ports)?;
        Ok(Self {
            config: directory.join("masugata.toml"),
            places,
            sites,
            devices,
            directory,
        })
    }

    /// Writes `demo.json`, for scripts.
    pub(super) fn describe(
        &self,
        ingress: u16,
        egress: Option<u16>,
        admin: Option<SocketAddr>,
        sign_in: Option<&str>,
        people: &[Person],
    ) -> Result<(), DemoError> {
        let devices: serde_json::Map<String, Value> = DEVICE_NAMES
            .iter()
            .map(ToString::to_string)
            .zip(self.devices.iter().cloned())
            .collect();
        let tokens: serde_json::Map<String, Value> = TOKENS
            .iter()
            .map(|(name, ..)| ((*name).to_owned(), json!(self.token(name))))
            .collect();
        let apps: serde_json::Map<String, Value> = APPS
            .iter()
            .map(|(name, host, level)| {
                (
                    (*name).to_owned(),
                    json!({ "url": format!("https://{host}:{ingress}/"), "level": level }),
                )
            })
            .collect();
        let internet: serde_json::Map<String, Value> = SITES
            .iter()
            .map(|site| (site.name.to_owned(), json!(site.url)))
            .collect();
        let users: serde_json::Map<String, Value> = people
            .iter()
            .map(|person| (person.user.to_owned(), person.entry()))
            .collect();
        let description = json!({
            "ingress_url": format!("https://localhost:{ingress}"),
            "admin_url": admin.map(|address| format!("http://{address}")),
            "ca_cert": self.directory.join("ca.pem"),
            "config": self.config,
            "audit_log": self.directory.join("audit.jsonl"),
            "devices": devices,
            "tokens": tokens,
            "users": users,
            "sign_in_url": sign_in.map(|origin| format!("{origin}/")),
            "apps": apps,
            "egress_url": egress.map(|port| format!("https://proxy.localhost:{port}")),
            "pac_url": format!("https://pac.localhost:{ingress}/staff.pac"),
            "why_url": format!("https://why.localhost:{ingress}/"),
            "internet": internet,
            "app_address": self.places.app,
            "sites_address": self.places.sites,
            "plain_sites_address": self.places.plain_sites,
        });
        let path = self.directory.join("demo.json");
        replace(&path, format!("{description:#}\n").as_bytes(), 0o600)
    }

    pub(super) fn token(&self, name: &str) -> PathBuf {
        self.directory.join("tokens").join(format!("{name}.jwt"))
    }
}

struct Maker<'a> {
    directory: &'a Path,
    world: &'a Capabilities,
    now: Timestamp,
}

impl Maker<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn serial(&self) -> [u8; 16] {
        let mut serial = [0; 16];
        self.world.entropy.fill(&mut serial);
        serial
    }

    fn authority(&self) -> Result<Authority, DemoError> {
        let (certificate, key) = (self.path("ca.pem"), self.path("ca.key"));
        let authority = if certificate.exists() && key.exists() {
            Authority::load(&read(&certificate)?, &read(&key)?)?
        } else {
            let validity = Validity::days(self.now.as_seconds(), 3650);
            let authority = Authority::create("Masugata demo CA", validity, &self.serial())?;
            replace(&key, authority.key().expose_pem().as_bytes(), 0o600)?;
            replace(&certificate, authority.certificate_pem().as_bytes(), 0o644)?;
            authority
        };
        let list = self.path("ca.crl");
        if !list.exists() {
            let period = Validity::days(self.now.as_seconds(), 3650);
            replace(
                &list,
                authority.revocation_list(&[], period, 1)?.as_bytes(),
                0o644,
            )?;
        }
        Ok(authority)
    }

    fn server(&self, authority: &Authority) -> Result<(), DemoError> {
        let (chain, key) = (self.path("server.pem"), self.path("server.key"));
        if chain.exists() && key.exists() && !is_ours_and_old(&read(&chain)?) {
            return Ok(());
        }
        let validity = Validity::days(self.now.as_seconds(), 397);
        let issued = authority.issue_server(&SERVER_NAMES, validity, &self.serial())?;
        write_pair(&issued, &chain, &key)
    }

    /// The device's entry of `demo.json`.
    fn device(&self, authority: &Authority, name: &str) -> Result<Value, DemoError> {
        let directory = self.path("devices");
        fs::create_dir_all(&directory)
            .map_err(DemoError::file("make the directory", &directory))?;
        let (chain, key) = (
            directory.join(format!("{name}.pem")),
            directory.join(format!("{name}.key")),
        );
        if !chain.exists() || !key.exists() {
            let id = identity(name);
            let subject = DeviceSubject {
                spiffe_id: Some(&id),
                common_name: name,
                ..DeviceSubject::default()
            };
            let validity = Validity::days(self.now.as_seconds(), 397);
            write_pair(
                &authority.issue_device(subject, validity, &self.serial())?,
                &chain,
                &key,
            )?;
        }
        let pem = read(&chain)?;
        let summaries =
            masugata_certs::certificates(&pem).map_err(|_error| DemoError::Key(chain.clone()))?;
        let serial = summaries.first().map(|summary| summary.serial.clone());
        Ok(json!({ "cert": chain, "key": key, "serial": serial, "identity": identity(name) }))
    }

    /// The key of the demo's token issuer, and its public half for the gateway.
    fn issuer(&self) -> Result<Vec<u8>, DemoError> {
        let path = self.path("issuer.key");
        if !path.exists() {
            replace(&path, Key::generate()?.expose_pem().as_bytes(), 0o600)?;
        }
        let pem = read(&path)?;
        let invalid = || DemoError::Key(path.clone());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_error| invalid())?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
                .map_err(|_error| invalid())?;
        // Uncompressed point: 04 || x || y.
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .and_then(|point| point.split_at_checked(32))
            .ok_or_else(invalid)?;
        let set = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "demo",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        write_if_other(&self.path("issuer.jwks.json"), &format!("{set:#}\n"))?;
        Ok(pem)
    }

    /// What seals proxy passwords.
    fn password_key(&self) -> Result<(), DemoError> {
        let path = self.path("proxy-password.key");
        if path.exists() {
            return Ok(());
        }
        let mut key = [0; 32];
        self.world.entropy.fill(&mut key);
        replace(
            &path,
            format!("{}\n", STANDARD.encode(key)).as_bytes(),
            0o600,
        )
    }

    /// Nobody but this process needs its key, so it is made anew at each start.
    fn sites(&self, authority: &Authority) -> Result<Issued, DemoError> {
        let names: Vec<&str> = SITES.iter().map(|site| site.host).collect();
        let validity = Validity::days(self.now.as_seconds(), 30);
        Ok(authority.issue_server(&names, validity, &self.serial())?)
    }

    fn tokens(&self, key: &[u8]) -> Result<(), DemoError> {
        let directory = self.path("tokens");
        fs::create_dir_all(&directory)
            .map_err(DemoError::file("make the directory", &directory))?;
        let key = EncodingKey::from_ec_pem(key)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("demo".into());
        header.typ = Some("at+jwt".into());
        let now = self.now.as_seconds();
        for (name, user, groups, methods) in TOKENS {
            let id: String = self
                .serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let claims = json!({
                "iss": "https://idp.demo.invalid", "aud": "masugata-demo", "client_id": "demo",
                "sub": user, "name": user, "jti": id, "groups": groups, "amr": methods,
                "iat": now, "exp": now + TOKEN_LIFETIME_SECONDS, "auth_time": now,
            });
            let token = jsonwebtoken::encode(&header, &claims, &key)?;
            replace(
                &directory.join(format!("{name}.jwt")),
                token.as_bytes(),
                0o600,
            )?;
        }
        Ok(())
    }

    /// Configuration, inventory, policies and lists; where everything beside the gateway is to listen.
    fn configuration(&self, ports: Ports) -> Result<Places, DemoError> {
        let store = self.path("store");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&store)
            .map_err(DemoError::file("make the directory", &store))?;
        let policies = self.path("policies");
        if !policies.exists() {
            fs::create_dir_all(&policies)
                .map_err(DemoError::file("make the directory", &policies))?;
            for (name, text) in POLICIES {
                replace(&policies.join(name), text.as_bytes(), 0o644)?;
            }
        }
        for (name, text) in LISTS {
            let list = self.path(name);
            if !list.exists() {
                replace(&list, text.as_bytes(), 0o644)?;
            }
        }
        let devices = self.path("devices.toml");
        if !devices.exists() {
            let then = self.now.minus(std::time::Duration::from_secs(10 * 86_400));
            let text = DEVICES
                .replace("{laptop}", &identity("laptop"))
                .replace("{stale}", &identity("stale-laptop"))
                .replace("{ada}", &identity("ada-laptop"))
                .replace("{now}", &instant(self.now))
                .replace("{ten_days_ago}", &instant(then));
            replace(&devices, text.as_bytes(), 0o644)?;
        }
        let (config, remembered) = (self.path("masugata.toml"), self.path("demo.json"));
        let before = fs::read(&remembered)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let found = fs::read_to_string(&config).ok();
        // Ours to write as long as nobody has changed more than we do ourselves.
        let ours = found
            .as_deref()
            .is_none_or(|found| without_ports(found) == without_ports(CONFIG));
        // Where the configuration is the user's, it names these ports, and so they have to be these.
        let places = Places::find(before.as_ref(), !ours)?;
        let text = render(ports, &places);
        if ours {
            write_if_other(&config, &text)?;
        }
        Ok(places)
    }
}

/// A server certificate of an earlier demo, which had fewer names. One with any other name is somebody's own.
fn is_ours_and_old(pem: &[u8]) -> bool {
    let Ok(summaries) = masugata_certs::certificates(pem) else {
        return false;
    };
    let Some(server) = summaries.first() else {
        return false;
    };
    let names: Vec<&str> = server
        .names
        .iter()
        .filter_map(|name| name.strip_prefix("dns:").or(name.strip_prefix("ip:")))
        .collect();
    names.iter().all(|name| SERVER_NAMES.contains(name)) && names.len() < SERVER_NAMES.len()
}

fn render(ports: Ports, places: &Places) -> String {
    CONFIG
        .replace("{port}", &ports.ingress.to_string())
        .replace("{egress_port}", &ports.egress.to_string())
        .replace("{admin_port}", &ports.admin.to_string())
        .replace("{app}", &places.app.to_string())
        .replace("{sites}", &places.sites.to_string())
        .replace("{sites_port}", &places.sites.port().to_string())
        .replace("{plain_sites}", &places.plain_sites.to_string())
        .replace("{plain_sites_port}", &places.plain_sites.port().to_string())
}

/// Lines of the configuration that change from start to start.
const PORTS: [&str; 5] = [
    "listen = ",
    "upstream.servers = ",
    "addresses = ",
    "ports = ",
    "proxies = ",
];

fn without_ports(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !PORTS.iter().any(|key| line.starts_with(key)))
        .collect()
}

fn identity(name: &str) -> String {
    format!("spiffe://masugata-demo/device/{name}")
}

fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_seconds())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

fn write_pair(issued: &Issued, chain: &Path, key: &Path) -> Result<(), DemoError> {
    replace(key, issued.key.expose_pem().as_bytes(), 0o600)?;
    replace(chain, issued.certificate_pem.as_bytes(), 0o644)
}

fn read(path: &Path) -> Result<Vec<u8>, DemoError> {
    fs::read(path).map_err(DemoError::file("read", path))
}

fn write_if_other(path: &Path, text: &str) -> Result<(), DemoError> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    replace(path, text.as_bytes(), 0o644)
}

/// Whole or not at all: written beside, then moved into place. The mode is there from the first byte.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), DemoError> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(DemoError::file("create", &temporary))?;
    file.write_all(content)
        .map_err(DemoError::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(DemoError::file("write", path))
}
