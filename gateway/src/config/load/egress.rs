//! `[egress]`: the second door.

mod feeds;
mod hosts;
mod pac;

use ipnet::IpNet;

use super::{Builder, Purpose, every, value_or, values};
use crate::config::defaults::egress as defaults;
use crate::config::egress::{
    AcceptedCredentials, CredentialWay, DnsServers, Egress, Reach, Resolver, ResolverKind,
    ResolverMode, StaticName,
};
use crate::config::raw::egress as raw;
use crate::config::text::{Endpoint, Text, Vocabulary as _, Word, quoted};
use crate::config::{Admin, App, ClientCertificateMode, Ingress, defaults as common};

/// What `[[limit]] apps` calls this door, and so no app is called.
pub(super) const NAME: &str = "egress";

impl Builder<'_> {
    /// Everything else that listens or has a host has been read already; host modes for the pages of this door are
    /// added to `ingress`, which serves them.
    pub(super) fn egress(
        &mut self,
        raw: raw::Egress,
        issuers: &[String],
        apps: &[App],
        admin: &Admin,
        ingress: Option<&mut Ingress>,
    ) -> Option<Egress> {
        let at = raw.name.as_ref().map_or(0, |name| name.span.start);
        let listen = raw.listen.unwrap_or_default();
        self.check_listen(&listen, ingress.as_deref(), admin);
        let client_certificates = self.asked_of_clients(raw.client_certificates);
        let password_key = raw
            .password_key
            .map(|path| self.file(&path, Purpose::PrivateKey));
        let credentials = self.accepted(raw.credentials, password_key.is_some());
        let require = raw.require.unwrap_or_default();
        let requirements = self.requirements(require, defaults::MULTI_FACTOR, None, at, issuers);
        let timeouts = self.timeouts(raw.timeouts.unwrap_or_default(), defaults::TIMEOUTS);
        let tunnels = raw.tunnels.unwrap_or(defaults::TUNNELS);
        let tunnels_per_device = self.per_device(raw.tunnels_per_device, tunnels);
        self.check_ranges(
            "own address",
            raw.own_addresses.as_deref().unwrap_or_default(),
        );
        let resolver = self.resolver(raw.resolver.unwrap_or_default());
        let addresses = self.static_names(raw.address.unwrap_or_default());
        let reach = self.reach(raw.reach.unwrap_or_default());
        let services = self.cloud_services(raw.service.unwrap_or_default());
        let lists_directory = raw
            .lists_directory
            .as_ref()
            .map(|path| self.file(path, Purpose::Directory));
        let feeds = self.feeds(raw.feed.unwrap_or_default(), lists_directory.is_some());
        let protect = self.protected(raw.protect.unwrap_or_default());
        let own_hosts = self.own_hosts(
            raw.name.as_ref(),
            raw.why_host.as_ref(),
            raw.pac.as_ref().and_then(|pac| pac.host.as_ref()),
            apps,
            ingress,
        );
        let listen: Vec<_> = listen.into_iter().map(|text| text.value).collect();
        let name = raw.name.map(|name| name.value.0);
        let port = listen.first().map_or(0, std::net::SocketAddr::port);
        let pac = raw
            .pac
            .map(|pac| self.pac(pac, name.as_deref().unwrap_or_default(), port, &own_hosts));
        Some(Egress {
            listen: Some(listen).filter(|listen| !listen.is_empty())?,
            name: name?,
            client_certificates,
            credentials: credentials?,
            requirements,
            mode: value_or(raw.mode, Word(defaults::MODE)).0,
            ports: ports(raw.ports, &defaults::PORTS),
            tls_ports: ports(raw.tls_ports, &defaults::TLS_PORTS),
            ech: value_or(raw.ech, Word(defaults::ECH)).0,
            hello_timeout: value_or(raw.hello_timeout, defaults::HELLO_TIMEOUT),
            recheck: value_or(raw.recheck, defaults::RECHECK),
            timeouts,
            tunnels,
            tunnels_per_device,
            own_addresses: values(raw.own_addresses),
            password_key,
            password_lifetime: value_or(raw.password_lifetime, defaults::PASSWORD_LIFETIME),
            why_host: raw.why_host.map(|host| host.value.0),
            refusals_per_device: raw
                .refusals_per_device
                .unwrap_or(defaults::REFUSALS_PER_DEVICE),
            bounds: super::door::bounds(raw.bounds.unwrap_or_default(), defaults::BOUNDS),
            resolver: resolver?,
            addresses: addresses?,
            reach: reach?,
            services: services?,
            feeds: feeds?,
            lists_directory,
            protect,
            pac: match pac {
                Some(pac) => Some(pac?),
                None => None,
            },
        })
    }

    fn check_listen(
        &mut self,
        listen: &[Text<std::net::SocketAddr>],
        ingress: Option<&Ingress>,
        admin: &Admin,
    ) {
        let written: Vec<_> = listen
            .iter()
            .map(|text| (text.value.to_string(), text.span.start))
            .collect();
        let written = written.iter().map(|(name, at)| (name.as_str(), *at));
        self.no_duplicates("listening address", written);
        for text in listen.iter().filter(|text| text.value.port() != 0) {
            let other = if ingress.is_some_and(|ingress| ingress.listen.contains(&text.value)) {
                "`[ingress]`"
            } else if admin.listen == Some(text.value) {
                "`[admin]`"
            } else {
                continue;
            };
            self.report.error(
                text.span.start,
                format!(
                    "{} is also an address of {other}",
                    quoted(&text.value.to_string())
                ),
                "give each listener a port of its own".to_owned(),
            );
        }
    }

    fn asked_of_clients(
        &mut self,
        written: Option<Text<Word<ClientCertificateMode>>>,
    ) -> ClientCertificateMode {
        let Some(text) = written else {
            return common::CLIENT_CERTIFICATES;
        };
        if text.value.0 == ClientCertificateMode::Off {
            self.report.error(
                text.span.start,
                "`client_certificates = \"off\"` would refuse everybody: every decision needs a device",
                "write `required`, or `optional` to answer devices without a certificate with a reason"
                    .to_owned(),
            );
        }
        text.value.0
    }

    fn accepted(
        &mut self,
        written: Option<Vec<Text<Word<CredentialWay>>>>,
        has_key: bool,
    ) -> Option<AcceptedCredentials> {
        let Some(written) = written else {
            return Some(AcceptedCredentials {
                owner: true,
                token: true,
                password: has_key,
            });
        };
        let words = written
            .iter()
            .map(|text| (text.value.0.word(), text.span.start));
        self.no_duplicates("credential", words.collect::<Vec<_>>());
        let of = |way| written.iter().find(|text| text.value.0 == way);
        match of(CredentialWay::Password) {
            Some(text) if !has_key => {
                self.report.error(
                    text.span.start,
                    "`password` is accepted, but no `password_key` seals passwords",
                    "name a file with 32 random bytes in Base64, or leave `password` out"
                        .to_owned(),
                );
                None
            }
            password => Some(AcceptedCredentials {
                owner: of(CredentialWay::Owner).is_some(),
                token: of(CredentialWay::Token).is_some(),
                password: password.is_some(),
            }),
        }
    }

    fn per_device(
        &mut self,
        written: Option<crate::config::text::At<usize>>,
        tunnels: usize,
    ) -> usize {
        let Some(written) = written else {
            return defaults::TUNNELS_PER_DEVICE.min(tunnels);
        };
        if written.value > tunnels {
            let message = format!(
                "`tunnels_per_device` ({}) is above `tunnels` ({tunnels})",
                written.value
            );
            let help = "one device could hold all tunnels; write less".to_owned();
            self.report.error(written.span.start, message, help);
        }
        written.value
    }

    /// A range of everything is a slip, and here a costly one.
    fn check_ranges(&mut self, what: &str, ranges: &[Text<IpNet>]) {
        for range in ranges.iter().filter(|range| range.value.prefix_len() == 0) {
            self.report.error(
                range.span.start,
                format!("{} is every address", quoted(&range.value.to_string())),
                format!("name the ranges of each {what}"),
            );
        }
    }

    fn resolver(&mut self, raw: raw::Resolver) -> Option<Resolver> {
        let mode = raw
            .mode
            .as_ref()
            .map_or(defaults::RESOLVER_MODE, |text| text.value.0);
        let at = raw.mode.as_ref().map_or(0, |text| text.span.start);
        let timeout = value_or(raw.timeout, defaults::RESOLVER_TIMEOUT);
        let ipv6 = raw.ipv6.unwrap_or(defaults::RESOLVER_IPV6);
        let of = |kind| {
            Some(Resolver {
                kind,
                timeout,
                ipv6,
            })
        };
        if let Some(path) = raw.path.as_ref().filter(|_| mode != ResolverMode::Https) {
            let help = "leave it out, or write `mode = \"https\"`".to_owned();
            self.report.error(
                path.span.start,
                "`path` is for `mode = \"https\"` only",
                help,
            );
        }
        if mode == ResolverMode::System {
            let servers = raw.servers.iter().flatten().map(|text| text.span.start);
            let rest = raw.server_name.iter().map(|text| text.span.start);
            let rest = rest.chain(raw.authority.iter().map(|text| text.span.start));
            if let Some(at) = servers.chain(rest).min() {
                self.report.error(
                    at,
                    "servers are written, but `mode = \"system\"` does not ask them",
                    "write `mode = \"tls\"` or `mode = \"https\"`, or leave the servers out"
                        .to_owned(),
                );
            }
            return of(ResolverKind::System);
        }
        let authority = raw.authority.map(|path| self.file(&path, Purpose::File));
        let (Some(servers), Some(server_name)) = (raw.servers, raw.server_name) else {
            self.report.error(
                at,
                format!("`mode = \"{}\"` needs servers", mode.word()),
                "write `servers = [\"1.1.1.1\"]` and `server_name = \"cloudflare-dns.com\"`, or those of your provider"
                    .to_owned(),
            );
            return None;
        };
        let port = if mode == ResolverMode::Tls { 853 } else { 443 };
        let servers = DnsServers {
            addresses: servers
                .into_iter()
                .map(|text| {
                    let Endpoint(address, written) = text.value;
                    (address, written.unwrap_or(port)).into()
                })
                .collect(),
            server_name: server_name.value.0,
            authority,
        };
        of(match raw.path {
            _ if mode == ResolverMode::Tls => ResolverKind::Tls(servers),
            path => ResolverKind::Https {
                servers,
                path: path.map_or_else(|| defaults::RESOLVER_PATH.to_owned(), |path| path.value.0),
            },
        })
    }

    fn static_names(&mut self, raw: Vec<raw::StaticName>) -> Option<Vec<StaticName>> {
        let hosts = raw.iter().filter_map(|name| name.host.as_ref());
        let hosts: Vec<_> = hosts
            .map(|host| (host.value.0.as_str(), host.span.start))
            .collect();
        self.no_duplicates("address of host", hosts);
        raw.into_iter()
            .map(|name| {
                let addresses = name.addresses?.into_iter();
                Some(StaticName {
                    host: name.host?.value.0,
                    addresses: addresses
                        .map(|text| {
                            let Endpoint(address, port) = text.value;
                            (address, port)
                        })
                        .collect(),
                })
            })
            .collect()
    }

    fn reach(&mut self, raw: Vec<raw::Reach>) -> Option<Vec<Reach>> {
        let all = raw.into_iter().map(|reach| {
            self.check_ranges("exception", reach.ranges.as_deref().unwrap_or_default());
            Some(Reach {
                hosts: values(Some(reach.hosts?)),
                ranges: values(Some(reach.ranges?)),
                ports: ports(Some(reach.ports?), &[]),
            })
        });
        every(all)
    }
}

/// Sorted and each once.
fn ports(written: Option<Vec<u16>>, default: &[u16]) -> Vec<u16> {
    let mut ports = written.unwrap_or_else(|| default.to_vec());
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests;
