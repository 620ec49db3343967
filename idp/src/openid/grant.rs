//! What was granted: authorization codes, used once; the access tokens they gave; the ID tokens that say who signed in.
//! All of it lives in memory and is over within minutes.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;

use crate::accounts::Account;
use crate::random::{self, Random};
use crate::shelf::{Name, Shelf, name_of};

use super::level::Level;
use super::request::Asked;

const SECOND: i64 = 1000;
/// How long a code counts, in milliseconds.
pub(crate) const CODE_LIFETIME: i64 = 60 * SECOND;
/// How long access and ID tokens count, in milliseconds.
pub(crate) const TOKEN_LIFETIME: i64 = 5 * 60 * SECOND;
/// Longest PKCE verifier (RFC 7636 §4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// Who signed in, how and when, whatever proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedIn {
    pub(crate) account: Box<str>,
    /// RFC 8176.
    pub(crate) amr: Vec<Box<str>>,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
}

impl SignedIn {
    pub(crate) fn level(&self) -> Level {
        Level::of_methods(&self.amr)
    }
}

/// What a code stands for.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    who: SignedIn,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
    /// Milliseconds since 1970.
    ends_at: i64,
    spent: Spent,
}

/// Whether a code was used.
#[derive(Clone, Copy, Debug)]
enum Spent {
    No,
    /// And gave the access token of that name, or nothing.
    Yes(Option<Name>),
}

/// What an access token opens: UserInfo.
#[derive(Clone, Debug)]
struct Access {
    account: Box<str>,
}

/// Codes and access tokens.
pub(crate) struct Grants {
    codes: Shelf<Grant>,
    tokens: Shelf<Access>,
}

/// What a code was exchanged for.
pub(crate) struct Exchanged {
    pub(crate) who: SignedIn,
    pub(crate) nonce: Option<String>,
    pub(crate) access_token: SecretString,
}

impl Grants {
    pub(crate) fn new() -> Self {
        Self {
            // Longer than a code counts: using it again must be noticed as long as what it gave lives.
            codes: Shelf::new(CODE_LIFETIME + TOKEN_LIFETIME, 10_000),
            tokens: Shelf::new(TOKEN_LIFETIME, 10_000),
        }
    }

    /// A code for what `asked` asked for.
    pub(crate) fn code(
        &self,
        asked: &Asked,
        who: SignedIn,
        random: &dyn Random,
        now: i64,
    ) -> SecretString {
        let code = random::token(random);
        let grant = Grant {
            who,
            redirect_uri: asked.back.redirect_uri.clone(),
            challenge: asked.challenge.clone(),
            nonce: asked.nonce.clone(),
            ends_at: now.saturating_add(CODE_LIFETIME),
            spent: Spent::No,
        };
        self.codes.put(name_of(code.expose_secret()), grant, now);
        code
    }

    /// Exchanges a code. Whatever is wrong, the code is spent; used again, it takes back what it gave (RFC 6749 §4.1.2).
    /// `None`: `invalid_grant`.
    pub(crate) fn exchange(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        random: &dyn Random,
        now: i64,
    ) -> Option<Exchanged> {
        let access_token = random::token(random);
        let access = name_of(access_token.expose_secret());
        let name = name_of(code);
        // First use and check in one go: of two at once, one comes second.
        let outcome = self.codes.at(&name, now, |grant| match grant.spent {
            Spent::Yes(gave) => Err(gave),
            Spent::No => {
                let good = grant.ends_at > now
                    && grant.redirect_uri == redirect_uri
                    && verifies(verifier, &grant.challenge);
                grant.spent = Spent::Yes(good.then_some(access));
                if good { Ok(grant.clone()) } else { Err(None) }
            }
        })?;
        match outcome {
            Ok(grant) => {
                let account = grant.who.account.clone();
                self.tokens.put(access, Access { account }, now);
                Some(Exchanged {
                    who: grant.who,
                    nonce: grant.nonce,
                    access_token,
                })
            }
            Err(gave) => {
                if let Some(gave) = gave {
                    tracing::warn!(
                        "an authorization code was used twice; its access token is void"
                    );
                    self.tokens.take(&gave, now);
                }
                None
            }
        }
    }

    /// Whose access token it is.
    pub(crate) fn bearer(&self, token: &str, now: i64) -> Option<Box<str>> {
        self.tokens
            .at(&name_of(token), now, |access| access.account.clone())
    }

    /// Codes and tokens of this account count no longer.
    pub(crate) fn forget(&self, account: &str, now: i64) {
        self.codes
            .forget(now, |grant| &*grant.who.account == account);
        self.tokens
            .forget(now, |access| &*access.account == account);
    }
}

/// RFC 7636 §4.6.
fn verifies(verifier: &str, challenge: &str) -> bool {
    let computed = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    VERIFIER.contains(&verifier.len())
        && bool::from(computed.as_bytes().ct_eq(challenge.as_bytes()))
}

/// The claims of an ID token (OpenID Connect Core §2).
pub(crate) fn id_token(
    issuer: &str,
    client_id: &str,
    exchanged: &Exchanged,
    account: &Account,
    now: i64,
) -> Value {
    let mut claims = about(account);
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", issuer.into());
    put("aud", client_id.into());
    put("iat", seconds(now));
    put("exp", seconds(now.saturating_add(TOKEN_LIFETIME)));
    put("auth_time", seconds(exchanged.who.at));
    put("acr", exchanged.who.level().acr().into());
    put("amr", json!(exchanged.who.amr));
    put("at_hash", half_hash(&exchanged.access_token).into());
    if let Some(nonce) = &exchanged.nonce {
        put("nonce", nonce.as_str().into());
    }
    Value::Object(claims)
}

/// What UserInfo and ID tokens say of a person (OpenID Connect Core §5.1). The address was given by an administrator or
/// by the company's own system, which is why it counts as verified.
pub(crate) fn about(account: &Account) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("sub", json!(account.id));
    put("preferred_username", json!(account.id));
    put("name", json!(account.display_name));
    put("groups", json!(account.groups));
    if let Some(email) = &account.email {
        put("email", json!(email));
        put("email_verified", true.into());
    }
    claims
}

/// Whole seconds since 1970, rounded down: `auth_time` never looks fresher than it is.
fn seconds(at: i64) -> Value {
    at.div_euclid(SECOND).into()
}

/// OpenID Connect Core §3.1.3.6.
fn half_hash(token: &SecretString) -> String {
    let hash = digest(&SHA256, token.expose_secret().as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}
