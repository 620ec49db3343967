//! The running gateway: what it shares between requests, how it starts, reloads and stops. Tests and benches start here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

use masugata_idp::SetupError;
use masugata_policy::Principal;

use crate::admin::Admin;
use crate::audit::event::{Actor, Operation, Person, PersonKind};
use crate::audit::handshakes::{self, Handshakes};
use crate::audit::sink::Auditor;
use crate::capability::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::error::LoadError;
use crate::config::{Config, Loaded};
use crate::connection::Door;
use crate::control::socket::{self, ControlError, Listening};
use crate::exchange::RequestId;
use crate::issuer::Local;
use crate::limits::admission::Admission;
use crate::limits::lockout::Lockout;
use crate::limits::quota;
use crate::listener::{self, Drain};
use crate::metrics::Metrics;
use crate::people::{Basis, Judged, People, PeopleError};
use crate::reload::{self, Reloaded};
use crate::session::{Ended, Sessions, StoreError, Which};
use crate::sign_in::{BuiltIn, UnderWay, record, refresh};
use crate::state::State;
use crate::view::{self, View};

/// The outside world the gateway is given.
#[derive(Clone)]
pub struct Capabilities {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
        }
    }
}

/// What every connection and request shares. Mutable only behind the one pointer and in counters.
pub(crate) struct Shared {
    state: ArcSwap<State>,
    reloaded: Notify,
    /// Moves with every configuration and every list that comes into force.
    changed: watch::Sender<u64>,
    pub(crate) auditor: Auditor,
    /// Those who were refused before they could ask for anything.
    pub(crate) strangers: Handshakes,
    pub(crate) metrics: Arc<Metrics>,
    /// By door: ingress, egress.
    admission: [Arc<Admission>; 2],
    pub(crate) lockout: Lockout,
    /// Who is provisioned; there is one wherever there is a `store`.
    pub(crate) people: Option<Arc<People>>,
    /// The built-in identity provider, where it is on; for good or never, as the store it lives in.
    pub(crate) built_in: Option<Arc<BuiltIn>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) drain: Drain,
    /// Of people who signed in with a browser; `None`: nobody can.
    pub(crate) sessions: Option<Arc<Sessions>>,
    pub(crate) under_way: UnderWay,
    request_prefix: u64,
    requests: AtomicU64,
    connections: AtomicU64,
}

impl Shared {
    /// The configuration in force; a request asks once.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Who may come in by that door.
    pub(crate) fn admission(&self, door: Door) -> &Arc<Admission> {
        let [ingress, egress] = &self.admission;
        match door {
            Door::Ingress => ingress,
            Door::Egress => egress,
        }
    }

    pub(crate) fn replace_state(&self, state: State) {
        if let Some(people) = &self.people {
            people.rest_on(Basis::of(&state.config));
        }
        self.state.store(Arc::new(state));
        self.changed();
        self.reloaded.notify_one();
    }

    /// What lasting exchanges were permitted by may be another now.
    pub(crate) fn changed(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Ends sessions of people, at once and for good, and puts it on record. `why` is for the record.
    pub(crate) async fn end_sessions(&self, which: &Which, by: Actor, why: &str) -> Vec<Ended> {
        let Some(sessions) = &self.sessions else {
            return Vec::new();
        };
        let ending = sessions.end(which);
        self.record_ended(&ending.ended, &by, why);
        ending.durable().await
    }

    /// As [`Shared::end_sessions`], for whoever cannot wait for the disk.
    pub(crate) fn end_sessions_now(&self, which: &Which, by: &Actor, why: &str) -> Vec<Ended> {
        let Some(sessions) = &self.sessions else {
            return Vec::new();
        };
        let ending = sessions.end(which);
        self.record_ended(&ending.ended, by, why);
        ending.ended
    }

    /// Sessions have ended: it goes on record, and what still runs under them is asked about at once.
    pub(crate) fn record_ended(&self, ended: &[Ended], by: &Actor, why: &str) {
        if ended.is_empty() {
            return;
        }
        self.cut();
        let when = (self.clock.now(), self.state().generation);
        for ended in ended {
            let kind = PersonKind::SessionEnded;
            self.auditor.person(Person {
                detail: Some(why.into()),
                ..record::of_session(kind, &ended.session, by.clone(), when)
            });
        }
    }

    /// Changes when somebody's session has ended or their standing is another.
    pub(crate) fn ends(&self) -> u64 {
        let sessions = self.sessions.as_ref();
        let people = self.people.as_ref();
        // Neither ever goes back, so that the sum of both tells whether one has moved.
        sessions
            .map_or(0, |sessions| sessions.epoch())
            .wrapping_add(people.map_or(0, |people| people.revision()))
    }

    /// What the system that provisions people says of one.
    pub(crate) fn judge(&self, principal: &Arc<Principal>) -> Judged {
        let people = self.people.as_ref();
        people.map_or(Judged::Unchanged, |people| people.judge(principal))
    }

    /// Whether the person's account is disabled where accounts are kept.
    pub(crate) fn is_inactive(&self, principal: &Arc<Principal>) -> bool {
        matches!(self.judge(principal), Judged::Inactive)
    }

    /// Something that lasting exchanges were permitted by is over.
    pub(crate) fn cut(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.moved();
        }
        self.changed();
    }

    /// Begins to keep the lists of the second door up to date.
    pub(crate) fn follow_lists(self: &Arc<Self>) {
        if let Some(egress) = &self.state().egress {
            // Weak: lists outlive configurations, and must not keep the gateway alive.
            let shared = Arc::downgrade(self);
            egress.news.goes_to(self);
            egress.catalogue.start(move || {
                if let Some(shared) = shared.upgrade() {
                    shared.changed();
                }
            });
        }
    }

    /// Half random per process, so that two nodes never give the same id; half counting, so that none repeats.
    pub(crate) fn next_request_id(&self) -> RequestId {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        RequestId((u128::from(self.request_prefix) << 64) | u128::from(count))
    }

    /// Takes over what the policies in force have counted.
    pub(crate) fn count_decisions(&self) {
        let (fresh, reused) = self.state().policies.take_counts();
        self.metrics.decisions_fresh.add(fresh);
        self.metrics.decisions_reused.add(reused);
    }

    /// Records something that happened to the gateway itself.
    pub(crate) fn record(&self, kind: &'static str, detail: String) {
        let state = self.state();
        self.auditor.operation(Operation {
            at: self.clock.now(),
            generation: state.generation,
            kind,
            detail,
            policy_version: Some(state.policies.version().clone()),
        });
    }

    /// Puts on record how many handshakes were refused since the last time.
    fn report_strangers(&self, last: bool) {
        let generation = self.state().generation;
        self.strangers
            .report(&self.auditor, self.clock.now(), generation, last);
    }

    pub(crate) fn next_connection_id(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in the configuration or in a file it names.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The record cannot be opened; without it nothing may be let through.
    #[error("cannot open the audit log: {0}")]
    Audit(#[from] crate::audit::sink::AuditError),
    #[error("{0}")]
    Sessions(#[from] StoreError),
    #[error("the built-in identity provider cannot be opened: {0}")]
    BuiltIn(#[from] SetupError),
    /// The directory of provisioned people: going on without it would let everybody back in who was deactivated.
    #[error("cannot open the directory of people: {0}")]
    People(#[from] PeopleError),
    #[error("cannot be administered: {0}")]
    Control(#[from] ControlError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot watch files for changes: {0}")]
    Watch(#[from] notify::Error),
}

/// A running gateway. Dropping it without [`Gateway::shutdown`] ends connections without grace.
pub struct Gateway {
    shared: Arc<Shared>,
    config_path: PathBuf,
    ingress: Vec<SocketAddr>,
    egress: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    tasks: JoinSet<()>,
    background: CancellationToken,
}

impl Gateway {
    /// Loads the configuration at `path`, opens the record, listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(path: &Path, capabilities: Capabilities) -> Result<Self, StartError> {
        let loaded = load_off_thread(path, None).await?;
        Self::start_with(loaded, capabilities).await
    }

    /// Like [`Gateway::start`] with a configuration that is already loaded.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_with(
        loaded: Loaded,
        capabilities: Capabilities,
    ) -> Result<Self, StartError> {
        let Capabilities { clock, entropy } = capabilities;
        let (loaded, seen) = if loaded.config.runtime.watch {
            let (loaded, seen) = reload::load_to_watch(loaded).await;
            (loaded, Some(seen))
        } else {
            (loaded, None)
        };
        let config = loaded.config.clone();
        let config_path = config.path.clone();
        let metrics = Metrics::new();
        let auditor = Auditor::open(&config.audit, Arc::clone(&clock))?;
        let built_in = open_built_in(&config, &clock, &entropy).await?;
        let environment = crate::state::Environment {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            metrics: Arc::clone(&metrics),
            built_in: built_in.clone().map(|it| it as Arc<dyn Local>),
        };
        let state = State::build(loaded, None, &environment)?;
        let sessions = open_sessions(&config, &entropy).await?;
        let people = match &config.store {
            Some(store) => Some(Arc::new(People::open(
                store,
                Basis::of(&config),
                &*entropy,
            )?)),
            None => None,
        };
        let mut prefix = [0; 8];
        entropy.fill(&mut prefix);
        let under_way = UnderWay::new(&*entropy);
        let shared = Arc::new(Shared {
            reloaded: Notify::new(),
            changed: watch::Sender::new(0),
            auditor,
            strangers: Handshakes::default(),
            admission: [Door::Ingress, Door::Egress]
                .map(|door| Admission::new(state.bounds(door), &*entropy)),
            state: ArcSwap::from_pointee(state),
            lockout: Lockout::new(&config.lockout, &*entropy, &metrics),
            people,
            built_in,
            clock,
            entropy,
            metrics,
            drain: Drain::default(),
            sessions,
            under_way,
            request_prefix: u64::from_be_bytes(prefix),
            requests: AtomicU64::new(1),
            connections: AtomicU64::new(1),
        });

        if let Some(built_in) = &shared.built_in {
            built_in.runs_in(&shared);
        }
        let mut tasks = JoinSet::new();
        let background = CancellationToken::new();
        let (mut doors, ingress) = bind(&config.ingress.listen, Door::Ingress)?;
        let second = config.egress.as_ref();
        let second = second.map_or(&[][..], |egress| &egress.listen);
        let (more, egress) = bind(second, Door::Egress)?;
        doors.extend(more);
        let admin = match config.admin.listen {
            None => None,
            Some(address) => {
                let listener = Admin::bind(address)
                    .await
                    .map_err(|source| StartError::Listen { address, source })?;
                let bound = listener.address();
                let view = Arc::new(View::new(Arc::clone(&shared)));
                tasks.spawn(listener.serve(view, background.clone()));
                Some(bound)
            }
        };
        if let Some(door) = &shared.state().egress {
            // Known before anybody can ask for a way: one that leads back to us is none.
            let own = ingress.iter().chain(&egress).chain(&admin);
            door.listeners.set(own.copied().collect());
            let sweep =
                Arc::clone(&door.tunnels).sweep(shared.changed.subscribe(), background.clone());
            tasks.spawn(sweep);
        }
        if let Some(store) = &config.store {
            let control = Listening::bind(store)?;
            let serve = socket::serve(control, Arc::clone(&shared), background.clone());
            tasks.spawn(serve);
        }
        for (listener, door) in doors {
            tasks.spawn(listener::accept(Arc::clone(&shared), listener, door));
        }
        shared.follow_lists();
        view::read_states(&shared);
        shared.state().issuers.start();
        tasks.spawn(tidy(Arc::clone(&shared), background.clone()));
        if let Some(sessions) = &shared.sessions {
            let sessions = Arc::clone(sessions);
            tasks.spawn(refresh::keep(
                Arc::clone(&shared),
                sessions,
                background.clone(),
            ));
        }
        if let Some(seen) = seen.filter(|_| config.runtime.watch) {
            tasks.spawn(reload::watch(
                Arc::clone(&shared),
                config_path.clone(),
                seen,
                background.clone(),
            )?);
        }
        let gateway = Self {
            shared,
            config_path,
            ingress,
            egress,
            admin,
            tasks,
            background,
        };
        gateway.record("started", concat!("masugata ", env!("CARGO_PKG_VERSION")));
        for warning in &gateway.shared.state().warnings {
            tracing::warn!("{warning}");
            gateway.record("warning", warning.clone());
        }
        Ok(gateway)
    }

    /// Addresses of the first door, in the order of the configuration, with ports that were 0 filled in.
    pub fn ingress_addresses(&self) -> &[SocketAddr] {
        &self.ingress
    }

    /// Addresses of the second door; empty when there is none.
    pub fn egress_addresses(&self) -> &[SocketAddr] {
        &self.egress
    }

    /// Address of the administrators' listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Counts reloads, from 1.
    pub fn generation(&self) -> u64 {
        self.shared.state().generation
    }

    /// Reads all files again and puts them in force, whole or not at all.
    ///
    /// # Errors
    /// [`LoadError`] with every problem; the old configuration stays in force.
    pub async fn reload(&self) -> Result<Reloaded, LoadError> {
        reload::reload(&self.shared, &self.config_path).await
    }

    /// Waits until a changed configuration is in force, for whoever must follow it outside of the gateway. One waits.
    pub async fn reloaded(&self) {
        self.shared.reloaded.notified().await;
    }

    /// How much is to be logged, under the configuration in force.
    pub fn log_level(&self) -> LevelFilter {
        self.shared.state().config.runtime.log_level
    }

    /// Reopens the record, after rotation.
    pub fn reopen_audit(&self) {
        self.shared.auditor.reopen();
    }

    /// Stops accepting, lets requests in flight finish for as long as configured, closes the record.
    pub async fn shutdown(mut self) {
        self.drain().await;
        self.background.cancel();
        while self.tasks.join_next().await.is_some() {}
        if let Some(sessions) = self.shared.sessions.clone() {
            let now = self.shared.clock.now();
            let _closed = tokio::task::spawn_blocking(move || sessions.close(now)).await;
        }
        self.shared.report_strangers(true);
        self.record("stopped", "");
        let auditor = self.shared.auditor.clone();
        let written = tokio::task::spawn_blocking(move || auditor.close(RECORD_PATIENCE))
            .await
            .unwrap_or(false);
        if !written {
            tracing::error!(
                records = self.shared.auditor.depth(),
                "stopped with records that could not be written"
            );
        }
    }

    /// Waits for connections to end, those of each door for as long as it has.
    async fn drain(&self) {
        let (state, drain) = (self.shared.state(), &self.shared.drain);
        let mut doors = [Door::Ingress, Door::Egress].map(|door| (state.bounds(door).drain, door));
        doors.sort_unstable_by_key(|(grace, _)| *grace);
        drain.begin();
        let begun = Instant::now();
        for (grace, door) in doors {
            if timeout_at(begun + grace, drain.finished()).await.is_ok() {
                return;
            }
            let seconds = grace.as_secs();
            tracing::warn!(
                ?door,
                seconds,
                "connections were still open when the time to drain was over"
            );
            self.shared.auditor.stopping();
            drain.cut(door);
        }
        let _ = tokio::time::timeout(Duration::from_secs(3), drain.finished()).await;
    }

    fn record(&self, kind: &'static str, detail: impl Into<String>) {
        self.shared.record(kind, detail.into());
    }
}

/// The provider of a process that has one.
async fn open_built_in(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Option<Arc<BuiltIn>>, StartError> {
    let (config, clock, entropy) = (config.clone(), Arc::clone(clock), Arc::clone(entropy));
    let open = move || BuiltIn::open(&config, &clock, &entropy);
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(opened?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The sessions of a process whose configuration lets people sign in.
async fn open_sessions(
    config: &Config,
    entropy: &Arc<dyn Entropy>,
) -> Result<Option<Arc<Sessions>>, StartError> {
    let (Some(_), Some(directory)) = (&config.sign_in, config.store.clone()) else {
        return Ok(None);
    };
    let entropy = Arc::clone(entropy);
    let open = move || Sessions::open(&directory, entropy);
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(Some(Arc::new(opened?))),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

type Bound = (Vec<(TcpListener, Door)>, Vec<SocketAddr>);

/// Sockets of a door, and where they really are.
fn bind(addresses: &[SocketAddr], door: Door) -> Result<Bound, StartError> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::new());
    for &address in addresses {
        let listener =
            listener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        bound.push(listener.local_addr().unwrap_or(address));
        listeners.push((listener, door));
    }
    Ok((listeners, bound))
}

/// How long stopping waits for a disk that does not take the last records.
const RECORD_PATIENCE: Duration = Duration::from_secs(10);

/// Frees what attackers and passers-by have left in tables that do not shrink by themselves.
async fn tidy(shared: Arc<Shared>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(quota::PURGE_INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reports = tokio::time::interval(handshakes::INTERVAL);
    reports.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    reports.reset();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
            _ = reports.tick() => {
                shared.report_strangers(false);
                continue;
            }
        }
        shared.state().limits.purge();
        shared.count_decisions();
        shared.lockout.purge(shared.clock.monotonic());
    }
}

/// Parsing and policy validation take milliseconds: never on a thread that serves requests.
pub(crate) async fn load_off_thread(
    path: &Path,
    previous: Option<Arc<State>>,
) -> Result<Loaded, LoadError> {
    let path = path.to_owned();
    let load = move || Config::load_with(&path, previous.as_ref().map(|state| &*state.inventory));
    match tokio::task::spawn_blocking(load).await {
        Ok(loaded) => loaded,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
