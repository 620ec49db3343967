//! The key file `accounts.key`: 32 random bytes, apart from the accounts so that a stolen copy of those alone is of little
//! use. From it come the keys that seal TOTP secrets, hash recovery codes and invent credentials for unknown names.

use std::io::{Read, Write};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::accounts::error::OpenError;
use crate::random::{self, Random};
use crate::store::{self, Store};

const FILE: &str = "accounts.key";
const NOTE: &str = "key";

/// What was made from the key file. No `Debug`.
pub(crate) struct Keys {
    sealing: LessSafeKey,
    recovery: hmac::Key,
    invention: hmac::Key,
    fingerprint: [u8; 32],
}

/// A sealed secret is not what was sealed for that account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Whether there is a key file; then there were accounts, too.
///
/// # Errors
/// [`OpenError::Io`].
pub(crate) fn is_there(directory: &Path) -> Result<bool, OpenError> {
    store::exists(&directory.join(FILE))
}

impl Keys {
    /// Reads the key file, or makes it for accounts that have none yet.
    ///
    /// # Errors
    /// [`OpenError`] where it is missing, not the one of these accounts or readable by others.
    pub(crate) fn open(
        directory: &Path,
        store: &Store,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let noted = store.note(NOTE)?;
        if !store::exists(&path)? {
            if noted.is_some() {
                return Err(OpenError::HalfMissing {
                    missing: store::shown(&path),
                    present: store::shown(&directory.join("accounts.redb")),
                });
            }
            make(directory, &path, random)?;
        }
        store::check_private(&path)?;
        let keys = Self::read(&path)?;
        match noted {
            Some(noted) if bool::from(noted.ct_eq(&keys.fingerprint)) => {}
            Some(_) => {
                return Err(OpenError::WrongKey {
                    path: store::shown(&path),
                });
            }
            None => {
                store
                    .set_note(NOTE, &keys.fingerprint)
                    .map_err(|error| OpenError::Damaged {
                        path: store::shown(&directory.join("accounts.redb")),
                        cause: error.to_string(),
                    })?
            }
        }
        Ok(keys)
    }

    /// Encrypts `secret` (AES-256-GCM) for the account of that id: it opens for no other.
    pub(crate) fn seal(
        &self,
        secret: &[u8],
        account: &str,
        random: &dyn Random,
    ) -> Result<Vec<u8>, Unreadable> {
        let nonce = random::bytes::<NONCE_LEN>(random);
        let mut text = secret.to_vec();
        self.sealing
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(account),
                &mut text,
            )
            .map_err(|_| Unreadable)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// # Errors
    /// [`Unreadable`].
    pub(crate) fn unseal(
        &self,
        sealed: &[u8],
        account: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(account), &mut text)
            .map_err(|_| Unreadable)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// What is stored of a recovery code: with 80 bits it is short enough to deserve a key.
    pub(crate) fn recovery_hash(&self, account: &str, code: &[u8]) -> [u8; 32] {
        mac(&self.recovery, &[account.as_bytes(), &[0], code])
    }

    /// Always the same bytes for the same words.
    pub(crate) fn invent(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.invention, parts)
    }

    fn read(path: &Path) -> Result<Self, OpenError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        std::fs::File::open(path)
            .and_then(|file| file.take(64).read_to_end(&mut bytes))
            .map_err(|error| store::io_at(path, error))?;
        let unusable = || OpenError::Damaged {
            path: store::shown(path),
            cause: "it is not a key".to_owned(),
        };
        if bytes.len() != 32 {
            return Err(unusable());
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let derive = |label: &str| Zeroizing::new(mac(&root, &[label.as_bytes()]));
        let sealing = UnboundKey::new(&AES_256_GCM, &*derive("masugata totp sealing 1"))
            .map_err(|_| unusable())?;
        let key = |label| hmac::Key::new(hmac::HMAC_SHA256, &*derive(label));
        Ok(Self {
            sealing: LessSafeKey::new(sealing),
            recovery: key("masugata recovery codes 1"),
            invention: key("masugata invented credentials 1"),
            fingerprint: *derive("masugata fingerprint 1"),
        })
    }
}

fn make(directory: &Path, path: &Path, random: &dyn Random) -> Result<(), OpenError> {
    let key = Zeroizing::new(random::bytes::<32>(random));
    // Under another name until it is whole, as the accounts.
    let draft = directory.join(format!("{FILE}.{}.new", std::process::id()));
    if store::exists(&draft)? {
        std::fs::remove_file(&draft).map_err(|error| store::io_at(&draft, error))?;
    }
    let mut file = store::create_private(&draft)?;
    file.write_all(&*key)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|error| store::io_at(path, error))?;
    store::sync_directory(directory)
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}
