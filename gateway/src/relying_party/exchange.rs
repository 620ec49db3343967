//! Codes and refresh tokens for tokens (RFC 6749 §4.1.3 and §6): the `oauth2` crate writes and reads the messages, our
//! transport carries them. Redirects are never followed, and answers have one meaning or none.

use std::pin::Pin;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use masugata_policy::Timestamp;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::proof::Proof;
use super::{Attempt, Provider};
use crate::issuer::{Answer, FetchError, ProviderMetadata, Question, Transport, parse_object};

/// What the token endpoint gave.
pub(super) struct Granted {
    pub(super) access_token: SecretString,
    pub(super) id_token: Option<SecretString>,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) expires_in: Option<Duration>,
}

/// Why it gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotGranted {
    /// The endpoint's own word (RFC 6749 §5.2).
    Stated(Box<str>),
    /// There was no answer, or none that means anything.
    Silent(Box<str>),
}

/// Why an answer is not even looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskFault {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("status {0}")]
    Status(http::StatusCode),
    #[error("a redirect, which is not followed")]
    Redirect,
    #[error("not a JSON object with unique members")]
    Json,
}

/// The one member that OpenID adds.
#[derive(Deserialize, Serialize)]
pub(super) struct WithIdToken {
    #[serde(default, skip_serializing)]
    id_token: Option<String>,
}

impl ExtraTokenFields for WithIdToken {}

// The crate demands it; a token must not be printed.
impl std::fmt::Debug for WithIdToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WithIdToken")
            .finish_non_exhaustive()
    }
}

type Tokens = StandardTokenResponse<WithIdToken, BasicTokenType>;

/// The `oauth2` client as it is used here.
pub(super) type Client<Authorize, Token> = oauth2::Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    Authorize,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    Token,
>;

/// One without any endpoint.
pub(super) fn client(client_id: &str) -> Client<EndpointNotSet, EndpointNotSet> {
    oauth2::Client::new(ClientId::new(client_id.to_owned()))
}

type Failure = RequestTokenError<AskFault, BasicErrorResponse>;

impl Provider {
    /// The code of `attempt` for tokens.
    pub(super) async fn redeem(
        &self,
        attempt: &Attempt,
        code: String,
        metadata: &ProviderMetadata,
        now: Timestamp,
    ) -> Result<Granted, NotGranted> {
        let redirect = RedirectUrl::new(attempt.redirect_uri.clone())
            .map_err(|_| silent("our own address is no URL"))?;
        let client = self.token_client(metadata)?.set_redirect_uri(redirect);
        let verifier = attempt.verifier.expose_secret().to_owned();
        let mut request = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier));
        for (name, value) in self.assertion(metadata, now)? {
            request = request.add_extra_param(name, value.expose_secret().to_owned());
        }
        let carrier = Carrier {
            transport: &self.transport,
            metadata,
        };
        let answer: Answered<'_> = Box::pin(request.request_async(&carrier));
        granted(answer.await)
    }

    /// A refresh token for newer tokens.
    pub(super) async fn renew(
        &self,
        token: &SecretString,
        metadata: &ProviderMetadata,
        now: Timestamp,
    ) -> Result<Granted, NotGranted> {
        let client = self.token_client(metadata)?;
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let mut request = client.exchange_refresh_token(&token);
        for (name, value) in self.assertion(metadata, now)? {
            request = request.add_extra_param(name, value.expose_secret().to_owned());
        }
        let carrier = Carrier {
            transport: &self.transport,
            metadata,
        };
        let answer: Answered<'_> = Box::pin(request.request_async(&carrier));
        granted(answer.await)
    }

    fn token_client(
        &self,
        metadata: &ProviderMetadata,
    ) -> Result<Client<EndpointNotSet, EndpointSet>, NotGranted> {
        let url = TokenUrl::new(metadata.token.url.to_string())
            .map_err(|_| silent("`token_endpoint` is no URL"))?;
        let client = client(&self.client().client_id).set_token_uri(url);
        let secret = |secret: &SecretString| ClientSecret::new(secret.expose_secret().to_owned());
        Ok(match &self.proof {
            Proof::Basic(it) => client
                .set_auth_type(AuthType::BasicAuth)
                .set_client_secret(secret(it)),
            Proof::Post(it) => client
                .set_auth_type(AuthType::RequestBody)
                .set_client_secret(secret(it)),
            Proof::Key(_) | Proof::Local => client.set_auth_type(AuthType::RequestBody),
        })
    }

    /// Parameters that prove who asks, beyond what the crate sends itself.
    fn assertion(
        &self,
        metadata: &ProviderMetadata,
        now: Timestamp,
    ) -> Result<Vec<(&'static str, SecretString)>, NotGranted> {
        match &self.proof {
            Proof::Basic(_) | Proof::Post(_) | Proof::Local => Ok(Vec::new()),
            Proof::Key(_) => self
                .show(metadata, now)
                .map(|shown| shown.parameters)
                .map_err(|fault| silent(&fault.to_string())),
        }
    }
}

/// Carries requests of the crate to the token endpoint, wherever the crate thinks they go.
struct Carrier<'a> {
    transport: &'a Transport,
    metadata: &'a ProviderMetadata,
}

/// Futures with a name: the compiler cannot see by itself that the crate's may move between threads.
type Answered<'a> = Pin<Box<dyn Future<Output = Result<Tokens, Failure>> + Send + 'a>>;
type Carried<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, AskFault>> + Send + 'a>>;

impl<'c> AsyncHttpClient<'c> for Carrier<'_> {
    type Error = AskFault;
    type Future = Carried<'c>;

    fn call(&'c self, request: HttpRequest) -> Carried<'c> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut question = Question::post(body);
            if let Some(value) = head.headers.get(AUTHORIZATION) {
                question = question.with_authorization(value.clone());
            }
            let location = &self.metadata.token.location;
            let answer = judged(self.transport.send(location, question).await?)?;
            let mut response = HttpResponse::new(answer.body.to_vec());
            *response.status_mut() = answer.status;
            if let Some(kind) = answer.content_type {
                response.headers_mut().insert(CONTENT_TYPE, kind);
            }
            Ok(response)
        })
    }
}

/// Answers that say something about the request: success and the client's errors, in JSON.
pub(super) fn judged(answer: Answer) -> Result<Answer, AskFault> {
    let status = answer.status;
    if status.is_redirection() {
        return Err(AskFault::Redirect);
    }
    let refused = status.is_client_error()
        && status != http::StatusCode::REQUEST_TIMEOUT
        && status != http::StatusCode::TOO_MANY_REQUESTS;
    if !status.is_success() && !refused {
        return Err(AskFault::Status(status));
    }
    match parse_object(&answer.body) {
        Some(_) => Ok(answer),
        None if refused => Err(AskFault::Status(status)),
        None => Err(AskFault::Json),
    }
}

fn granted(answer: Result<Tokens, Failure>) -> Result<Granted, NotGranted> {
    let tokens = answer.map_err(|failure| match failure {
        RequestTokenError::ServerResponse(error) => {
            NotGranted::Stated(error.error().as_ref().into())
        }
        RequestTokenError::Request(fault) => silent(&fault.to_string()),
        // Both may quote the answer, in which there may be tokens.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            silent("an answer that is no token response")
        }
    })?;
    if !matches!(tokens.token_type(), BasicTokenType::Bearer) {
        return Err(silent("an access token of another type than `Bearer`"));
    }
    let secret = |text: &String| SecretString::from(text.clone());
    Ok(Granted {
        access_token: secret(tokens.access_token().secret()),
        id_token: tokens.extra_fields().id_token.as_ref().map(secret),
        refresh_token: tokens.refresh_token().map(|it| secret(it.secret())),
        expires_in: tokens.expires_in(),
    })
}

fn silent(detail: &str) -> NotGranted {
    NotGranted::Silent(detail.into())
}
