//! What the gateway answers on the hosts of apps: a session is handed over, and may be ended.

use bytes::Bytes;
use http::{Method, Response};

use super::fault::{Fault, OwnFault};
use super::fields::Fields;
use super::start::Wish;
use super::{Visitor, go, leave, pages, see};
use crate::denial::{Denial, DenialReason};
use crate::session::Secret;
use crate::session::cookie;

/// Paths that begin so are the gateway's on every host of an app where people sign in with a browser.
pub(crate) const PREFIX: &str = "/.masugata/";
pub(super) const SESSION: &str = "/.masugata/session";
/// For a tab that was opened to sign in while a form waits in another.
pub(super) const SIGNED_IN: &str = "/.masugata/signed-in";
const SIGN_OUT: &str = "/.masugata/sign-out";

pub(super) async fn answer(visitor: &Visitor<'_>) -> Result<Response<Bytes>, Denial> {
    let method = &visitor.head.method;
    let reads = *method == Method::GET || *method == Method::HEAD;
    match visitor.head.uri.path() {
        // Not HEAD: a code is used up by whoever asks.
        SESSION if *method == Method::GET => Ok(take_over(visitor).await),
        SIGNED_IN if reads => Ok(pages::signed_in_elsewhere(&visitor.look())),
        SIGN_OUT if *method == Method::POST => Ok(sign_out(visitor).await),
        SESSION | SIGNED_IN | SIGN_OUT => Err(DenialReason::MethodNotAllowed.into()),
        _ => Err(DenialReason::RouteNotFound.into()),
    }
}

/// `/.masugata/session?code=…`: the code becomes this host's cookie.
async fn take_over(visitor: &Visitor<'_>) -> Response<Bytes> {
    let origin = visitor.state.config.ingress.origin_of(visitor.host);
    let refused = |why: &dyn std::fmt::Display| {
        let fault = Fault::from(OwnFault::HandOverRefused);
        tracing::debug!(request = %visitor.request, %why, "hand-over refused");
        visitor.record_failure_because(&fault, None, &Wish::own("/"), Some(&why.to_string()));
        visitor.fail(&fault, Some(&format!("{origin}/")))
    };
    let query = visitor.head.uri.query().unwrap_or_default();
    let fields = Fields::parse(query);
    let code = fields.as_ref().and_then(|fields| fields.one("code"));
    let Some(code) = code.and_then(|code| Secret::parse(code.as_bytes())) else {
        return refused(&"no code");
    };
    let start = cookie::brought(&visitor.head.headers, cookie::START).one();
    let hand_overs = &visitor.under_way().hand_overs;
    let at = (visitor.host, &code);
    let taken = hand_overs.take(at, start.as_ref(), &visitor.thumbprint, visitor.now);
    let hand_over = match taken {
        Ok(hand_over) => hand_over,
        Err(why) => return refused(&why),
    };
    match visitor
        .sessions
        .attach(&hand_over.session, visitor.host)
        .await
    {
        Ok(secret) => {
            // The path was read as one of an app of ours; written absolutely it cannot become anything else.
            let to = format!("{origin}{}", hand_over.to);
            go(&to, [cookie::set(cookie::SESSION, &secret)])
        }
        Err(error) => refused(&error),
    }
}

/// Signs out everywhere in this browser. An app's own page may have the button, so there is no token of ours; the browser
/// says that it was a page of this host.
async fn sign_out(visitor: &Visitor<'_>) -> Response<Bytes> {
    if !visitor.is_from_here() {
        return visitor.fail(&OwnFault::FormForeign.into(), None);
    }
    if let Some(session) = &visitor.session {
        leave::end_family(visitor, session).await;
    }
    let to = format!("{}/signed-out", visitor.sign_in.origin);
    see(&to, [cookie::unset(cookie::SESSION)])
}
