//! The built-in identity provider of Masugata: accounts, the factors by which people prove who they are, and (in
//! `openid` and `pages`) the OpenID endpoints. No sockets, no clock and no chance of its own: the gateway hands in what
//! arrives, `now` in milliseconds and a [`Random`]. The only files are those in the directory given to
//! [`Accounts::open`].

pub mod accounts;
pub mod event;
pub mod factors;
mod lockout;
pub mod random;
mod store;

pub use accounts::{
    Account, AccountError, Accounts, Change, ImportError, Imported, Link, LinkError, LockoutRules,
    NewAccount, OpenError, PasskeyView, Settings, Visit, Welcome,
};
pub use event::{AccountEvent, Actor, EventKind};
pub use factors::{
    Ceremony, CodeFor, FactorError, LastWayIn, PasswordOutcome, PasswordWeakness, Proved, Right,
    SignInRefusal, TotpOffer,
};
pub use random::Random;
