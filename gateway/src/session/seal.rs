//! Seals what providers gave: tokens that would be of use to whoever reads the file of sessions, a backup of it say. The key
//! lies beside it, in a file of its own that backups should leave out.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Secrets, SessionId};
use crate::capability::Entropy;

/// Seals and opens. Neither printed nor copied.
pub(super) struct Seal(LessSafeKey);

#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    // Borrowed, so that no copy stays in memory.
    #[serde(borrow)]
    id_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refresh_token: Option<Cow<'a, str>>,
}

impl Seal {
    /// Reads the key, or makes one where there is none and `fresh` says that nothing was sealed yet.
    ///
    /// # Errors
    /// It cannot be read or written, or is gone, or is no key.
    pub(super) fn open(path: &Path, fresh: bool, entropy: &dyn Entropy) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => {
                file.take(64).read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && fresh => {
                bytes.resize(32, 0);
                entropy.fill(&mut bytes);
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(0o600);
                let mut file = options.open(path)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
            }
            Err(error) => return Err(error),
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        let key = key.map_err(|_| io::Error::other("it is not a key of 32 bytes"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// `None` when there is nothing to seal.
    pub(super) fn close(
        &self,
        id: SessionId,
        secrets: &Secrets,
        entropy: &dyn Entropy,
    ) -> Option<Vec<u8>> {
        if secrets.id_token.is_none() && secrets.refresh_token.is_none() {
            return None;
        }
        let plain = Plain {
            id_token: text(secrets.id_token.as_ref()),
            refresh_token: text(secrets.refresh_token.as_ref()),
        };
        let mut sealed = serde_json::to_vec(&plain).ok()?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        // 96 random bits under one key: as many sign-ins as a company has in a thousand years.
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(id.0),
                &mut sealed,
            )
            .ok()?;
        sealed.extend_from_slice(&nonce);
        Some(sealed)
    }

    /// `None` when it was not sealed by this key for that session.
    pub(super) fn open_sealed(&self, id: SessionId, sealed: &[u8]) -> Option<Secrets> {
        let at = sealed.len().checked_sub(NONCE_LEN)?;
        let (sealed, nonce) = sealed.split_at_checked(at)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(id.0), &mut text)
            .ok()?;
        let plain: Plain<'_> = serde_json::from_slice(plain).ok()?;
        let secret = |text: Option<Cow<'_, str>>| text.map(|text| SecretString::from(&*text));
        Some(Secrets {
            id_token: secret(plain.id_token),
            refresh_token: secret(plain.refresh_token),
        })
    }
}

fn text(secret: Option<&SecretString>) -> Option<Cow<'_, str>> {
    secret.map(|secret| secret.expose_secret().into())
}
