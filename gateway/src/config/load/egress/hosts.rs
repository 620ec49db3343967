//! Hosts: our own, those of cloud services, and those whose imitations are found.

use std::collections::BTreeSet;

use super::super::{Builder, every, values};
use super::{NAME, ports};
use crate::config::egress::CloudService;
use crate::config::raw::egress as raw;
use crate::config::text::{HostName, Text, quoted};
use crate::config::{App, ClientCertificateMode, ClientCertificateRule, Ingress};
use crate::destination::name::{Suffix, registrable, suffix};

impl Builder<'_> {
    /// Hosts of this gateway itself; those of pages get their handshake.
    pub(super) fn own_hosts(
        &mut self,
        name: Option<&Text<HostName>>,
        why: Option<&Text<HostName>>,
        pac: Option<&Text<HostName>>,
        apps: &[App],
        ingress: Option<&mut Ingress>,
    ) -> Vec<String> {
        let written: Vec<_> = [name, why, pac].into_iter().flatten().collect();
        let others = self.own_hosts.clone();
        let hosts = written
            .iter()
            .copied()
            .chain(&others)
            .map(|host| (host.value.0.as_str(), host.span.start));
        self.no_duplicates("use of the host", hosts);
        for host in &written {
            self.check_no_host_of_app(host, apps);
        }
        self.check_app_names(apps, name.map_or(0, |name| name.span.start));
        if let Some(ingress) = ingress {
            let pages = [
                (why, ClientCertificateMode::Required),
                (pac, ClientCertificateMode::Off),
            ];
            let mut rules = Vec::new();
            for (host, mode) in pages {
                if let Some(host) = host {
                    rules.push(self.host_mode(host, mode, ingress));
                }
            }
            // Before the others: the first that names the host counts.
            ingress.client_certificates.splice(0..0, rules);
        }
        let written = written.into_iter().chain(&others);
        let written = written.map(|host| &host.value.0);
        let of_apps = apps.iter().flat_map(|app| &app.hosts);
        written.chain(of_apps).cloned().collect()
    }

    fn check_app_names(&mut self, apps: &[App], at: usize) {
        if apps.iter().any(|app| app.name == NAME) {
            self.report.error(
                at,
                format!("an app has the name `{NAME}`, which is this door's in limits and metrics"),
                "rename the app".to_owned(),
            );
        }
    }

    pub(in crate::config::load) fn host_mode(
        &mut self,
        host: &Text<HostName>,
        mode: ClientCertificateMode,
        ingress: &Ingress,
    ) -> ClientCertificateRule {
        let own = ingress
            .client_certificates
            .iter()
            .find(|rule| rule.hosts.contains(&host.value.0));
        if own.is_some_and(|rule| rule.mode != mode) {
            self.report.error(
                host.span.start,
                format!(
                    "`[[ingress.client_certificate]]` says something else for {}",
                    quoted(&host.value.0)
                ),
                "leave the host out there: what its pages need is known".to_owned(),
            );
        }
        ClientCertificateRule {
            hosts: vec![host.value.0.clone()],
            mode,
        }
    }

    pub(super) fn cloud_services(
        &mut self,
        raw: Vec<raw::CloudService>,
    ) -> Option<Vec<CloudService>> {
        let names = raw.iter().filter_map(|service| service.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.as_str(), name.span.start))
            .collect();
        self.no_duplicates("cloud service", names);
        let patterns = raw
            .iter()
            .flat_map(|service| service.hosts.iter().flatten());
        let patterns: Vec<_> = patterns
            .map(|host| (host.value.to_string(), host.span.start))
            .collect();
        self.no_duplicates(
            "cloud service at",
            patterns.iter().map(|(host, at)| (host.as_str(), *at)),
        );
        every(raw.into_iter().map(|service| self.cloud_service(service)))
    }

    fn cloud_service(&mut self, raw: raw::CloudService) -> Option<CloudService> {
        for host in raw.hosts.iter().flatten().filter(|host| host.value.below) {
            let name = quoted(&host.value.name);
            match suffix(&host.value.name) {
                Some(Suffix::Registry) => self.report.error(
                    host.span.start,
                    format!("{name} is a public suffix: anybody can buy a name below it"),
                    "name the domains of the service".to_owned(),
                ),
                Some(Suffix::Company) => self.report.warning(
                    host.span.start,
                    format!("anybody can get a name below {name} from the company that runs it"),
                    "name the hosts of your own tenant, if they have names of their own".to_owned(),
                ),
                Some(Suffix::Unknown) | None => {}
            }
        }
        let names = |texts| -> Vec<String> {
            let all: BTreeSet<_> = values(texts)
                .into_iter()
                .map(|name: crate::config::text::Name| name.0)
                .collect();
            all.into_iter().collect()
        };
        Some(CloudService {
            name: raw.name?.value.0,
            hosts: values(Some(raw.hosts?)),
            level: raw.level.map(|level| level.value.0),
            tenant: raw.tenant.map(|tenant| tenant.value.0),
            groups: names(raw.groups),
            categories: names(raw.categories),
            ports: ports(raw.ports, &[]),
        })
    }

    /// Look-alikes are compared by what somebody registered, so that is what is written.
    pub(super) fn protected(&mut self, raw: Vec<Text<HostName>>) -> Vec<String> {
        let names = raw
            .iter()
            .map(|name| (name.value.0.as_str(), name.span.start));
        self.no_duplicates("protected domain", names.collect::<Vec<_>>());
        for text in &raw {
            let found = registrable(&text.value.0);
            if found == Some(text.value.0.as_str()) {
                continue;
            }
            let help = found.map_or_else(
                || "write the domain that you registered, as in `corp.example`".to_owned(),
                |domain| format!("write `{domain}`"),
            );
            self.report.error(
                text.span.start,
                format!(
                    "{} is not a domain that somebody registered",
                    quoted(&text.value.0)
                ),
                help,
            );
        }
        raw.into_iter().map(|text| text.value.0).collect()
    }
}
