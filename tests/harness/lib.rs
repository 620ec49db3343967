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

mod client;
mod clock;
mod gateway;
mod pki;
mod record;
mod tokens;
mod upstream;

pub use client::{Answer, Client, Session, WebSocket, WebSocketError};
pub use clock::{TestClock, days, hours, minutes, seconds};
pub use gateway::{TestGateway, TestGatewayBuilder};
pub use pki::{Device, Pki};
pub use record::{SmallDisk, assert_paired, decision_of, end_of, verify_chain};
pub use tokens::{TokenBuilder, TokenIssuer};
pub use upstream::{Seen, Upstream};

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
