//! `store`, `[sign_in]`, `[identity_provider]` and `[scim]`; `[issuer.sign_in]` is in `client`.

mod client;
mod hosts;

pub(super) use self::client::Of;

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::{Builder, Named, Purpose, value_or, values};
use crate::config::defaults::sign_in as defaults;
use crate::config::raw::sign_in as raw;
use crate::config::sign_in::{
    AssuranceRequest, BUILT_IN_CLIENT, Client, ClientAuthentication, IdentityProvider, Lifetime,
    Lifetimes, Overage, Pushed, Scim, ScimUser, SignIn,
};
use crate::config::text::{At, FilePath, Text, Word, duration_text, quoted};
use crate::config::{ClaimNames, Ingress, Issuer, KeySource, defaults as common};

/// What is written about people.
pub(super) struct People {
    pub(super) store: Option<Text<FilePath>>,
    pub(super) sign_in: Option<At<raw::SignIn>>,
    pub(super) identity_provider: Option<At<raw::IdentityProvider>>,
    pub(super) scim: Option<At<raw::Scim>>,
}

/// What it means.
pub(super) struct Understood {
    pub(super) store: Option<PathBuf>,
    pub(super) sign_in: Option<SignIn>,
    pub(super) scim: Option<Scim>,
}

impl Builder<'_> {
    /// The built-in provider; its issuer joins the others, before apps are read, which may name it.
    pub(super) fn identity_provider(
        &mut self,
        people: &mut People,
        organisation: &str,
        ingress: Option<&Ingress>,
        issuers: &mut Named<Issuer>,
    ) -> Option<IdentityProvider> {
        let At { value: raw, span } = people.identity_provider.take()?;
        let at = raw.name.as_ref().map_or(span.start, |name| name.span.start);
        let name = raw
            .name
            .map_or_else(|| defaults::PROVIDER_NAME.to_owned(), |name| name.value.0);
        self.check_not_reserved(&name, at);
        if issuers.names.contains(&name) {
            let help = "the built-in provider is an issuer like the others; give it a name of its own under `[identity_provider]`";
            self.report.error(
                at,
                format!("a second issuer {}", quoted(&name)),
                help.to_owned(),
            );
        }
        if people.sign_in.is_none() {
            let help = "write `[sign_in]` with the `host` where people sign in".to_owned();
            self.report.error(
                span.start,
                "`[identity_provider]` without `[sign_in]`",
                help,
            );
        }
        self.needs_store.push(("[identity_provider]", span.start));
        let provider = IdentityProvider {
            name: name.clone(),
            link_lifetime: value_or(raw.link_lifetime, defaults::LINK_LIFETIME),
            passwords: raw.passwords.unwrap_or(defaults::PASSWORDS),
            breached_passwords: raw
                .breached_passwords
                .map(|path| self.file(&path, Purpose::File)),
        };
        let label = raw
            .label
            .map_or_else(|| organisation.to_owned(), |label| label.value.0);
        issuers.names.push(name.clone());
        let host = people
            .sign_in
            .as_ref()
            .and_then(|sign_in| sign_in.value.host.as_ref());
        // Without a host or a listener something has been reported, and there is no issuer to speak of.
        if let (Some(host), Some(ingress), Some(items)) = (host, ingress, &mut issuers.items) {
            let issuer = format!("{}/id", ingress.origin_of(&host.value.0));
            items.push(built_in(name, issuer, label));
        }
        Some(provider)
    }

    /// The rest, when apps and issuers are known. Hosts get their handshakes in `ingress`, which serves them.
    pub(super) fn people(
        &mut self,
        people: People,
        has_provider: bool,
        issuers: &Named<Issuer>,
        apps: &[crate::config::App],
        ingress: Option<&mut Ingress>,
    ) -> Understood {
        self.check_clients(people.sign_in.is_some());
        if let Some(sign_in) = &people.sign_in {
            self.needs_store.push(("[sign_in]", sign_in.span.start));
            let nobody = self.clients.is_empty() && !has_provider;
            if nobody {
                let help = "write `[issuer.sign_in]` below an `[[issuer]]`, or `[identity_provider]` for accounts of your own";
                self.report.error(
                    sign_in.span.start,
                    "`[sign_in]` without anybody who can say who people are",
                    help.to_owned(),
                );
            }
            self.check_port(sign_in.span.start, ingress.as_deref());
        }
        if let Some(scim) = &people.scim {
            self.needs_store.push(("[scim]", scim.span.start));
        }
        self.people_hosts(
            people.sign_in.as_ref().map(|sign_in| &sign_in.value),
            people
                .scim
                .as_ref()
                .and_then(|scim| scim.value.host.as_ref()),
            apps,
            ingress,
        );
        let store = self.store(people.store);
        Understood {
            store,
            sign_in: people.sign_in.and_then(|raw| self.sign_in(raw.value)),
            scim: people.scim.and_then(|raw| self.scim(raw, issuers)),
        }
    }

    fn store(&mut self, written: Option<Text<FilePath>>) -> Option<PathBuf> {
        if written.is_none() {
            for (header, at) in std::mem::take(&mut self.needs_store) {
                let help = "write `store = \"/var/lib/masugata\"` at the top of the file: a directory for sessions, accounts and keys";
                self.report
                    .error(at, format!("`{header}` without `store`"), help.to_owned());
            }
        }
        written.map(|path| self.file(&path, Purpose::Store))
    }

    fn check_port(&mut self, at: usize, ingress: Option<&Ingress>) {
        let Some((first, ingress)) = ingress
            .filter(|ingress| ingress.public_port.is_none())
            .and_then(|ingress| Some((ingress.listen.first()?.port(), ingress)))
        else {
            return;
        };
        let forwarded =
            !(ingress.proxy_protocol_from.is_empty() && ingress.trusted_forwarders.is_empty());
        let help = "write `public_port` under `[ingress]`: providers send people back to it";
        if first == 0 {
            self.report.error(
                at,
                "people sign in at a port that is not known before the gateway listens",
                help.to_owned(),
            );
        } else if first != 443 && forwarded {
            self.report.warning(
                at,
                format!(
                    "something stands in front of the gateway, and people are sent to port {first}"
                ),
                help.to_owned(),
            );
        }
    }

    fn sign_in(&mut self, raw: raw::SignIn) -> Option<SignIn> {
        let lifetimes = self.lifetimes(raw.public, raw.internal, raw.confidential);
        Some(SignIn {
            host: raw.host?.value.0,
            back_channel_host: raw.back_channel_host.map(|host| host.value.0),
            lifetimes,
        })
    }

    fn lifetimes(
        &mut self,
        public: Option<raw::Lifetime>,
        internal: Option<raw::Lifetime>,
        confidential: Option<raw::Lifetime>,
    ) -> Lifetimes {
        let public = self.lifetime(public, defaults::LIFETIMES.public);
        let internal = self.lifetime(internal, defaults::LIFETIMES.internal);
        let confidential = self.lifetime(confidential, defaults::LIFETIMES.confidential);
        for (lower, higher, names) in [
            (&public, &internal, ("public", "internal")),
            (&internal, &confidential, ("internal", "confidential")),
        ] {
            let longer = [
                ("idle", lower.0.idle, higher.0.idle),
                ("absolute", lower.0.absolute, higher.0.absolute),
            ];
            for (key, of_lower, of_higher) in longer {
                if of_higher > of_lower {
                    let message = format!(
                        "`{key}` is longer for {} apps ({}) than for {} ones ({})",
                        names.1,
                        duration_text(of_higher),
                        names.0,
                        duration_text(of_lower)
                    );
                    let help = "what is worth more is usually asked for more often".to_owned();
                    // One of the two is written: the defaults are in order.
                    let at = higher.1.or(lower.1).unwrap_or(0);
                    self.report.warning(at, message, help);
                }
            }
        }
        Lifetimes {
            public: public.0,
            internal: internal.0,
            confidential: confidential.0,
        }
    }

    /// And where it is written, if it is.
    fn lifetime(
        &mut self,
        raw: Option<raw::Lifetime>,
        default: Lifetime,
    ) -> (Lifetime, Option<usize>) {
        let raw = raw.unwrap_or_default();
        let place = |text: &Option<Text<Duration>>| text.as_ref().map(|text| text.span.start);
        let idle_at = place(&raw.idle);
        let at = idle_at.or(place(&raw.absolute));
        let absolute = value_or(raw.absolute, default.absolute);
        // Whoever shortens the whole has said enough about its parts.
        let idle = value_or(raw.idle, default.idle.min(absolute));
        if idle > absolute {
            let message = format!(
                "`idle` ({}) is longer than `absolute` ({})",
                duration_text(idle),
                duration_text(absolute)
            );
            let help = "a session ends with the first of the two; write a shorter `idle`, or a longer `absolute`";
            self.report
                .error(idle_at.unwrap_or(0), message, help.to_owned());
        }
        (Lifetime { idle, absolute }, at)
    }

    fn scim(&mut self, raw: At<raw::Scim>, issuers: &Named<Issuer>) -> Option<Scim> {
        let At { value: raw, span } = raw;
        let hint = "issuers are declared under `[[issuer]]`";
        if let Some(issuer) = &raw.issuer {
            self.check_known("issuer", issuer, &issuers.names, hint);
        }
        let built_in = raw.issuer.as_ref().is_some_and(|issuer| {
            let of_name = |known: &&Issuer| known.name == issuer.value.0;
            let known = issuers.items.iter().flatten().find(of_name);
            known.is_some_and(|known| known.keys == KeySource::BuiltIn)
        });
        let tokens: Vec<_> = raw.token_files.unwrap_or_default();
        let written = tokens
            .iter()
            .map(|path| (path.value.0.as_str(), path.span.start));
        self.no_duplicates("token file", written.collect::<Vec<_>>());
        let tokens: Vec<_> = tokens
            .iter()
            .map(|path| self.file(path, Purpose::Secret))
            .collect();
        if tokens.is_empty() && raw.token.is_none() {
            let help = "write `token_files = [\"scim.token\"]` with a random token in it, or `[scim.token]` for access tokens of an issuer";
            self.report.error(
                span.start,
                "`[scim]` accepts no token, so nobody could provision anything",
                help.to_owned(),
            );
        }
        let token_issuer = raw.token.and_then(|token| self.scim_token(token, issuers));
        let user = self.scim_user(raw.user, built_in);
        Some(Scim {
            host: raw.host?.value.0,
            issuer: raw.issuer?.value.0,
            tokens,
            token_issuer,
            addresses: values(raw.addresses),
            user,
        })
    }

    fn scim_user(&mut self, written: Option<Text<Word<ScimUser>>>, built_in: bool) -> ScimUser {
        match written {
            None if built_in => ScimUser::UserName,
            None => defaults::SCIM_USER,
            Some(text) => {
                if built_in && text.value.0 == ScimUser::ExternalId {
                    self.report.error(
                        text.span.start,
                        "accounts of the built-in provider are called by their `userName`",
                        "leave `user` out".to_owned(),
                    );
                }
                text.value.0
            }
        }
    }

    fn scim_token(
        &mut self,
        raw: raw::ScimToken,
        issuers: &Named<Issuer>,
    ) -> Option<(String, String)> {
        let (issuer, audience) = (raw.issuer?, raw.audience?);
        self.check_known(
            "issuer",
            &issuer,
            &issuers.names,
            "issuers are declared under `[[issuer]]`",
        );
        let known = issuers.items.iter().flatten();
        if let Some(known) = known.into_iter().find(|known| known.name == issuer.value.0) {
            if known.keys == KeySource::BuiltIn {
                self.report.error(
                    issuer.span.start,
                    "the built-in provider makes no access tokens",
                    "write `token_files`, or name another issuer".to_owned(),
                );
                return None;
            }
            let client = known.sign_in.as_ref().map(|client| &client.client_id);
            if known.audiences.contains(&audience.value.0) || client == Some(&audience.value.0) {
                let message = format!(
                    "{} is an audience under which people reach apps",
                    quoted(&audience.value.0)
                );
                let help = "whoever has such a token could write accounts; have the issuer make tokens for an audience of its own";
                self.report
                    .error(audience.span.start, message, help.to_owned());
            }
        }
        Some((issuer.value.0, audience.value.0))
    }

    /// `[issuer.sign_in]` leads nowhere without a host to come back to.
    fn check_clients(&mut self, has_sign_in: bool) {
        if has_sign_in {
            return;
        }
        for at in self.clients.clone() {
            let help = "write `[sign_in]` with the `host` where people sign in".to_owned();
            self.report
                .error(at, "`[issuer.sign_in]` without `[sign_in]`", help);
        }
    }

    /// Principals of service accounts have this as their issuer; an issuer of that name could speak for them.
    pub(super) fn check_not_reserved(&mut self, name: &str, at: usize) {
        const RESERVED: &str = "certificate";
        if name == RESERVED {
            let help =
                "service accounts have this issuer in policies and records; choose another name"
                    .to_owned();
            self.report
                .error(at, format!("the name `{RESERVED}` is taken"), help);
        }
    }
}

/// The built-in provider as an issuer among others. Its tokens never leave the process, so no audience is accepted: what
/// looks like an access token of it is none.
fn built_in(name: String, issuer: String, label: String) -> Issuer {
    Issuer {
        name,
        issuer,
        audiences: Vec::new(),
        algorithms: vec![Algorithm::ES256],
        keys: KeySource::BuiltIn,
        token_types: vec![common::TOKEN_TYPE.to_owned()],
        claims: ClaimNames {
            user: common::CLAIM_USER.to_owned(),
            require_verified_email: true,
            name: common::CLAIM_NAME.to_owned(),
            groups: common::CLAIM_GROUPS.to_owned(),
            roles: common::CLAIM_ROLES.to_owned(),
            group_prefix: String::new(),
        },
        acr_multi_factor: vec!["mfa".to_owned()],
        acr_phishing_resistant: vec!["phr".to_owned()],
        multi_factor_out_of_band: false,
        leeway: common::LEEWAY,
        max_token_lifetime: defaults::BUILT_IN_TOKEN_LIFETIME,
        sign_in: Some(Client {
            client_id: BUILT_IN_CLIENT.to_owned(),
            authentication: ClientAuthentication::BuiltIn,
            scopes: defaults::SCOPES.map(str::to_owned).to_vec(),
            label,
            email_domains: Vec::new(),
            // Who cannot do better is told there how to, instead of coming back with too little.
            asks: AssuranceRequest::EssentialAcr,
            pushed: Pushed::Offered,
            userinfo: false,
            overage: Overage::Refuse,
            group_names: None,
            required_claims: Vec::new(),
            // What happens to an account is known here at once.
            refresh: false,
        }),
    }
}

#[cfg(test)]
mod tests;
