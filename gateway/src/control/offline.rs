//! The same without a gateway: the stores and the record are opened here, and closed when it is done.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use masugata_idp::{Accounts, OpenError};
use serde_json::Value;

use super::accounts;
use super::desk::Desk;
use super::execute::{Place, execute};
use super::operator::Operator;
use super::request::{ControlRequest, Refusal};
use super::socket;
use crate::audit::event::Operation;
use crate::audit::sink::{AuditError, Auditor};
use crate::config::Config;
use crate::gateway::Capabilities;
use crate::session::{Sessions, StoreError};

/// How long the record may take to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries it out on the files.
///
/// # Errors
/// A store is in use, damaged or not ours; or what [`execute`] says.
pub(crate) fn run(
    config: &Config,
    store: &Path,
    request: ControlRequest,
    Capabilities { clock, entropy }: Capabilities,
) -> Result<Value, Refusal> {
    // Root could do it, and would leave files behind that the gateway's user cannot open.
    let owner = std::fs::metadata(store)
        .map_err(|error| Refusal::new(format!("cannot look at `{}`: {error}", store.display())))?
        .uid();
    if owner != own_uid() {
        let message = format!(
            "no gateway runs, and `{}` belongs to another user",
            store.display()
        );
        let help = format!("run it as that user, as in `sudo -u '#{owner}' masugata …`");
        return Err(Refusal::new(message).with_help(&help));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(format!("cannot start: {error}")))?;
    let _inside = runtime.enter();
    // First: nothing is changed that cannot be put on record.
    let auditor =
        Auditor::open(&config.audit, Arc::clone(&clock)).map_err(|error| match error {
            AuditError::InUse(_) => in_use(store, "the record"),
            AuditError::Io { .. }
            | AuditError::NotAFile(_)
            | AuditError::CheckpointInvalid { .. }
            | AuditError::Cut { .. }
            | AuditError::Rewritten { .. }
            | AuditError::Broken { .. } => Refusal::new(error.to_string()),
        })?;
    let accounts = match accounts::settings(config) {
        None => None,
        Some(settings) => {
            let (auditor, provider) = (auditor.clone(), provider(config));
            let told = move |event| {
                let provider = provider.as_deref().unwrap_or_default();
                auditor.person(accounts::recorded(event, provider, 0, None));
            };
            let random = Arc::new(accounts::Chance(Arc::clone(&entropy)));
            let opened = Accounts::open(store, settings, random, Arc::new(told));
            Some(opened.map_err(|error| match error {
                OpenError::InUse(_) => in_use(store, "the accounts"),
                OpenError::Damaged { .. }
                | OpenError::Newer { .. }
                | OpenError::HalfMissing { .. }
                | OpenError::WrongKey { .. }
                | OpenError::TooOpen { .. }
                | OpenError::Io { .. }
                | OpenError::Origin(_)
                | OpenError::Breached { .. } => Refusal::new(error.to_string()),
            })?)
        }
    };
    let sessions = match &config.sign_in {
        None => None,
        Some(_) => {
            let opened = Sessions::open(store, Arc::clone(&entropy));
            Some(Arc::new(opened.map_err(|error| match error {
                StoreError::InUse(_) => in_use(store, "the sessions"),
                StoreError::Open { .. }
                | StoreError::KeyMissing { .. }
                | StoreError::Damaged { .. }
                | StoreError::Write
                | StoreError::Gone => Refusal::new(error.to_string()),
            })?))
        }
    };
    let (people, operations) = (auditor.clone(), auditor.clone());
    let at = clock.now();
    let desk = Desk {
        people: None,
        sessions: sessions.clone(),
        accounts,
        record: Arc::new(move |person| people.person(person)),
        operation: Arc::new(move |kind, detail| {
            operations.operation(Operation {
                at,
                generation: 0,
                kind,
                detail,
                policy_version: None,
            });
        }),
        changed: Arc::new(|| {}),
        generation: 0,
    };
    let place = Place {
        provider: provider(config),
        link_base: accounts::link_base(config),
    };
    let operator = Operator::of(own_uid(), std::env::var("SUDO_USER").ok().as_deref());
    let done = runtime.block_on(execute(&desk, &place, request, &operator, at));
    drop(desk);
    if let Some(sessions) = sessions {
        sessions.close(at);
    }
    if !auditor.close(PATIENCE) {
        let message = "it is done, but the record of it could not be written";
        return Err(Refusal::new(message).with_help("look whether the disk of the record is full"));
    }
    done
}

fn provider(config: &Config) -> Option<String> {
    let provider = config.identity_provider.as_ref();
    provider.map(|provider| provider.name.clone())
}

/// Whoever is running this: what a process is told of itself belongs to its user.
fn own_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}

fn in_use(store: &Path, what: &str) -> Refusal {
    let socket = socket::path(store);
    Refusal::new(format!(
        "another process holds {what}, and does not answer at `{}`",
        socket.display()
    ))
    .with_help(
        "if a gateway is starting or stopping, try again in a moment; if it hangs, restart it",
    )
}
