//! What the client asks for: authorization requests (RFC 6749 §4.1.1, RFC 7636, OpenID Connect Core §3.1.2.1), parsed
//! once. Whatever is wrong is told to the client only where its address is certain to be the client's.

use serde::Deserialize;

use crate::Language;

use super::level::Level;
use super::params::Params;

/// Longest `state` and `nonce`, in bytes.
const LONGEST_VALUE: usize = 1024;
/// Longest `login_hint` that is worth showing, in characters.
const LONGEST_HINT: usize = 128;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) back: Back,
    pub(crate) nonce: Option<String>,
    /// PKCE, S256.
    pub(crate) challenge: String,
    /// Seconds.
    pub(crate) max_age: Option<u64>,
    pub(crate) prompt: Prompt,
    /// What the authentication is to reach.
    pub(crate) level: Option<Level>,
    /// Whoever does not reach `level` gets no answer but an error.
    pub(crate) essential: bool,
    /// Only this account (OpenID Connect Core §5.5.1, `sub`).
    pub(crate) subject: Option<String>,
    pub(crate) login_hint: Option<String>,
    pub(crate) language: Option<Language>,
}

/// Where the answer goes: one of the client's registered addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
}

/// Whether the person may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    AsNeeded,
    /// Again in any case.
    Login,
    /// Not at all.
    Never,
}

/// An error of RFC 6749 §4.1.2.1 or one of its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
}

const fn fault(code: &'static str, description: &'static str) -> Fault {
    Fault { code, description }
}

const fn invalid(description: &'static str) -> Fault {
    fault("invalid_request", description)
}

pub(crate) const LOGIN_REQUIRED: Fault = fault("login_required", "the person has to sign in");
pub(crate) const UNMET: Fault = fault(
    "unmet_authentication_requirements",
    "the authentication context that was asked for cannot be reached",
);

/// Why a request is not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not our client: told to the person, never to an address in the request.
    UnknownClient,
    /// Not an address of our client: likewise.
    UnknownAddress,
    /// Told to the client.
    Told(Back, Fault),
}

/// The one client.
pub(crate) struct Client<'a> {
    pub(crate) id: &'a str,
    pub(crate) redirect_uris: &'a [String],
}

impl Asked {
    /// Reads a request of `client`.
    /// # Errors: [`Refused`].
    pub(crate) fn parse(params: &Params, client: &Client<'_>) -> Result<Self, Refused> {
        if params.text("client_id") != Some(client.id) {
            return Err(Refused::UnknownClient);
        }
        // Compared as it is (RFC 9700 §2.1): no case, no default port, no trailing slash is forgiven.
        let redirect_uri = params
            .text("redirect_uri")
            .filter(|uri| client.redirect_uris.iter().any(|known| known == uri))
            .ok_or(Refused::UnknownAddress)?;
        let mut back = Back {
            redirect_uri: redirect_uri.to_owned(),
            state: None,
        };
        match short(params, "state") {
            Ok(state) => back.state = state,
            Err(fault) => return Err(Refused::Told(back, fault)),
        }
        read(params, back.clone()).map_err(|fault| Refused::Told(back, fault))
    }
}

fn read(params: &Params, back: Back) -> Result<Asked, Fault> {
    if params.text("request").is_some() {
        return Err(fault(
            "request_not_supported",
            "request objects are not read",
        ));
    }
    if params.text("request_uri").is_some() {
        return Err(fault(
            "request_uri_not_supported",
            "only what was pushed here can be referred to",
        ));
    }
    match params.text("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(fault(
                "unsupported_response_type",
                "only the authorization code flow is offered",
            ));
        }
        None => return Err(invalid("response_type is missing")),
    }
    if !matches!(params.text("response_mode"), None | Some("query")) {
        return Err(invalid("only response_mode=query is offered"));
    }
    if !params.or_empty("scope").split(' ').any(|it| it == "openid") {
        return Err(fault("invalid_scope", "scope must contain openid"));
    }
    if params.text("code_challenge_method") != Some("S256") {
        return Err(invalid("code_challenge_method must be S256"));
    }
    let challenge = params
        .text("code_challenge")
        .filter(|it| is_hash(it))
        .ok_or(invalid("code_challenge must be a SHA-256 in base64url"))?;
    let essential = essential(params)?;
    let voluntary = Level::least(params.or_empty("acr_values").split(' '));
    if essential.asked && essential.level.is_none() {
        return Err(UNMET);
    }
    Ok(Asked {
        back,
        nonce: short(params, "nonce")?,
        challenge: challenge.to_owned(),
        max_age: max_age(params)?,
        prompt: prompt(params)?,
        level: essential.level.or(voluntary),
        essential: essential.asked,
        subject: essential.subject,
        login_hint: params
            .text("login_hint")
            .filter(|hint| hint.chars().count() <= LONGEST_HINT)
            .filter(|hint| !hint.contains(char::is_control))
            .map(str::to_owned),
        language: params
            .or_empty("ui_locales")
            .split(' ')
            .find_map(Language::of_tag),
    })
}

/// 32 bytes in base64url.
fn is_hash(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
}

fn short(params: &Params, name: &str) -> Result<Option<String>, Fault> {
    match params.text(name) {
        Some(value) if value.len() > LONGEST_VALUE || value.contains(char::is_control) => Err(
            invalid("state and nonce must be at most 1024 bytes of text"),
        ),
        value => Ok(value.map(str::to_owned)),
    }
}

fn max_age(params: &Params) -> Result<Option<u64>, Fault> {
    let Some(text) = params.text("max_age") else {
        return Ok(None);
    };
    if text.len() > 10 || !text.bytes().all(|it| it.is_ascii_digit()) {
        return Err(invalid("max_age must be a number of seconds"));
    }
    text.parse()
        .map(Some)
        .map_err(|_| invalid("max_age must be a number of seconds"))
}

fn prompt(params: &Params) -> Result<Prompt, Fault> {
    let words: Vec<_> = params.or_empty("prompt").split_ascii_whitespace().collect();
    match words.as_slice() {
        ["none"] => Ok(Prompt::Never),
        words if words.contains(&"none") => Err(invalid("prompt=none stands alone")),
        // There is one account to choose in one browser: the one that signs in.
        words
            if words
                .iter()
                .any(|it| matches!(*it, "login" | "select_account")) =>
        {
            Ok(Prompt::Login)
        }
        _ => Ok(Prompt::AsNeeded),
    }
}

#[derive(Default)]
struct Essential {
    asked: bool,
    level: Option<Level>,
    subject: Option<String>,
}

/// OpenID Connect Core §5.5, as far as it concerns authentication.
#[derive(Default, Deserialize)]
struct ClaimsRequest {
    #[serde(default)]
    id_token: Option<IdTokenRequest>,
}

#[derive(Default, Deserialize)]
struct IdTokenRequest {
    acr: Option<ClaimRequest>,
    sub: Option<ClaimRequest>,
}

#[derive(Default, Deserialize)]
struct ClaimRequest {
    #[serde(default)]
    essential: bool,
    value: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

impl ClaimRequest {
    fn wanted(&self) -> impl Iterator<Item = &str> {
        self.value.iter().chain(&self.values).map(String::as_str)
    }
}

fn essential(params: &Params) -> Result<Essential, Fault> {
    let Some(text) = params.text("claims") else {
        return Ok(Essential::default());
    };
    let claims: ClaimsRequest =
        serde_json::from_str(text).map_err(|_| invalid("claims cannot be read"))?;
    let Some(wanted) = claims.id_token else {
        return Ok(Essential::default());
    };
    let acr = wanted.acr.unwrap_or_default();
    let named = acr.wanted().next().is_some();
    Ok(Essential {
        // Essential without a value only asks that the claim be there, and it always is.
        asked: acr.essential && named,
        level: Level::least(acr.wanted()),
        subject: wanted
            .sub
            .and_then(|sub| sub.wanted().next().map(str::to_owned)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn parse(changes: &[(&str, &str)]) -> Result<Asked, Refused> {
        let mut params = vec![
            ("client_id", "gateway"),
            ("redirect_uri", "https://login.example/callback/people"),
            ("response_type", "code"),
            ("scope", "openid email"),
            ("state", "S"),
            ("nonce", "N"),
            ("code_challenge", HASH),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            params.retain(|(other, _)| other != name);
            params.push((name, value));
        }
        let encoded = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish();
        let uris = ["https://login.example/callback/people".to_owned()];
        Asked::parse(
            &Params::parse(encoded.as_bytes()).unwrap(),
            &Client {
                id: "gateway",
                redirect_uris: &uris,
            },
        )
    }

    fn told(changes: &[(&str, &str)]) -> &'static str {
        match parse(changes) {
            Err(Refused::Told(_, fault)) => fault.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_request_is_read() {
        let asked = parse(&[]).unwrap();
        assert_eq!(asked.back.state.as_deref(), Some("S"));
        assert_eq!(asked.nonce.as_deref(), Some("N"));
        assert_eq!((asked.level, asked.essential), (None, false));
        assert_eq!(asked.prompt, Prompt::AsNeeded);
    }

    #[test]
    fn an_address_that_is_not_registered_is_never_told_anything() {
        for uri in [
            "https://login.example/callback/people/",
            "https://login.example/callback/people?x=1",
            "https://login.example/callback/../callback/people",
            "https://LOGIN.example/callback/people",
            "https://login.example:443/callback/people",
            "https://login.example@evil.example/callback/people",
            "https://evil.example/",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(
                parse(&[("redirect_uri", uri), ("response_type", "token")]),
                Err(Refused::UnknownAddress),
                "{uri}"
            );
        }
        assert_eq!(
            parse(&[("client_id", "other")]),
            Err(Refused::UnknownClient)
        );
    }

    #[test]
    fn each_fault_has_its_code() {
        let long = "x".repeat(1025);
        for (change, code) in [
            (("response_type", "token"), "unsupported_response_type"),
            (
                ("response_type", "code id_token"),
                "unsupported_response_type",
            ),
            (("response_type", ""), "invalid_request"),
            (("response_mode", "fragment"), "invalid_request"),
            (("scope", "email"), "invalid_scope"),
            (("code_challenge_method", "plain"), "invalid_request"),
            (("code_challenge_method", ""), "invalid_request"),
            (("code_challenge", ""), "invalid_request"),
            (("code_challenge", "short"), "invalid_request"),
            (("state", long.as_str()), "invalid_request"),
            (("nonce", long.as_str()), "invalid_request"),
            (("max_age", "-1"), "invalid_request"),
            (("max_age", "99999999999"), "invalid_request"),
            (("prompt", "none login"), "invalid_request"),
            (("claims", "{"), "invalid_request"),
            (("request", "e30."), "request_not_supported"),
            (
                ("request_uri", "https://evil.example"),
                "request_uri_not_supported",
            ),
        ] {
            assert_eq!(told(&[change]), code, "{change:?}");
        }
    }

    #[test]
    fn levels_are_voluntary_or_essential() {
        let asked = parse(&[("acr_values", "phr mfa")]).unwrap();
        assert_eq!(
            (asked.level, asked.essential),
            (Some(Level::MultiFactor), false)
        );
        let claims = r#"{"id_token":{"acr":{"essential":true,"values":["phr"]},"auth_time":{"essential":true}}}"#;
        let asked = parse(&[("acr_values", "mfa"), ("claims", claims)]).unwrap();
        assert_eq!(
            (asked.level, asked.essential),
            (Some(Level::PhishingResistant), true)
        );
        let nobody = r#"{"id_token":{"acr":{"essential":true,"value":"gold"}}}"#;
        assert_eq!(
            told(&[("claims", nobody)]),
            "unmet_authentication_requirements"
        );
        let any = r#"{"id_token":{"acr":{"essential":true}}}"#;
        assert!(!parse(&[("claims", any)]).unwrap().essential);
    }

    #[test]
    fn languages_are_taken_in_order() {
        assert_eq!(
            parse(&[("ui_locales", "fr ja-JP en")]).unwrap().language,
            Some(Language::Japanese)
        );
        assert_eq!(parse(&[("ui_locales", "fr")]).unwrap().language, None);
    }
}
