//! The question: an authorization request (OpenID Connect Core §3.1.2.1) with PKCE (RFC 7636), in the URL or pushed
//! beforehand (RFC 9126).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use masugata_policy::Timestamp;
use oauth2::{
    AuthUrl, AuthorizationRequest, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    Scope,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::exchange::{self, judged};
use super::{Attempt, Provider, SignInError, Wanted};
use crate::capability::Entropy;
use crate::config::sign_in::{AssuranceRequest, Pushed};
use crate::issuer::{Cleaned, Endpoint, ProviderMetadata, parse_object};

/// Longest `request_uri` that is believed, bytes.
const MAX_REQUEST_URI_BYTES: usize = 2048;

/// Longest `login_hint` that is passed on, bytes.
const MAX_HINT_BYTES: usize = 320;

impl Provider {
    pub(super) async fn ask(
        &self,
        wanted: Wanted,
        redirect_uri: &str,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<(Attempt, String), SignInError> {
        let published = self.published(now).await?;
        let metadata = published
            .metadata()
            .map_err(|error| self.metadata_fault(&error.to_string()))?;
        let attempt = Attempt {
            issuer: self.name().into(),
            state: secret(entropy),
            nonce: secret(entropy),
            verifier: secret(entropy),
            redirect_uri: redirect_uri.to_owned(),
            began: now,
            contexts: self.contexts(&wanted),
            names_itself: metadata.names_itself,
            wanted,
        };
        let url = self.url(&attempt, metadata)?;
        let pushed = match (self.client().pushed, &metadata.pushed) {
            (Pushed::Offered | Pushed::Required, Some(endpoint)) => Some(endpoint),
            (Pushed::Offered, None) if metadata.requires_pushed => {
                return Err(
                    self.metadata_fault("it requires pushed requests and says no place for them")
                );
            }
            (Pushed::Required, None) => {
                return Err(self.metadata_fault("it does not offer pushed requests (RFC 9126)"));
            }
            (Pushed::Never, _) if metadata.requires_pushed => {
                return Err(self.metadata_fault("it requires pushed requests (RFC 9126)"));
            }
            (Pushed::Offered, None) | (Pushed::Never, _) => None,
        };
        let url = match pushed {
            Some(endpoint) => self.push(&url, endpoint, metadata, now).await?,
            None => url,
        };
        Ok((attempt, url.into()))
    }

    /// The context classes to ask for: those of the app that this provider's configuration knows, else what the provider
    /// calls what is needed.
    fn contexts(&self, wanted: &Wanted) -> Vec<String> {
        let config = self.issuer.config();
        if self.client().asks == AssuranceRequest::Nothing {
            return Vec::new();
        }
        let resistant = &config.acr_phishing_resistant;
        let several = &config.acr_multi_factor;
        let enough: Vec<&String> = if wanted.phishing_resistant {
            resistant.iter().collect()
        } else {
            several.iter().chain(resistant).collect()
        };
        let of_app: Vec<String> = wanted
            .acr_values
            .iter()
            .filter(|value| enough.contains(value))
            .cloned()
            .collect();
        if !of_app.is_empty() {
            return of_app;
        }
        if (wanted.phishing_resistant || wanted.multi_factor) && !enough.is_empty() {
            return enough.into_iter().cloned().collect();
        }
        wanted.acr_values.clone()
    }

    fn url(&self, attempt: &Attempt, metadata: &ProviderMetadata) -> Result<Url, SignInError> {
        let authorize = AuthUrl::new(metadata.authorization.url.to_string())
            .map_err(|_| self.metadata_fault("`authorization_endpoint` is no URL"))?;
        let redirect = RedirectUrl::new(attempt.redirect_uri.clone())
            .map_err(|_| self.metadata_fault("our own address is no URL"))?;
        let client = exchange::client(&self.client().client_id)
            .set_auth_uri(authorize)
            .set_redirect_uri(redirect);
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let verifier = PkceCodeVerifier::new(text(&attempt.verifier));
        let scopes = self.client().scopes.iter();
        let openid = !self.client().scopes.iter().any(|scope| scope == "openid");
        let mut request = client
            .authorize_url(|| CsrfToken::new(text(&attempt.state)))
            .add_scopes(openid.then(|| Scope::new("openid".to_owned())))
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_extra_param("nonce", text(&attempt.nonce))
            .add_extra_param("ui_locales", attempt.wanted.language.tag());
        request = self.with_assurance(request, attempt, metadata);
        if let Some(hint) = attempt
            .wanted
            .login_hint
            .as_deref()
            .filter(|it| is_hint(it))
        {
            request = request.add_extra_param("login_hint", hint.to_owned());
        }
        // Google shows only accounts of this domain then; the claim is checked all the same.
        let hosted = self.client().required_claims.iter();
        if let Some((_, domain)) = hosted.into_iter().find(|(name, _)| name == "hd") {
            request = request.add_extra_param("hd", domain.clone());
        }
        Ok(request.url().0)
    }

    fn with_assurance<'a>(
        &self,
        mut request: AuthorizationRequest<'a>,
        attempt: &Attempt,
        metadata: &ProviderMetadata,
    ) -> AuthorizationRequest<'a> {
        let asks = self.client().asks;
        let mut claims = Map::new();
        let essential = |values: &[String]| match values {
            [one] => json!({"essential": true, "value": one}),
            several => json!({"essential": true, "values": several}),
        };
        if !attempt.contexts.is_empty() {
            match asks {
                AssuranceRequest::AcrValues => {
                    request = request.add_extra_param("acr_values", attempt.contexts.join(" "));
                }
                AssuranceRequest::EssentialAcr => {
                    claims.insert("acr".to_owned(), essential(&attempt.contexts));
                }
                AssuranceRequest::EssentialAcrs => {
                    claims.insert("acrs".to_owned(), essential(&attempt.contexts));
                }
                AssuranceRequest::Nothing => {}
            }
        }
        if let Some(max_age) = attempt.wanted.max_age {
            request = request.add_extra_param("max_age", max_age.to_string());
            // Several providers put `auth_time` into the token only when it is asked for by name.
            if !claims.is_empty() || metadata.takes_claims {
                claims.insert("auth_time".to_owned(), json!({"essential": true}));
            }
            if max_age == 0 || asks == AssuranceRequest::Nothing {
                request = request.add_extra_param("prompt", "login");
            }
        }
        if claims.is_empty() {
            return request;
        }
        let claims = json!({ "id_token": Value::Object(claims) });
        request.add_extra_param("claims", claims.to_string())
    }

    /// RFC 9126: the question goes to the provider's server, and the browser carries only its name.
    async fn push(
        &self,
        url: &Url,
        endpoint: &Endpoint,
        metadata: &ProviderMetadata,
        now: Timestamp,
    ) -> Result<Url, SignInError> {
        let bare = Url::parse(&metadata.authorization.url)
            .map_err(|_| self.metadata_fault("`authorization_endpoint` is no URL"))?;
        // The endpoint's own query, if it has one, stays with the endpoint.
        let own = bare.query_pairs().count();
        let shown = self
            .show(metadata, now)
            .map_err(|fault| self.unavailable(&fault.to_string()))?;
        let question = shown.question(url.query_pairs().skip(own));
        let answer = self.transport.send(&endpoint.location, question).await;
        let answer = answer
            .map_err(|error| self.unavailable(&format!("pushed request: {error}")))
            .and_then(|answer| {
                judged(answer)
                    .map_err(|fault| self.unavailable(&format!("pushed request: {fault}")))
            })?;
        let object = parse_object(&answer.body).unwrap_or_default();
        if !answer.status.is_success() {
            let error = object.get("error").and_then(Value::as_str).unwrap_or("");
            return Err(match error {
                "invalid_client" | "unauthorized_client" => {
                    SignInError::ClientRefused(Cleaned::new(error))
                }
                other => SignInError::Refused(Cleaned::new(other)),
            });
        }
        let request_uri = object.get("request_uri").and_then(Value::as_str);
        let request_uri = request_uri
            .filter(|uri| !uri.is_empty() && uri.len() <= MAX_REQUEST_URI_BYTES)
            .filter(|uri| uri.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.unavailable("pushed request: no `request_uri`"))?;
        let mut url = bare;
        url.query_pairs_mut()
            .append_pair("client_id", &self.client().client_id)
            .append_pair("request_uri", request_uri);
        Ok(url)
    }
}

/// 256 bits in 43 characters, which is what PKCE needs at least (RFC 7636 §4.1).
fn secret(entropy: &dyn Entropy) -> SecretString {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

fn is_hint(hint: &str) -> bool {
    !hint.is_empty() && hint.len() <= MAX_HINT_BYTES && !hint.chars().any(char::is_control)
}
