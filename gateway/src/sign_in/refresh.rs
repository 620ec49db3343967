//! What goes on beside requests: sessions that are over are ended, their use is written, and providers are asked whether they
//! still vouch for their people.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use masugata_policy::Timestamp;
use tokio_util::sync::CancellationToken;

use super::record;
use crate::audit::event::{Actor, PersonKind};
use crate::gateway::Shared;
use crate::relying_party::{Provider, RefreshError};
use crate::session::{Secrets, Session, Sessions, Which};

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_secs(10);
/// And how often what was used is written: after a crash sessions seem to have been left alone that much longer.
const FLUSHES: u32 = 3;
/// Providers are asked about so many people at once.
const AT_ONCE: usize = 8;
/// How long a provider that cannot be asked is left alone.
const LATER: Duration = Duration::from_secs(60);

/// Until the gateway stops.
pub(crate) async fn keep(shared: Arc<Shared>, sessions: Arc<Sessions>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let now = shared.clock.now();
        end_spent(&shared, &sessions, now).await;
        if round.is_multiple_of(FLUSHES) {
            sessions.flush(now);
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = ask_providers(&shared, &sessions, now) => {}
        }
    }
}

async fn end_spent(shared: &Shared, sessions: &Sessions, now: Timestamp) {
    let state = shared.state();
    let Some(sign_in) = state.config.sign_in.as_ref() else {
        return;
    };
    let ending = sessions.end_spent(sign_in.lifetimes.longest(), now);
    shared.record_ended(&ending.ended, &Actor::Gateway, "its time was over");
    let _written = ending.durable().await;
}

async fn ask_providers(shared: &Arc<Shared>, sessions: &Sessions, now: Timestamp) {
    let due = sessions.due(now);
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, |session| async move {
            let state = shared.state();
            let sign_in = state.sign_in.as_ref();
            let provider = sign_in.and_then(|it| it.providers.by_issuer_name(&session.issuer));
            match provider {
                Some(provider) => ask(shared, sessions, provider, &session, now).await,
                // Its provider is configured no more: no cookie of it counts.
                None => session.refresh_again(now.plus(LATER)),
            }
        })
        .await;
}

async fn ask(
    shared: &Shared,
    sessions: &Sessions,
    provider: &Provider,
    session: &Arc<Session>,
    now: Timestamp,
) {
    let secrets = sessions.secrets(session).await.unwrap_or_default();
    let Some(token) = secrets.refresh_token else {
        // Another session of the family has replaced it.
        session.refresh_again(Timestamp::MAX);
        return;
    };
    let end = |kind: PersonKind, why: String| async move {
        let ending = sessions.end(&Which::Family(session.family));
        shared.cut();
        let when = (now, shared.state().generation);
        for ended in &ending.ended {
            let by = Actor::Provider(session.issuer.clone());
            let mut person = record::of_session(kind, &ended.session, by, when);
            person.detail = Some(why.as_str().into());
            shared.auditor.person(person);
        }
        let _written = ending.durable().await;
    };
    match provider.refresh(&token, &session.subject, now).await {
        Ok(refreshed) => {
            // INVARIANT: the new token is kept before it is waited for again; the old one is worth nothing any more.
            let kept = Secrets {
                id_token: refreshed.id_token.or(secrets.id_token),
                refresh_token: Some(refreshed.refresh_token.unwrap_or(token)),
            };
            if let Err(error) = sessions.renew(session, &kept, refreshed.principal).await {
                tracing::warn!(session = %session.id, %error, "a refreshed session could not be kept");
            }
            session.refresh_again(refreshed.vouched_until.max(now.plus(LOOK)));
        }
        Err(RefreshError::Gone(why)) => end(PersonKind::SessionEnded, why.into()).await,
        Err(error @ RefreshError::Reused) => {
            end(PersonKind::SessionStolen, error.to_string()).await;
        }
        Err(RefreshError::Unreachable(why)) => {
            tracing::debug!(session = %session.id, %why, "the provider cannot be asked");
            session.refresh_again(now.plus(LATER));
        }
    }
}
