//! Builds a state from a configuration: reads every file, and reports every problem of every file at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response};
use masugata_certs::{
    ClientAuth, DeviceAuthorities, Profile, Revocations, ServerCertificates, ServerOptions,
};
use masugata_policy::{
    App as PolicyApp, Authentication, Known, PolicySet, PolicySource, Principal, PrincipalKind,
    Timestamp,
};

use super::{AppState, Backend, Environment, Networks, ServiceAccount, State, Zone};
use crate::assertion::AssertionSigner;
use crate::capability::Clock;
use crate::config::error::{LoadError, Problem};
use crate::config::{self, Config, Loaded, TlsProfile};
use crate::forward::{AppForward, Instance};
use crate::issuer::Issuers;
use crate::limits::quota::Limits;
use crate::routes::{HostModes, Route, RouteTable};
use crate::tls::{ALPN, TlsConfigs};

impl State {
    /// Builds the state of a configuration, carrying over from `previous` what its definition has not changed:
    /// connections, buckets, keys, device records, remembered decisions.
    ///
    /// # Errors
    /// Every problem found; nothing has changed.
    pub(crate) fn build(
        loaded: Loaded,
        previous: Option<&Self>,
        environment: &Environment,
    ) -> Result<Self, LoadError> {
        let Loaded {
            config,
            inventory,
            warnings,
        } = loaded;
        let mut problems = Problems::default();
        let now = environment.clock.now();

        let policies = problems.collect(load_policies(&config, previous));
        let trust = problems.collect(Trust::load(&config, environment));
        let issuers = Issuers::build(
            &config.issuers,
            &config.path,
            previous.map(|state| &state.issuers),
            &environment.clock,
            &*environment.entropy,
        );
        let issuers = problems.collect(issuers.map_err(|problems| LoadError { problems }));
        let signer = AssertionSigner::build(
            &config.assertion,
            previous.map(|state| &state.signer),
            now,
            &*environment.entropy,
        );
        let signer = problems.collect(signer.map_err(|problem| LoadError {
            problems: vec![problem],
        }));
        let limits = Limits::build(
            &config.limits,
            previous.map(|state| &state.limits),
            &environment.clock,
            &*environment.entropy,
            &environment.metrics,
        );
        let instance = previous.map_or_else(
            || Arc::new(Instance::new(Arc::clone(&environment.entropy))),
            |state| Arc::clone(&state.instance),
        );
        let apps = problems.collect(build_apps(
            &config,
            previous,
            &instance,
            &limits,
            environment,
        ));
        let routes = apps
            .as_ref()
            .and_then(|apps| problems.collect(build_routes(&config, apps)));

        let Problems(found) = problems;
        let (Some(policies), Some(trust), Some(issuers), Some(signer), Some(apps), Some(routes)) =
            (policies, trust, issuers, signer, apps, routes)
        else {
            return Err(LoadError { problems: found });
        };
        let mut state = Self {
            generation: previous.map_or(1, |state| state.generation.saturating_add(1)),
            tls: trust.tls,
            certificates: trust.certificates,
            revocations: trust.revocations,
            host_modes: HostModes::new(
                &config.ingress.client_certificates,
                config.ingress.client_certificate_default,
            ),
            inventory: Arc::new(inventory),
            issuers,
            services: services(&config),
            routes,
            apps,
            policies,
            networks: Networks::build(&config.networks),
            zone: Zone::new(config.time_zone.clone()),
            limits,
            signer,
            instance,
            loaded_at: now,
            warnings: Vec::new(),
            config: Arc::new(config),
        };
        state.warnings = state.find_warnings(&warnings, &trust.authorities, now);
        Ok(state)
    }

    fn find_warnings(
        &self,
        of_config: &[Problem],
        authorities: &DeviceAuthorities,
        now: Timestamp,
    ) -> Vec<String> {
        let place = |problem: &Problem| {
            let position = problem
                .position
                .map(|(line, column)| format!(":{line}:{column}"))
                .unwrap_or_default();
            format!("{} ({}{position})", problem.message, problem.file.display())
        };
        let mut warnings: Vec<String> = of_config.iter().map(place).collect();
        for app in &self.config.apps {
            if let config::Backend::Proxy(upstream) = &app.backend
                && upstream.tls.insecure
            {
                warnings.push(format!(
                    "app `{}`: nothing proves its upstream to us (insecure = true)",
                    app.name
                ));
            }
        }
        let certificates = self
            .certificates
            .summaries()
            .iter()
            .chain(authorities.summaries());
        warnings.extend(certificates.flat_map(|summary| summary.warnings(now.as_seconds())));
        warnings.extend(
            self.policies
                .warnings()
                .iter()
                .map(|found| place(&of_policy(found.clone()))),
        );
        warnings.extend(
            self.unknown_names()
                .into_iter()
                .map(|found| place(&of_policy(found))),
        );
        warnings
    }

    /// Names in policies that the configuration does not have: misspelt, or of yesterday.
    fn unknown_names(&self) -> Vec<masugata_policy::Problem> {
        let config = &self.config;
        let apps: Vec<&str> = config.apps.iter().map(|app| app.name.as_str()).collect();
        let services: Vec<&str> = config
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let issuers: Vec<&str> = config
            .issuers
            .iter()
            .map(|issuer| issuer.name.as_str())
            .collect();
        let networks: Vec<&str> = config
            .networks
            .iter()
            .map(|network| network.name.as_str())
            .collect();
        self.policies.unknown_names(&Known {
            apps: Some(&apps),
            // A starter set names groups that are not in use yet.
            app_groups: None,
            services: Some(&services),
            issuers: Some(&issuers),
            networks: Some(&networks),
            device_groups: None,
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
    std::fs::read(file).map_err(|error| {
        problem(
            file,
            format!("cannot read the file: {error}"),
            Some("check that it exists and that masugata may read it"),
        )
    })
}

/// The policy files that a path of the configuration names: itself, or every `.cedar` file directly in it, sorted.
pub(crate) fn policy_files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "cedar")
        })
        .collect();
    files.sort_unstable();
    files
}

fn load_policies(config: &Config, previous: Option<&State>) -> Result<Arc<PolicySet>, LoadError> {
    let mut texts = Vec::new();
    for file in config.policies.iter().flat_map(|path| policy_files(path)) {
        let text = String::from_utf8(read(&file)?)
            .map_err(|_error| problem(&file, "is not UTF-8 text", None))?;
        texts.push((file.display().to_string(), text));
    }
    if texts.is_empty() {
        let help = "a policy file ends in `.cedar`; without policies everything would be refused";
        return Err(problem(
            &config.path,
            "`policies` names no policy file",
            Some(help),
        ));
    }
    let sources: Vec<PolicySource<'_>> = texts
        .iter()
        .map(|(name, text)| PolicySource { name, text })
        .collect();
    let set = PolicySet::load(&sources).map_err(|error| LoadError {
        problems: error.problems.into_iter().map(of_policy).collect(),
    })?;
    // The same content is the same set: its index and its remembered decisions go on.
    Ok(match previous {
        Some(state) if state.policies.version() == set.version() => Arc::clone(&state.policies),
        Some(_) | None => Arc::new(set),
    })
}

fn of_policy(found: masugata_policy::Problem) -> Problem {
    Problem {
        file: found.file.to_string().into(),
        position: found.line.map(|line| (line, found.column.unwrap_or(1))),
        message: found.message,
        help: found.help,
    }
}

/// Certificates, authorities and lists, read and checked against each other.
struct Trust {
    tls: TlsConfigs,
    certificates: Arc<ServerCertificates>,
    authorities: Arc<DeviceAuthorities>,
    revocations: Revocations,
}

impl Trust {
    fn load(config: &Config, environment: &Environment) -> Result<Self, LoadError> {
        let profile = profile(config.ingress.tls_profile);
        let mut problems = Problems::default();
        let certificates = problems
            .collect(load_certificates(config, profile))
            .map(Arc::new);
        let authorities = problems
            .collect(load_authorities(config, profile))
            .map(Arc::new);
        let revocations = authorities
            .as_ref()
            .and_then(|authorities| problems.collect(load_revocations(config, authorities)));
        let Problems(found) = problems;
        let (Some(certificates), Some(authorities), Some(revocations)) =
            (certificates, authorities, revocations)
        else {
            return Err(LoadError { problems: found });
        };
        let time = Arc::new(TlsTime(Arc::clone(&environment.clock)));
        let options = |client_auth: ClientAuth| ServerOptions {
            profile,
            hybrid: config.ingress.hybrid_key_exchange,
            certificates: Arc::clone(&certificates),
            client_auth,
            alpn: &ALPN,
            time: time.clone(),
        };
        let tls = TlsConfigs::build(options, &authorities)
            .map_err(|error| problem(&config.path, error.to_string(), None))?;
        Ok(Self {
            tls,
            certificates,
            authorities,
            revocations,
        })
    }
}

/// The profile of that name in the library of identities and keys.
pub(crate) fn profile(profile: TlsProfile) -> Profile {
    match profile {
        TlsProfile::CryptrecRecommended => Profile::CryptrecRecommended,
        TlsProfile::CryptrecHigh => Profile::CryptrecHigh,
    }
}

fn load_certificates(config: &Config, profile: Profile) -> Result<ServerCertificates, LoadError> {
    let files = &config.ingress.certificates;
    let mut pairs = Vec::new();
    for certificate in files {
        pairs.push((read(&certificate.chain)?, read(&certificate.key)?));
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(chain, key)| (chain.as_slice(), key.as_slice()))
        .collect();
    ServerCertificates::load(&pairs, profile).map_err(|error| {
        let file = files
            .get(error.file)
            .map_or(config.path.as_path(), |pair| pair.chain.as_path());
        problem(file, error.to_string(), None)
    })
}

fn load_authorities(config: &Config, profile: Profile) -> Result<DeviceAuthorities, LoadError> {
    let files = &config.devices.authorities;
    let contents = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    DeviceAuthorities::load(&contents, profile).map_err(|error| {
        let file = files
            .get(error.file)
            .map_or(config.path.as_path(), PathBuf::as_path);
        problem(
            file,
            error.to_string(),
            Some("expected PEM certificates of the CAs that issue device certificates"),
        )
    })
}

fn load_revocations(
    config: &Config,
    authorities: &DeviceAuthorities,
) -> Result<Revocations, LoadError> {
    let files = &config.devices.revocation_lists;
    let contents = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    Revocations::load(&contents, authorities).map_err(|error| {
        let file = files
            .get(error.file)
            .map_or(config.path.as_path(), PathBuf::as_path);
        problem(
            file,
            error.to_string(),
            Some("expected CRLs, PEM or DER, signed by one of devices.authorities"),
        )
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
        Some(rustls_pki_types::UnixTime::since_unix_epoch(
            std::time::Duration::from_secs(seconds),
        ))
    }
}

fn build_apps(
    config: &Config,
    previous: Option<&State>,
    instance: &Arc<Instance>,
    limits: &Limits,
    environment: &Environment,
) -> Result<Vec<Arc<AppState>>, LoadError> {
    let mut problems = Problems::default();
    let mut apps = Vec::new();
    for app in &config.apps {
        let before = previous.and_then(|state| state.app(&app.name));
        let Some(backend) = problems.collect(build_backend(config, app, before, instance)) else {
            continue;
        };
        // The same app keeps its identity, and with it the decisions remembered for it.
        let policy = match before {
            Some(old) if old.config.level == app.level && old.config.groups == app.groups => {
                Arc::clone(&old.policy)
            }
            Some(_) | None => Arc::new(PolicyApp::new(
                &app.name,
                app.level,
                app.groups.iter().map(String::as_str),
            )),
        };
        apps.push(Arc::new(AppState {
            name: app.name.as_str().into(),
            config: Arc::new(app.clone()),
            policy,
            backend,
            limits: limits.for_app(&app.name),
            metrics: environment.metrics.app(&app.name),
        }));
    }
    let Problems(found) = problems;
    if found.is_empty() {
        Ok(apps)
    } else {
        Err(LoadError { problems: found })
    }
}

fn build_backend(
    config: &Config,
    app: &config::App,
    before: Option<&Arc<AppState>>,
    instance: &Arc<Instance>,
) -> Result<Backend, LoadError> {
    let mut answer = match &app.backend {
        config::Backend::Proxy(upstream) => {
            let group = before.and_then(|old| match &old.backend {
                Backend::Proxy(forward) => Some(forward.group()),
                Backend::Answer(_) => None,
            });
            let built = AppForward::build(app, upstream, instance, group);
            return built.map(Backend::Proxy).map_err(|error| {
                let file = error.path.as_deref().unwrap_or(&config.path);
                problem(file, format!("app `{}`: {error}", app.name), None)
            });
        }
        config::Backend::Redirect { status, location } => {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = *status;
            let location = HeaderValue::try_from(location.as_str()).map_err(|_error| {
                problem(
                    &config.path,
                    format!("app `{}`: `location` cannot stand in a header", app.name),
                    None,
                )
            })?;
            answer.headers_mut().insert(LOCATION, location);
            answer
        }
        config::Backend::Fixed {
            status,
            content_type,
            body,
        } => {
            let mut answer = Response::new(Bytes::from(body.clone()));
            *answer.status_mut() = *status;
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.clone());
            answer
        }
    };
    let headers = answer.headers_mut();
    // What was permitted to one person is not to be kept for another.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for name in &app.response_headers.remove {
        headers.remove(name);
    }
    for (name, value) in &app.response_headers.set {
        headers.insert(name, value.clone());
    }
    Ok(Backend::Answer(answer))
}

fn build_routes(
    config: &Config,
    apps: &[Arc<AppState>],
) -> Result<RouteTable<Arc<AppState>>, LoadError> {
    RouteTable::build(apps.iter().map(|app| Route {
        hosts: &app.config.hosts,
        prefix: &app.config.path_prefix,
        service: Arc::clone(app),
    }))
    .map_err(|conflict| problem(&config.path, conflict.to_string(), None))
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
    config
        .services
        .iter()
        .map(|account| (account.device.as_str().into(), build(account)))
        .collect()
}
