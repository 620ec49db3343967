//! What the second door needs beside the policies: lists, names, addresses, tunnels, and what it remembers of devices.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use masugata_policy::{Authentication, Credential, Timestamp};

use tokio::net::TcpStream;

use super::build::{Problems, problem};
use super::{Environment, State};
use crate::config::error::LoadError;
use crate::config::{self, Config};
use crate::destination::pac;
use crate::destination::{Catalogue, Connect, FeedEnvironment, FeedReport, Service};
use crate::egress::dial::dial;
use crate::egress::guard::{Guard, Listeners, OwnAddresses};
use crate::egress::pages::form::FormKey;
use crate::egress::password::PasswordKey;
use crate::egress::plain::Plain;
use crate::egress::refusals::Refusals;
use crate::egress::resolver::{self, Resolver};
use crate::egress::setup;
use crate::egress::tunnels::{TunnelBounds, Tunnels};
use crate::forward::Instance;
use crate::gateway::Shared;
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
    pub(crate) guard: Arc<Guard>,
    /// Where we listen ourselves; filled in once all sockets are bound.
    pub(crate) listeners: Arc<Listeners>,
    road: Road,
    roads: Arc<Roads>,
    pub(crate) news: Arc<News>,
    pub(crate) plain: Arc<Plain>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) form: Arc<FormKey>,
    /// `Link` of every answer of ours (RFC 8288): where people are told why.
    pub(crate) help: Option<HeaderValue>,
    /// In the order of the configuration.
    pub(crate) pac: Box<[Script]>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) password_key: Option<Arc<PasswordKey>>,
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
        let guard = Arc::new(Guard::new(
            &egress.reach,
            OwnAddresses {
                listeners: Arc::clone(&listeners),
                ranges: egress.own_addresses.clone(),
            },
        ));
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
        let password_key = problems.collect(
            password_key
                .transpose()
                .map_err(|error| problem(&error.path, error.message, None)),
        );
        let known = before.and_then(|old| old.password_key.as_ref());
        let password_key = password_key.map(|key| key.map(|key| key.or_previous(known)));
        let (Some(resolver), Some(password_key)) = (resolver, password_key) else {
            return Err(LoadError {
                problems: problems.0,
            });
        };
        let road = Road {
            resolver: Arc::clone(&resolver),
            guard: Arc::clone(&guard),
            patience: egress.timeouts.connect,
        };
        let roads = before.map_or_else(
            || Arc::new(Roads(ArcSwap::from_pointee(road.clone()))),
            |old| Arc::clone(&old.roads),
        );
        let news = before.map_or_else(Arc::default, |old| Arc::clone(&old.news));
        let catalogue = catalogue(config, egress, before, (&roads, &news), environment)?;
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
            form: before.map_or_else(
                || Arc::new(FormKey::new(&*environment.entropy)),
                |old| Arc::clone(&old.form),
            ),
            help: help(config, egress),
            pac: scripts(config, egress),
            alerts: before.map_or_else(Arc::default, |old| Arc::clone(&old.alerts)),
            owner: before.map_or_else(owner, |old| Arc::clone(&old.owner)),
            limits: limits.for_app(NAME),
            metrics: environment.metrics.app(NAME),
            catalogue,
            resolver,
            guard,
            listeners,
            road,
            roads,
            news,
            password_key,
        })))
    }

    /// Puts in force what outlives configurations. Once this one is in force itself: another may still have been refused.
    pub(crate) fn take_over(&self) {
        self.tunnels.set_bounds(bounds(&self.config));
        self.refusals.keep(self.config.refusals_per_device);
        self.roads.0.store(Arc::new(self.road.clone()));
    }

    /// Whether the port is open, for every destination or for that service.
    pub(crate) fn opens(&self, port: u16, service: Option<&Service>) -> bool {
        let of_service = |service: &Service| service.ports.contains(&port);
        self.config.ports.contains(&port) || service.is_some_and(of_service)
    }
}

/// A proxy auto-configuration file, ready to be sent.
pub(crate) struct Script {
    pub(crate) text: Bytes,
    /// Strong: of the content.
    pub(crate) tag: HeaderValue,
}

/// What is ours is reached without us: asked for through the proxy, it would be a loop.
fn scripts(config: &Config, egress: &config::egress::Egress) -> Box<[Script]> {
    let Some(pac) = &egress.pac else {
        return Box::default();
    };
    let apps = config.apps.iter().flat_map(|app| &app.hosts);
    let own: Vec<&str> = [&egress.name, &pac.host]
        .into_iter()
        .chain(&egress.why_host)
        .chain(apps)
        .map(String::as_str)
        .chain(config.people_hosts().map(|(host, _)| host))
        .collect();
    let script = |file: &config::egress::PacFile| {
        let text = pac::text(file, &own);
        let print = digest(&SHA256, text.as_bytes());
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(print.as_ref()));
        Script {
            text: text.into(),
            tag: HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    };
    pac.files.iter().map(script).collect()
}

fn help(config: &Config, egress: &config::egress::Egress) -> Option<HeaderValue> {
    let url = setup::page_url(config, egress.why_host.as_deref()?, "");
    HeaderValue::try_from(format!("<{url}>; rel=\"help\"")).ok()
}

/// Lists and services, with what was learnt before.
fn catalogue(
    config: &Config,
    egress: &config::egress::Egress,
    before: Option<&Arc<EgressState>>,
    (roads, news): (&Arc<Roads>, &Arc<News>),
    environment: &Environment,
) -> Result<Arc<Catalogue>, LoadError> {
    let news = Arc::clone(news);
    let built = Catalogue::build(
        &egress.feeds,
        &egress.services,
        &egress.protect,
        egress.lists_directory.as_deref(),
        before.map(|old| &old.catalogue),
        &FeedEnvironment {
            clock: Arc::clone(&environment.clock),
            entropy: Arc::clone(&environment.entropy),
            connect: Arc::clone(roads) as Arc<dyn Connect>,
            report: Arc::new(move |report| news.tell(report)),
        },
    );
    built.map_err(|problems| LoadError {
        problems: problems
            .into_iter()
            .flat_map(|found| problem(&config.path, found.to_string(), None).problems)
            .collect(),
    })
}

/// The way to servers of lists: as to any other destination, by the resolver and past the guard. Lists outlive
/// configurations; the one in force counts.
pub(crate) struct Roads(ArcSwap<Road>);

#[derive(Clone)]
struct Road {
    resolver: Arc<Resolver>,
    guard: Arc<Guard>,
    patience: Duration,
}

impl Connect for Roads {
    fn connect(&self, host: Box<str>, port: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        let road = self.0.load_full();
        Box::pin(async move {
            let found = match host.parse::<IpAddr>() {
                Ok(address) => vec![SocketAddr::new(address, port)],
                Err(_name) => road.resolver.resolve(&host, port).await?,
            };
            let checked = road.guard.check(&host, found).map_err(io::Error::other)?;
            let (stream, _at) = dial(&checked, road.patience)
                .await
                .map_err(io::Error::other)?;
            Ok(stream)
        })
    }
}

/// Whom to tell what becomes of lists, for the record: the gateway, once it runs. The log knows already.
#[derive(Default)]
pub(crate) struct News(OnceLock<Weak<Shared>>);

impl News {
    pub(crate) fn goes_to(&self, shared: &Arc<Shared>) {
        let _known = self.0.set(Arc::downgrade(shared));
    }

    fn tell(&self, report: &FeedReport<'_>) {
        let Some(shared) = self.0.get().and_then(Weak::upgrade) else {
            return;
        };
        match report {
            FeedReport::Loaded {
                feed,
                version,
                entries,
            } => {
                shared.record(
                    "feed-loaded",
                    format!("feed={feed} version={version} entries={entries}"),
                );
            }
            FeedReport::Refused { feed, fault } => {
                shared.record("feed-refused", format!("feed={feed} {fault}"));
            }
            // Servers are away now and then; the age of the list tells when that matters.
            FeedReport::Unreachable { .. } => {}
        }
    }
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
pub(crate) struct Alerts(Mutex<AHashMap<DeviceAndSite, Timestamp>>);

type DeviceAndSite = (Box<str>, Box<str>);

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
