//! Old and new attacks on tokens, through the front door: each must end in a refusal, and each has a good token beside it
//! that shows the test would notice an acceptance.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use masugata_policy::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{
    self, HandClock, ISSUER, START, Signer, claims_with, encode, good_claims, issuer_config, now,
};
use super::*;
use crate::capability::{Clock, SystemEntropy};
use crate::config::KeySource;

/// Issuers whose only one trusts `signers`.
struct Bench {
    issuers: Issuers,
    _file: tempfile::NamedTempFile,
}

impl Bench {
    fn new(signers: &[&Signer]) -> Self {
        Self::with(signers, |_| {})
    }

    fn with(signers: &[&Signer], change: impl FnOnce(&mut config::Issuer)) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testing::key_set(signers)).unwrap();
        let mut issuer = config::Issuer {
            keys: KeySource::File(file.path().to_owned()),
            ..issuer_config()
        };
        change(&mut issuer);
        Self {
            issuers: build(&[issuer]).unwrap(),
            _file: file,
        }
    }

    fn verify(&self, token: &str) -> Result<Arc<Identity>, CredentialError> {
        self.verify_at(token, None, now())
    }

    fn verify_at(
        &self,
        token: &str,
        thumbprint: Option<&[u8; 32]>,
        at: Timestamp,
    ) -> Result<Arc<Identity>, CredentialError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(self.issuers.verify(token, thumbprint, at))
    }

    fn fault(&self, token: &str) -> TokenFault {
        let error = self.verify(token).unwrap_err();
        let CredentialError::Invalid(fault) = error else {
            panic!("{error:?}");
        };
        fault
    }
}

fn build(issuers: &[config::Issuer]) -> Result<Issuers, Vec<crate::config::error::Problem>> {
    let clock: Arc<dyn Clock> = HandClock::new();
    Issuers::build(
        issuers,
        Path::new("masugata.toml"),
        None,
        None,
        &clock,
        &SystemEntropy::default(),
    )
}

fn header(changes: Value) -> String {
    let mut header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            header.as_object_mut().unwrap().remove(name);
        } else {
            header[name] = value.clone();
        }
    }
    header.to_string()
}

#[test]
fn tokens_of_each_algorithm_are_accepted() {
    for signer in [
        Signer::es256("k1"),
        Signer::es384("k1"),
        Signer::rsa("k1", Algorithm::RS256, "RS256"),
        Signer::rsa("k1", Algorithm::PS256, "PS256"),
        Signer::ed25519("k1"),
    ] {
        let bench = Bench::new(&[&signer]);
        let identity = bench.verify(&signer.token(&good_claims()));
        assert_eq!(identity.unwrap().principal().id(), "corp/ada");
    }
}

#[test]
fn no_spelling_of_none_is_an_algorithm() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    for none in ["none", "None", "NONE", "nOnE", "", " none", "null"] {
        let token = signer.token_of(&header(json!({"alg": none})), &good_claims().to_string());
        assert!(
            matches!(bench.fault(&token), TokenFault::Algorithm(_)),
            "{none}"
        );
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert!(bench.verify(&format!("{unsigned}.")).is_err());
        assert!(bench.verify(unsigned).is_err());
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let signer = Signer::rsa("k1", Algorithm::RS256, "RS256");
    let bench = Bench::with(&[&signer], |issuer| {
        issuer.algorithms = vec![Algorithm::RS256];
    });
    let secrets = [
        signer.jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        testing::key_set(&[&signer]).into_bytes(),
        signer.jwk.to_string().into_bytes(),
    ];
    for secret in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forger = Signer {
                key_id: "k1".to_owned(),
                algorithm,
                encoding: jsonwebtoken::EncodingKey::from_secret(&secret),
                jwk: Value::Null,
            };
            let fault = bench.fault(&forger.token(&good_claims()));
            assert!(matches!(fault, TokenFault::Algorithm(_)));
        }
    }
    assert!(bench.verify(&signer.token(&good_claims())).is_ok());
}

#[test]
fn the_header_cannot_choose_the_keys_algorithm() {
    let rsa = Signer::rsa("k1", Algorithm::RS256, "RS256");
    let bench = Bench::new(&[&rsa]);
    // The right key, signed with the other padding, which the issuer is allowed to use with other keys.
    let pss = Signer {
        key_id: "k1".to_owned(),
        algorithm: Algorithm::PS256,
        encoding: rsa.encoding.clone(),
        jwk: Value::Null,
    };
    assert!(matches!(
        bench.fault(&pss.token(&good_claims())),
        TokenFault::KeyAlgorithm(_)
    ));
    // And a header that names the key's algorithm over a signature of the other kind.
    let mixed = pss.token_of(&header(json!({"alg": "RS256"})), &good_claims().to_string());
    assert_eq!(bench.fault(&mixed), TokenFault::Signature);
}

#[test]
fn an_algorithm_the_issuer_may_not_use_is_refused_though_the_key_is_known() {
    let signer = Signer::ed25519("k1");
    let other = Signer::es256("k2");
    let bench = Bench::with(&[&signer, &other], |issuer| {
        issuer.algorithms = vec![Algorithm::ES256];
    });
    assert!(matches!(
        bench.fault(&signer.token(&good_claims())),
        TokenFault::Algorithm(_)
    ));
}

#[test]
fn a_key_name_is_a_name_and_nothing_else() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    for key_id in [
        "../../../../dev/null",
        "/etc/passwd",
        "' UNION SELECT 'x' -- ",
        "https://evil.example/jwks.json",
        "k1\u{0}",
        "K1",
        "k1 ",
        "",
        "${jndi:ldap://evil.example/a}",
        "k2",
    ] {
        let token = signer.token_of(&header(json!({"kid": key_id})), &good_claims().to_string());
        assert!(
            matches!(bench.fault(&token), TokenFault::KeyUnknown(_)),
            "{key_id}"
        );
    }
}

#[test]
fn keys_in_the_header_are_not_keys() {
    let (signer, forger) = (Signer::es256("k1"), Signer::es256("k1"));
    let bench = Bench::new(&[&signer]);
    for embedded in [
        json!({"jwk": forger.jwk}),
        json!({"jwk": forger.jwk, "kid": null}),
        json!({"jku": "http://127.0.0.1:1/jwks.json"}),
        json!({"x5u": "http://127.0.0.1:1/cert.pem"}),
        json!({"x5c": ["MIIB"]}),
        json!({"x5t#S256": encode([0; 32])}),
    ] {
        let forged = forger.token_of(&header(embedded.clone()), &good_claims().to_string());
        assert_eq!(bench.fault(&forged), TokenFault::Signature);
        // On a good token they mean nothing.
        let good = signer.token_of(&header(embedded), &good_claims().to_string());
        assert!(bench.verify(&good).is_ok());
    }
}

#[test]
fn one_issuers_key_signs_for_no_other() {
    let (ours, theirs) = (Signer::es256("k1"), Signer::es256("k1"));
    let files = [&ours, &theirs].map(|signer| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testing::key_set(&[signer])).unwrap();
        file
    });
    let partner = "https://id.partner.example";
    let issuers = build(&[
        config::Issuer {
            keys: KeySource::File(files[0].path().to_owned()),
            ..issuer_config()
        },
        config::Issuer {
            name: "partner".to_owned(),
            issuer: partner.to_owned(),
            keys: KeySource::File(files[1].path().to_owned()),
            ..issuer_config()
        },
    ])
    .unwrap();
    let bench = Bench {
        issuers,
        _file: tempfile::NamedTempFile::new().unwrap(),
    };
    let as_partner = claims_with(json!({ "iss": partner }));
    assert_eq!(
        bench.fault(&theirs.token(&good_claims())),
        TokenFault::Signature
    );
    assert_eq!(bench.fault(&ours.token(&as_partner)), TokenFault::Signature);
    let identity = bench.verify(&theirs.token(&as_partner)).unwrap();
    assert_eq!(identity.principal().id(), "partner/ada");
}

#[test]
fn issuers_are_compared_byte_for_byte() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    for issuer in [
        json!(format!("{ISSUER}/")),
        json!(ISSUER.to_uppercase()),
        json!(format!(" {ISSUER}")),
        json!("https://id.example/realms/corp/../corp"),
        json!("https://evil.example"),
        json!(""),
    ] {
        let fault = bench.fault(&signer.token(&claims_with(json!({ "iss": issuer }))));
        assert!(matches!(fault, TokenFault::IssuerUnknown(_)));
    }
    for issuer in [json!([ISSUER]), json!({}), json!(1)] {
        let fault = bench.fault(&signer.token(&claims_with(json!({ "iss": issuer }))));
        assert_eq!(fault, TokenFault::Claim("iss".into()));
    }
    let fault = bench.fault(&signer.token(&claims_with(json!({ "iss": null }))));
    assert_eq!(fault, TokenFault::ClaimMissing("iss".into()));
}

#[test]
fn repeated_members_are_refused_in_signed_tokens() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let good = good_claims().to_string();
    let twice = format!("{},\"sub\":\"root\"}}", good.trim_end_matches('}'));
    assert!(good.ends_with('}') && !good.ends_with("}}"), "{good}");
    assert!(matches!(
        bench.fault(&signer.token_of(&header(json!({})), &twice)),
        TokenFault::Syntax(_)
    ));
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"k1","kid":"k2"}"#;
    assert!(matches!(
        bench.fault(&signer.token_of(header, &good)),
        TokenFault::Syntax(_)
    ));
}

#[test]
fn extensions_nesting_and_encryption_are_refused_in_signed_tokens() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let good = good_claims().to_string();
    for (changes, fault) in [
        (json!({"crit": ["exp"], "exp": 1}), TokenFault::Critical),
        (json!({"crit": ["b64"], "b64": false}), TokenFault::Critical),
        (json!({"cty": "JWT"}), TokenFault::Nested),
        (json!({"zip": "DEF"}), TokenFault::Encrypted),
        (json!({"enc": "A256GCM"}), TokenFault::Encrypted),
    ] {
        let token = signer.token_of(&header(changes.clone()), &good);
        assert_eq!(bench.fault(&token), fault, "{changes}");
    }
    let inner = signer.token(&good_claims());
    assert!(matches!(
        bench.fault(&signer.token_of(&header(json!({})), &inner)),
        TokenFault::Syntax(_)
    ));
    assert_eq!(bench.fault("a.b.c.d.e"), TokenFault::Encrypted);
}

#[test]
fn a_signature_has_one_form() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let token = signer.token(&good_claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let raw = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(signature)
            .unwrap()
    };
    let with = |signature: &[u8]| format!("{signed}.{}", encode(signature));
    assert!(bench.verify(&with(&raw)).is_ok());

    let der = [&[0x30, 68, 2, 32][..], &raw[..32], &[2, 32], &raw[32..]].concat();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    for (name, signature) in [
        ("DER", der),
        // CVE-2022-21449.
        ("zero r and s", vec![0; 64]),
        ("zero r", [&[0; 32], &raw[32..]].concat()),
        ("zero s", [&raw[..32], &[0; 32]].concat()),
        ("r = n", [&order, &raw[32..]].concat()),
        ("r = s = n", [order, order].concat()),
        ("all ones", vec![0xff; 64]),
        ("longer", [&raw[..], &[0]].concat()),
        ("shorter", raw[..63].to_vec()),
        (
            "zero-extended halves",
            [&[0], &raw[..32], &[0], &raw[32..]].concat(),
        ),
        ("swapped", [&raw[32..], &raw[..32]].concat()),
    ] {
        assert_eq!(
            bench.fault(&with(&signature)),
            TokenFault::Signature,
            "{name}"
        );
    }
    // The last character has four spare bits.
    for (suffix, padding) in [("=", ""), ("==", ""), ("", "\n")] {
        assert!(bench.verify(&format!("{token}{suffix}{padding}")).is_err());
    }
    let last = token.chars().last().unwrap();
    for spare in ('A'..='Z').filter(|spare| *spare != last) {
        let altered = format!("{}{spare}", &token[..token.len() - 1]);
        assert!(bench.verify(&altered).is_err(), "{spare}");
    }
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let signer = Signer::ed25519("k1");
    let bench = Bench::new(&[&signer]);
    let token = signer.token(&good_claims());
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(bench.verify(&changed).is_err(), "byte {index}");
    }
}

#[test]
fn an_id_token_is_not_replayed_as_an_access_token() {
    let signer = Signer::es256("k1");
    let bench = Bench::with(&[&signer], |issuer| issuer.token_types.push("jwt".into()));
    let token = signer.token_of(
        &header(json!({"typ": "JWT"})),
        &claims_with(json!({"nonce": "n", "at_hash": "h"})).to_string(),
    );
    assert_eq!(bench.fault(&token), TokenFault::NotAccessToken);
}

#[test]
fn tokens_are_not_shared_between_certificates() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let (ours, theirs) = ([1; 32], [2; 32]);
    let token = signer.token(&claims_with(json!({"cnf": {"x5t#S256": encode(ours)}})));
    let identity = bench.verify_at(&token, Some(&ours), now()).unwrap();
    assert!(identity.authentication().certificate_bound);
    assert!(bench.issuers.cached(&token, Some(&ours), now()).is_some());
    for other in [Some(&theirs), None] {
        assert!(bench.issuers.cached(&token, other, now()).is_none());
        assert!(matches!(
            bench.verify_at(&token, other, now()),
            Err(CredentialError::NotBound(_))
        ));
    }
    assert!(bench.verify_at(&token, Some(&ours), now()).is_ok());
}

#[test]
fn a_cached_token_ends_when_its_time_does() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let token = signer.token(&good_claims());
    assert!(bench.issuers.cached(&token, None, now()).is_none());
    let first = bench.verify(&token).unwrap();
    let second = bench.issuers.cached(&token, None, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let at = |millis| Timestamp::from_millis(START * 1000 + millis);
    assert!(bench.issuers.cached(&token, None, at(329_999)).is_some());
    assert!(bench.issuers.cached(&token, None, at(330_000)).is_none());
    assert_eq!(
        bench.verify_at(&token, None, at(330_000)).unwrap_err(),
        TimeFault::Over.into()
    );
    // A wall clock that is set back must not revive what has not begun.
    assert!(bench.issuers.cached(&token, None, at(-40_001)).is_none());
}

#[test]
fn a_revocation_makes_every_token_be_looked_at_again() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let token = signer.token(&good_claims());
    bench.verify(&token).unwrap();
    bench.issuers.revoke_all();
    assert!(bench.issuers.cached(&token, None, now()).is_none());
    bench.verify(&token).unwrap();
    assert!(bench.issuers.cached(&token, None, now()).is_some());
}

#[test]
fn a_persons_next_token_is_the_same_person() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let principal = |changes| {
        let identity = bench.verify(&signer.token(&claims_with(changes))).unwrap();
        Arc::clone(identity.principal())
    };
    let first = principal(json!({"jti": "1"}));
    assert!(Arc::ptr_eq(&first, &principal(json!({"jti": "2"}))));
    let moved = principal(json!({"jti": "3", "groups": ["sales"]}));
    assert_ne!(first.revision(), moved.revision());
}

#[test]
fn refusals_are_remembered_for_a_moment_only() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let early = signer.token(&claims_with(json!({"nbf": START + 33})));
    // Not before its time, but then at once.
    assert_eq!(bench.verify(&early).unwrap_err(), TimeFault::NotYet.into());
    let later = Timestamp::from_seconds(START + 3);
    assert!(bench.verify_at(&early, None, later).is_ok());
    // The same bad token twice gives the same answer.
    let bad = signer.token(&claims_with(json!({"aud": "other"})));
    assert_eq!(bench.fault(&bad), TokenFault::Audience);
    assert_eq!(bench.fault(&bad), TokenFault::Audience);
}

#[test]
fn no_detail_repeats_the_token() {
    let signer = Signer::es256("k1");
    let bench = Bench::new(&[&signer]);
    let secret = "s3cr3t-value-of-a-claim";
    for token in [
        signer.token(&claims_with(json!({"aud": secret}))),
        signer.token(&claims_with(json!({"sub": {"x": secret}}))),
        signer.token(&claims_with(json!({"cnf": secret}))),
        signer.token(&claims_with(json!({"exp": secret}))),
        signer.token(&claims_with(json!({"groups": [[secret]]}))),
        format!("{}x", signer.token(&good_claims())),
        "not.a.token".to_owned(),
    ] {
        let error = bench.verify(&token).unwrap_err();
        let denial = crate::denial::Denial::from(error.clone());
        for text in [format!("{error:?}"), format!("{denial:?}")] {
            assert!(!text.contains(secret), "{text}");
            let signature = token.rsplit('.').next().unwrap();
            assert!(signature.len() < 10 || !text.contains(signature), "{text}");
        }
    }
    let identity = bench.verify(&signer.token(&good_claims())).unwrap();
    assert!(!format!("{identity:?}{:?}", bench.issuers).contains("eyJ"));
}

#[test]
fn key_files_with_mistakes_do_not_load() {
    let signer = Signer::es256("k1");
    let mut private = signer.jwk.clone();
    private["d"] = json!("AQ");
    let weak = json!({"kty": "RSA", "kid": "old", "n": encode([255; 128]), "e": "AQAB"});
    let documents = [
        "{".to_owned(),
        json!({"keys": []}).to_string(),
        json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}).to_string(),
        json!({"keys": [private, weak, signer.jwk]}).to_string(),
        json!({"keys": [signer.jwk, Signer::es256("k1").jwk]}).to_string(),
    ];
    let mut texts = Vec::new();
    for document in documents {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), document).unwrap();
        let problems = build(&[config::Issuer {
            keys: KeySource::File(file.path().to_owned()),
            ..issuer_config()
        }])
        .unwrap_err();
        for problem in problems {
            assert_eq!(problem.file, file.path());
            texts.push(problem.message);
        }
    }
    insta::assert_snapshot!(texts.join("\n"), @r"
    the key set of issuer `corp` is not a JSON object with unique members
    the key set of issuer `corp` has no key for the allowed algorithms
    issuer `corp`: key `s`: is a symmetric key
    issuer `corp`: key `k1`: is a private key
    issuer `corp`: key `old`: is an RSA key of 1024 bits; 2048 to 8192 are accepted
    issuer `corp`: key `k1`: shares its `kid` with another key
    ");
}

#[test]
fn other_mistakes_do_not_load_either() {
    let missing = config::Issuer {
        keys: KeySource::File("/nowhere/keys.json".into()),
        ..issuer_config()
    };
    let symmetric = config::Issuer {
        algorithms: vec![Algorithm::HS256],
        ..issuer_config()
    };
    let insecure = config::Issuer {
        issuer: "http://id.example".to_owned(),
        keys: KeySource::Discovery {
            authority: None,
            timeout: Duration::from_secs(1),
            refresh: Duration::from_secs(1),
            max_age: Duration::from_secs(1),
        },
        ..issuer_config()
    };
    let texts: Vec<String> = build(&[missing, symmetric, insecure])
        .unwrap_err()
        .into_iter()
        .map(|problem| problem.to_string())
        .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    error: the key set of issuer `corp` cannot be read: No such file or directory (os error 2)
      --> /nowhere/keys.json
    help: the path is relative to the configuration file
    error: issuers `corp` and `corp` have the same `issuer`
      --> masugata.toml
    help: a token names its issuer by that URL; list all audiences in one [[issuer]]
    error: issuer `corp` allows no or a symmetric algorithm
      --> masugata.toml
    help: use ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384 or RS512
    error: `issuer` of issuer `corp` is neither `https` nor `http` on this machine
      --> masugata.toml
    help: keys are fetched over https; plain http is for providers on this machine
    ");
}

/// Whatever we accept, another implementation accepts too.
fn second_opinion(signer: &Signer, token: &str) -> bool {
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(signer.jwk.clone()).unwrap();
    let mut validation = Validation::new(signer.algorithm);
    validation.set_audience(&["https://apps.example"]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutations_are_never_accepted_where_another_library_refuses(
        position in any::<proptest::sample::Index>(),
        replacement in "[A-Za-z0-9._=-]{0,3}",
        length in 0..3_usize,
    ) {
        let signer = Signer::ed25519("k1");
        let bench = Bench::new(&[&signer]);
        let token = signer.token(&good_claims());
        let start = position.index(token.len());
        let end = (start + length).min(token.len());
        let mutated = format!("{}{replacement}{}", &token[..start], &token[end..]);
        if bench.verify(&mutated).is_ok() {
            prop_assert!(second_opinion(&signer, &mutated));
            prop_assert_eq!(mutated, token);
        }
    }

    #[test]
    fn any_text_is_refused_without_panic(text in ".{0,300}") {
        let bench = Bench::new(&[&Signer::ed25519("k1")]);
        prop_assert!(bench.verify(&text).is_err());
    }
}
