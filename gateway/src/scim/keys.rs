//! Who may provision: whoever has one of the tokens in files, or an access token that was issued for this and nothing else.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::capability::{Clock, Entropy};
use crate::config::error::{LoadError, Problem};
use crate::config::{self, Config};
use crate::issuer::Issuers;

/// Characters of the shortest token: nobody guesses 32 random ones.
const SHORTEST: usize = 32;

/// Characters of the longest.
const LONGEST: usize = 1_024;

/// What opens the door. Belongs to one generation of the configuration.
pub(crate) struct Keys {
    /// SHA-256 of each token.
    tokens: Vec<[u8; 32]>,
    /// The issuer of access tokens, with an audience of its own.
    pub(super) issuers: Option<Issuers>,
}

impl Keys {
    /// Reads the files of tokens. `issuers` are those of the configuration, whose keys are shared.
    ///
    /// # Errors
    /// Every file that cannot be read or holds no good token; an audience that is an app's too.
    pub(crate) fn build(
        config: &Config,
        issuers: Option<&Issuers>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Option<Arc<Self>>, LoadError> {
        let Some(scim) = &config.scim else {
            return Ok(None);
        };
        let mut problems = Vec::new();
        let mut tokens = Vec::new();
        for file in &scim.tokens {
            let read = std::fs::read_to_string(file).map(SecretString::from);
            let judged = read
                .map_err(|error| format!("cannot read the file: {error}"))
                .and_then(|token| hash_of(&token));
            match judged {
                Ok(hash) => tokens.push(hash),
                Err(message) => problems.push(Problem {
                    file: file.clone(),
                    position: None,
                    message,
                    help: Some("make one with `openssl rand -base64 48`".to_owned()),
                }),
            }
        }
        let by_issuer = match &scim.token_issuer {
            None => None,
            Some((name, audience)) => match special(config, name, audience) {
                Err(problem) => {
                    problems.push(problem);
                    None
                }
                Ok(issuer) => {
                    let built =
                        Issuers::build(&[issuer], &config.path, issuers, None, clock, entropy);
                    built.map_err(|found| problems.extend(found)).ok()
                }
            },
        };
        if !problems.is_empty() {
            return Err(LoadError { problems });
        }
        Ok(Some(Arc::new(Self {
            tokens,
            issuers: by_issuer,
        })))
    }

    /// Whether it is one of the tokens in files. Takes the same time whichever it is, and looks at hashes, of which a part
    /// that fits tells nothing.
    pub(super) fn has(&self, token: &str) -> bool {
        let hash = sha256(token.as_bytes());
        let mut found = subtle::Choice::from(0);
        for known in &self.tokens {
            found |= known.ct_eq(&hash);
        }
        found.into()
    }

    #[cfg(test)]
    pub(super) fn with_tokens(tokens: &[&str]) -> Self {
        let tokens = tokens.iter().map(|token| sha256(token.as_bytes()));
        Self {
            tokens: tokens.collect(),
            issuers: None,
        }
    }
}

/// The issuer as it is asked here: for this audience only, and whoever the token is about, since it is a program's.
fn special(config: &Config, name: &str, audience: &str) -> Result<config::Issuer, Problem> {
    let problem = |message: String, help: &str| Problem {
        file: config.path.clone(),
        position: None,
        message,
        help: Some(help.to_owned()),
    };
    let found = config.issuers.iter().find(|issuer| issuer.name == name);
    let Some(issuer) = found else {
        let message = format!("unknown issuer `{name}` in [scim]");
        return Err(problem(message, "issuers are declared under [[issuer]]"));
    };
    if issuer.audiences.iter().any(|known| known == audience) {
        let message = format!("audience `{audience}` of [scim] is an app's audience too");
        let help =
            "whoever may use an app could provision people; give SCIM an audience of its own";
        return Err(problem(message, help));
    }
    let mut issuer = issuer.clone();
    issuer.audiences = vec![audience.to_owned()];
    issuer.sign_in = None;
    issuer.claims.user = "sub".to_owned();
    issuer.claims.require_verified_email = false;
    Ok(issuer)
}

fn hash_of(token: &SecretString) -> Result<[u8; 32], String> {
    let token = token.expose_secret().trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("does not hold one token: it has spaces or other bytes in it".to_owned());
    }
    if !(SHORTEST..=LONGEST).contains(&token.len()) {
        return Err(format!(
            "does not hold a token of {SHORTEST} to {LONGEST} characters"
        ));
    }
    Ok(sha256(token.as_bytes()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_open() {
        let (one, two) = ("a".repeat(40), "b".repeat(40));
        let keys = Keys::with_tokens(&[&one, &two]);
        assert!(keys.has(&one) && keys.has(&two));
        for wrong in ["", "a", &one[..39], &format!("{one}a"), &one.to_uppercase()] {
            assert!(!keys.has(wrong), "{wrong}");
        }
        assert!(!Keys::with_tokens(&[]).has(""));
    }

    #[test]
    fn files_hold_one_long_token_each() {
        let judged = |text: &str| hash_of(&text.to_owned().into());
        let token = "k".repeat(32);
        assert_eq!(
            judged(&format!(" {token}\n")).unwrap(),
            sha256(token.as_bytes())
        );
        for wrong in [
            "",
            "\n",
            "short",
            &"k".repeat(31),
            &format!("{token}\n{token}"),
            &"k".repeat(1025),
        ] {
            let message = judged(wrong).unwrap_err();
            assert!(
                wrong.trim().is_empty() || !message.contains(wrong.trim()),
                "tells the token"
            );
        }
    }
}
