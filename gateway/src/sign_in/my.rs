//! A person's own page: apps that would open now, the device, sessions.

use bytes::Bytes;
use http::Response;

use super::fields::Fields;
use super::my_device::MyDevice;
use super::pages::{self, Factors, MyNotice, MyPage};
use super::start::{self, Chosen, Wish};
use super::{Visitor, my_apps, see};
use crate::denial::{Denial, DenialReason};
use crate::inventory::Lookup;
use crate::pipeline::prospect;
use crate::respond::{Format, Preferences};
use crate::session::Session;

/// The field of a query that says what was done on the page before, and its values.
const NOTICE: &str = "done";
const NOTICES: [(&str, MyNotice); 4] = [
    ("ended", MyNotice::SessionEnded),
    ("others", MyNotice::OthersEnded),
    ("gone", MyNotice::AlreadyEnded),
    ("expired", MyNotice::Expired),
];

/// Where people of the built-in provider change how they sign in.
pub(super) const FACTORS: &str = "/id/factors";

/// A page of the person's own that shows nothing without a session.
pub(super) async fn sign_in_for(visitor: &Visitor<'_>, path: &str) -> Response<Bytes> {
    start::begin(visitor, Wish::own(path), Chosen::default()).await
}

/// After a form: back to the page, where loading it again sends nothing.
pub(super) fn go_to(visitor: &Visitor<'_>, notice: Option<MyNotice>) -> Response<Bytes> {
    let origin = &visitor.sign_in.origin;
    let word = NOTICES.iter().find(|(_, known)| Some(*known) == notice);
    let query = word.map(|(word, _)| format!("?{NOTICE}={word}"));
    let link = visitor
        .look()
        .link(&format!("/{}", query.unwrap_or_default()));
    see(&format!("{origin}{link}"), None)
}

/// `/`: My page, or the way to it.
pub(super) async fn page(visitor: &Visitor<'_>) -> Result<Response<Bytes>, Denial> {
    let longest = visitor.state.config.sign_in.as_ref();
    let longest = longest.map(|sign_in| sign_in.lifetimes.longest());
    let session = visitor.session.as_ref().filter(|session| {
        longest.is_some_and(|longest| session.check(longest, visitor.now).is_ok())
    });
    let Some(session) = session else {
        if Preferences::of(visitor.head).format == Format::Problem {
            return Err(DenialReason::CredentialMissing.into());
        }
        return Ok(sign_in_for(visitor, "/").await);
    };
    session.touch(visitor.now);
    let (state, now) = (visitor.state, visitor.now);
    let peer = visitor.connection.device();
    let peer = peer.ok_or(DenialReason::DeviceCertificateMissing)?;
    let Lookup::Found(record) = state.inventory.resolve(peer.identity().as_str()) else {
        return Err(DenialReason::DeviceUnknown.into());
    };
    let principal = session.principal();
    let (address, _) = state.client_address(visitor.connection, &visitor.head.headers);
    let apps = my_apps::list(
        state,
        &prospect::Visitor {
            principal: &principal,
            authentication: &session.authentication,
            device: &visitor.device,
            address,
        },
        now,
    );
    let provider = visitor.sign_in.providers.by_issuer_name(&session.issuer);
    let sessions = visitor.sessions.of(principal.id());
    let form = &visitor.under_way().form;
    let query = Fields::parse(visitor.head.uri.query().unwrap_or_default());
    let done = query.as_ref().and_then(|query| query.one(NOTICE));
    let my = MyPage {
        name: principal.name().unwrap_or(principal.id()),
        email: session.email.as_deref(),
        provider: provider.map_or(&session.issuer, |provider| provider.label()),
        device: &MyDevice::of(state, record, &apps, now),
        apps: &apps,
        sessions: &sessions,
        current: &session.family.to_string(),
        inventory: &state.inventory,
        factors: factors(visitor, session),
        token: &form.token(&visitor.form_of(session), now),
        notice: NOTICES
            .iter()
            .find(|(word, _)| Some(*word) == done)
            .map(|(_, notice)| *notice),
    };
    Ok(pages::my_page(&visitor.look(), &my))
}

/// What the built-in provider knows of how they sign in.
fn factors(visitor: &Visitor<'_>, session: &Session) -> Option<Factors<'static>> {
    let account = visitor.shared.built_in.as_ref()?.account_of(session)?;
    Some(Factors {
        link: FACTORS,
        passkeys: account.passkeys.len(),
        password: account.password_set_at.is_some(),
        codes: account.totp,
        recovery_codes: account.recovery_codes,
    })
}
