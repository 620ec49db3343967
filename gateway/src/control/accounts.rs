//! The built-in provider's accounts as the gateway runs them: what the configuration says of them, and what they tell.

use std::net::SocketAddr;
use std::sync::Arc;

use masugata_idp::{AccountEvent, Actor as By, EventKind, LockoutRules, Random, Settings};
use masugata_policy::Timestamp;

use super::desk::blank;
use crate::audit::event::{Actor, Person, PersonKind};
use crate::capability::Entropy;
use crate::config::Config;

/// What accounts are to be like; `None` where there is no built-in provider.
pub(crate) fn settings(config: &Config) -> Option<Settings> {
    let provider = config.identity_provider.as_ref()?;
    let sign_in = config.sign_in.as_ref()?;
    let lockout = &config.lockout;
    Some(Settings {
        origin: config.ingress.origin_of(&sign_in.host),
        organisation: config.pages.organisation.clone(),
        link_lifetime: provider.link_lifetime,
        passwords: provider.passwords,
        breached: provider.breached_passwords.clone(),
        lockout: LockoutRules {
            free_failures: lockout.free_failures,
            first_delay: lockout.first_delay,
            max_delay: lockout.max_delay,
            lock_after: lockout.lock_after,
            lock: lockout.lock,
            window: lockout.window,
        },
    })
}

/// Where a first sign-in link leads, but for its token.
pub(crate) fn link_base(config: &Config) -> Option<String> {
    let sign_in = config.sign_in.as_ref()?;
    let origin = config.ingress.origin_of(&sign_in.host);
    // Behind `#`, so that the token is in no log and in no `Referer`.
    Some(format!("{origin}/id/welcome#"))
}

/// The gateway's chance, as accounts ask for it.
pub(crate) struct Chance(pub(crate) Arc<dyn Entropy>);

impl Random for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// What is recorded of it. `provider` is the issuer's configured name.
pub(crate) fn recorded(
    event: AccountEvent,
    provider: &str,
    generation: u64,
    client: Option<SocketAddr>,
) -> Person {
    let by = match event.by {
        By::Person => Actor::Person,
        By::Administrator => Actor::Administrator,
        By::Scim => Actor::Scim,
        By::Gateway => Actor::Gateway,
    };
    let account = event.account;
    Person {
        at: Timestamp::from_millis(event.at),
        generation,
        kind: kind_of(event.kind),
        failure: event.failure,
        by,
        principal: account.map(|account| format!("{provider}/{account}").into()),
        name: event.name,
        issuer: Some(provider.into()),
        factors: event.factors.into_iter().map(Into::into).collect(),
        device: event.device,
        client,
        detail: event.detail,
        ..blank()
    }
}

fn kind_of(kind: EventKind) -> PersonKind {
    match kind {
        EventKind::SignIn => PersonKind::SignIn,
        EventKind::LockedOut => PersonKind::LockedOut,
        EventKind::FactorAdded => PersonKind::FactorAdded,
        EventKind::FactorRemoved => PersonKind::FactorRemoved,
        EventKind::PasswordChanged => PersonKind::PasswordChanged,
        EventKind::RecoveryCodesMade => PersonKind::RecoveryCodesMade,
        EventKind::RecoveryUsed => PersonKind::RecoveryUsed,
        EventKind::AccountCreated => PersonKind::AccountCreated,
        EventKind::AccountChanged => PersonKind::AccountChanged,
        EventKind::AccountDisabled => PersonKind::AccountDisabled,
        EventKind::AccountEnabled => PersonKind::AccountEnabled,
        EventKind::AccountRemoved => PersonKind::AccountRemoved,
        EventKind::AccountReset => PersonKind::AccountReset,
    }
}
