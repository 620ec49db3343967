//! What the tests of this module share: a provider on loopback, the gateway as its client, and a browser that does as told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use masugata_policy::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::*;
use crate::capability::{Clock, SystemEntropy};
use crate::config::sign_in::{AssuranceRequest, Client, ClientAuthentication, Overage, Pushed};
use crate::config::{self, KeySource};
use crate::issuer::Issuers;
use crate::issuer::testing::{self, HandClock, START, Signer, encode, issuer_config};

pub(super) const CLIENT: &str = "gateway:1";
pub(super) const CALLBACK: &str = "https://login.example/callback/corp";
const OPENID: &str = "/realm/.well-known/openid-configuration";

pub(super) struct World {
    pub(super) server: testing::Provider,
    pub(super) clock: Arc<HandClock>,
    pub(super) signer: Signer,
    pub(super) config: config::Issuer,
    pub(super) metadata: Value,
    pub(super) directory: tempfile::TempDir,
    pub(super) issuers: Issuers,
    pub(super) providers: Providers,
}

/// What a test changes before the gateway loads.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) issuer: config::Issuer,
    pub(super) metadata: Value,
    pub(super) base: String,
    pub(super) directory: PathBuf,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let server = testing::Provider::start(None).await;
        let directory = tempfile::tempdir().unwrap();
        let base = format!("http://127.0.0.1:{}", server.address.port());
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "s3cret%+ é\n").unwrap();
        let mut plan = Plan {
            client: client(ClientAuthentication::SecretBasic(secret)),
            issuer: config::Issuer {
                issuer: format!("{base}/realm"),
                acr_multi_factor: vec!["gold".into()],
                acr_phishing_resistant: vec!["phr".into()],
                keys: KeySource::Discovery {
                    authority: None,
                    timeout: Duration::from_millis(800),
                    refresh: Duration::from_secs(3600),
                    max_age: Duration::from_secs(24 * 3600),
                },
                ..issuer_config()
            },
            metadata: json!({
                "issuer": format!("{base}/realm"),
                "jwks_uri": format!("{base}/keys"),
                "authorization_endpoint": format!("{base}/authorize?tenant=a"),
                "token_endpoint": format!("{base}/token"),
                "userinfo_endpoint": format!("{base}/userinfo"),
                "end_session_endpoint": format!("{base}/logout"),
                "revocation_endpoint": format!("{base}/revoke"),
                "authorization_response_iss_parameter_supported": true,
            }),
            base,
            directory: directory.path().to_owned(),
        };
        change(&mut plan);
        let mut config = plan.issuer;
        config.sign_in = Some(plan.client);
        let signer = Signer::es256("k1");
        server.answer(OPENID, &plan.metadata.to_string());
        server.answer("/keys", &testing::key_set(&[&signer]));
        let clock = HandClock::new();
        let (issuers, providers) = load(&config, None, &clock).unwrap();
        issuers.start();
        Self {
            server,
            clock,
            signer,
            config,
            metadata: plan.metadata,
            directory,
            issuers,
            providers,
        }
    }

    pub(super) fn provider(&self) -> &Arc<Provider> {
        self.providers.by_issuer_name("corp").unwrap()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn begin(&self, wanted: Wanted) -> (Attempt, Parameters) {
        let entropy = SystemEntropy::default();
        let begun = self
            .provider()
            .begin(wanted, CALLBACK, &entropy, self.now())
            .await;
        let (attempt, url) = begun.map_err(|error| error.to_string()).unwrap();
        (attempt, Parameters::of_url(&url))
    }

    /// Claims of an ID Token for that question.
    pub(super) fn claims(&self, asked: &Parameters) -> Value {
        json!({
            "iss": self.config.issuer, "aud": CLIENT, "sub": "ada", "nonce": asked["nonce"],
            "iat": START, "exp": START + 300, "auth_time": START, "sid": "s1", "name": "Ada",
            "groups": ["g1"], "amr": ["pwd", "otp"], "acr": "gold", "preferred_username": "ada.l",
            "email": "Ada@Example.com", "email_verified": true,
        })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
        self.signer
            .token_of(&header.to_string(), &claims.to_string())
    }

    /// The token endpoint gives this ID Token.
    pub(super) fn grant(&self, id_token: &str) {
        let answer = json!({
            "access_token": "access", "token_type": "bearer", "expires_in": 300,
            "refresh_token": "r1", "id_token": id_token,
        });
        self.server.answer("/token", &answer.to_string());
    }

    /// The answer in the browser.
    pub(super) fn answer(&self, asked: &Parameters) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("code", "c0de")
            .append_pair("state", &asked["state"])
            .append_pair("iss", &self.config.issuer)
            .finish()
    }

    pub(super) async fn complete(
        &self,
        attempt: Attempt,
        query: &str,
    ) -> Result<SignedIn, SignInError> {
        self.provider().complete(attempt, query, self.now()).await
    }

    /// A whole sign-in whose ID Token has those members changed; `null` takes one away.
    pub(super) async fn sign_in(
        &self,
        wanted: Wanted,
        changes: Value,
    ) -> Result<SignedIn, SignInError> {
        let (attempt, asked) = self.begin(wanted).await;
        let claims = changed(self.claims(&asked), changes);
        self.grant(&self.sign(&claims));
        self.complete(attempt, &self.answer(&asked)).await
    }

    pub(super) async fn fault(&self, changes: Value) -> SignInError {
        self.sign_in(wanted(), changes).await.err().unwrap()
    }

    pub(super) fn reload(&self, change: impl FnOnce(&mut config::Issuer)) -> (Issuers, Providers) {
        let mut config = self.config.clone();
        change(&mut config);
        load(&config, Some((&self.issuers, &self.providers)), &self.clock).unwrap()
    }
}

pub(super) fn load(
    config: &config::Issuer,
    previous: Option<(&Issuers, &Providers)>,
    clock: &Arc<HandClock>,
) -> Result<(Issuers, Providers), Vec<crate::config::error::Problem>> {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
    let file = Path::new("masugata.toml");
    let issuers = Issuers::build(
        std::slice::from_ref(config),
        file,
        previous.map(|(issuers, _)| issuers),
        None,
        &clock,
        &*entropy,
    )?;
    let providers = Providers::build(&issuers, file, previous.map(|(_, it)| it), &entropy)?;
    Ok((issuers, providers))
}

pub(super) fn client(authentication: ClientAuthentication) -> Client {
    Client {
        client_id: CLIENT.to_owned(),
        authentication,
        scopes: vec!["openid".into(), "profile".into()],
        label: "Example KK".to_owned(),
        email_domains: vec!["example.com".into()],
        asks: AssuranceRequest::AcrValues,
        pushed: Pushed::Offered,
        userinfo: false,
        overage: Overage::Refuse,
        group_names: None,
        required_claims: Vec::new(),
        refresh: false,
    }
}

pub(super) fn wanted() -> Wanted {
    Wanted {
        acr_values: Vec::new(),
        max_age: None,
        phishing_resistant: false,
        multi_factor: false,
        login_hint: None,
        language: Language::Japanese,
    }
}

pub(super) fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A query or a form, each name once.
#[derive(Debug)]
pub(super) struct Parameters(pub(super) HashMap<String, String>);

impl Parameters {
    pub(super) fn of_url(url: &str) -> Self {
        Self::of(url::Url::parse(url).unwrap().query().unwrap())
    }

    pub(super) fn of(form: &str) -> Self {
        let mut map = HashMap::new();
        for (name, value) in form_urlencoded::parse(form.as_bytes()) {
            assert!(
                map.insert(name.to_string(), value.to_string()).is_none(),
                "{name} twice"
            );
        }
        Self(map)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl std::ops::Index<&str> for Parameters {
    type Output = String;

    fn index(&self, name: &str) -> &String {
        &self.0[name]
    }
}

/// SHA-256, its left half, as `at_hash` has it.
pub(super) fn half_hash(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    encode(&hash.as_ref()[..16])
}

pub(super) fn raw(status: &str, head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

pub(super) fn text(secret: &SecretString) -> &str {
    secret.expose_secret()
}
