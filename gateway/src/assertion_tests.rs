//! Tests of `assertion`: what apps read, checked with another JWT implementation.

use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use masugata_policy::{DeviceKind, DevicePosture, Level, Ownership};
use serde_json::Value;

use super::*;
use crate::capability::SystemEntropy;

const START: i64 = 1_767_225_600;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START * 1000 + millis)
}

fn config(key: Option<&Path>) -> config::Assertion {
    config::Assertion {
        issuer: "https://gate.example".to_owned(),
        key: key.map(Path::to_owned),
        lifetime: Duration::from_secs(60),
    }
}

fn signer() -> AssertionSigner {
    build(&config(None), None)
}

fn build(config: &config::Assertion, previous: Option<&AssertionSigner>) -> AssertionSigner {
    AssertionSigner::build(config, previous, at(0), &SystemEntropy::default()).unwrap()
}

struct Request {
    principal: Principal,
    device: Device,
    authentication: Authentication,
    app: App,
    credential_until: Timestamp,
}

impl Request {
    fn new() -> Self {
        Self::of(&["finance"], &["approver"])
    }

    fn of(groups: &[&str], roles: &[&str]) -> Self {
        Self {
            principal: Principal::new(
                PrincipalKind::User,
                "corp/ada",
                "corp",
                Some("Ada 山田"),
                groups.iter().copied(),
                roles.iter().copied(),
            ),
            device: Device::new(
                "laptop-7",
                DeviceKind::Laptop,
                Ownership::Company,
                None,
                [] as [&str; 0],
                DevicePosture::default(),
            ),
            authentication: Authentication::new(
                true,
                false,
                Some("gold"),
                ["pwd", "otp"],
                Some(at(-60_000)),
                true,
            ),
            app: App::new("payroll", Level::Confidential, [] as [&str; 0]),
            credential_until: at(3_600_000),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            principal: &self.principal,
            device: &self.device,
            authentication: &self.authentication,
            app: &self.app,
            audience: "payroll",
            credential_until: self.credential_until,
        }
    }
}

fn key_ids(signer: &AssertionSigner, now: Timestamp) -> Vec<String> {
    let set: JwkSet = serde_json::from_slice(&signer.jwks(now)).unwrap();
    set.keys
        .into_iter()
        .map(|key| key.common.key_id.unwrap())
        .collect()
}

/// Claims, after checking the token against the published key set as an app would.
fn read(signer: &AssertionSigner, header: &HeaderValue, now: Timestamp) -> Value {
    let token = header.to_str().unwrap();
    let head = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(head.alg, Algorithm::ES256);
    assert_eq!(head.typ.as_deref(), Some(TOKEN_TYPE));
    let set: JwkSet = serde_json::from_slice(&signer.jwks(now)).unwrap();
    let key = DecodingKey::from_jwk(set.find(&head.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["payroll"]);
    validation.set_issuer(&["https://gate.example"]);
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims
}

#[test]
fn an_app_can_read_and_check_it() {
    let signer = signer();
    let header = signer.header_for(&Request::new().facts(), at(0)).unwrap();
    assert!(header.is_sensitive());
    assert!(!format!("{header:?}{signer:?}").contains("eyJ"));
    let mut claims = read(&signer, &header, at(0));
    let id = claims["jti"].take();
    assert_eq!(id.as_str().unwrap().len(), 22);
    insta::assert_snapshot!(serde_json::to_string_pretty(&claims).unwrap(), @r#"
    {
      "iss": "https://gate.example",
      "aud": "payroll",
      "sub": "corp/ada",
      "principal_kind": "user",
      "name": "Ada 山田",
      "iat": 1767225600,
      "nbf": 1767225595,
      "exp": 1767225660,
      "jti": null,
      "device": {
        "id": "laptop-7",
        "kind": "laptop",
        "ownership": "company"
      },
      "groups": [
        "finance"
      ],
      "roles": [
        "approver"
      ],
      "level": "confidential",
      "acr": "gold",
      "amr": [
        "otp",
        "pwd"
      ],
      "auth_time": 1767225540
    }
    "#);
}

#[test]
fn the_key_id_is_the_thumbprint() {
    let signer = signer();
    let set: JwkSet = serde_json::from_slice(&signer.jwks(at(0))).unwrap();
    let thumbprint = set.keys[0].thumbprint(ThumbprintHash::SHA256).unwrap();
    assert_eq!(signer.key_id(), thumbprint);
    let text = String::from_utf8(signer.jwks(at(0)).to_vec()).unwrap();
    assert!(!text.contains("\"d\""), "public members only");
}

#[test]
fn it_is_reused_for_half_its_life() {
    let signer = signer();
    let request = Request::new();
    let header = |millis| signer.header_for(&request.facts(), at(millis)).unwrap();
    let first = header(0);
    assert_eq!(first, header(29_999));
    let second = header(30_000);
    assert_ne!(first, second);
    assert_ne!(
        read(&signer, &first, at(0))["jti"],
        read(&signer, &second, at(0))["jti"]
    );
    // A clock that is set back gets one of its own time.
    assert_ne!(second, header(29_000));
}

#[test]
fn another_fact_is_another_assertion() {
    let signer = signer();
    let request = Request::new();
    let first = signer.header_for(&request.facts(), at(0)).unwrap();
    let other = Request::new();
    let facts = request.facts();
    for changed in [
        Facts {
            principal: &other.principal,
            ..facts
        },
        Facts {
            device: &other.device,
            ..facts
        },
        Facts {
            authentication: &other.authentication,
            ..facts
        },
        Facts {
            app: &other.app,
            ..facts
        },
    ] {
        assert_ne!(first, signer.header_for(&changed, at(0)).unwrap());
    }
}

#[test]
fn it_ends_with_the_credential() {
    let signer = signer();
    let request = Request {
        credential_until: at(10_500),
        ..Request::new()
    };
    let claims = |millis| {
        let header = signer.header_for(&request.facts(), at(millis)).unwrap();
        read(&signer, &header, at(millis))
    };
    assert_eq!(claims(0)["exp"], START + 10);
    assert_eq!(claims(5_000)["iat"], START + 5, "half of ten seconds later");
    assert_eq!(claims(10_400)["exp"], START + 11, "never empty");
}

#[test]
fn it_lives_a_minute_at_most() {
    let hour = config::Assertion {
        lifetime: Duration::from_secs(3600),
        ..config(None)
    };
    let signer = build(&hour, None);
    let header = signer.header_for(&Request::new().facts(), at(0)).unwrap();
    assert_eq!(read(&signer, &header, at(0))["exp"], START + 60);
}

#[test]
fn too_many_groups_are_left_out_and_said_to_be() {
    let signer = signer();
    let many: Vec<String> = (0..1000)
        .map(|number| format!("group-number-{number}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let claims = |request: &Request| {
        let header = signer.header_for(&request.facts(), at(0)).unwrap();
        assert!(header.len() <= MAX_HEADER_BYTES);
        read(&signer, &header, at(0))
    };
    let groups = claims(&Request::of(&many, &["approver"]));
    assert!(groups.get("groups").is_none());
    assert_eq!(groups["groups_truncated"], true);
    assert_eq!(groups["roles"][0], "approver");
    let both = claims(&Request::of(&many, &many));
    assert!(both.get("groups").is_none() && both.get("roles").is_none());
    assert_eq!(both["roles_truncated"], true);
}

#[test]
fn a_generated_key_survives_a_reload() {
    let first = signer();
    let second = build(&config(None), Some(&first));
    assert_eq!(first.key_id(), second.key_id());
    assert_eq!(key_ids(&second, at(0)), [first.key_id()]);
}

fn key_file() -> tempfile::NamedTempFile {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key.serialize_pem()).unwrap();
    file
}

#[test]
fn a_replaced_key_stays_published_for_a_while() {
    let (old_file, new_file) = (key_file(), key_file());
    let old = build(&config(Some(old_file.path())), None);
    let header = old.header_for(&Request::new().facts(), at(0)).unwrap();
    let new = build(&config(Some(new_file.path())), Some(&old));
    assert_eq!(key_ids(&new, at(0)), [new.key_id(), old.key_id()]);
    read(&new, &header, at(1_000));
    // Reloading again neither forgets it nor starts its time anew.
    let again = AssertionSigner::build(
        &config(Some(new_file.path())),
        Some(&new),
        at(300_000),
        &SystemEntropy::default(),
    )
    .unwrap();
    assert_eq!(key_ids(&again, at(599_999)), [new.key_id(), old.key_id()]);
    assert_eq!(key_ids(&again, at(600_000)), [new.key_id()]);
    // Back to the first key: it is the present one, and listed once.
    let back = build(&config(Some(old_file.path())), Some(&new));
    assert_eq!(key_ids(&back, at(0)), [old.key_id(), new.key_id()]);
}

#[test]
fn key_files_with_mistakes_are_explained_without_their_contents() {
    let wrong_curve = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut texts = Vec::new();
    for contents in ["", "secret", &wrong_curve.serialize_pem()] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        let problem = AssertionSigner::build(
            &config(Some(file.path())),
            None,
            at(0),
            &SystemEntropy::default(),
        )
        .unwrap_err();
        texts.push(problem.message);
    }
    let missing = AssertionSigner::build(
        &config(Some(Path::new("/nowhere/key.pem"))),
        None,
        at(0),
        &SystemEntropy::default(),
    );
    texts.push(missing.unwrap_err().message);
    insta::assert_snapshot!(texts.join("\n"), @r"
    the assertion key is not a PKCS#8 key in PEM (`BEGIN PRIVATE KEY`)
    the assertion key is not a PKCS#8 key in PEM (`BEGIN PRIVATE KEY`)
    the assertion key is not a P-256 key
    the assertion key cannot be read: No such file or directory (os error 2)
    ");
}
