//! `[issuer.sign_in]`: the gateway as a client of an OpenID provider.

use super::super::preset::{Ways, is_tenant_id, tenant};
use super::super::{Builder, Purpose, value_or};
use crate::config::defaults::sign_in as defaults;
use crate::config::raw::sign_in as raw;
use crate::config::sign_in::{AssuranceRequest, Client, ClientAuthentication, Preset, SecretWay};
use crate::config::text::{At, Text, Word, quoted};

/// What the client's issuer says, as far as it matters here.
pub(in crate::config::load) struct Of<'a> {
    pub(in crate::config::load) name: &'a str,
    pub(in crate::config::load) issuer: Option<&'a Text<crate::config::text::IssuerUrl>>,
    pub(in crate::config::load) preset: Option<Preset>,
    pub(in crate::config::load) ways: &'a Ways,
    /// An `acr` value is known that several factors have.
    pub(in crate::config::load) can_ask: bool,
    pub(in crate::config::load) out_of_band: bool,
}

impl Builder<'_> {
    pub(in crate::config::load) fn client(
        &mut self,
        raw: At<raw::Client>,
        of: &Of<'_>,
    ) -> Option<Client> {
        let At { value: raw, span } = raw;
        self.clients.push(span.start);
        let authentication = self.client_authentication(
            raw.client_secret_file,
            raw.client_key_file,
            raw.client_key_id,
            raw.client_authentication,
            of,
            span.start,
        );
        let asks = value_or(raw.asks, Word(of.ways.asks)).0;
        self.check_asks(asks, of, span.start);
        let mut required_claims: Vec<_> = raw
            .required_claims
            .unwrap_or_default()
            .into_iter()
            .map(|(claim, value)| (claim, value.value.0, value.span.start))
            .collect();
        match of.preset {
            Some(Preset::EntraId) => self.tenant_claim(&mut required_claims, of),
            Some(Preset::Google) => self.check_domain_claim(&required_claims, of, span.start),
            Some(Preset::Keycloak | Preset::Okta | Preset::Auth0) | None => {}
        }
        let mut scopes = raw.scopes.map_or_else(
            || {
                of.ways
                    .scopes
                    .iter()
                    .map(|&scope| scope.to_owned())
                    .collect()
            },
            |list| {
                list.into_iter()
                    .map(|text| text.value.0)
                    .collect::<Vec<_>>()
            },
        );
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        Some(Client {
            client_id: raw.client_id?.value.0,
            authentication: authentication?,
            scopes,
            label: raw
                .label
                .map_or_else(|| of.name.to_owned(), |label| label.value.0),
            email_domains: raw
                .email_domains
                .unwrap_or_default()
                .into_iter()
                .map(|domain| domain.value.0)
                .collect(),
            asks,
            pushed: value_or(raw.pushed, Word(defaults::PUSHED)).0,
            userinfo: raw.userinfo.unwrap_or(defaults::USERINFO),
            overage: value_or(raw.overage, Word(of.ways.overage)).0,
            group_names: raw.group_names.map(|path| self.file(&path, Purpose::File)),
            required_claims: required_claims
                .into_iter()
                .map(|(claim, value, _)| (claim, value))
                .collect(),
            refresh: raw.refresh.unwrap_or(of.ways.refresh),
        })
    }

    fn client_authentication(
        &mut self,
        secret: Option<Text<crate::config::text::FilePath>>,
        key: Option<Text<crate::config::text::FilePath>>,
        key_id: Option<Text<crate::config::text::PlainText>>,
        way: Option<Text<Word<SecretWay>>>,
        of: &Of<'_>,
        at: usize,
    ) -> Option<ClientAuthentication> {
        if let (Some(_), Some(key)) = (&secret, &key) {
            self.report.error(
                key.span.start,
                "both `client_secret_file` and `client_key_file` are written",
                "keep the key where the provider accepts it: then it holds no secret that could leak there"
                    .to_owned(),
            );
        }
        if let (Some(key_id), None) = (&key_id, &key) {
            self.report.error(
                key_id.span.start,
                "`client_key_id` without `client_key_file`",
                "write the file of the key that has this id".to_owned(),
            );
        }
        if let (Some(way), Some(_), None) = (&way, &key, &secret) {
            self.report.error(
                way.span.start,
                "`client_authentication` says how a secret is sent, and there is none",
                "leave it out: a key is always used for `private_key_jwt`".to_owned(),
            );
        }
        match (secret, key) {
            (_, Some(file)) => Some(ClientAuthentication::PrivateKey {
                file: self.file(&file, Purpose::Secret),
                key_id: key_id.map(|id| id.value.0),
            }),
            (Some(file), None) => {
                let file = self.file(&file, Purpose::Secret);
                Some(match value_or(way, Word(defaults::SECRET_WAY)).0 {
                    SecretWay::Basic => ClientAuthentication::SecretBasic(file),
                    SecretWay::Post => ClientAuthentication::SecretPost(file),
                })
            }
            (None, None) => {
                self.report.error(
                    at,
                    format!(
                        "`[issuer.sign_in]` of {} has neither `client_secret_file` nor `client_key_file`",
                        quoted(of.name)
                    ),
                    "the gateway must prove to the provider that it is the client; write one of them"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// Whoever requires several factors and can neither ask for them nor see them refuses everybody.
    fn check_asks(&mut self, asks: AssuranceRequest, of: &Of<'_>, at: usize) {
        if of.out_of_band || (of.can_ask && asks != AssuranceRequest::Nothing) {
            return;
        }
        let (message, help) = if of.preset == Some(Preset::Google) {
            (
                format!(
                    "{} does not say how people signed in, so apps that require several factors refuse them",
                    quoted(of.name)
                ),
                "write `multi_factor_out_of_band = true` if 2-Step Verification is enforced for everybody",
            )
        } else if asks == AssuranceRequest::Nothing {
            return;
        } else {
            (
                format!(
                    "{} cannot be asked for several factors: no `acr` value is known for them",
                    quoted(of.name)
                ),
                "write `acr_multi_factor` with the provider's own value, or `asks = \"nothing\"` if it has none",
            )
        };
        self.report.warning(at, message, help.to_owned());
    }

    /// `tid` is the issuer's tenant; nothing else would do.
    fn tenant_claim(&mut self, claims: &mut Vec<(String, String, usize)>, of: &Of<'_>) {
        let Some(issuer) = of.issuer else { return };
        let named = tenant(&issuer.value.0).unwrap_or_default();
        if !is_tenant_id(named) {
            self.report.error(
                issuer.span.start,
                format!("{} does not name one tenant", quoted(&issuer.value.0)),
                "write `https://login.microsoftonline.com/<tenant id>/v2.0`; `common` and `organizations` accept every tenant there is"
                    .to_owned(),
            );
            return;
        }
        match claims.iter().find(|(claim, ..)| claim == "tid") {
            None => claims.push(("tid".to_owned(), named.to_owned(), 0)),
            Some((_, written, _)) if written == named => {}
            Some((_, _, at)) => self.report.error(
                *at,
                "`tid` is another tenant than the issuer's",
                "leave it out: it is known from `issuer`".to_owned(),
            ),
        }
    }

    fn check_domain_claim(&mut self, claims: &[(String, String, usize)], of: &Of<'_>, at: usize) {
        if !claims.iter().any(|(claim, ..)| claim == "hd") {
            self.report.warning(
                at,
                format!(
                    "every Google account in the world can sign in with {}",
                    quoted(of.name)
                ),
                "write `required_claims = { hd = \"example.com\" }` with your Workspace domain"
                    .to_owned(),
            );
        }
    }
}
