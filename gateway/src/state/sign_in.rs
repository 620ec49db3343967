//! What people need to sign in with a browser, as far as it belongs to a configuration.

use std::sync::Arc;

use ahash::AHashMap;

use super::{Environment, State};
use crate::config::Config;
use crate::relying_party::Providers;
use crate::session::Session;

/// See the module's first line.
pub(crate) struct SignInState {
    /// Of the sign-in host, as browsers write it.
    pub(crate) origin: String,
    pub(crate) providers: Providers,
    /// Identifiers of issuers at which people sign in, by name.
    pub(crate) issuers: AHashMap<Box<str>, Box<str>>,
    /// Some provider is found by e-mail addresses.
    pub(crate) by_email: bool,
}

impl SignInState {
    /// `None`: nobody signs in with a browser.
    pub(super) fn build(
        config: &Config,
        _previous: Option<&State>,
        _environment: &Environment,
    ) -> Option<Arc<Self>> {
        let sign_in = config.sign_in.as_ref()?;
        let clients = config.issuers.iter().filter_map(|issuer| {
            let client = issuer.sign_in.as_ref()?;
            Some((issuer, client))
        });
        Some(Arc::new(Self {
            origin: config.ingress.origin_of(&sign_in.host),
            providers: Providers::default(),
            by_email: clients
                .clone()
                .any(|(_, client)| !client.email_domains.is_empty()),
            issuers: clients
                .map(|(issuer, _)| (issuer.name.as_str().into(), issuer.issuer.as_str().into()))
                .collect(),
        }))
    }

    /// Whether the session's provider is still the one that it was: of that name, with that identifier.
    pub(crate) fn vouches_for(&self, session: &Session) -> bool {
        let url = self.issuers.get(&*session.issuer);
        url.is_some_and(|url| *url == session.issuer_url)
    }
}
