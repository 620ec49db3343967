//! Builds a state from a configuration: reads every file, and reports every problem of every file at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use masugata_certs::DeviceAuthorities;
use masugata_policy::{Known, PolicySet, PolicySource, Timestamp};

use super::apps::{build_apps, build_routes, services};
use super::egress::EgressState;
use super::sign_in::SignInState;
use super::trust::{TlsTime, Trust, profile};
use super::{Environment, Networks, State, Zone};
use crate::assertion::AssertionSigner;
use crate::config::error::{LoadError, Problem};
use crate::config::{self, Config, Loaded};
use crate::destination::builtin;
use crate::destination::name::{self, Suffix};
use crate::forward::Instance;
use crate::issuer::Issuers;
use crate::limits::quota::Limits;
use crate::relying_party::Providers;
use crate::respond::Brand;
use crate::routes::HostModes;
use crate::scim;
use crate::upstream::TlsTerms;

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
            environment.built_in.as_ref(),
            &environment.clock,
            &*environment.entropy,
        );
        let issuers = problems.collect(issuers.map_err(|problems| LoadError { problems }));
        let scim = problems.collect(scim::Keys::build(
            &config,
            issuers.as_ref(),
            &environment.clock,
            &*environment.entropy,
        ));
        let providers = issuers.as_ref().and_then(|issuers| {
            let previous = previous.map(|state| &*state.providers);
            let entropy = &environment.entropy;
            let providers = Providers::build(issuers, &config.path, previous, entropy);
            problems.collect(providers.map_err(|problems| LoadError { problems }))
        });
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
        let terms = TlsTerms {
            profile: profile(config.ingress.tls_profile),
            hybrid: config.ingress.hybrid_key_exchange,
            time: Arc::new(TlsTime(Arc::clone(&environment.clock))),
        };
        let instance = previous.map_or_else(
            || Instance::new(Arc::clone(&environment.entropy), terms.clone()),
            |state| state.instance.with_terms(terms.clone()),
        );
        let instance = Arc::new(instance);
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

        let egress = problems.collect(EgressState::build(
            &config,
            previous,
            &instance,
            (&terms, &limits),
            environment,
        ));
        if config.egress.is_some()
            && let Some(policies) = &policies
        {
            let opening = policies.opens_everything();
            problems.0.extend(opening.into_iter().map(of_policy));
            problems.0.extend(public_suffixes(&config, policies));
        }

        let brand = problems.collect(load_brand(&config));

        let Problems(found) = problems;
        let (
            Some(policies),
            Some(trust),
            Some(issuers),
            Some(signer),
            Some(apps),
            Some(routes),
            Some(egress),
            Some(brand),
            Some(scim),
            Some(providers),
        ) = (
            policies, trust, issuers, signer, apps, routes, egress, brand, scim, providers,
        )
        else {
            return Err(LoadError { problems: found });
        };
        if !found.is_empty() {
            return Err(LoadError { problems: found });
        }
        let providers = Arc::new(providers);
        let mut state = Self {
            generation: previous.map_or(1, |state| state.generation.saturating_add(1)),
            tls: trust.tls,
            certificates: trust.certificates,
            trust: previous.map_or(1, |state| {
                let same = state.authorities.is_same_as(&trust.authorities);
                state.trust.saturating_add(u64::from(!same))
            }),
            authorities: Arc::clone(&trust.authorities),
            revocations: trust.revocations,
            host_modes: HostModes::new(
                &config.ingress.client_certificates,
                config.ingress.client_certificate_default,
            ),
            inventory: Arc::new(inventory),
            issuers,
            scim,
            providers: Arc::clone(&providers),
            services: services(&config),
            routes,
            apps,
            egress,
            sign_in: SignInState::build(&config, &providers),
            brand,
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
        warnings.extend(self.hosts_without_certificate());
        if self.inventory.devices().len() == 0 {
            warnings.push("the inventory has no device, so nobody has rights".into());
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

    /// Hosts of apps that no client can reach: there is no certificate to show for them.
    fn hosts_without_certificate(&self) -> Vec<String> {
        let names: Vec<&str> = self
            .certificates
            .summaries()
            .iter()
            .flat_map(|summary| &summary.names)
            .filter_map(|name| name.strip_prefix("dns:").or(name.strip_prefix("ip:")))
            .collect();
        let mut missing = Vec::new();
        for app in &self.config.apps {
            for host in app.hosts.iter().filter(|host| !is_covered(host, &names)) {
                missing.push(format!(
                    "no server certificate has the name `{host}` of app `{}`, so clients cannot reach it",
                    app.name
                ));
            }
        }
        for (name, whose) in self.config.people_hosts() {
            if !is_covered(name, &names) {
                missing.push(format!(
                    "no server certificate has the name `{name}` {whose}, so clients cannot reach it"
                ));
            }
        }
        if let Some(door) = &self.config.egress {
            let pac = door.pac.as_ref().map(|pac| &pac.host);
            let own = [
                (Some(&door.name), "of the proxy"),
                (door.why_host.as_ref(), "of `why_host`"),
                (pac, "of `[egress.pac]`"),
            ];
            for (name, whose) in own {
                if let Some(name) = name.filter(|name| !is_covered(name, &names)) {
                    missing.push(format!(
                        "no server certificate has the name `{name}` {whose}, so clients cannot reach it"
                    ));
                }
            }
        }
        missing
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
        let door = config.egress.as_ref();
        let cloud_services: Option<Vec<&str>> =
            door.map(|door| door.services.iter().map(|it| it.name.as_str()).collect());
        let categories = door.map(known_categories);
        self.policies.unknown_names(&Known {
            apps: Some(&apps),
            // A starter set names groups that are not in use yet.
            app_groups: None,
            services: Some(&services),
            issuers: Some(&issuers),
            networks: Some(&networks),
            device_groups: None,
            categories: categories.as_deref(),
            cloud_services: cloud_services.as_deref(),
        })
    }
}

/// A policy about `co.jp` would be about half a country.
fn public_suffixes(config: &Config, policies: &PolicySet) -> Vec<Problem> {
    let mut domains = policies.mentioned_domains();
    domains.sort_unstable();
    let suffixes = domains
        .into_iter()
        .filter(|domain| name::suffix(domain).is_some_and(|found| found != Suffix::Unknown));
    let problems = suffixes.flat_map(|domain| {
        let message = format!("a policy names the domain `{domain}`, which is a public suffix");
        let help = "below it are the sites of strangers; name the site, as in `example.co.jp`";
        problem(&config.path, message, Some(help)).problems
    });
    problems.collect()
}

/// Categories that something gives: a list, a service, or the program itself.
fn known_categories(door: &config::egress::Egress) -> Vec<&str> {
    let of_feeds = door.feeds.iter().flat_map(|feed| &feed.categories);
    let of_services = door.services.iter().flat_map(|service| &service.categories);
    of_feeds
        .chain(of_services)
        .map(String::as_str)
        .chain(builtin::FEEDS.iter().map(|feed| feed.category))
        .chain(["look-alike", "mixed-script"])
        .collect()
}

/// Whether one of the names of certificates stands for a host pattern: equal to it, or a wildcard of its parent domain.
fn is_covered(host: &str, names: &[&str]) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        let wildcard = name.strip_prefix("*.").zip(parent);
        name.eq_ignore_ascii_case(host)
            || wildcard.is_some_and(|(suffix, parent)| suffix.eq_ignore_ascii_case(parent))
    })
}

/// Problems of all files, so that an administrator repairs them in one go.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn collect<T>(&mut self, result: Result<T, LoadError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.problems);
                None
            }
        }
    }
}

pub(super) fn problem(file: &Path, message: impl Into<String>, help: Option<&str>) -> LoadError {
    LoadError {
        problems: vec![Problem {
            file: file.to_owned(),
            position: None,
            message: message.into(),
            help: help.map(Into::into),
        }],
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
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

fn load_brand(config: &Config) -> Result<Brand, LoadError> {
    Brand::load(&config.pages).map_err(|error| {
        let file = config.pages.logo.as_deref().unwrap_or(&config.path);
        problem(file, error.to_string(), Some(error.help()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The starter set's other choice lies in a directory of its own so that it is not in force.
    #[test]
    fn a_directory_of_policies_does_not_include_those_below_it() {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
        let files = policy_files(&starter);
        let is = |end: &str| files.iter().any(|file| file.ends_with(end));
        assert!(is("egress.cedar") && is("internal.cedar"));
        assert!(starter.join("optional/egress-open.cedar").exists());
        assert!(!is("egress-open.cedar"));
    }

    #[test]
    fn a_host_is_covered_by_its_own_name_or_a_wildcard_one_label_up() {
        let names = ["wiki.corp.example", "*.APPS.corp.example"];
        for host in [
            "wiki.corp.example",
            "crm.apps.corp.example",
            "*.apps.corp.example",
        ] {
            assert!(is_covered(host, &names), "{host}");
        }
        for host in [
            "corp.example",
            "apps.corp.example",
            "a.b.apps.corp.example",
            "*.corp.example",
        ] {
            assert!(!is_covered(host, &names), "{host}");
        }
    }
}
