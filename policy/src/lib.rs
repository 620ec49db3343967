//! Masugata's decision point: may this principal, on this device, do this to that app or destination, now?
//!
//! Pure: no clock, file, socket or environment is read here; `now` arrives as an argument. Policies are Cedar
//! text; nothing outside this crate names a Cedar type.

mod decide;
mod deny;
mod destination;
mod entities;
mod error;
mod explain;
mod facts;
mod lint;
mod load;
mod permit;
mod posture;
mod request;
mod reuse;
mod schema;
mod set;
mod slice;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod window;

pub use deny::{Challenge, Deny, DenyCause, Guidance};
pub use destination::{CloudService, Destination, Whereto};
pub use error::{LoadError, Problem};
pub use explain::{Considered, Effect, Explanation, Outcome};
pub use lint::Known;
pub use permit::{Permit, PolicyVersion};
pub use posture::{
    DevicePosture, Observation, PostureAttribute, PostureFault, PostureRequirement, PostureSource,
    PostureValue,
};
pub use request::{
    Action, App, Authentication, Credential, Device, DeviceKind, Held, Level, Method, NetworkNames,
    Ownership, Principal, PrincipalKind, Request, RequestFacts, Resource,
};
pub use schema::schema_text;
pub use set::{PolicySet, PolicySource};
pub use time::{Now, Timestamp};
