//! Defaults of sign-in with a browser.

use std::time::Duration;

use super::{DAY, HOUR, MINUTE};
use crate::config::sign_in::{
    AssuranceRequest, Lifetime, Lifetimes, Overage, Pushed, ScimUser, SecretWay,
};

/// Public: a week on a device that proves itself. Internal: a working day with overtime, and NIST SP 800-63B-4's hour of
/// rest at AAL2. Confidential: its quarter of an hour of AAL3, and less than its twelve hours.
pub const LIFETIMES: Lifetimes = Lifetimes {
    public: Lifetime {
        idle: DAY,
        absolute: Duration::from_secs(7 * 24 * 60 * 60),
    },
    internal: Lifetime {
        idle: HOUR,
        absolute: Duration::from_secs(12 * 60 * 60),
    },
    confidential: Lifetime {
        idle: Duration::from_secs(15 * 60),
        absolute: Duration::from_secs(8 * 60 * 60),
    },
};
/// RFC 6749 §2.3.1 makes every server accept it; a secret in the body ends up in more logs.
pub const SECRET_WAY: SecretWay = SecretWay::Basic;
/// Who somebody is, what they are called, and which provider fits next time.
pub const SCOPES: [&str; 3] = ["openid", "profile", "email"];
/// OpenID Connect Core §3.1.2.1; what comes back is verified in any case.
pub const ASKS: AssuranceRequest = AssuranceRequest::AcrValues;
/// Providers that have no such endpoint lose nothing.
pub const PUSHED: Pushed = Pushed::Offered;
/// Most providers put everything into the ID Token.
pub const USERINFO: bool = false;
/// Leaving groups out could silence a policy that forbids.
pub const OVERAGE: Overage = Overage::Refuse;
/// Accounts that are disabled at the provider end here too.
pub const REFRESH: bool = true;
/// First half of the principal ids of built-in accounts.
pub const PROVIDER_NAME: &str = "accounts";
/// A long weekend.
pub const LINK_LIFETIME: Duration = Duration::from_secs(72 * 60 * 60);
/// There are still devices without passkeys; confidential apps can ask for more.
pub const PASSWORDS: bool = true;
/// For providers other than the built-in one: the attribute that provisioning systems have for it.
pub const SCIM_USER: ScimUser = ScimUser::ExternalId;
/// Of ID Tokens of the built-in provider: they are made and read in one process.
pub const BUILT_IN_TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 60);
const _: () = assert!(BUILT_IN_TOKEN_LIFETIME.as_secs() >= MINUTE.as_secs());
