//! What administration acts on, whoever asks: an administrator at the command line, or the system that provisions people.
//! Sessions end here, and what was done goes on record.

use std::net::SocketAddr;
use std::sync::Arc;

use masugata_idp::Accounts;
use masugata_policy::Timestamp;

use crate::audit::event::{Actor, Person, PersonKind};
use crate::exchange::RequestId;
use crate::gateway::Shared;
use crate::people::{People, Standing};
use crate::session::{Ended, SessionId, Sessions, Which};
use crate::state::State;

/// See the module's first lines.
pub(crate) struct Desk {
    pub(crate) people: Option<Arc<People>>,
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// Of the built-in provider, where there is one. They tell of their changes themselves.
    pub(crate) accounts: Option<Accounts>,
    /// Puts on record.
    pub(crate) record: Arc<dyn Fn(Person) + Send + Sync>,
    /// Puts on record what an operator's rights were used for: kind and detail.
    pub(crate) operation: Arc<dyn Fn(&'static str, String) + Send + Sync>,
    /// Says that lasting exchanges are to be asked about again, now.
    pub(crate) changed: Arc<dyn Fn() + Send + Sync>,
    /// Of the configuration in force.
    pub(crate) generation: u64,
}

/// Who acts, when and from where.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) at: Timestamp,
    pub(crate) by: Actor,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) request: Option<RequestId>,
    pub(crate) detail: Option<Box<str>>,
}

impl Shared {
    /// What administration acts on now.
    pub(crate) fn desk(self: &Arc<Self>, state: &State) -> Desk {
        let (auditor, shared) = (self.auditor.clone(), Arc::clone(self));
        let operations = Arc::clone(self);
        Desk {
            people: self.people.clone(),
            sessions: self.sessions.clone(),
            accounts: None,
            record: Arc::new(move |person| auditor.person(person)),
            operation: Arc::new(move |kind, detail| operations.record(kind, detail)),
            changed: Arc::new(move || shared.changed()),
            generation: state.generation,
        }
    }
}

impl Desk {
    /// Ends sessions: on the disk and on record when this is back.
    pub(crate) async fn end(&self, which: &Which, note: &Note) -> Vec<Ended> {
        let Some(sessions) = &self.sessions else {
            return Vec::new();
        };
        let ended = sessions.end(which).durable().await;
        if !ended.is_empty() {
            (self.changed)();
        }
        for one in &ended {
            let session = &one.session;
            let principal = session.principal();
            self.note(
                note,
                PersonKind::SessionEnded,
                Person {
                    principal: Some(principal.id().into()),
                    name: session.user_name.clone(),
                    issuer: Some(session.issuer.clone()),
                    session: Some(one.family.to_string().into()),
                    device: Some(session.device.clone()),
                    thumbprint: Some(session.thumbprint),
                    ..blank()
                },
            );
        }
        ended
    }

    /// Ends the sessions of all who are inactive, however their issuer writes their names.
    pub(crate) async fn end_inactive(&self, note: &Note) {
        let (Some(people), Some(sessions)) = (&self.people, &self.sessions) else {
            return;
        };
        for view in sessions.list() {
            if people.standing(&view.principal) == Standing::Inactive
                && let Some(family) = SessionId::parse(&view.id)
            {
                self.end(&Which::Family(family), note).await;
            }
        }
    }

    /// Groups changed: no session ends, but what it may do may be different.
    pub(crate) fn moved(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.moved();
        }
        (self.changed)();
    }

    /// Puts something about somebody on record.
    pub(crate) fn note(&self, note: &Note, kind: PersonKind, about: Person) {
        (self.record)(Person {
            at: note.at,
            generation: self.generation,
            kind,
            by: note.by.clone(),
            client: note.client,
            request: note.request,
            detail: about.detail.or_else(|| note.detail.clone()),
            ..about
        });
    }
}

/// An event that says nothing yet.
pub(crate) fn blank() -> Person {
    Person {
        at: Timestamp::from_millis(0),
        generation: 0,
        kind: PersonKind::AccountChanged,
        failure: None,
        by: Actor::Gateway,
        principal: None,
        name: None,
        issuer: None,
        session: None,
        factors: Vec::new(),
        authentication: None,
        app: None,
        device: None,
        thumbprint: None,
        client: None,
        request: None,
        detail: None,
    }
}
