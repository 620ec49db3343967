//! Builds a state from a configuration: reads every file, and reports every problem of every file at once.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use masugata_certs::{ClientAuth, DeviceAuthorities, Profile, Revocations, ServerCertificates, ServerOptions};
use masugata_policy::{
    App as PolicyApp, Authentication, PolicySet, PolicySource, Principal, PrincipalKind, Timestamp,
};

use super::{AppState, Environment, Networks, ServiceAccount, State, Zone};
use crate::assertion::AssertionSigner;
use crate::capability::Clock;
use crate::config::error::{LoadError, Problem};
use crate::config::{self, Config, TlsProfile};
use crate::forward::AppForward;
use crate::inventory::Inventory;
use crate::issuer::Issuers;
use crate::limits::quota::Limits;
use crate::routes::{HostModes, RouteTable};
use crate::tls::{ALPN, TlsConfigs};

impl State {
    /// Builds the state of `config`, carrying over from `previous` what its definition has not changed: connections,
    /// buckets, keys, device records.
    ///
    /// # Errors
    /// Every problem found; nothing has changed.
    pub(crate) fn build(
        config: Arc<Config>,
        previous: Option<&Self>,
        environment: &Environment,
    ) -> Result<Self, LoadError> {
        let mut problems = Problems::default();
        let now = environment.clock.now();

        let policies = problems.collect(load_policies(&config, previous));
        let inventory = problems.collect(load_inventory(&config, previous));
        let trust = problems.collect(Trust::load(&config, environment, now));
        let issuers = problems.collect(Issuers::build(
            &config.issuers,
            previous.map(|state| &state.issuers),
            &environment.clock,
            &environment.entropy,
        ));
        let signer = problems.collect(AssertionSigner::build(
            &config.assertion,
            previous.map(|state| &state.signer),
            &environment.clock,
            &environment.entropy,
        ));
        let apps = problems.collect(build_apps(&config, previous, environment));

        problems.none()?;
        let (Some(policies), Some(inventory), Some(trust), Some(issuers), Some(signer), Some(apps)) =
            (policies, inventory, trust, issuers, signer, apps)
        else {
            return Err(LoadError { problems: vec![] });
        };
        let routes = RouteTable::build(
            apps.iter().map(|app| (app.config.hosts.as_slice(), app.config.path_prefix.as_str(), Arc::clone(app))),
        );
        environment.metrics.certificates(trust.certificates.summaries());
        Ok(Self {
            generation: previous.map_or(1, |state| state.generation + 1),
            tls: trust.tls,
            certificates: trust.certificates,
            revocations: trust.revocations,
            host_modes: HostModes::build(
                &config.ingress.client_certificates,
                config.ingress.client_certificate_default,
            ),
            inventory,
            issuers,
            services: services(&config),
            routes,
            apps,
            policies,
            networks: Networks::build(&config.networks),
            zone: Zone::new(config.time_zone.clone()),
            limits: Limits::build(
                &config.limits,
                previous.map(|state| &state.limits),
                &environment.clock,
                &*environment.entropy,
            ),
            signer,
            via_pseudonym: previous.map_or_else(|| pseudonym(environment), |state| Arc::clone(&state.via_pseudonym)),
            config,
        })
    }
}

/// Problems of all files, so that an administrator repairs them in one go.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    fn collect<T>(&mut self, result: Result<T, LoadError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.problems);
                None
            }
        }
    }

    fn none(self) -> Result<(), LoadError> {
        if self.0.is_empty() { Ok(()) } else { Err(LoadError { problems: self.0 }) }
    }
}

fn problem(file: &Path, message: impl Into<String>, help: Option<&str>) -> LoadError {
    LoadError {
        problems: vec![Problem {
            file: file.to_owned(),
            position: None,
            message: message.into(),
            help: help.map(Into::into),
        }],
    }
}

fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(file)
        .map_err(|error| problem(file, format!("cannot read the file: {error}"), Some("check that it exists and that masugata may read it")))
}

fn load_policies(config: &Config, previous: Option<&State>) -> Result<Arc<PolicySet>, LoadError> {
    let mut texts = Vec::new();
    for file in config.policy_files() {
        let bytes = read(&file)?;
        let text = String::from_utf8(bytes).map_err(|_error| problem(&file, "is not UTF-8 text", None))?;
        texts.push((file.display().to_string(), text));
    }
    let sources: Vec<PolicySource<'_>> = texts.iter().map(|(name, text)| PolicySource { name, text }).collect();
    let set = PolicySet::load(&sources).map_err(|error| LoadError {
        problems: error
            .problems
            .into_iter()
            .map(|found| Problem {
                file: found.file.to_string().into(),
                position: found.line.map(|line| (line, found.column.unwrap_or(1))),
                message: found.message,
                help: found.help,
            })
            .collect(),
    })?;
    // The same content is the same set: its index and its remembered decisions go on.
    Ok(match previous {
        Some(state) if state.policies.version() == set.version() => Arc::clone(&state.policies),
        Some(_) | None => Arc::new(set),
    })
}

fn load_inventory(config: &Config, previous: Option<&State>) -> Result<Arc<Inventory>, LoadError> {
    let previous = previous.map(|state| &*state.inventory);
    Inventory::load_with(&config.devices.inventory, config.devices.posture_max_age, previous).map(Arc::new)
}

/// Certificates, authorities and lists, read and checked against each other.
struct Trust {
    tls: TlsConfigs,
    certificates: Arc<ServerCertificates>,
    revocations: Revocations,
}

impl Trust {
    fn load(config: &Config, environment: &Environment, now: Timestamp) -> Result<Self, LoadError> {
        let profile = profile(config.ingress.tls_profile);
        let certificates = Arc::new(load_certificates(config, profile)?);
        let mut authority_files = Vec::new();
        for file in &config.devices.authorities {
            authority_files.push(read(file)?);
        }
        let authorities: Vec<&[u8]> = authority_files.iter().map(Vec::as_slice).collect();
        let first = config.devices.authorities.first().map_or(config.path.as_path(), |file| file.as_path());
        let authorities = DeviceAuthorities::load(&authorities)
            .map(Arc::new)
            .map_err(|error| problem(first, error.to_string(), Some("expected PEM certificates of the CAs that issue device certificates")))?;
        let revocations = load_revocations(config, &authorities, now)?;
        let time = Arc::new(TlsTime(Arc::clone(&environment.clock)));
        let hybrid = config.ingress.hybrid_key_exchange;
        let tls = TlsConfigs::build(
            &|client_auth: ClientAuth| ServerOptions {
                profile,
                hybrid,
                certificates: Arc::clone(&certificates),
                client_auth,
                alpn: &ALPN,
                time: time.clone(),
            },
            &authorities,
        )
        .map_err(|error| problem(&config.path, error.to_string(), None))?;
        Ok(Self { tls, certificates, revocations })
    }
}

/// Also used by `check`, to describe what a profile offers.
pub(crate) fn profile(profile: TlsProfile) -> Profile {
    match profile {
        TlsProfile::CryptrecRecommended => Profile::CryptrecRecommended,
        TlsProfile::CryptrecHigh => Profile::CryptrecHigh,
    }
}

fn load_certificates(config: &Config, profile: Profile) -> Result<ServerCertificates, LoadError> {
    let mut pairs = Vec::new();
    for certificate in &config.ingress.certificates {
        pairs.push((read(&certificate.chain)?, read(&certificate.key)?));
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(chain, key)| (chain.as_slice(), key.as_slice())).collect();
    let first = config.ingress.certificates.first().map_or(config.path.as_path(), |files| files.chain.as_path());
    ServerCertificates::load(pairs, profile)
        .map_err(|error| problem(first, error.to_string(), Some("see `masugata check` for the certificates it found")))
}

fn load_revocations(
    config: &Config,
    authorities: &DeviceAuthorities,
    now: Timestamp,
) -> Result<Revocations, LoadError> {
    let mut files = Vec::new();
    for file in &config.devices.revocation_lists {
        files.push(read(file)?);
    }
    let lists: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let first = config.devices.revocation_lists.first().map_or(config.path.as_path(), |file| file.as_path());
    Revocations::load(&lists, authorities, now.as_seconds()).map_err(|error| {
        problem(first, error.to_string(), Some("expected PEM or DER CRLs signed by one of devices.authorities"))
    })
}

/// rustls asks for the time through this, so that tests move it too.
#[derive(Clone)]
struct TlsTime(Arc<dyn Clock>);

impl std::fmt::Debug for TlsTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsTime")
    }
}

impl rustls::time_provider::TimeProvider for TlsTime {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

fn build_apps(
    config: &Config,
    previous: Option<&State>,
    environment: &Environment,
) -> Result<Vec<Arc<AppState>>, LoadError> {
    let mut problems = Problems::default();
    let mut apps = Vec::new();
    for app in &config.apps {
        let before = previous.and_then(|state| state.apps.iter().find(|old| old.config.name == app.name));
        let forward = AppForward::build(app, before.map(|old| &old.forward), &environment.clock)
            .map_err(|error| problem(error.path().unwrap_or(&config.path), format!("app `{}`: {error}", app.name), None));
        let Some(forward) = problems.collect(forward) else { continue };
        // The same app keeps its identity, and with it the decisions remembered for it.
        let policy = match before {
            Some(old) if old.config.level == app.level && old.config.groups == app.groups => Arc::clone(&old.policy),
            Some(_) | None => Arc::new(PolicyApp::new(&app.name, app.level, app.groups.iter().map(String::as_str))),
        };
        apps.push(Arc::new(AppState {
            name: app.name.as_str().into(),
            config: Arc::new(app.clone()),
            policy,
            forward: Arc::new(forward),
            metrics: environment.metrics.app(&app.name),
        }));
    }
    problems.none()?;
    Ok(apps)
}

fn services(config: &Config) -> AHashMap<Box<str>, ServiceAccount> {
    let build = |account: &config::ServiceAccount| ServiceAccount {
        principal: Arc::new(Principal::new(
            PrincipalKind::Service,
            &account.name,
            "certificate",
            None,
            account.groups.iter().map(String::as_str),
            std::iter::empty::<&str>(),
        )),
        // A certificate is one factor; a program has no second. Apps that demand more do not take service accounts,
        // unless they say so in `require`.
        authentication: Arc::new(Authentication::new(false, false, None, ["pop"], None, true)),
    };
    config.services.iter().map(|account| (account.device.as_str().into(), build(account))).collect()
}

fn pseudonym(environment: &Environment) -> Arc<str> {
    let mut bytes = [0; 4];
    environment.entropy.fill(&mut bytes);
    format!("masugata-{:08x}", u32::from_be_bytes(bytes)).into()
}
