//! A bearer token as it arrives: three parts, each in exactly one encoding, a header we understand completely.
//!
//! Nothing here is believed yet; [`Unverified`] says so. What could make two implementations read two different tokens
//! (padding, spare bits, white space, repeated members, extensions) is refused before any key is looked at (RFC 8725 §3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{CredentialError, TokenFault};
use super::json::{self, Object};

/// Longest token that is looked at, bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Longest `kid`, bytes. It is compared with the issuer's keys and used for nothing else.
const MAX_KEY_ID_BYTES: usize = 256;

/// A token taken apart.
pub(super) struct Unverified<'a> {
    pub(super) header: Header,
    pub(super) claims: Object,
    /// What the signature is over: header and payload as received.
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// The header members that mean something here. `jku`, `jwk`, `x5u`, `x5c` and all others are the sender's talk: keys come
/// from configured issuers only.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: String,
    pub(super) key_id: Option<String>,
    pub(super) token_type: Option<String>,
}

/// Takes a compact JWS apart (RFC 7515 §7.1).
/// # Errors: `Malformed` for what is no `b64token` (RFC 6750 §2.1) or too long, else `Invalid`.
pub(super) fn parse(token: &str) -> Result<Unverified<'_>, CredentialError> {
    if token.is_empty() {
        return Err(CredentialError::Malformed("empty"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(CredentialError::Malformed("longer than 16 KiB"));
    }
    if !token.bytes().all(is_bearer_character) {
        return Err(CredentialError::Malformed("not a `b64token`"));
    }
    let (header, payload, signature, signing_input) = split(token)?;
    let header = parse_header(&decode(header)?)?;
    let claims = json::parse_object(&decode(payload)?)
        .ok_or(TokenFault::Syntax("the payload is not one JSON object"))?;
    if signature.is_empty() {
        return Err(TokenFault::Syntax("no signature").into());
    }
    Ok(Unverified {
        header,
        claims,
        signing_input,
        signature: decode(signature)?,
    })
}

fn is_bearer_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

fn split(token: &str) -> Result<(&str, &str, &str, &[u8]), TokenFault> {
    let parts = token.bytes().filter(|byte| *byte == b'.').count() + 1;
    if parts == 5 {
        return Err(TokenFault::Encrypted);
    }
    let three = TokenFault::Syntax("not three parts");
    let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
    let (header, payload) = signed.split_once('.').ok_or(three.clone())?;
    if parts != 3 {
        return Err(three);
    }
    Ok((header, payload, signature, signed.as_bytes()))
}

/// Unpadded base64url with zero spare bits: every byte string has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFault::Syntax("a part is not unpadded base64url"))
}

fn parse_header(text: &[u8]) -> Result<Header, TokenFault> {
    let mut header =
        json::parse_object(text).ok_or(TokenFault::Syntax("the header is not one JSON object"))?;
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err(TokenFault::Encrypted);
    }
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(TokenFault::Critical);
    }
    if header.contains_key("cty") {
        return Err(TokenFault::Nested);
    }
    let algorithm =
        take_text(&mut header, "alg")?.ok_or(TokenFault::Syntax("the header has no `alg`"))?;
    let key_id = take_text(&mut header, "kid")?;
    if key_id
        .as_ref()
        .is_some_and(|id| id.len() > MAX_KEY_ID_BYTES)
    {
        return Err(TokenFault::Syntax("the header's `kid` is too long"));
    }
    Ok(Header {
        algorithm,
        key_id,
        token_type: take_text(&mut header, "typ")?,
    })
}

fn take_text(header: &mut Object, name: &str) -> Result<Option<String>, TokenFault> {
    match header.remove(name) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::Syntax("a header member is not a string")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.{}", encode(header), encode(payload), encode([1; 64]))
    }

    fn fault(token: &str) -> CredentialError {
        match parse(token) {
            Ok(_) => panic!("accepted: {token}"),
            Err(error) => error,
        }
    }

    #[test]
    fn three_parts_and_a_plain_header_are_read() {
        let text = token(
            r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"https://evil.example/keys"}"#,
            r#"{"iss":"https://id.example"}"#,
        );
        let parsed = parse(&text).unwrap();
        assert_eq!(parsed.header.algorithm, "ES256");
        assert_eq!(parsed.header.key_id.as_deref(), Some("k1"));
        assert_eq!(parsed.header.token_type.as_deref(), Some("at+jwt"));
        assert_eq!(parsed.signature, [1; 64]);
        assert_eq!(
            parsed.signing_input,
            text.rsplit_once('.').unwrap().0.as_bytes()
        );
    }

    #[test]
    fn what_cannot_follow_bearer_is_malformed() {
        for text in [
            "",
            "a b",
            "a.b.c\n",
            "a\u{e9}.b.c",
            "a.b.c,d",
            &"a".repeat(16 * 1024 + 1),
        ] {
            assert!(
                matches!(fault(text), CredentialError::Malformed(_)),
                "{text:.20}"
            );
        }
    }

    #[test]
    fn other_numbers_of_parts_are_refused() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        for text in [
            "a".to_owned(),
            "a.b".to_owned(),
            format!("{good}.x"),
            format!("{good}."),
            format!(".{good}"),
            "..".to_owned(),
            "...".to_owned(),
        ] {
            assert!(
                matches!(
                    fault(&text),
                    CredentialError::Invalid(TokenFault::Syntax(_))
                ),
                "{text}"
            );
        }
        assert_eq!(
            fault(&format!("{good}.x.y")),
            TokenFault::Encrypted.into(),
            "five parts are a JWE"
        );
    }

    #[test]
    fn an_empty_signature_is_refused() {
        let text = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode("{}"));
        assert_eq!(fault(&text), TokenFault::Syntax("no signature").into());
    }

    #[test]
    fn base64_has_one_spelling() {
        let header = encode(r#"{"alg":"ES256"}"#);
        let payload = encode("{}");
        let one = encode([1; 1]);
        // Padding, the other alphabet, spare bits that are not zero.
        for signature in ["AQ==", "A+/_", "AR", "A", "AQ=", "-_+/"] {
            let text = format!("{header}.{payload}.{signature}");
            assert!(parse(&text).is_err(), "{signature}");
        }
        assert!(parse(&format!("{header}.{payload}.{one}")).is_ok());
        assert!(parse(&format!("{header}=.{payload}.{one}")).is_err());
    }

    #[test]
    fn extensions_encryption_and_nesting_are_refused() {
        for (header, expected) in [
            (r#"{"alg":"ES256","crit":["exp"]}"#, TokenFault::Critical),
            (r#"{"alg":"ES256","crit":[]}"#, TokenFault::Critical),
            (
                r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#,
                TokenFault::Critical,
            ),
            (r#"{"alg":"ES256","b64":true}"#, TokenFault::Critical),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, TokenFault::Encrypted),
            (r#"{"alg":"ES256","zip":"DEF"}"#, TokenFault::Encrypted),
            (r#"{"alg":"ES256","cty":"JWT"}"#, TokenFault::Nested),
        ] {
            assert_eq!(fault(&token(header, "{}")), expected.into(), "{header}");
        }
    }

    #[test]
    fn header_members_have_types() {
        for header in [
            "{}",
            "[]",
            r#"{"alg":null}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","typ":{}}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
        ] {
            assert!(parse(&token(header, "{}")).is_err(), "{header}");
        }
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
        assert!(parse(&token(&long, "{}")).is_err());
    }

    #[test]
    fn a_payload_that_is_a_token_is_no_claims() {
        let inner = token(r#"{"alg":"ES256"}"#, "{}");
        assert!(parse(&token(r#"{"alg":"ES256"}"#, &inner)).is_err());
    }

    proptest! {
        #[test]
        fn text_never_panics(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn parts_never_panic(a in any::<Vec<u8>>(), b in any::<Vec<u8>>(), c in any::<Vec<u8>>()) {
            let _ = parse(&format!("{}.{}.{}", encode(a), encode(b), encode(c)));
        }

        #[test]
        fn what_is_accepted_is_spelled_in_the_only_way(signature in "[A-Za-z0-9_-]{1,90}") {
            let text = format!("{}.{}.{signature}", encode(r#"{"alg":"ES256"}"#), encode("{}"));
            if let Ok(parsed) = parse(&text) {
                prop_assert_eq!(encode(&parsed.signature), signature);
            }
        }
    }
}
