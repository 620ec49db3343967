//! What goes on record of people: who signed in or failed to, whose session ended and why. Never a secret.

use std::sync::Arc;

use masugata_policy::Timestamp;

use super::Visitor;
use super::fault::Fault;
use super::start::Wish;
use super::target::AppTarget;
use crate::audit::event::{Actor, Person, PersonKind};
use crate::connection::Connection;
use crate::exchange::RequestId;
use crate::session::{Ended, Session};

/// A record of something that happened to a session.
pub(crate) fn of_session(
    kind: PersonKind,
    session: &Session,
    by: Actor,
    (at, generation): (Timestamp, u64),
) -> Person {
    Person {
        at,
        generation,
        kind,
        failure: None,
        by,
        principal: Some(session.principal().id().into()),
        name: session.user_name.clone(),
        issuer: Some(session.issuer.clone()),
        session: Some(session.family.to_string().into()),
        factors: session.authentication.amr.clone(),
        authentication: Some(Arc::clone(&session.authentication)),
        app: None,
        device: Some(session.device.clone()),
        thumbprint: Some(session.thumbprint),
        client: None,
        request: None,
        detail: None,
    }
}

/// A session's cookie came from where it cannot be: another device, or none.
pub(crate) fn of_theft(
    session: &Session,
    connection: &Connection,
    request: RequestId,
    when: (Timestamp, u64),
) -> Person {
    let came_with = connection.device().map(|peer| *peer.thumbprint());
    let detail = match came_with {
        Some(_) => "its cookie came with another certificate, which is recorded here",
        None => "its cookie came without a certificate",
    };
    Person {
        // Whose cookie it was is told by the session; what came is told here.
        thumbprint: came_with,
        client: Some(connection.remote),
        request: Some(request),
        detail: Some(detail.into()),
        ..of_session(PersonKind::SessionStolen, session, Actor::Gateway, when)
    }
}

impl Visitor<'_> {
    fn when(&self) -> (Timestamp, u64) {
        (self.shared.clock.now(), self.state.generation)
    }

    /// A sign-in or a step-up that worked.
    pub(super) fn record_session(
        &self,
        kind: PersonKind,
        session: &Session,
        target: Option<&AppTarget>,
    ) {
        self.shared.auditor.person(Person {
            app: target.map(|target| target.app.config.name.as_str().into()),
            client: Some(self.connection.remote),
            request: Some(self.request),
            ..of_session(kind, session, Actor::Person, self.when())
        });
    }

    pub(super) fn record_sign_out(&self, ended: &Ended) {
        self.shared.auditor.person(Person {
            client: Some(self.connection.remote),
            request: Some(self.request),
            ..of_session(
                PersonKind::SignOut,
                &ended.session,
                Actor::Person,
                self.when(),
            )
        });
    }

    /// A sign-in, or a step-up, that came to nothing.
    pub(super) fn record_failure(&self, fault: &Fault, issuer: Option<&str>, wish: &Wish) {
        let detail = match fault {
            Fault::Provider(error) => Some(error.to_string()),
            Fault::Own(_) => None,
        };
        self.record_failure_because(fault, issuer, wish, detail.as_deref());
    }

    /// The same, of somebody for whom the provider vouched (`issuer/user`): enough to name them, not to let them in.
    pub(super) fn record_failure_of(
        &self,
        who: Option<&str>,
        fault: &Fault,
        issuer: Option<&str>,
        wish: &Wish,
    ) {
        let Some(who) = who else {
            return self.record_failure(fault, issuer, wish);
        };
        let person = self.failed(fault, issuer, wish, None);
        self.shared.auditor.person(Person {
            principal: Some(who.into()),
            ..person
        });
    }

    pub(super) fn record_failure_because(
        &self,
        fault: &Fault,
        issuer: Option<&str>,
        wish: &Wish,
        detail: Option<&str>,
    ) {
        let person = self.failed(fault, issuer, wish, detail);
        self.shared.auditor.person(person);
    }

    fn failed(
        &self,
        fault: &Fault,
        issuer: Option<&str>,
        wish: &Wish,
        detail: Option<&str>,
    ) -> Person {
        let (at, generation) = self.when();
        let session = self.session.as_deref();
        // Only names of ours: the path is anybody's to write.
        let known = |name: &&str| self.sign_in.issuers.contains_key(*name);
        Person {
            at,
            generation,
            kind: if session.is_some() {
                PersonKind::StepUp
            } else {
                PersonKind::SignIn
            },
            failure: Some(fault.code()),
            by: Actor::Person,
            principal: session.map(|session| session.principal().id().into()),
            name: None,
            issuer: issuer.filter(known).map(Into::into),
            session: session.map(|session| session.family.to_string().into()),
            factors: Vec::new(),
            authentication: None,
            app: wish
                .target
                .app()
                .map(|it| it.app.config.name.as_str().into()),
            device: Some(self.device.id().into()),
            thumbprint: Some(self.thumbprint),
            client: Some(self.connection.remote),
            request: Some(self.request),
            detail: detail.map(Into::into),
        }
    }
}
