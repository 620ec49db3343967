//! Tests of `keys`: which JWKs are believed, and for which algorithm.

use serde_json::json;

use super::*;
use crate::issuer::testing::{self, Signer, encode};

const ALLOWED: [Algorithm; 4] = [
    Algorithm::ES256,
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::EdDSA,
];

fn parse(keys: Value) -> (KeySet, Vec<KeyFault>) {
    let document = json!({ "keys": keys }).to_string();
    let (set, refused) = KeySet::parse(document.as_bytes(), &ALLOWED).unwrap();
    (set, refused.into_iter().map(|key| key.fault).collect())
}

fn fault_of(jwk: Value) -> KeyFault {
    let (set, faults) = parse(json!([jwk]));
    assert_eq!(set.len(), 0, "{jwk}");
    faults.into_iter().next().unwrap()
}

/// A JWK with members replaced; `null` takes one away.
fn changed(signer: &Signer, changes: Value) -> Value {
    let mut jwk = signer.jwk.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

#[test]
fn keys_of_each_kind_are_read() {
    let signers = [
        Signer::es256("a"),
        Signer::rsa("b", Algorithm::RS256, "RS256"),
        Signer::rsa("c", Algorithm::PS256, "PS256"),
        Signer::ed25519("d"),
    ];
    let (set, faults) = parse(signers.iter().map(|signer| signer.jwk.clone()).collect());
    assert_eq!((set.len(), faults.len()), (4, 0));
    let (set, _) = KeySet::parse(
        testing::key_set(&[&Signer::es384("e")]).as_bytes(),
        &[Algorithm::ES384],
    )
    .unwrap();
    assert_eq!(set.len(), 1);
}

#[test]
fn private_and_symmetric_keys_are_refused() {
    let signer = Signer::es256("a");
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        let fault = fault_of(changed(&signer, json!({ member: "AQ" })));
        assert_eq!(fault, KeyFault::Private);
        assert!(!fault.is_harmless());
    }
    assert_eq!(
        fault_of(json!({"kty": "oct", "k": "AQ", "alg": "HS256"})),
        KeyFault::Symmetric
    );
    assert_eq!(
        fault_of(changed(&signer, json!({"k": "AQ"}))),
        KeyFault::Symmetric
    );
}

#[test]
fn keys_for_other_things_are_left_alone() {
    let signer = Signer::es256("a");
    for (changes, fault) in [
        (json!({"use": "enc"}), KeyFault::Encryption),
        (json!({"use": 1}), KeyFault::Encryption),
        (json!({"key_ops": ["sign"]}), KeyFault::Encryption),
        (
            json!({"alg": "ES512"}),
            KeyFault::AlgorithmNotAllowed(Cleaned::new("ES512")),
        ),
        (
            json!({"alg": "es256"}),
            KeyFault::AlgorithmNotAllowed(Cleaned::new("es256")),
        ),
        (
            json!({"alg": "none"}),
            KeyFault::AlgorithmNotAllowed(Cleaned::new("none")),
        ),
        (
            json!({"alg": "HS256"}),
            KeyFault::AlgorithmNotAllowed(Cleaned::new("HS256")),
        ),
        (
            json!({"crv": "P-521"}),
            KeyFault::UnknownType(Cleaned::new("P-521")),
        ),
        (
            json!({"kty": "AKP"}),
            KeyFault::UnknownType(Cleaned::new("AKP")),
        ),
        (
            json!({"crv": "P-384", "alg": null}),
            KeyFault::NoAlgorithmFits,
        ),
    ] {
        let found = fault_of(changed(&signer, changes));
        assert!(found.is_harmless());
        assert_eq!(found, fault);
    }
    let (set, _) = parse(json!([changed(&signer, json!({"key_ops": ["verify"]}))]));
    assert_eq!(set.len(), 1);
}

#[test]
fn malformed_keys_are_refused() {
    let ec = Signer::es256("a");
    let rsa = Signer::rsa("b", Algorithm::RS256, "RS256");
    let ed = Signer::ed25519("c");
    let y = ec.jwk["y"].as_str().unwrap().to_owned();
    for (signer, changes, fault) in [
        (&ec, json!({"kty": null}), KeyFault::Member("kty")),
        (&ec, json!({"kid": ""}), KeyFault::Member("kid")),
        (&ec, json!({"kid": 7}), KeyFault::Member("kid")),
        (&ec, json!({"alg": 7}), KeyFault::Member("alg")),
        (&ec, json!({"alg": "RS256"}), KeyFault::Member("alg")),
        (&ec, json!({"crv": null}), KeyFault::Member("crv")),
        (&ec, json!({"y": null}), KeyFault::Member("y")),
        (&ec, json!({"x": format!("{y}=")}), KeyFault::Member("x")),
        (&ec, json!({"x": encode([1; 31])}), KeyFault::Member("x")),
        (&ec, json!({"x": encode([0, 1])}), KeyFault::Member("x")),
        // Not on the curve: an invalid-curve point.
        (&ec, json!({"x": y}), KeyFault::Rejected),
        (
            &ec,
            json!({"x": encode([0; 32]), "y": encode([0; 32])}),
            KeyFault::Rejected,
        ),
        (&ed, json!({"x": encode([1; 33])}), KeyFault::Member("x")),
        (&rsa, json!({"n": null}), KeyFault::Member("n")),
        (
            &rsa,
            json!({"n": encode([255; 255])}),
            KeyFault::RsaSize(2040),
        ),
        (
            &rsa,
            json!({"n": encode([127; 256])}),
            KeyFault::RsaSize(2047),
        ),
        (&rsa, json!({"n": encode([0; 400])}), KeyFault::RsaSize(0)),
        (
            &rsa,
            json!({"n": encode([255; 1025])}),
            KeyFault::RsaSize(8200),
        ),
        (&rsa, json!({"e": "AQ"}), KeyFault::Member("e")),
        (&rsa, json!({"e": encode([1, 0, 0])}), KeyFault::Member("e")),
        (&rsa, json!({"e": ""}), KeyFault::Member("e")),
        (&rsa, json!({"e": encode([255; 5])}), KeyFault::Member("e")),
    ] {
        assert_eq!(
            fault_of(changed(signer, changes.clone())),
            fault,
            "{changes}"
        );
    }
}

#[test]
fn documents_that_are_no_key_set_are_refused() {
    for (document, fault) in [
        ("", KeySetFault::Json),
        ("[]", KeySetFault::Json),
        (r#"{"keys":[],"keys":[]}"#, KeySetFault::Json),
        ("{}", KeySetFault::NoKeys),
        (r#"{"keys":{}}"#, KeySetFault::NoKeys),
        (r#"{"keys":["x"]}"#, KeySetFault::NoKeys),
    ] {
        let found = KeySet::parse(document.as_bytes(), &ALLOWED).unwrap_err();
        assert_eq!(found, fault, "{document}");
    }
    let many = json!({"keys": vec![json!({}); 65]}).to_string();
    assert_eq!(
        KeySet::parse(many.as_bytes(), &ALLOWED).unwrap_err(),
        KeySetFault::TooMany
    );
}

#[test]
fn of_two_keys_with_one_name_neither_is_used() {
    let (one, other) = (Signer::es256("a"), Signer::es256("a"));
    let (set, faults) = parse(json!([one.jwk, other.jwk, Signer::es256("b").jwk]));
    assert_eq!(faults, [KeyFault::DuplicateId]);
    assert!(set.find(Some("a"), "ES256").is_err());
    assert!(set.find(Some("b"), "ES256").is_ok());
    let (set, faults) = parse(json!([one.jwk, one.jwk]));
    assert_eq!(
        (set.len(), faults.len()),
        (1, 0),
        "the same key twice is one"
    );
}

#[test]
fn a_key_is_for_one_algorithm_only() {
    let rsa = Signer::rsa("a", Algorithm::RS256, "RS256");
    let (set, _) = parse(json!([rsa.jwk]));
    assert!(set.find(Some("a"), "RS256").is_ok());
    for other in ["PS256", "RS384", "HS256", "ES256", "none", "rs256", ""] {
        assert_eq!(
            set.find(Some("a"), other).unwrap_err(),
            TokenFault::KeyAlgorithm(Cleaned::new("a")),
            "{other}"
        );
    }
    // Without `alg`, the first allowed algorithm that fits.
    let (set, _) = parse(json!([changed(&rsa, json!({"alg": null}))]));
    assert!(set.find(Some("a"), "RS256").is_ok());
    assert!(set.find(Some("a"), "PS256").is_err());
}

#[test]
fn ed25519_has_two_names_and_one_meaning() {
    let (set, _) = parse(json!([changed(
        &Signer::ed25519("a"),
        json!({"alg": "Ed25519"})
    )]));
    assert!(set.find(Some("a"), "EdDSA").is_ok());
    assert!(set.find(Some("a"), "Ed25519").is_ok());
    assert!(set.find(Some("a"), "Ed448").is_err());
}

#[test]
fn a_name_may_be_left_out_only_when_one_key_fits() {
    let (ec, rsa) = (
        Signer::es256("a"),
        Signer::rsa("b", Algorithm::RS256, "RS256"),
    );
    let (set, _) = parse(json!([ec.jwk, rsa.jwk]));
    assert!(set.find(None, "ES256").is_ok());
    assert_eq!(set.find(None, "PS256").unwrap_err(), TokenFault::KeyUnnamed);
    let (set, _) = parse(json!([ec.jwk, Signer::es256("c").jwk]));
    assert_eq!(set.find(None, "ES256").unwrap_err(), TokenFault::KeyUnnamed);
}

#[test]
fn order_does_not_make_another_set() {
    let (one, two) = (Signer::es256("a"), Signer::es256("b"));
    let (first, _) = parse(json!([one.jwk, two.jwk]));
    let (second, _) = parse(json!([two.jwk, one.jwk]));
    assert!(first.same_as(&second));
    let (third, _) = parse(json!([one.jwk]));
    assert!(!first.same_as(&third) && !third.same_as(&first));
    let (fourth, _) = parse(json!([one.jwk, Signer::es256("b").jwk]));
    assert!(!first.same_as(&fourth), "same names, other keys");
}

#[test]
fn nothing_but_the_name_is_printed() {
    let signer = Signer::es256("a");
    let (set, _) = parse(json!([signer.jwk]));
    assert!(!format!("{set:?}").contains(signer.jwk["x"].as_str().unwrap()));
}
