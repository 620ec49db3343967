//! Everything a configuration makes, built off the request path and then never changed: routes, policies, devices,
//! issuers, TLS, limits. A reload builds the next one whole, or leaves this one in force.

mod apps;
mod build;
mod egress;
mod forwarded;
mod networks;
mod sign_in;
mod trust;
mod zone;

use std::net::IpAddr;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use http::{HeaderMap, Response};
use masugata_certs::{DeviceAuthorities, Revocations, ServerCertificates};
use masugata_policy::{App as PolicyApp, Authentication, PolicySet, Principal, Timestamp};

use crate::assertion::AssertionSigner;
use crate::capability::{Clock, Entropy};
use crate::config::{self, Bounds, ClientCertificateMode, Config};
use crate::connection::{Connection, Door};
use crate::forward::{AppForward, Instance};
use crate::inventory::Inventory;
use crate::issuer::metadata::{self, ProtectedResource};
use crate::issuer::{Issuers, Local};
use crate::limits::quota::{AppLimits, Limits};
use crate::metrics::{AppMetrics, Metrics};
use crate::relying_party::Providers;
use crate::respond::Brand;
use crate::routes::{HostModes, RouteTable};
use crate::scim;
use crate::tls::TlsConfigs;

pub(crate) use build::policy_files;
pub(crate) use egress::{Alerts, EgressState, NAME as EGRESS};
pub(crate) use networks::Networks;
pub(crate) use sign_in::SignInState;
pub(crate) use trust::profile;
pub(crate) use zone::Zone;

/// What building a state needs from outside.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Arc<Metrics>,
    /// The built-in identity provider; `None` where it does not run (it is off, or a configuration is only checked).
    pub(crate) built_in: Option<Arc<dyn Local>>,
}

/// See the module's first lines.
pub(crate) struct State {
    /// Counts reloads, from 1; in every record.
    pub(crate) generation: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) brand: Brand,
    pub(crate) tls: TlsConfigs,
    pub(crate) certificates: Arc<ServerCertificates>,
    pub(crate) host_modes: HostModes,
    /// The CAs of devices, and a number that changes when they do.
    pub(crate) authorities: Arc<DeviceAuthorities>,
    pub(crate) trust: u64,
    pub(crate) revocations: Revocations,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) issuers: Issuers,
    /// Who may provision people.
    pub(crate) scim: Option<Arc<scim::Keys>>,
    /// Those of them at which people sign in.
    pub(crate) providers: Arc<Providers>,
    /// By the id of the device the account runs on.
    pub(crate) services: AHashMap<Box<str>, ServiceAccount>,
    pub(crate) routes: RouteTable<Arc<AppState>>,
    pub(crate) apps: Vec<Arc<AppState>>,
    /// The second door, where there is one.
    pub(crate) egress: Option<Arc<EgressState>>,
    /// Sign-in with a browser, where people can.
    pub(crate) sign_in: Option<Arc<SignInState>>,
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) networks: Networks,
    pub(crate) zone: Zone,
    pub(crate) limits: Limits,
    pub(crate) signer: AssertionSigner,
    /// Our name in `Via`; the same for the life of the process, so that loops through us are seen.
    pub(crate) instance: Arc<Instance>,
    /// When it came into force.
    pub(crate) loaded_at: Timestamp,
    /// What an administrator should hear about although it does not stop the start.
    pub(crate) warnings: Vec<String>,
}

/// One app, ready to be asked for.
pub(crate) struct AppState {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<config::App>,
    pub(crate) policy: Arc<PolicyApp>,
    pub(crate) backend: Backend,
    pub(crate) limits: AppLimits,
    pub(crate) metrics: Arc<AppMetrics>,
}

/// What answers for an app.
pub(crate) enum Backend {
    Proxy(Arc<AppForward>),
    /// A redirect or a fixed text: made once, given every time.
    Answer(Response<Bytes>),
}

/// A service account, verified when its certificate is.
pub(crate) struct ServiceAccount {
    pub(crate) principal: Arc<Principal>,
    pub(crate) authentication: Arc<Authentication>,
}

impl State {
    /// Changes with everything that a lasting exchange was permitted by: the configuration, and the lists of domains.
    pub(crate) fn epoch(&self) -> u64 {
        let lists = self
            .egress
            .as_ref()
            .map_or(0, |egress| egress.catalogue.lists().version());
        (self.generation << 32) | (lists & u64::from(u32::MAX))
    }

    /// The app of that name.
    pub(crate) fn app(&self, name: &str) -> Option<&Arc<AppState>> {
        self.apps.iter().find(|app| &*app.name == name)
    }

    /// The client's address: the peer's, or what a trusted forwarder in front of us says.
    /// The second value: it was a trusted forwarder that sent this.
    pub(crate) fn client_address(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
    ) -> (IpAddr, bool) {
        let peer = connection.remote.ip().to_canonical();
        let trusted = &self.config.ingress.trusted_forwarders;
        if trusted.is_empty() || !trusted.iter().any(|range| range.contains(&peer)) {
            return (peer, false);
        }
        (forwarded::client(headers, trusted).unwrap_or(peer), true)
    }

    /// What a door lets one client take. The second door is there for good or never: a reload cannot add or remove it.
    pub(crate) fn bounds(&self, door: Door) -> &Bounds {
        let egress = self.config.egress.as_ref().filter(|_| door == Door::Egress);
        egress.map_or(&self.config.ingress.bounds, |egress| &egress.bounds)
    }

    /// What the handshake asks of a client. At the egress that does not depend on the name by which the proxy is called.
    pub(crate) fn client_certificates(
        &self,
        door: Door,
        server_name: Option<&str>,
    ) -> ClientCertificateMode {
        match (door, &self.config.egress) {
            (Door::Egress, Some(egress)) => egress.client_certificates,
            (Door::Egress, None) => ClientCertificateMode::Required,
            (Door::Ingress, _) => self.host_modes.mode(server_name),
        }
    }

    pub(crate) fn speaks_proxy_protocol(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.config
            .ingress
            .proxy_protocol_from
            .iter()
            .any(|range| range.contains(&peer))
    }
}

impl AppState {
    /// RFC 9728 §3.1: the well-known name goes between host and path.
    pub(crate) fn metadata_url(&self, state: &State, host: &str) -> String {
        format!(
            "{}{}",
            state.origin(host),
            metadata::path(&self.config.path_prefix)
        )
    }

    /// RFC 9728 metadata of this app at `host`.
    pub(crate) fn metadata(&self, state: &State, host: &str) -> Bytes {
        let accepted = &self.config.requirements.issuers;
        let issuers: Vec<&str> = state
            .config
            .issuers
            .iter()
            // Where people only sign in with a browser, no client gets an access token.
            .filter(|issuer| !issuer.audiences.is_empty())
            .filter(|issuer| accepted.is_empty() || accepted.contains(&issuer.name))
            .map(|issuer| issuer.issuer.as_str())
            .collect();
        metadata::protected_resource_metadata(ProtectedResource {
            origin: &state.origin(host),
            path_prefix: &self.config.path_prefix,
            name: &self.config.name,
            authorization_servers: &issuers,
            certificate_bound: self.config.requirements.certificate_bound,
        })
    }
}

impl State {
    /// Scheme, host and port as clients write them; the port is left out when it is the default.
    pub(crate) fn origin(&self, host: &str) -> String {
        self.config.ingress.origin_of(host)
    }
}
