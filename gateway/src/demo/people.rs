//! People of the demo who sign in with a browser: accounts of the built-in provider, each with a password and a code app for
//! scripts, and a new link for a first sign-in at every start.
//!
//! It works on the accounts' file before the gateway opens it. What scripts need is remembered in `people.json`, because
//! the provider itself keeps neither a password nor a way to show a secret again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use masugata_idp::{
    Account, Accounts, Actor, CodeFor, LockoutRules, NewAccount, Random, Right, Settings, Visit,
};
use masugata_policy::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::DemoError;
use super::files::replace;
use crate::capability::Entropy;
use crate::config::Config;
use crate::gateway::Capabilities;

/// Who they are: name, what they are called, groups. The same people as in the demo's tokens, at another issuer.
const PEOPLE: [(&str, &str, &[&str]); 3] = [
    ("ada", "Ada Lovelace", &["employees", "finance"]),
    ("ben", "Ben Franklin", &["employees", "engineering"]),
    ("chie", "柏木 千恵", &["employees", "hr"]),
];

/// Where their passwords are remembered.
const MEMORY: &str = "people.json";

/// Nobody visits; the provider binds what it hands out to a device even so.
const DEVICE: &str = "demo";

/// Why there are no people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeopleError {
    #[error("cannot open the demo's accounts: {0}")]
    Open(#[from] masugata_idp::OpenError),
    #[error("cannot make the account `{user}`: {source}")]
    Account {
        user: &'static str,
        #[source]
        source: masugata_idp::AccountError,
    },
    #[error("cannot prepare the account `{user}`: {why}")]
    Factor { user: &'static str, why: String },
}

/// One of them, for `demo.json`.
pub(super) struct Person {
    pub(super) user: &'static str,
    /// For a browser; absent for an account that somebody has disabled.
    pub(super) link: Option<SecretString>,
    /// For scripts; absent where the person has changed it, or was there before.
    password: Option<String>,
    totp_secret: Option<String>,
}

impl Person {
    pub(super) fn entry(&self) -> Value {
        json!({
            "user": self.user,
            "link": self.link.as_ref().map(ExposeSecret::expose_secret),
            "password": self.password,
            "totp_secret": self.totp_secret,
        })
    }
}

/// Makes who is missing. Nobody, where the configuration has no built-in provider.
pub(super) async fn prepare(
    config: &Config,
    directory: &Path,
    world: &Capabilities,
) -> Result<Vec<Person>, DemoError> {
    let (Some(sign_in), Some(provider), Some(store)) =
        (&config.sign_in, &config.identity_provider, &config.store)
    else {
        return Ok(Vec::new());
    };
    let origin = config.ingress.origin_of(&sign_in.host);
    let settings = Settings {
        origin: origin.clone(),
        organisation: config.pages.organisation.clone(),
        link_lifetime: provider.link_lifetime,
        passwords: provider.passwords,
        breached: provider.breached_passwords.clone(),
        lockout: LockoutRules {
            free_failures: config.lockout.free_failures,
            first_delay: config.lockout.first_delay,
            max_delay: config.lockout.max_delay,
            lock_after: config.lockout.lock_after,
            lock: config.lockout.lock,
            window: config.lockout.window,
        },
    };
    let chance = Chance(Arc::clone(&world.entropy));
    // What is made here is the demo's scenery; the record begins with the gateway.
    let accounts = Accounts::open(store, settings, Arc::new(chance), Arc::new(|_event| {}))
        .map_err(PeopleError::Open)?;
    let memory = directory.join(MEMORY);
    let mut remembered: BTreeMap<String, Value> = fs::read(&memory)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let maker = Maker {
        accounts: &accounts,
        entropy: &*world.entropy,
        now: world.clock.now(),
        with_passwords: provider.passwords,
    };
    let mut people = Vec::new();
    for (user, name, groups) in PEOPLE {
        let known = accounts.get(user);
        if known.is_none() {
            match maker.make(user, name, groups).await? {
                Made::Account(secrets) => remembered.insert(user.to_owned(), secrets),
                // Removed by somebody; the name is not given away again, and the demo goes on without.
                Made::Removed => continue,
            };
        }
        let link = maker.link(user, &origin).await;
        let of = |key: &str| {
            let secrets = remembered.get(user)?;
            Some(secrets.get(key)?.as_str()?.to_owned())
        };
        people.push(Person {
            user,
            link,
            password: of("password"),
            totp_secret: of("totp_secret"),
        });
    }
    let text = format!("{:#}\n", json!(remembered));
    replace(&memory, text.as_bytes(), 0o600)?;
    Ok(people)
}

struct Maker<'a> {
    accounts: &'a Accounts,
    entropy: &'a dyn Entropy,
    now: Timestamp,
    with_passwords: bool,
}

enum Made {
    /// With what scripts sign in with.
    Account(Value),
    Removed,
}

impl Maker<'_> {
    fn visit(&self) -> Visit<'static> {
        Visit {
            device: DEVICE,
            now: self.now.as_millis(),
        }
    }

    async fn make(
        &self,
        user: &'static str,
        name: &str,
        groups: &[&str],
    ) -> Result<Made, PeopleError> {
        let new = NewAccount {
            user: user.to_owned(),
            display_name: name.to_owned(),
            email: Some(format!("{user}@demo.invalid")),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            external_id: None,
        };
        let now = self.now.as_millis();
        let account = self.accounts.add(new, Actor::Administrator, now).await;
        let account: Account = match account {
            Ok(account) => account,
            Err(masugata_idp::AccountError::Used(_)) => return Ok(Made::Removed),
            Err(source) => return Err(PeopleError::Account { user, source }),
        };
        if !self.with_passwords {
            return Ok(Made::Account(json!({})));
        }
        self.factors(&account)
            .await
            .map(Made::Account)
            .map_err(|why| PeopleError::Factor { user, why })
    }

    /// A password and a code app, by the same way as a person would: with a first link.
    async fn factors(&self, account: &Account) -> Result<Value, String> {
        let (id, now, visit) = (&account.id, self.now.as_millis(), self.visit());
        let link = self.accounts.link(id, Actor::Administrator, now).await;
        let link = link.map_err(|error| error.to_string())?;
        let welcome = self.accounts.open_link(&link.token, visit);
        let welcome = welcome.map_err(|error| error.to_string())?;
        let right = Right::Welcome(&welcome.handle);
        let offer = self.accounts.begin_totp(right, visit);
        let offer = offer.map_err(|error| error.to_string())?;
        let secret: String = offer.secret.expose_secret().split(' ').collect();
        // The code of the half minute before: that of now is still to be used by whoever signs in first.
        let before = self.now.minus(Duration::from_secs(30));
        let code = code(&secret, before).ok_or("the secret is not Base32")?;
        let totp = CodeFor {
            handle: &offer.handle,
            code: &code,
        };
        let password = self.password();
        let typed = SecretString::from(password.clone());
        let set = self.accounts.set_password(right, typed, Some(totp), visit);
        set.await.map_err(|error| error.to_string())?;
        Ok(json!({ "password": password, "totp_secret": secret }))
    }

    /// Twenty letters, 94 bits: nobody guesses it, and it can be typed.
    fn password(&self) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = [0; 20];
        self.entropy.fill(&mut bytes);
        let letter = |byte: u8| LETTERS.get(usize::from(byte % 32)).copied();
        let letters = bytes.into_iter().filter_map(letter).map(char::from);
        letters.collect()
    }

    async fn link(&self, user: &str, origin: &str) -> Option<SecretString> {
        let now = self.now.as_millis();
        let link = self
            .accounts
            .link(user, Actor::Administrator, now)
            .await
            .ok()?;
        let token = link.token.expose_secret();
        Some(format!("{origin}/id/welcome#{token}").into())
    }
}

struct Chance(Arc<dyn Entropy>);

impl Random for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// The code of a Base32 secret at that time (RFC 6238, SHA-1, six digits, thirty seconds).
fn code(secret: &str, at: Timestamp) -> Option<String> {
    let mut bits = 0_u64;
    let mut count = 0;
    let mut key = Vec::new();
    for letter in secret.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5 | u64::from(digit)) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            key.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    let step = u64::try_from(at.as_seconds()).ok()? / 30;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last()? & 0xf);
    let four: [u8; 4] = tag.get(offset..offset + 4)?.try_into().ok()?;
    let number = (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000;
    Some(format!("{number:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, the last six of its eight digits; the secret is `12345678901234567890`.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            let at = Timestamp::from_millis(seconds * 1000);
            assert_eq!(code(secret, at).as_deref(), Some(expected));
        }
        assert_eq!(code("not base32", Timestamp::from_millis(0)), None);
    }
}
