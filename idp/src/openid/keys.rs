//! The keys that sign ID tokens: P-256 (ES256), in one file that only we may read, replaced every thirty days. A key is
//! published a day before it signs, and stays published a day after it signed last, so that whoever keeps our key set
//! for a while always has the right one.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How long a key signs, in milliseconds.
const PERIOD: i64 = 30 * DAY;
/// How long before that it is published. Longer than anybody may keep the key set.
const LEAD: i64 = DAY;
/// How long after that it stays. Longer than any token that it signed.
const KEEP: i64 = DAY;

/// The file in the provider's directory.
const FILE: &str = "signing-keys.json";

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "`{0}` can be read by others; set its mode to 0600 and replace the keys if others may have read them"
    )]
    Exposed(PathBuf),
    #[error(
        "`{0}` does not hold signing keys; put it back from a copy, or remove it to begin with new keys"
    )]
    Malformed(PathBuf),
    #[error("a signing key could not be made")]
    Generate,
}

/// The keys, ready to sign.
pub(crate) struct Keys {
    path: PathBuf,
    // INVARIANT: never empty; ordered by `signs_from`; all of it is on disk.
    ring: Mutex<Vec<Key>>,
}

struct Key {
    /// RFC 7638 thumbprint.
    id: String,
    pair: EcdsaKeyPair,
    /// Milliseconds since 1970.
    signs_from: i64,
}

/// As in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    pkcs8: Zeroizing<String>,
    signs_from: i64,
}

impl Keys {
    /// Reads the keys in `directory`, or makes the first.
    /// # Errors: the file can be read by others, is not ours, or cannot be written.
    pub(crate) fn open(directory: &Path, now: i64) -> Result<Self, KeysError> {
        let path = directory.join(FILE);
        let ring = match read(&path)? {
            Some(ring) => ring,
            None => {
                let first = vec![Key::generate(now)?];
                write(&path, &first)?;
                first
            }
        };
        Ok(Self {
            path,
            ring: Mutex::new(ring),
        })
    }

    /// A compact JWS over `claims`, by the key whose time it is.
    /// # Errors: the library refuses to sign.
    pub(crate) fn sign(&self, claims: &Value, now: i64) -> Result<String, KeysError> {
        self.with(now, |ring| {
            // Before the first key's time (the clock went back) the first signs: it is published.
            let current = ring
                .iter()
                .rev()
                .find(|key| key.signs_from <= now)
                .or(ring.first())
                .ok_or(KeysError::Generate)?;
            let header = json!({ "alg": "ES256", "kid": current.id, "typ": "JWT" });
            let signed = [header.to_string(), claims.to_string()]
                .map(|part| URL_SAFE_NO_PAD.encode(part))
                .join(".");
            let signature = current
                .pair
                .sign(&SystemRandom::new(), signed.as_bytes())
                .map_err(|_| KeysError::Generate)?;
            Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
        })
    }

    /// RFC 7517: all keys that may have signed, or will sign soon.
    pub(crate) fn published(&self, now: i64) -> Value {
        self.with(
            now,
            |ring| json!({ "keys": ring.iter().map(Key::published).collect::<Vec<_>>() }),
        )
    }

    fn with<R>(&self, now: i64, act: impl FnOnce(&[Key]) -> R) -> R {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = advance(&mut ring, now, |keys| write(&self.path, keys)) {
            // The old key signs on; the next request tries again.
            tracing::warn!(%error, "signing keys were not renewed");
        }
        act(&ring)
    }
}

/// Makes the next key when its time has come, and drops those that nothing refers to. Written before it counts. At most
/// once a day does this touch the disk.
fn advance(
    ring: &mut Vec<Key>,
    now: i64,
    write: impl Fn(&[Key]) -> Result<(), KeysError>,
) -> Result<(), KeysError> {
    let last = ring.last().map_or(now, |key| key.signs_from);
    let due = last.saturating_add(PERIOD);
    let over = ring
        .windows(2)
        .take_while(|pair| matches!(pair, [_, next] if next.signs_from.saturating_add(KEEP) <= now))
        .count();
    let wants_next = due.saturating_sub(LEAD) <= now;
    if over == 0 && !wants_next {
        return Ok(());
    }
    if wants_next {
        ring.push(Key::generate(due.max(now.saturating_add(LEAD)))?);
    }
    let kept = ring.get(over..).unwrap_or_default();
    if let Err(error) = write(kept) {
        // Unwritten keys must not be published: after a restart nobody could tell them from forged ones.
        if wants_next {
            ring.pop();
        }
        return Err(error);
    }
    ring.drain(..over);
    Ok(())
}

impl Key {
    fn generate(signs_from: i64) -> Result<Self, KeysError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| KeysError::Generate)?;
        Ok(Self::new(pair, signs_from))
    }

    fn new(pair: EcdsaKeyPair, signs_from: i64) -> Self {
        let (x, y) = coordinates(&pair);
        // RFC 7638 §3: these members, in this order, without white space.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self {
            id: URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes())),
            pair,
            signs_from,
        }
    }

    fn published(&self) -> Value {
        let (x, y) = coordinates(&self.pair);
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": x, "y": y })
    }
}

/// The affine coordinates, base64url. The public key is `04 || x || y` (SEC 1 §2.3.3).
fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let point = pair.public_key().as_ref();
    let part = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    (part(1..33), part(33..65))
}

fn read(path: &Path) -> Result<Option<Vec<Key>>, KeysError> {
    let unreadable = |source| KeysError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_file() {
        return Err(KeysError::Malformed(path.to_owned()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeysError::Exposed(path.to_owned()));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(unreadable)?);
    decode(&bytes)
        .ok_or_else(|| KeysError::Malformed(path.to_owned()))
        .map(Some)
}

fn decode(bytes: &[u8]) -> Option<Vec<Key>> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let ring = stored
        .keys
        .iter()
        .map(|key| {
            let pkcs8 = Zeroizing::new(STANDARD.decode(key.pkcs8.as_bytes()).ok()?);
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
            Some(Key::new(pair, key.signs_from))
        })
        .collect::<Option<Vec<_>>>()?;
    let ordered = ring.is_sorted_by_key(|key| key.signs_from);
    (ordered && !ring.is_empty()).then_some(ring)
}

/// Whole or not at all: a new file takes the place of the old one once it is on disk.
fn write(path: &Path, ring: &[Key]) -> Result<(), KeysError> {
    let stored = Stored {
        keys: ring
            .iter()
            .map(|key| {
                let pkcs8 = key.pair.to_pkcs8v1().map_err(|_| KeysError::Generate)?;
                Ok(StoredKey {
                    pkcs8: Zeroizing::new(STANDARD.encode(pkcs8.as_ref())),
                    signs_from: key.signs_from,
                })
            })
            .collect::<Result<_, KeysError>>()?,
    };
    let bytes = Zeroizing::new(serde_json::to_vec(&stored).map_err(|_| KeysError::Generate)?);
    replace(path, &bytes).map_err(|source| KeysError::Write {
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    fn ids(keys: &Keys, now: i64) -> Vec<String> {
        keys.published(now)["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    fn signer(keys: &Keys, now: i64) -> String {
        let token = keys.sign(&json!({}), now).unwrap();
        let header = URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_token_verifies_with_the_published_key() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path(), 0).unwrap();
        let token = keys.sign(&json!({"sub": "ada"}), 0).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = &keys.published(0)["keys"][0];
        let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
        assert!(key.get("d").is_none());
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_stays_after() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path(), 0).unwrap();
        let first = signer(&keys, 0);
        assert_eq!(ids(&keys, 29 * DAY - 1), [first.clone()]);
        let both = ids(&keys, 29 * DAY);
        assert_eq!(both.len(), 2);
        assert_eq!(signer(&keys, 30 * DAY - 1), first);
        assert_eq!(signer(&keys, 30 * DAY), both[1]);
        assert_eq!(ids(&keys, 31 * DAY - 1), both);
        assert_eq!(ids(&keys, 31 * DAY), both[1..]);
    }

    #[test]
    fn after_a_long_sleep_a_new_key_is_still_published_first() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path(), 0).unwrap();
        let old = signer(&keys, 400 * DAY);
        assert_eq!(ids(&keys, 400 * DAY)[0], old);
        assert_ne!(signer(&keys, 401 * DAY), old);
    }

    #[test]
    fn keys_outlive_a_restart_and_only_we_can_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let before = ids(&Keys::open(directory.path(), 0).unwrap(), 29 * DAY);
        let path = directory.path().join(FILE);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let keys = Keys::open(directory.path(), 29 * DAY).unwrap();
        assert_eq!(ids(&keys, 29 * DAY), before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Keys::open(directory.path(), 0),
            Err(KeysError::Exposed(_))
        ));
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for content in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"pkcs8":"AA==","signs_from":0}]}"#,
        ] {
            replace(&path, content.as_bytes()).unwrap();
            assert!(matches!(
                Keys::open(directory.path(), 0),
                Err(KeysError::Malformed(_))
            ));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_key_that_could_not_be_written_never_signs() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path(), 0).unwrap();
        let first = signer(&keys, 0);
        drop(directory);
        assert_eq!(ids(&keys, 40 * DAY), [first.clone()]);
        assert_eq!(signer(&keys, 40 * DAY), first);
    }
}
