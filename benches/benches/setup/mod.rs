//! What the benchmarks share: one person, one device, one app, and how long to measure.

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use masugata_policy::{
    App, Authentication, Device, DeviceKind, DevicePosture, Level, Observation, Ownership,
    PostureAttribute, PostureSource, PostureValue, Principal, PrincipalKind, Timestamp,
};

/// Long enough for a steady median, short enough for all of `cargo bench` to take two minutes.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .without_plots()
}

/// Those whom a request is about.
pub(crate) struct Parties {
    pub(crate) principal: Arc<Principal>,
    pub(crate) device: Arc<Device>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) app: Arc<App>,
}

/// An employee in `groups` groups, on a company laptop in good health, at `now`.
pub(crate) fn parties(groups: usize, now: Timestamp) -> Parties {
    let names = (0..groups).map(|index| format!("group-{index}"));
    let seen = Observation {
        value: PostureValue::Flag(true),
        source: PostureSource::Mdm,
        observed_at: now,
        max_age: Duration::from_secs(24 * 3600),
    };
    let posture = PostureAttribute::ALL
        .into_iter()
        .filter(|attribute| *attribute != PostureAttribute::OsVersion)
        .fold(DevicePosture::default(), |posture, attribute| {
            posture.with(attribute, seen)
        });
    let roles: [&str; 1] = ["member"];
    let device_groups: [&str; 1] = ["tokyo"];
    Parties {
        principal: Arc::new(Principal::new(
            PrincipalKind::User,
            "corp/ada",
            "corp",
            Some("Ada"),
            names,
            roles,
        )),
        device: Arc::new(Device::new(
            "laptop-1",
            DeviceKind::Laptop,
            Ownership::Company,
            Some("corp/ada"),
            device_groups,
            posture,
        )),
        authentication: Arc::new(Authentication::new(
            true,
            false,
            None,
            ["otp", "pwd"],
            Some(now),
            false,
        )),
        app: Arc::new(App::new("app-0", Level::Internal, ["app-group-0"])),
    }
}
