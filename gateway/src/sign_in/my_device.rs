//! What is known of the device in front of a person, and what of it must be put right for which of their apps.

use masugata_policy::{
    DeviceKind, Ownership, PostureAttribute, PostureFault, PostureRequirement, PostureValue,
    Timestamp,
};

use super::my_apps::AppCard;
use crate::inventory::Record;
use crate::state::State;

/// See the module's first line.
pub(crate) struct MyDevice {
    /// As people know it: host name, else model, else inventory id.
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) kind: DeviceKind,
    pub(crate) ownership: Ownership,
    /// When anything was last heard of its state.
    pub(crate) last_seen: Option<Timestamp>,
    /// In the order they are documented; only what is known or asked for.
    pub(crate) facts: Vec<Fact>,
}

/// One attribute.
pub(crate) struct Fact {
    pub(crate) attribute: PostureAttribute,
    pub(crate) state: FactState,
    pub(crate) seen_at: Option<Timestamp>,
    /// Names of the apps that need it and stay closed because of it.
    pub(crate) closes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactState {
    Good,
    /// It is known, and off.
    Off,
    /// What is known is too old.
    Stale,
    /// Asked for, and never reported.
    Missing,
}

impl MyDevice {
    /// `apps` are those of the person; what other apps demand is not told.
    pub(crate) fn of(state: &State, record: &Record, apps: &[AppCard], now: Timestamp) -> Self {
        let demands = |app: &AppCard| {
            let app = state.app(&app.name)?;
            let demanded = app.config.requirements.posture.clone();
            Some((app.name.to_string(), demanded))
        };
        let demands: Vec<Demand> = apps.iter().filter_map(demands).collect();
        Self::demanded(record, &demands, now)
    }

    pub(super) fn demanded(record: &Record, demands: &[Demand], now: Timestamp) -> Self {
        let device = &record.device;
        let posture = device.posture();
        let seen = PostureAttribute::ALL
            .into_iter()
            .filter_map(|attribute| posture.observation(attribute));
        Self {
            name: name_of(record).to_owned(),
            id: device.id().to_owned(),
            kind: device.kind(),
            ownership: device.ownership(),
            last_seen: seen.map(|it| it.observed_at).max(),
            facts: PostureAttribute::ALL
                .into_iter()
                .filter_map(|attribute| fact(record, attribute, demands, now))
                .collect(),
        }
    }

    /// Those that close an app.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(|fact| !fact.closes.is_empty())
    }
}

/// What people call a device.
pub(crate) fn name_of(record: &Record) -> &str {
    let named = record.hostname.as_deref().or(record.model.as_deref());
    named.unwrap_or(record.device.id())
}

/// An app by name, and what it asks of devices.
pub(super) type Demand = (String, Vec<PostureRequirement>);

fn fact(
    record: &Record,
    attribute: PostureAttribute,
    demands: &[Demand],
    now: Timestamp,
) -> Option<Fact> {
    let posture = record.device.posture();
    let mut fault = None;
    let mut closes = Vec::new();
    for (app, demanded) in demands {
        let demanded: Vec<PostureRequirement> = demanded
            .iter()
            .filter(|requirement| requirement.attribute == attribute)
            .copied()
            .collect();
        if let Err(found) = posture.assess(&demanded, now) {
            fault = Some(found);
            closes.push(app.clone());
        }
    }
    let seen = posture.observation(attribute);
    let state = match (fault, seen) {
        (Some(PostureFault::Failing(_)), _) => FactState::Off,
        (Some(PostureFault::Stale(_)), _) => FactState::Stale,
        (Some(PostureFault::Missing(_)), _) => FactState::Missing,
        (None, None) => return None,
        (None, Some(seen)) if !seen.is_fresh(now) => FactState::Stale,
        (None, Some(seen)) => match seen.value {
            PostureValue::Flag(false) => FactState::Off,
            PostureValue::Flag(true) | PostureValue::Version(..) => FactState::Good,
        },
    };
    Some(Fact {
        attribute,
        state,
        seen_at: seen.map(|seen| seen.observed_at),
        closes,
    })
}
