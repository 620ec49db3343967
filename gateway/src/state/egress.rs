//! What the second door needs beside the policies: lists, names, addresses, tunnels, and what it remembers of devices.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use masugata_policy::{Authentication, Credential, Timestamp};

use super::build::{Problems, problem};
use super::{Environment, State};
use crate::config::error::LoadError;
use crate::config::{self, Config};
use crate::destination::{Catalogue, FeedEnvironment, Service};
use crate::egress::guard::{Guard, Listeners, OwnAddresses};
use crate::egress::password::PasswordKey;
use crate::egress::plain::Plain;
use crate::egress::refusals::Refusals;
use crate::egress::resolver::{self, Resolver};
use crate::egress::tunnels::{TunnelBounds, Tunnels};
use crate::forward::Instance;
use crate::limits::quota::{AppLimits, Limits};
use crate::metrics::AppMetrics;
use crate::upstream::TlsTerms;

/// The door among the apps: in metrics, and in `[[limit]] apps`.
pub(crate) const NAME: &str = "egress";

/// See the module's first line.
pub(crate) struct EgressState {
    pub(crate) config: Arc<config::egress::Egress>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) guard: Guard,
    /// Where we listen ourselves; filled in once all sockets are bound.
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) plain: Arc<Plain>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) password_key: Option<PasswordKey>,
    /// How every owner is known: by the certificate of the device, which is one factor.
    pub(crate) owner: Arc<Authentication>,
    pub(crate) limits: AppLimits,
    pub(crate) metrics: Arc<AppMetrics>,
}

impl EgressState {
    /// Builds the door of a configuration, if it has one. What is remembered of devices, the tunnels and what the lists
    /// have learnt go on as they were.
    ///
    /// # Errors
    /// Every problem found.
    pub(super) fn build(
        config: &Config,
        previous: Option<&State>,
        instance: &Arc<Instance>,
        (terms, limits): (&TlsTerms, &Limits),
        environment: &Environment,
    ) -> Result<Option<Arc<Self>>, LoadError> {
        let Some(egress) = &config.egress else {
            return Ok(None);
        };
        let before = previous.and_then(|state| state.egress.as_ref());
        let mut problems = Problems::default();
        let listeners = before.map_or_else(Arc::default, |old| Arc::clone(&old.listeners));
        let guard = Guard::new(
            &egress.reach,
            OwnAddresses {
                listeners: Arc::clone(&listeners),
                ranges: egress.own_addresses.clone(),
            },
        );
        let catalogue = problems.collect(catalogue(config, egress, before, environment));
        let resolver = Resolver::build(
            &egress.resolver,
            &egress.addresses,
            before.map(|old| &old.resolver),
            &resolver::Environment {
                clock: Arc::clone(&environment.clock),
                terms: terms.clone(),
            },
        );
        let resolver = problems.collect(resolver.map_err(|error| {
            let file = error.path.as_deref().unwrap_or(&config.path);
            problem(file, format!("`egress.resolver`: {error}"), None)
        }));
        let password_key = egress.password_key.as_deref().map(PasswordKey::read);
        let password_key = problems.collect(password_key.transpose().map_err(|error| {
            let file = egress.password_key.as_deref().unwrap_or(&config.path);
            problem(file, error.to_string(), None)
        }));
        let Problems(found) = problems;
        let (Some(catalogue), Some(resolver), Some(password_key)) =
            (catalogue, resolver, password_key)
        else {
            return Err(LoadError { problems: found });
        };
        Ok(Some(Arc::new(Self {
            config: Arc::new(egress.clone()),
            plain: Plain::build(&egress.timeouts, instance, before.map(|old| &old.plain)),
            tunnels: before.map_or_else(
                || Tunnels::new(bounds(egress)),
                |old| Arc::clone(&old.tunnels),
            ),
            refusals: before.map_or_else(
                || Arc::new(Refusals::new(egress.refusals_per_device)),
                |old| Arc::clone(&old.refusals),
            ),
            alerts: before.map_or_else(Arc::default, |old| Arc::clone(&old.alerts)),
            owner: before.map_or_else(owner, |old| Arc::clone(&old.owner)),
            limits: limits.for_app(NAME),
            metrics: environment.metrics.app(NAME),
            catalogue,
            resolver,
            guard,
            listeners,
            password_key,
        })))
    }

    /// Puts in force what outlives configurations. Once this one is in force itself: another may still have been refused.
    pub(crate) fn take_over(&self) {
        self.tunnels.set_bounds(bounds(&self.config));
    }

    /// Whether the port is open, for every destination or for that service.
    pub(crate) fn opens(&self, port: u16, service: Option<&Service>) -> bool {
        let of_service = |service: &Service| service.ports.contains(&port);
        self.config.ports.contains(&port) || service.is_some_and(of_service)
    }
}

/// Lists and services, with what was learnt before.
fn catalogue(
    config: &Config,
    egress: &config::egress::Egress,
    before: Option<&Arc<EgressState>>,
    environment: &Environment,
) -> Result<Arc<Catalogue>, LoadError> {
    let built = Catalogue::build(
        &egress.feeds,
        &egress.services,
        &egress.protect,
        egress.lists_directory.as_deref(),
        before.map(|old| &old.catalogue),
        &FeedEnvironment {
            clock: Arc::clone(&environment.clock),
        },
    );
    built.map_err(|_| problem(&config.path, "x", None))
}

fn bounds(config: &config::egress::Egress) -> TunnelBounds {
    TunnelBounds {
        total: config.tunnels,
        per_device: config.tunnels_per_device,
        recheck: config.recheck,
        idle: config.timeouts.idle,
        lifetime: config.timeouts.total,
    }
}

fn owner() -> Arc<Authentication> {
    let known = Authentication::new(false, false, None, ["pop"], None, true);
    Arc::new(known.with_credential(Credential::Certificate))
}

/// How long one site of one device is no news any more.
const OLD_NEWS: Duration = Duration::from_secs(3600);

/// Pairs of device and site that are remembered.
const ALERTS: usize = 8_192;

/// Which alerts have been told, so that a program that tries again ten times a second is told of once an hour.
#[derive(Debug, Default)]
pub(crate) struct Alerts(Mutex<AHashMap<(Box<str>, Box<str>), Timestamp>>);

impl Alerts {
    /// Whether an alert about `site`, asked for by `device`, is worth telling; from then on it is not. When too many are
    /// remembered all are forgotten: too much is told then, never too little.
    pub(crate) fn is_news(&self, device: &str, site: &str, now: Timestamp) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= ALERTS {
            told.retain(|_, at| *at <= now && now < at.plus(OLD_NEWS));
        }
        if told.len() >= ALERTS {
            told.clear();
        }
        let key = (Box::from(device), Box::from(site));
        let known = told
            .get(&key)
            .is_some_and(|at| *at <= now && now < at.plus(OLD_NEWS));
        if !known {
            told.insert(key, now);
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_once_an_hour_for_each_device_and_site() {
        let alerts = Alerts::default();
        let at = Timestamp::from_seconds;
        assert!(alerts.is_news("laptop", "evil.example", at(0)));
        assert!(!alerts.is_news("laptop", "evil.example", at(3599)));
        assert!(alerts.is_news("phone", "evil.example", at(1)));
        assert!(alerts.is_news("laptop", "worse.example", at(1)));
        assert!(alerts.is_news("laptop", "evil.example", at(3600)));
        assert!(alerts.is_news("laptop", "evil.example", at(10)), "set back");
    }

    #[test]
    fn a_flood_of_sites_does_not_grow_without_end() {
        let alerts = Alerts::default();
        for site in 0..3 * ALERTS {
            assert!(alerts.is_news("laptop", &site.to_string(), Timestamp::from_seconds(0)));
        }
        assert!(alerts.0.lock().unwrap().len() <= ALERTS);
    }
}
