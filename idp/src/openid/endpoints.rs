//! What the client asks without a browser: discovery, keys, pushed requests (RFC 9126), tokens, UserInfo.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::pages::answer;
use crate::provider::{Asking, PUSHED_LIFETIME, Provider};
use crate::random;
use crate::shelf::name_of;

use super::grant::{self, TOKEN_LIFETIME};
use super::metadata;
use super::params::Params;
use super::request::{Asked, Refused};

const FORM: &str = "application/x-www-form-urlencoded";
/// RFC 9126 §2.2.
pub(super) const PUSHED: &str = "urn:ietf:params:oauth:request_uri:";

impl Provider {
    pub(crate) fn discovery(&self, _: &Asking<'_>) -> Response<Bytes> {
        kept(metadata::document(&self.issuer))
    }

    pub(crate) fn jwks(&self, asking: &Asking<'_>) -> Response<Bytes> {
        kept(self.keys.published(asking.now()))
    }

    /// RFC 9126. What is wrong is told here and now, to the client that asked.
    pub(crate) fn push(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let params = match self.client_form(asking) {
            Ok(params) => params,
            Err(refusal) => return refusal,
        };
        match Asked::parse(&params, &self.client(asking.face)) {
            Ok(asked) => {
                let reference = random::handle(&*self.random);
                self.pushed.put(name_of(&reference), asked, asking.now());
                answer::json(
                    StatusCode::CREATED,
                    &json!({
                        "request_uri": format!("{PUSHED}{reference}"),
                        "expires_in": PUSHED_LIFETIME / 1000,
                    }),
                )
            }
            Err(Refused::UnknownClient) => invalid_client(),
            Err(Refused::UnknownAddress) => fault(
                "invalid_request",
                "redirect_uri is not an address of this client",
            ),
            Err(Refused::Told(_, wrong)) => fault(wrong.code, wrong.description),
        }
    }

    /// RFC 6749 §4.1.3, §5.
    pub(crate) fn token(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let params = match self.client_form(asking) {
            Ok(params) => params,
            Err(refusal) => return refusal,
        };
        match params.text("grant_type") {
            Some("authorization_code") => {}
            Some(_) => {
                return fault("unsupported_grant_type", "only codes are exchanged");
            }
            None => return fault("invalid_request", "grant_type is missing"),
        }
        let exchanged = self.grants.exchange(
            params.or_empty("code"),
            params.or_empty("redirect_uri"),
            params.or_empty("code_verifier"),
            &*self.random,
            asking.now(),
        );
        let Some(exchanged) = exchanged else {
            return fault(
                "invalid_grant",
                "the code is unknown, used, over or not for this",
            );
        };
        // Disabled in the seconds since the code was given.
        let account = self.accounts.get(&exchanged.who.account);
        let Some(account) = account.filter(|account| account.active) else {
            return fault("invalid_grant", "the account does not count any more");
        };
        let claims = grant::id_token(
            &self.issuer,
            &self.client_id,
            &exchanged,
            &account,
            asking.now(),
        );
        match self.keys.sign(&claims, asking.now()) {
            Ok(id_token) => answer::json(
                StatusCode::OK,
                &json!({
                    "access_token": exchanged.access_token.expose_secret(),
                    "token_type": "Bearer",
                    "expires_in": TOKEN_LIFETIME / 1000,
                    "scope": "openid profile email groups",
                    "id_token": id_token,
                }),
            ),
            Err(error) => {
                tracing::error!(%error, "an ID token was not signed");
                answer::json(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &json!({ "error": "server_error" }),
                )
            }
        }
    }

    /// OpenID Connect Core §5.3, RFC 6750 §2.1 only.
    pub(crate) fn userinfo(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let account = asking
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.grants.bearer(token.trim(), asking.now()))
            .and_then(|account| self.accounts.get(&account))
            .filter(|account| account.active);
        match account {
            Some(account) => answer::json(StatusCode::OK, &Value::Object(grant::about(&account))),
            None => {
                let mut refusal = answer::json(
                    StatusCode::UNAUTHORIZED,
                    &json!({ "error": "invalid_token" }),
                );
                refusal.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer error=\"invalid_token\""),
                );
                refusal
            }
        }
    }

    /// A form of the one client.
    #[expect(
        clippy::result_large_err,
        reason = "the error is the answer, once per request"
    )]
    fn client_form(&self, asking: &Asking<'_>) -> Result<Params, Response<Bytes>> {
        if !asking.is_of_type(FORM) || asking.uri.query().is_some() {
            return Err(fault("invalid_request", "a form in the body is expected"));
        }
        let params = Params::parse(asking.body)
            .map_err(|_| fault("invalid_request", "the parameters cannot be read"))?;
        if self.is_client(asking, &params) {
            Ok(params)
        } else {
            Err(invalid_client())
        }
    }
}

/// Public, and the same for an hour: shorter than a key is published before it signs.
fn kept(document: Value) -> Response<Bytes> {
    let mut response = answer::json(StatusCode::OK, &document);
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=3600"),
    );
    response
}

/// RFC 6749 §5.2.
fn fault(code: &'static str, description: &'static str) -> Response<Bytes> {
    answer::json(
        StatusCode::BAD_REQUEST,
        &json!({ "error": code, "error_description": description }),
    )
}

fn invalid_client() -> Response<Bytes> {
    let mut refusal = answer::json(
        StatusCode::UNAUTHORIZED,
        &json!({ "error": "invalid_client" }),
    );
    refusal.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"token\""),
    );
    refusal
}
