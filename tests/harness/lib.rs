//! What behaviour tests stand on: a whole gateway on loopback with real sockets and real TLS, apps behind it, devices
//! and tokens in front of it, and a clock that is moved by hand.
//!
//! ```ignore
//! let gateway = TestGateway::new().start().await;
//! gateway.clock.advance(minutes(61));
//! let answer = gateway.client().device("laptop").token(&gateway.token("ada")).get("payroll", "/").await;
//! assert_denied(&answer, "credential-expired");
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness that cannot set up its test must stop it, and say where"
)]

mod body;
mod browser;
mod client;
mod clock;
mod gateway;
mod lists;
mod names;
mod origins;
mod pki;
mod process;
mod programs;
mod provider;
mod proxy;
mod raw;
mod record;
mod tokens;
mod upstream;
mod wire;

pub use body::{AnyBody, Feed, fed};
pub use browser::{Browser, Cookie, Form, Page, origin, pairs, query_of};
pub use client::{Answer, Client, Session, WebSocket, WebSocketError};
pub use clock::{TestClock, days, hours, minutes, seconds};
pub use gateway::{Prepared, SCIM_TOKEN, TestGateway, TestGatewayBuilder};
pub use lists::{ListServer, Signer};
pub use names::{NameServer, Reply};
pub use origins::{Behaviour, Origin, OriginSeen, Origins};
pub use pki::{Device, Pki};
pub use process::{Finished, Process, masugata};
pub use programs::{Program, skipped};
pub use provider::{Asked, Bend, FakeProvider, person};
pub use proxy::{ProxyClient, ProxySession, Tunnel};
pub use raw::{RawAnswer, http_get};
pub use record::{SmallDisk, assert_paired, decision_of, end_of, verify_chain};
pub use tokens::{TokenBuilder, TokenIssuer};
pub use upstream::{Seen, Upstream, UpstreamAnswer};
pub use wire::{RawUpstream, WEBSOCKET, Wire};

/// Waits for what happens by itself, up to half a minute.
///
/// # Panics
/// When it has not happened by then.
#[track_caller]
pub fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..1500 {
            if happened().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{caller}: not within half a minute: {what}");
    }
}

/// The denial is the one that was meant: status from the code, code in the body.
#[track_caller]
pub fn assert_denied(answer: &Answer, code: &str) {
    let seen = answer.denial_code();
    assert_eq!(
        seen.as_deref(),
        Some(code),
        "status {}, body {}",
        answer.status,
        answer.text()
    );
}

/// Fails the test instead of hanging it.
///
/// # Panics
/// When it takes longer than any slow machine would.
#[track_caller]
pub fn within_reason<A: Future>(what: &str, awaited: A) -> impl Future<Output = A::Output> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(std::time::Duration::from_secs(30), awaited)
            .await
            .unwrap_or_else(|_| panic!("{place}: {what}: not within 30 seconds"))
    }
}
