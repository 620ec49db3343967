//! `[app.upstream]`: the servers behind, and what proves them to us.

use http::uri::Scheme;

use super::{Builder, Purpose, value_or};
use crate::config::text::{StatusRange, Text, Word, Written as _, is_loopback, quoted};
use crate::config::{
    HealthCheck, HostHeader, PassiveHealth, Upstream, UpstreamServer, UpstreamTls, defaults, raw,
};

impl Builder<'_> {
    pub(super) fn upstream(&mut self, raw: raw::Upstream) -> Option<Upstream> {
        let servers = raw.servers.unwrap_or_default();
        self.check_servers(&servers);
        let insecure = raw.insecure.unwrap_or(false);
        self.check_proof(&servers, insecure);
        let tls = self.upstream_tls(raw.tls, &servers, insecure);
        let health = raw.health.and_then(|health| self.health(health));
        let passive = raw.passive.unwrap_or_default();
        if servers.is_empty() {
            return None;
        }
        Some(Upstream {
            servers: servers.into_iter().map(|text| text.value).collect(),
            protocol: value_or(raw.protocol, Word(defaults::UPSTREAM_PROTOCOL)).0,
            tls,
            rewrite_prefix: raw.rewrite_prefix.map(|text| text.value.0),
            host_header: value_or(raw.host_header, HostHeader::Preserve),
            health,
            passive: PassiveHealth {
                failures: passive.failures.unwrap_or(defaults::PASSIVE_FAILURES),
                ejection: value_or(passive.ejection, defaults::PASSIVE_EJECTION),
            },
            retries: raw.retries.unwrap_or(defaults::RETRIES),
            max_connections: raw.max_connections.unwrap_or(defaults::MAX_CONNECTIONS),
            max_idle: raw.max_idle.unwrap_or(defaults::MAX_IDLE),
            idle_timeout: value_or(raw.idle_timeout, defaults::UPSTREAM_IDLE_TIMEOUT),
        })
    }

    fn check_servers(&mut self, servers: &[Text<UpstreamServer>]) {
        let names: Vec<_> = servers
            .iter()
            .map(|s| (s.value.authority.as_str(), s.span.start))
            .collect();
        self.no_duplicates("server", names);
        let mut rest = servers.iter();
        let Some(first) = rest.next() else {
            return;
        };
        for server in rest.filter(|server| server.value.scheme != first.value.scheme) {
            let message = format!(
                "{} has another scheme than the first server",
                quoted(&shown(&server.value))
            );
            let help = "all servers of an app use http, or all use https".to_owned();
            self.report.error(server.span.start, message, help);
        }
    }

    /// H-3: nothing on either leg is unverified unless a line says so.
    fn check_proof(&mut self, servers: &[Text<UpstreamServer>], insecure: bool) {
        for server in servers {
            let unproved =
                server.value.scheme == Scheme::HTTP && !is_loopback(server.value.authority.host());
            if unproved && !insecure {
                let message = format!(
                    "nothing proves {} to us: it is http to another machine",
                    quoted(&shown(&server.value))
                );
                let help =
                    "use https, or write `insecure = true` under `[app.upstream]` to accept it"
                        .to_owned();
                self.report.error(server.span.start, message, help);
            } else if insecure && (unproved || server.value.scheme == Scheme::HTTPS) {
                let message = format!(
                    "{} is not verified, because `insecure = true` is written",
                    quoted(&shown(&server.value))
                );
                let help =
                    "whoever is on the way can read and change everything, assertions included"
                        .to_owned();
                self.report.warning(server.span.start, message, help);
            }
        }
    }

    fn upstream_tls(
        &mut self,
        raw: Option<raw::UpstreamTls>,
        servers: &[Text<UpstreamServer>],
        insecure: bool,
    ) -> UpstreamTls {
        let plain = servers
            .first()
            .filter(|server| server.value.scheme == Scheme::HTTP);
        if let (Some(_), Some(server)) = (&raw, plain) {
            let help = "write https in `servers`, or leave `[app.upstream.tls]` out".to_owned();
            let message = format!(
                "TLS is configured, but {} is http",
                quoted(&shown(&server.value))
            );
            self.report.error(server.span.start, message, help);
        }
        let raw = raw.unwrap_or_default();
        if let (Some(authority), true) = (&raw.authority, insecure) {
            let help = "leave `insecure` out: with the authority named, the servers are verified"
                .to_owned();
            self.report.error(
                authority.span.start,
                "`authority` is not looked at with `insecure = true`",
                help,
            );
        }
        if let Some(name) = raw
            .server_name
            .as_ref()
            .filter(|name| name.value.0.starts_with('*'))
        {
            let help = "write the one name that the servers prove".to_owned();
            self.report.error(
                name.span.start,
                format!("{} is a pattern", quoted(&name.value.0)),
                help,
            );
        }
        UpstreamTls {
            authority: raw.authority.map(|path| self.file(&path, Purpose::File)),
            client_certificate: raw
                .client_certificate
                .and_then(|pair| self.certificate(pair)),
            server_name: raw.server_name.map(|text| text.value.0),
            insecure,
        }
    }

    fn health(&mut self, raw: raw::Health) -> Option<HealthCheck> {
        let at = raw
            .timeout
            .as_ref()
            .or(raw.interval.as_ref())
            .map_or(0, |text| text.span.start);
        let interval = value_or(raw.interval, defaults::HEALTH_INTERVAL);
        let timeout = value_or(raw.timeout, defaults::HEALTH_TIMEOUT);
        if timeout > interval {
            let help =
                "checks would pile up; write a shorter `timeout` or a longer `interval`".to_owned();
            self.report
                .error(at, "`timeout` is longer than `interval`", help);
        }
        let default =
            StatusRange::parse(defaults::HEALTH_STATUSES).unwrap_or(StatusRange(200, 399));
        let StatusRange(first, last) = value_or(raw.statuses, default);
        Some(HealthCheck {
            path: raw.path?.value.0,
            interval,
            timeout,
            healthy_after: raw.healthy_after.unwrap_or(defaults::HEALTHY_AFTER),
            unhealthy_after: raw.unhealthy_after.unwrap_or(defaults::UNHEALTHY_AFTER),
            statuses: (first, last),
        })
    }
}

fn shown(server: &UpstreamServer) -> String {
    format!("{}://{}", server.scheme, server.authority)
}
