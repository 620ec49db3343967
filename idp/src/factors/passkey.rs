//! Between our words and WebAuthn's: what browsers are asked, and what the answer says about a passkey.

use serde_json::{Value, json};
use webauthn_rs::prelude::{
    CreationChallengeResponse, Passkey, PublicKeyCredential, RegisterPublicKeyCredential,
    RequestChallengeResponse,
};

use super::Proof;
use super::keys::Keys;
use crate::accounts::record::Record;

/// Most passkeys of one account.
pub(crate) const MOST: usize = 20;
/// Longest answer of a browser, in bytes. Attestation is not asked for, so that a few hundred are usual.
const MAX_ANSWER: usize = 64 * 1024;

/// JSON for `navigator.credentials.create()`. Discoverable keys are preferred: with them, people need not type a name. They
/// are not required: a security key whose few places are taken is still a good one.
pub(crate) fn creation(challenge: &CreationChallengeResponse) -> Option<String> {
    let mut options = serde_json::to_value(challenge).ok()?;
    let selection = options
        .get_mut("publicKey")?
        .get_mut("authenticatorSelection")?
        .as_object_mut()?;
    selection.insert("residentKey".to_owned(), json!("preferred"));
    selection.insert("requireResidentKey".to_owned(), json!(false));
    selection.insert("userVerification".to_owned(), json!("required"));
    Some(options.to_string())
}

/// JSON for `navigator.credentials.get()`, for these credentials or, with none, for whichever the authenticator knows. Which
/// transports a credential has is left out: invented ones would have to lie about it.
pub(crate) fn request(
    challenge: &RequestChallengeResponse,
    credentials: &[Vec<u8>],
) -> Option<String> {
    let mut options = serde_json::to_value(challenge).ok()?;
    let root = options.as_object_mut()?;
    // The page decides whether it asks at once or beside the name field.
    root.remove("mediation");
    let public_key = root.get_mut("publicKey")?.as_object_mut()?;
    public_key.remove("extensions");
    let allowed: Vec<Value> = credentials
        .iter()
        .map(|id| json!({ "type": "public-key", "id": base64url(id) }))
        .collect();
    public_key.insert("allowCredentials".to_owned(), Value::Array(allowed));
    Some(options.to_string())
}

pub(crate) fn read_creation(answer: &str) -> Option<RegisterPublicKeyCredential> {
    (answer.len() <= MAX_ANSWER)
        .then(|| serde_json::from_str(answer).ok())
        .flatten()
}

pub(crate) fn read_request(answer: &str) -> Option<PublicKeyCredential> {
    (answer.len() <= MAX_ANSWER)
        .then(|| serde_json::from_str(answer).ok())
        .flatten()
}

/// Credential ids of somebody's passkeys, or such as could be: always the same for the same name, of lengths that common
/// authenticators have (WebAuthn §14.6.2 tells of this leak).
pub(crate) fn credentials(record: Option<&Record>, name: &str, keys: &Keys) -> Vec<Vec<u8>> {
    // Made up in any case, so that it takes as long.
    let invented = invent(name, keys);
    match record {
        Some(record) if !record.passkeys.is_empty() => record
            .passkeys
            .iter()
            .map(|key| key.credential.cred_id().as_slice().to_vec())
            .collect(),
        Some(_) | None => invented,
    }
}

fn invent(name: &str, keys: &Keys) -> Vec<Vec<u8>> {
    let choice = keys.invent(&[b"count\0", name.as_bytes()]);
    let [first, ..] = choice;
    let count = if first < 200 { 1 } else { 2 };
    (0..count)
        .map(|number: u8| {
            let length = match choice.get(usize::from(number) + 1).copied().unwrap_or(0) {
                0..=109 => 20,   // platform keychains
                110..=169 => 32, // platform modules
                170..=229 => 16, // password managers
                230..=255 => 64, // security keys
            };
            let mut id = Vec::with_capacity(64);
            for half in 0_u8..2 {
                id.extend(keys.invent(&[&[number, half], name.as_bytes()]));
            }
            id.truncate(length);
            id
        })
        .collect()
}

/// What a new credential says about itself, which the library keeps to itself: whether it can be copied to other devices,
/// and whether it is.
pub(crate) fn backup(credential: &Passkey) -> (bool, bool) {
    let flags = serde_json::to_value(credential).unwrap_or_default();
    let flag = |name| {
        flags
            .pointer(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    };
    (flag("/cred/backup_eligible"), flag("/cred/backup_state"))
}

/// What a sign-in with such a passkey proves.
pub(crate) fn proof(eligible: bool) -> Proof {
    if eligible {
        Proof::SyncedPasskey
    } else {
        Proof::BoundPasskey
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
