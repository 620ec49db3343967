//! Everything a configuration makes, built off the request path and then never changed: routes, policies, devices,
//! issuers, TLS, limits. A reload builds the next one whole, or leaves this one in force.

mod build;
mod networks;
mod zone;

use std::net::IpAddr;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use masugata_certs::{Revocations, ServerCertificates};
use masugata_policy::{App as PolicyApp, Authentication, PolicySet, Principal, PrincipalKind};

use crate::assertion::AssertionSigner;
use crate::capability::{Clock, Entropy};
use crate::config::{self, Config};
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::forward::AppForward;
use crate::inventory::Inventory;
use crate::issuer::Issuers;
use crate::limits::quota::Limits;
use crate::metrics::{AppMetrics, Metrics};
use crate::routes::{HostModes, RouteTable};
use crate::tls::TlsConfigs;

pub(crate) use networks::Networks;
pub(crate) use zone::Zone;

/// What building a state needs from outside.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Arc<Metrics>,
}

/// See the module's first lines.
pub(crate) struct State {
    /// Counts reloads, from 1; in every record.
    pub(crate) generation: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) tls: TlsConfigs,
    pub(crate) certificates: Arc<ServerCertificates>,
    pub(crate) host_modes: HostModes,
    pub(crate) revocations: Revocations,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) issuers: Issuers,
    /// By the id of the device the account runs on.
    pub(crate) services: AHashMap<Box<str>, ServiceAccount>,
    pub(crate) routes: RouteTable<Arc<AppState>>,
    pub(crate) apps: Vec<Arc<AppState>>,
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) networks: Networks,
    pub(crate) zone: Zone,
    pub(crate) limits: Limits,
    pub(crate) signer: AssertionSigner,
    /// Our name in `Via`; the same for the life of the process, so that loops through us are seen.
    pub(crate) via_pseudonym: Arc<str>,
}

/// One app, ready to be asked for.
pub(crate) struct AppState {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<config::App>,
    pub(crate) policy: Arc<PolicyApp>,
    pub(crate) forward: Arc<AppForward>,
    pub(crate) metrics: Arc<AppMetrics>,
}

/// A service account, verified when its certificate is.
pub(crate) struct ServiceAccount {
    pub(crate) principal: Arc<Principal>,
    pub(crate) authentication: Arc<Authentication>,
}

impl State {
    /// The app of that name.
    pub(crate) fn app(&self, name: &str) -> Option<&Arc<AppState>> {
        self.apps.iter().find(|app| &*app.name == name)
    }

    /// The client's address: the peer's, or what a trusted forwarder in front of us says.
    pub(crate) fn client_address(&self, exchange: &Exchange) -> (IpAddr, bool) {
        let peer = exchange.connection.remote.ip().to_canonical();
        let trusted = &self.config.ingress.trusted_forwarders;
        if trusted.is_empty() || !trusted.iter().any(|range| range.contains(&peer)) {
            return (peer, false);
        }
        let told = crate::forward::headers::forwarded_client(&exchange.head.headers, trusted);
        (told.unwrap_or(peer), true)
    }

    pub(crate) fn speaks_proxy_protocol(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.config.ingress.proxy_protocol_from.iter().any(|range| range.contains(&peer))
    }

    /// Whether the source of a credential that was verified earlier is still believed: its issuer still configured, its
    /// service account still there and on that device.
    pub(crate) fn still_vouched_for(&self, principal: &Principal, device: &str) -> Result<(), Denial> {
        let vouched = match principal.kind() {
            PrincipalKind::User => self.config.issuers.iter().any(|issuer| issuer.name == principal.issuer()),
            PrincipalKind::Service => {
                self.services.get(device).is_some_and(|account| account.principal.id() == principal.id())
            }
        };
        if vouched { Ok(()) } else { Err(DenialReason::CredentialInvalid.into()) }
    }

    /// What an administrator should hear about although it does not stop the start.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for app in &self.apps {
            if let config::Backend::Proxy(upstream) = &app.config.backend
                && upstream.tls.insecure
            {
                warnings.push(format!("app `{}`: the upstream's certificate is not checked (insecure = true)", app.name));
            }
        }
        warnings.extend(self.inventory.warnings().iter().map(ToString::to_string));
        warnings.extend(self.certificates.summaries().iter().flat_map(|summary| summary.warnings.iter().cloned()));
        warnings
    }
}

impl AppState {
    /// RFC 9728 §3.1: the well-known name goes between host and path.
    pub(crate) fn metadata_url(&self, state: &State, host: &str) -> String {
        let path = if self.config.path_prefix == "/" { "" } else { self.config.path_prefix.as_str() };
        format!("https://{}/.well-known/oauth-protected-resource{path}", state.origin(host))
    }

    /// RFC 9728 metadata of this app at `host`.
    pub(crate) fn metadata(&self, state: &State, host: &str) -> Bytes {
        let resource = format!("https://{}{}", state.origin(host), self.config.path_prefix);
        crate::issuer::metadata::protected_resource(&resource, &self.config, &state.config.issuers)
    }
}

impl State {
    /// Host and port as clients write them; the port is left out when it is the default.
    fn origin(&self, host: &str) -> String {
        match self.config.ingress.listen.first().map(std::net::SocketAddr::port) {
            Some(port) if port != 443 && port != 0 => format!("{host}:{port}"),
            Some(_) | None => host.to_owned(),
        }
    }
}
