//! The files that all proxies share: one authority, a server, a device, an issuer, a token, and the starter policies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use serde_json::json;

use crate::failure::{Doing as _, Failure};

/// The host that the proxies serve.
pub(crate) const HOST: &str = "app.test";
/// Who the token is from and for.
pub(crate) const ISSUER: &str = "https://idp.test";
pub(crate) const AUDIENCE: &str = "masugata";
/// What the certificate calls the device.
pub(crate) const DEVICE: &str = "spiffe://bench.test/device/laptop-1";

/// Writes them all into `directory`.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let authority = Authority::new()?;
    let server_key = KeyPair::generate()?;
    let server = authority.issue(&server_key, "server", SanType::DnsName(HOST.try_into()?))?;
    let device_key = KeyPair::generate()?;
    let device = authority.issue(&device_key, "laptop-1", SanType::URI(DEVICE.try_into()?))?;
    let issuer_key = KeyPair::generate()?;

    public(directory, "ca.pem", &authority.certificate.pem())?;
    public(directory, "ca.crl", &authority.revocations()?)?;
    public(directory, "server.pem", &server.pem())?;
    secret(directory, "server.key", &server_key.serialize_pem())?;
    // HAProxy wants both in one file.
    secret(
        directory,
        "server-and-key.pem",
        &(server.pem() + &server_key.serialize_pem()),
    )?;
    public(directory, "device.pem", &device.pem())?;
    secret(directory, "device.key", &device_key.serialize_pem())?;
    public(directory, "issuer.pem", &issuer_key.public_key_pem())?;
    public(directory, "jwks.json", &jwks(&issuer_key)?)?;
    secret(directory, "token", &token(&issuer_key)?)?;
    public(directory, "devices.toml", &inventory())?;
    // Apart from the configuration, as everywhere: what is watched for changes should not change all the time.
    fs::create_dir_all(directory.join("log"))?;
    copy_policies(&directory.join("policies"))
}

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let mut params = params("Comparison CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    fn issue(
        &self,
        key: &KeyPair,
        name: &str,
        alternative: SanType,
    ) -> Result<Certificate, Failure> {
        let mut params = params(name);
        params.subject_alt_names = vec![alternative];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?)
    }

    /// A list with one entry, so that there is something to look through.
    fn revocations(&self) -> Result<String, Failure> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2045, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(4711),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    params
}

fn jwks(key: &KeyPair) -> Result<String, Failure> {
    // Uncompressed point: 04 || x || y.
    let (Some(x), Some(y)) = (
        key.public_key_raw().get(1..33),
        key.public_key_raw().get(33..65),
    ) else {
        return Err(Failure::new("a P-256 key has another shape than expected"));
    };
    let key = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "key-1",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    Ok(json!({ "keys": [key] }).to_string())
}

/// An RFC 9068 access token of an employee, with as many groups as people have.
fn token(key: &KeyPair) -> Result<String, Failure> {
    let now = Timestamp::now().as_second();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "key-1" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "client_id": "compare", "jti": "1", "name": "Ada",
        "iat": now, "exp": now + 8 * 3600, "auth_time": now, "amr": ["pwd", "otp"], "role": "employee",
        "groups": ["employees", "engineering", "tokyo", "on-call", "vpn", "wiki", "mail", "calendar"],
    });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())?;
    let signature = signer.sign(&SystemRandom::new(), message.as_bytes())?;
    Ok(format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(signature.as_ref())
    ))
}

fn inventory() -> String {
    let observed = Timestamp::now();
    format!(
        "[[device]]\nid = \"laptop-1\"\nidentities = [\"{DEVICE}\"]\nkind = \"laptop\"\nownership = \"company\"\n\
         owner = \"corp/ada\"\nowner_groups = [\"employees\"]\nsource = \"mdm\"\nobserved_at = \"{observed}\"\n\
         max_age = \"24h\"\n[device.posture]\ndisk_encrypted = true\nfirewall_enabled = true\n\
         screen_lock = true\npatches_current = true\nos_supported = true\nmanaged = true\n"
    )
}

/// The policies that a company would start from.
fn copy_policies(to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    let from = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies"));
    for entry in fs::read_dir(&from).doing(from.display())? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .filter(|_| path.extension().is_some_and(|it| it == "cedar"))
        else {
            continue;
        };
        fs::copy(&path, to.join(name)).doing(path.display())?;
    }
    Ok(())
}

fn public(directory: &Path, name: &str, content: &str) -> Result<(), Failure> {
    fs::write(directory.join(name), content).doing(name)
}

fn secret(directory: &Path, name: &str, content: &str) -> Result<(), Failure> {
    public(directory, name, content)?;
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600)).doing(name)
}
