//! From the sign-in host to an app's host: a code in a link, which is worth a session there, once, within a minute, to the
//! one browser that asked for it, on the one device.

use std::sync::Arc;
use std::time::Duration;

use masugata_policy::Timestamp;

use super::cookie::{Print, Secret};
use super::{OneTime, Session};
use crate::capability::Entropy;

/// What a code is worth.
pub(crate) struct HandOver {
    pub(crate) session: Arc<Session>,
    /// SHA-256 of what the browser that began has as its start cookie.
    pub(crate) bind: Print,
    /// Path and query at the app's host.
    pub(crate) to: Box<str>,
}

/// Why a code is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Used, too old, of another host, or never given out.
    #[error("the code is unknown, used or too old")]
    Unknown,
    #[error("the code is for another browser")]
    OtherBrowser,
    #[error("the code is for another device")]
    OtherDevice,
    #[error("the session has ended")]
    Ended,
}

/// Codes that were given out.
pub(crate) struct HandOvers(OneTime<HandOver>);

const LIFETIME: Duration = Duration::from_secs(60);
/// For one device, and for all. A browser that restores its tabs asks for one for each of them.
const SHARE: usize = 64;
const MOST: usize = 65_536;

impl Default for HandOvers {
    fn default() -> Self {
        Self(OneTime::new(LIFETIME, SHARE, MOST))
    }
}

impl HandOvers {
    /// A code for `host`.
    pub(crate) fn give(
        &self,
        host: &str,
        hand_over: HandOver,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Secret {
        let code = Secret::new(entropy);
        let device = hand_over.session.device.clone();
        self.0.put(code.key(host), &device, hand_over, now);
        code
    }

    /// What the code is worth at `host` to a browser with that start cookie, behind a device with that certificate. It is
    /// used up either way.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn take(
        &self,
        (host, code): (&str, &Secret),
        start: Option<&Secret>,
        thumbprint: &[u8; 32],
        now: Timestamp,
    ) -> Result<HandOver, Refused> {
        let taken = self.0.take(&code.key(host), now).ok_or(Refused::Unknown)?;
        if taken.session.thumbprint != *thumbprint {
            return Err(Refused::OtherDevice);
        }
        if !start.is_some_and(|start| taken.bind.is_of(start)) {
            return Err(Refused::OtherBrowser);
        }
        if taken.session.is_ended() {
            return Err(Refused::Ended);
        }
        Ok(taken)
    }
}
