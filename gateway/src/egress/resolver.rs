//! Names become addresses, once: fixed ones, the system, DNS over TLS or HTTPS.
//!
//! Asked only after policy and limits have permitted the destination, so that a name server learns nothing of what is
//! refused. Only addresses are asked for: no HTTPS records, so no ECH key ever reaches a client through us. The encrypted
//! ways never fall back to the system's. Names are absolute: neither search domains nor the hosts file of the machine
//! apply, because the policies were asked about the name as it is.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use masugata_certs::{ClientOptions, Roots};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::sync::Semaphore;

use crate::capability::Clock;
use crate::config::egress::{self as config, DnsServers, ResolverKind, StaticName};
use crate::upstream::{TlsTerms, interleaved, system_roots};

/// Addresses of one name that are kept.
const ADDRESSES: usize = 16;
/// Names whose answers are kept.
const NAMES: usize = 20_000;
/// How long an answer of the system counts, which tells no lifetime.
const SYSTEM_LIFETIME: Duration = Duration::from_secs(30);
/// How long it counts that a name has no address, or could not be asked about.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);
/// Bounds of what a name server says. The shorter one keeps a hostile zone from making us ask all the time.
const LIFETIME: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// Questions to the system at once; each occupies a thread that nothing can interrupt.
const SYSTEM_QUESTIONS: usize = 64;
/// Questions on one connection to a name server.
const ENCRYPTED_QUESTIONS: usize = 1024;

/// What the resolver takes from the rest of the gateway.
#[derive(Clone)]
pub struct Environment {
    pub clock: Arc<dyn Clock>,
    /// What TLS to name servers keeps to.
    pub terms: TlsTerms,
}

/// The resolver cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ResolverError {
    /// The file at fault, if it is one.
    pub path: Option<PathBuf>,
    /// Lower case, no full stop.
    pub message: String,
}

/// See the module's first lines.
pub struct Resolver {
    definition: Vec<StaticName>,
    fixed: HashMap<Box<str>, Fixed, ahash::RandomState>,
    source: Arc<Source>,
}

/// A port replaces the one that was asked for.
type Fixed = Box<[(IpAddr, Option<u16>)]>;

/// Who is asked, and what they said; carried over a reload that does not change it.
struct Source {
    definition: config::Resolver,
    /// The CA file as it was read.
    authority: Option<Vec<u8>>,
    clock: Arc<dyn Clock>,
    known: Cache<String, Answer>,
    asking: Asking,
}

enum Asking {
    System(Arc<Semaphore>),
    Encrypted(Box<TokioResolver>),
}

#[derive(Clone)]
struct Answer {
    found: Result<Arc<[IpAddr]>, Fault>,
    until: Instant,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The name has no address.
    Absent,
    TimedOut,
    Failed,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Absent => Self::new(io::ErrorKind::NotFound, "the name has no address"),
            Fault::TimedOut => Self::new(io::ErrorKind::TimedOut, "no name server answered"),
            Fault::Failed => Self::other("the name server cannot be asked"),
        }
    }
}

impl Resolver {
    /// Builds a resolver, or takes over from `previous` what has not changed, answers included. Asks nobody.
    ///
    /// # Errors
    /// A CA file that cannot be read or used.
    pub fn build(
        config: &config::Resolver,
        names: &[StaticName],
        previous: Option<&Arc<Self>>,
        environment: &Environment,
    ) -> Result<Arc<Self>, ResolverError> {
        let authority = match &config.kind {
            ResolverKind::System => None,
            ResolverKind::Tls(servers) | ResolverKind::Https { servers, .. } => {
                servers.authority.as_deref().map(read).transpose()?
            }
        };
        let kept = previous.filter(|previous| {
            previous.source.definition == *config && previous.source.authority == authority
        });
        if let Some(previous) = kept.filter(|previous| previous.definition == names) {
            return Ok(Arc::clone(previous));
        }
        let source = match kept {
            Some(previous) => Arc::clone(&previous.source),
            None => Arc::new(Source::build(config, authority, environment)?),
        };
        let fixed = names.iter().map(|name| {
            let addresses = name.addresses.clone().into_boxed_slice();
            (name.host.as_str().into(), addresses)
        });
        Ok(Arc::new(Self {
            definition: names.to_vec(),
            fixed: fixed.collect(),
            source,
        }))
    }

    /// The addresses of a host, or itself if it is one; at most 16, in the order in which they should be tried. `host` is
    /// lower case, without a final dot, an IPv6 address with or without brackets. None of them is checked.
    ///
    /// # Errors
    /// `NotFound`: it has no address; `TimedOut`; anything else: it could not be asked. The text is ours.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(fixed) = self.fixed.get(host) {
            let fixed = fixed.iter();
            return Ok(fixed
                .map(|(address, own)| SocketAddr::new(*address, own.unwrap_or(port)))
                .collect());
        }
        if let Some(literal) = literal(host) {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let found = self.source.addresses(host).await?;
        Ok(found
            .iter()
            .map(|address| SocketAddr::new(*address, port))
            .collect())
    }
}

/// An address in the text form of hosts.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

fn read(path: &Path) -> Result<Vec<u8>, ResolverError> {
    std::fs::read(path).map_err(|error| ResolverError {
        path: Some(path.to_owned()),
        message: format!("cannot be read: {error}"),
    })
}

impl Source {
    fn build(
        definition: &config::Resolver,
        authority: Option<Vec<u8>>,
        environment: &Environment,
    ) -> Result<Self, ResolverError> {
        let asking = match &definition.kind {
            ResolverKind::System => Asking::System(Arc::new(Semaphore::new(SYSTEM_QUESTIONS))),
            ResolverKind::Tls(servers) => {
                let connection = ConnectionConfig::tls(servers.server_name.as_str().into());
                let tls = tls(servers, authority.as_deref(), &[], &environment.terms)?;
                Asking::Encrypted(Box::new(encrypted(definition, servers, &connection, tls)?))
            }
            ResolverKind::Https { servers, path } => {
                let connection = ConnectionConfig::https(
                    servers.server_name.as_str().into(),
                    Some(path.as_str().into()),
                );
                let tls = tls(servers, authority.as_deref(), &[b"h2"], &environment.terms)?;
                Asking::Encrypted(Box::new(encrypted(definition, servers, &connection, tls)?))
            }
        };
        Ok(Self {
            definition: definition.clone(),
            authority,
            clock: Arc::clone(&environment.clock),
            known: Cache::new(NAMES),
            asking,
        })
    }

    /// From memory, or asked for. Whoever asks for a name that is being asked about waits for that answer.
    async fn addresses(&self, host: &str) -> Result<Arc<[IpAddr]>, Fault> {
        let now = self.clock.monotonic();
        if let Some(answer) = self.known.get(host)
            && now < answer.until
        {
            return answer.found;
        }
        let entry = self.known.entry_async(host, |_, answer: &mut Answer| {
            if now < answer.until {
                EntryAction::Retain(answer.found.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let vacancy = match entry.await {
            EntryResult::Retained(found) => return found,
            EntryResult::Vacant(vacancy) | EntryResult::Replaced(vacancy, _) => Some(vacancy),
            EntryResult::Removed(..) | EntryResult::Timeout => None,
        };
        let (found, lifetime) = self.ask(host).await;
        let answer = Answer {
            found: found.clone(),
            until: self.clock.monotonic().checked_add(lifetime).unwrap_or(now),
        };
        if let Some(vacancy) = vacancy {
            // Fails only when somebody removed the name meanwhile.
            let _ = vacancy.insert(answer);
        }
        found
    }

    async fn ask(&self, host: &str) -> (Result<Arc<[IpAddr]>, Fault>, Duration) {
        let asked = async {
            match &self.asking {
                Asking::System(questions) => ask_system(host, questions)
                    .await
                    .map(|found| (found, SYSTEM_LIFETIME)),
                Asking::Encrypted(resolver) => ask_server(host, resolver).await,
            }
        };
        let answered = tokio::time::timeout(self.definition.timeout, asked).await;
        let (mut found, lifetime) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => return (Err(fault), FAILURE_LIFETIME),
            Err(_elapsed) => return (Err(Fault::TimedOut), FAILURE_LIFETIME),
        };
        if !self.definition.ipv6 {
            found.retain(IpAddr::is_ipv4);
        }
        let found = in_order(found);
        if found.is_empty() {
            return (Err(Fault::Absent), FAILURE_LIFETIME);
        }
        (Ok(found), lifetime)
    }
}

/// Families in turn, each address once, so that the few that are kept are of both.
fn in_order(found: Vec<IpAddr>) -> Arc<[IpAddr]> {
    let mut order: Vec<IpAddr> = Vec::with_capacity(ADDRESSES.min(found.len()));
    let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
    for address in interleaved(found.collect()) {
        if order.len() == ADDRESSES {
            break;
        }
        if !order.contains(&address.ip()) {
            order.push(address.ip());
        }
    }
    order.into()
}

async fn ask_system(host: &str, questions: &Arc<Semaphore>) -> Result<Vec<IpAddr>, Fault> {
    let permit = Arc::clone(questions)
        .acquire_owned()
        .await
        .map_err(|_closed| Fault::Failed)?;
    // The final dot keeps search domains out.
    let name = format!("{host}.");
    // A task, because the thread stays occupied when nobody waits any longer, and the permit must with it.
    let looking = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, 0)).await;
        drop(permit);
        found.map(|found| found.map(|at| at.ip()).collect())
    });
    match looking.await {
        Ok(Ok(found)) => Ok(found),
        // The system's words for "no such name" and "cannot ask" differ from one to the next.
        Ok(Err(_)) => Err(Fault::Absent),
        Err(_) => Err(Fault::Failed),
    }
}

async fn ask_server(
    host: &str,
    resolver: &TokioResolver,
) -> Result<(Vec<IpAddr>, Duration), Fault> {
    // With the final dot it is absolute.
    let name = Name::from_ascii(format!("{host}.")).map_err(|_| Fault::Absent)?;
    let found = resolver.lookup_ip(name).await.map_err(|error| {
        if error.is_no_records_found() || error.is_nx_domain() {
            Fault::Absent
        } else {
            tracing::warn!(%error, "name servers cannot be asked");
            if matches!(error, NetError::Timeout) {
                Fault::TimedOut
            } else {
                Fault::Failed
            }
        }
    })?;
    let answers = found.as_lookup().answers().iter();
    let lifetime = answers.map(|record| u64::from(record.ttl)).min();
    let (shortest, longest) = LIFETIME;
    let lifetime = Duration::from_secs(lifetime.unwrap_or_default()).clamp(shortest, longest);
    Ok((found.iter().collect(), lifetime))
}

fn encrypted(
    definition: &config::Resolver,
    servers: &DnsServers,
    connection: &ConnectionConfig,
    tls: rustls::ClientConfig,
) -> Result<TokioResolver, ResolverError> {
    let servers = servers.addresses.iter().map(|address| {
        let mut connection = connection.clone();
        connection.port = address.port();
        NameServerConfig::new(address.ip(), true, vec![connection])
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut options = ResolverOpts::default();
    options.timeout = definition.timeout;
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    // Ours tells how long an answer counts by our own clock.
    options.cache_size = 0;
    options.max_active_requests = ENCRYPTED_QUESTIONS;
    options.ip_strategy = if definition.ipv6 {
        LookupIpStrategy::Ipv6AndIpv4
    } else {
        LookupIpStrategy::Ipv4Only
    };
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .with_tls_config(tls)
        .build()
        .map_err(|error| ResolverError {
            path: None,
            message: format!("the resolver cannot be built: {error}"),
        })
}

fn tls(
    servers: &DnsServers,
    authority: Option<&[u8]>,
    alpn: &[&[u8]],
    terms: &TlsTerms,
) -> Result<rustls::ClientConfig, ResolverError> {
    let roots = match authority {
        Some(pem) => Roots::Pem(pem),
        None => system_roots().map_err(|error| ResolverError {
            path: None,
            message: error.message,
        })?,
    };
    let config = masugata_certs::client_config(ClientOptions {
        profile: terms.profile,
        hybrid: terms.hybrid,
        roots,
        identity: None,
        alpn,
        time: Arc::clone(&terms.time),
    });
    config
        .map(Arc::unwrap_or_clone)
        .map_err(|error| ResolverError {
            path: servers.authority.clone(),
            message: error.to_string(),
        })
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resolver")
            .field("source", &self.source.definition)
            .field("fixed", &self.definition)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
