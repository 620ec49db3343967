//! Who gets a password, bound to what, for how long.

use masugata_certs::{Authority, DeviceSubject, Validity};
use tempfile::TempDir;

use super::*;
use crate::config::egress::{self, AcceptedCredentials, Ech, Mode};
use crate::config::{Bounds, ClientCertificateMode, Requirements, Timeouts};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

const CONFIGURATION: &str = r#"
policies = ["policies"]
[ingress]
listen = ["127.0.0.1:8443"]
[[ingress.certificate]]
chain = "server.pem"
key = "server.key"
[devices]
authorities = ["ca.pem"]
inventory = "devices.toml"
[audit]
file = "audit.jsonl"
[[issuer]]
name = "corp"
issuer = "https://login.example.com"
audiences = ["masugata"]
"#;

/// A configuration with an egress, a device `laptop` and its certificate.
struct Office {
    directory: TempDir,
    loaded: Loaded,
    thumbprint: [u8; 32],
}

impl Office {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = Authority::create("CA", Validity::days(NOW.as_seconds(), 365), &[1; 16]).unwrap();
        for (file, days, name) in [("laptop.pem", 30, "laptop"), ("other.pem", 30, "other")] {
            let id = format!("spiffe://test/device/{name}");
            let subject = DeviceSubject {
                spiffe_id: Some(&id),
                common_name: name,
                ..DeviceSubject::default()
            };
            let validity = Validity::days(NOW.as_seconds(), days);
            let issued = ca.issue_device(subject, validity, &[2; 16]).unwrap();
            std::fs::write(directory.path().join(file), issued.certificate_pem).unwrap();
        }
        let leaf = std::fs::read(directory.path().join("laptop.pem")).unwrap();
        let leaf = CertificateDer::from_pem_slice(&leaf).unwrap();
        let (_, thumbprint) = masugata_certs::claim_of(&leaf).unwrap();
        let key = directory.path().join("password.key");
        std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let parsed = Config::parse(CONFIGURATION, Path::new("masugata.toml")).unwrap();
        let mut config = parsed.config;
        config.egress = Some(door(&config.ingress.bounds, key));
        let hex: String = [7_u8; 32]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let inventory = format!(
            r#"
[[device]]
id = "laptop"
identities = ["spiffe://test/device/laptop"]
kind = "laptop"
ownership = "company"
owner = "corp/ada"
[[device]]
id = "printed"
identities = ["sha256:{hex}"]
kind = "laptop"
ownership = "company"
[[device]]
id = "lost"
identities = ["spiffe://test/device/lost"]
kind = "phone"
ownership = "company"
state = "lost"
"#
        );
        let day = Duration::from_secs(86_400);
        let inventory = Inventory::parse(&inventory, Path::new("devices.toml"), day, None).unwrap();
        Self {
            directory,
            loaded: Loaded {
                config,
                inventory,
                warnings: Vec::new(),
            },
            thumbprint,
        }
    }

    fn make(&self, line: &str) -> Result<(String, String), String> {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let line = line.replace('@', &format!("{}/", self.directory.path().display()));
        let words = std::iter::once("proxy-password").chain(line.split_whitespace());
        let line =
            <Line as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        make(&line.arguments, &self.loaded, NOW)
            .map(|(password, said)| (password.expose_secret().to_owned(), said))
    }

    fn key(&self) -> PasswordKey {
        PasswordKey::read(&self.directory.path().join("password.key")).unwrap()
    }
}

fn door(bounds: &Bounds, key: PathBuf) -> Egress {
    Egress {
        listen: vec!["127.0.0.1:8445".parse().unwrap()],
        name: "proxy.corp.example".to_owned(),
        client_certificates: ClientCertificateMode::Required,
        credentials: AcceptedCredentials {
            owner: true,
            token: true,
            password: true,
        },
        requirements: Requirements {
            multi_factor: false,
            phishing_resistant: false,
            max_authentication_age: None,
            acr_values: Vec::new(),
            certificate_bound: false,
            posture: Vec::new(),
            issuers: Vec::new(),
        },
        mode: Mode::Enforce,
        ports: vec![443],
        tls_ports: vec![443],
        ech: Ech::Refuse,
        hello_timeout: Duration::from_secs(10),
        recheck: Duration::from_secs(10),
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            response_header: Duration::from_secs(60),
            idle: Duration::from_secs(900),
            total: None,
        },
        tunnels: 10,
        tunnels_per_device: 10,
        own_addresses: Vec::new(),
        password_key: Some(key),
        password_lifetime: Duration::from_secs(8 * 3600),
        why_host: None,
        refusals_per_device: 20,
        bounds: bounds.clone(),
        resolver: egress::Resolver {
            kind: egress::ResolverKind::System,
            timeout: Duration::from_secs(5),
            ipv6: true,
        },
        addresses: Vec::new(),
        reach: Vec::new(),
        services: Vec::new(),
        feeds: Vec::new(),
        lists_directory: None,
        protect: Vec::new(),
        pac: None,
    }
}

#[test]
fn a_password_opens_on_its_device_as_whom_it_was_made_for() {
    let office = Office::new();
    let line = "--device laptop --certificate @laptop.pem --user corp/bob --group staff --group ci";
    let (password, said) = office.make(line).unwrap();
    let opened = office
        .key()
        .open(&password, &office.thumbprint, NOW)
        .unwrap();
    assert_eq!(opened.principal.id(), "corp/bob");
    assert_eq!(opened.principal.issuer(), "corp");
    assert_eq!(opened.principal.groups(), ["ci".into(), "staff".into()]);
    assert!(!opened.authentication.multi_factor);
    assert_eq!(opened.expires_at, NOW.plus(Duration::from_secs(8 * 3600)));
    assert!(office.key().open(&password, &[7; 32], NOW).is_err());
    insta::assert_snapshot!(said, @"for corp/bob on laptop, until 2027-01-15T16:00:00Z; the user name does not matter");
    assert!(!said.contains(&password));
}

#[test]
fn it_lasts_as_long_as_asked_and_never_longer_than_configured_or_its_certificate() {
    let office = Office::new();
    let expires = |more: &str, now: Timestamp| {
        let line = format!("--device laptop --certificate @laptop.pem --user corp/ada {more}");
        let (password, _) = office.make(&line).unwrap();
        let opened = office.key().open(&password, &office.thumbprint, now);
        opened.unwrap().expires_at
    };
    assert_eq!(
        expires("--lifetime 45m", NOW),
        NOW.plus(Duration::from_secs(45 * 60))
    );
    assert_eq!(
        expires("--lifetime 3d", NOW),
        NOW.plus(Duration::from_secs(8 * 3600))
    );
    let egress = office.loaded.config.egress.as_ref().unwrap();
    let bound = Bound {
        thumbprint: [0; 32],
        ends: Some(NOW.plus(Duration::from_secs(60))),
    };
    assert_eq!(
        expiry(None, egress, &bound, NOW),
        NOW.plus(Duration::from_secs(60))
    );
}

#[test]
fn a_device_that_the_inventory_knows_by_its_thumbprint_needs_no_file() {
    let office = Office::new();
    let (password, _) = office.make("--device printed --user corp/ada").unwrap();
    assert!(office.key().open(&password, &[7; 32], NOW).is_ok());
}

#[test]
fn what_is_wrong_is_said_with_a_way_forward() {
    let office = Office::new();
    let fault = |line: &str| office.make(line).unwrap_err();
    insta::assert_snapshot!(fault("--device desk"), @"the inventory has no device `desk`");
    insta::assert_snapshot!(fault("--device lost --user corp/ada"), @"device `lost` is lost");
    insta::assert_snapshot!(fault("--device laptop --user corp/ada"), @r"
    the password is bound to one certificate
    help: name it with `--certificate FILE`
    ");
    insta::assert_snapshot!(fault("--device printed"), @r"
    the device has no owner
    help: name the person with `--user issuer/name`
    ");
    insta::assert_snapshot!(fault("--device printed --user ada"), @r"
    `ada` is no user
    help: write `--user issuer/name`
    ");
    insta::assert_snapshot!(fault("--device printed --user other/ada"), @"there is no issuer `other`");
    let other = fault("--device laptop --certificate @other.pem --user corp/ada");
    assert!(other.ends_with(
        "other.pem is the certificate of `spiffe://test/device/other`, which is not `laptop`"
    ));
    assert!(fault("--device laptop --lifetime soon").contains("write a whole number"));
}

#[test]
fn without_a_key_file_there_are_no_passwords() {
    let mut office = Office::new();
    office.loaded.config.egress.as_mut().unwrap().password_key = None;
    insta::assert_snapshot!(office.make("--device printed --user corp/ada").unwrap_err(), @r"
    passwords are off
    help: name a key file with `password_key` under [egress]
    ");
    office.loaded.config.egress = None;
    insta::assert_snapshot!(office.make("--device printed --user corp/ada").unwrap_err(), @"there is no [egress] in this configuration");
}
