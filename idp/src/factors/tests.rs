//! Factors through the API that the pages use, with an authenticator of our own.

mod owned;
mod passkeys;
mod passwords;
mod second;
mod secrets;
pub(crate) mod soft_key;

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::accounts::tests::{Bed, NOW, at};
use crate::accounts::{Accounts, Visit};
use soft_key::SoftKey;

/// Good enough alone.
const LONG: &str = "seven quiet herons under bridge";
/// Good enough beside a second factor.
const SHORT: &str = "q8#fZ_wL";

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// Signs the page's request as a browser at the right origin would.
async fn register(
    accounts: &Accounts,
    right: Right<'_>,
    key: &mut SoftKey,
    visit: Visit<'_>,
) -> Result<Proved, FactorError> {
    let ceremony = accounts.begin_passkey(right, visit)?;
    let answer = key.create(&ceremony.options);
    accounts
        .finish_passkey(right, &ceremony.handle, &answer, "key", visit)
        .await
}

async fn sign_in(
    accounts: &Accounts,
    name: Option<&str>,
    key: &mut SoftKey,
    visit: Visit<'_>,
) -> Result<Proved, SignInRefusal> {
    let ceremony = accounts.begin_passkey_sign_in(name, visit)?;
    let answer = key.sign(&ceremony.options);
    accounts
        .finish_passkey_sign_in(&ceremony.handle, &answer, visit)
        .await
}

/// Ada with a passkey.
async fn with_passkey(bed: &Bed) -> SoftKey {
    let welcome = bed.welcome("ada").await;
    let mut key = SoftKey::new();
    register(
        &bed.accounts,
        Right::Welcome(&welcome.handle),
        &mut key,
        at(NOW),
    )
    .await
    .unwrap();
    bed.told();
    key
}

/// Somebody with a password, which may be short when there is an app beside it.
async fn with_password(bed: &Bed, user: &str) {
    let welcome = bed.welcome(user).await;
    let right = Right::Welcome(&welcome.handle);
    bed.accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await
        .unwrap();
    bed.told();
}

/// Somebody with a short password and a code app; the secret of the app.
async fn with_app(bed: &Bed, user: &str) -> Vec<u8> {
    let welcome = bed.welcome(user).await;
    let right = Right::Welcome(&welcome.handle);
    let offer = bed.accounts.begin_totp(right, at(NOW)).unwrap();
    let app = read_base32(offer.secret.expose_secret());
    let code = code_of(&app, NOW);
    let totp = CodeFor {
        handle: &offer.handle,
        code: &code,
    };
    bed.accounts
        .set_password(right, secret(SHORT), Some(totp), at(NOW))
        .await
        .unwrap();
    bed.told();
    app
}

pub(crate) fn code_of(app: &[u8], now: i64) -> String {
    let secret: [u8; 20] = app.try_into().unwrap();
    totp_rs::Builder::new()
        .with_secret(totp_rs::Secret::new_stack(secret))
        .build()
        .unwrap()
        .generate(now as u64 / 1_000)
        .to_string()
}

pub(crate) fn read_base32(text: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    for letter in text.chars().filter(|letter| *letter != ' ') {
        let value = match letter {
            'A'..='Z' => letter as u8 - b'A',
            _ => letter as u8 - b'2' + 26,
        };
        bits.extend((0..5).rev().map(|bit| value >> bit & 1));
    }
    bits.chunks_exact(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit))
        .collect()
}
