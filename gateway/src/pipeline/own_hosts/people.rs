//! Where people sign in: the sign-in host, what is ours on the hosts of apps, and where providers report sign-outs.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::super::authenticate::{self, session};
use crate::audit::trail::Facts;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::gateway::Shared;
use crate::sign_in::{self, Visitor};
use crate::state::State;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Own {
    /// The sign-in host.
    SignIn,
    /// What is ours on an app's host.
    App,
    /// The host for providers, which have no device.
    BackChannel,
}

impl Own {
    /// What is ours at that host and (decoded) path; everything else is an app's.
    pub(in crate::pipeline) fn of(state: &State, host: &str, path: &str) -> Option<Self> {
        let sign_in = state.config.sign_in.as_ref()?;
        if *host == *sign_in.host {
            return Some(Self::SignIn);
        }
        if sign_in.back_channel_host.as_deref() == Some(host) {
            return Some(Self::BackChannel);
        }
        let ours = path.starts_with(sign_in::PREFIX) && state.routes.knows_host(host);
        ours.then_some(Self::App)
    }
}

/// Answers there. No policy is asked: whoever is refused everything must still be able to sign in. But nobody without an
/// enrolled device can even try.
pub(in crate::pipeline) async fn answer(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    own: Own,
    exchange: Box<Exchange>,
    facts: &mut Facts,
) -> Result<Response<Bytes>, Denial> {
    let sign_in = state.sign_in.as_ref().ok_or(DenialReason::RouteNotFound)?;
    let Exchange {
        id,
        connection,
        head,
        body,
        received_at: now,
        ..
    } = *exchange;
    let body = body.into_inner().ok_or(DenialReason::Internal)?;
    if own == Own::BackChannel {
        return sign_in::receive_logout(shared, sign_in, &connection, &head, body).await;
    }
    let sessions = shared.sessions.as_ref().ok_or(DenialReason::Internal)?;
    let host = facts.host.clone().unwrap_or_default();
    let at = session::At {
        shared,
        host: &host,
        connection: &connection,
        headers: &head.headers,
        request: id,
    };
    let device = match authenticate::device::establish(state, &connection, now) {
        Ok(device) => device,
        Err(denial) => {
            at.refuse_stolen()?;
            return Err(denial);
        }
    };
    facts.device = Some(Arc::clone(&device));
    let session = at.find()?.filter(|session| {
        sign_in.vouches_for(session) && !shared.is_inactive(&session.principal())
    });
    let thumbprint = connection.device().map(|peer| *peer.thumbprint());
    let visitor = Visitor {
        shared,
        state,
        sessions,
        sign_in,
        request: id,
        connection: &connection,
        head: &head,
        host: &host,
        now,
        thumbprint: thumbprint.ok_or(DenialReason::DeviceCertificateMissing)?,
        device,
        session,
    };
    if let Some(session) = &visitor.session {
        facts.principal = Some(session.principal());
        facts.authentication = Some(Arc::clone(&session.authentication));
    }
    match own {
        Own::SignIn => sign_in::at_sign_in_host(&visitor, body).await,
        Own::App => sign_in::at_app_host(&visitor).await,
        Own::BackChannel => Err(DenialReason::Internal.into()),
    }
}
