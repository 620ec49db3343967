//! Newer observations over the file's: the seam for live sources (device management, agents).

use std::sync::Arc;

use masugata_policy::{
    Device, DevicePosture, Observation, PostureAttribute, PostureValue, Principal,
};

use super::{Index, Inventory, Lookup, Map, Record};
use crate::config::error::Problem;

impl Inventory {
    /// This inventory with what a live source observed: device id, attribute, observation. Newer replaces older, with
    /// one exception: a less believable source cannot better what a more believable one said while that still counts.
    /// Unknown and ambiguous ids are ignored; a device nothing new is known of stays the same `Arc<Device>`.
    #[must_use]
    pub fn with_observations<'o>(
        &self,
        observations: impl IntoIterator<Item = (&'o str, PostureAttribute, Observation)>,
    ) -> Self {
        let mut next = self.clone();
        for (id, attribute, observation) in observations {
            let Some(place) = self.index.by_id.get(id).copied() else {
                continue;
            };
            let Some(record) = next
                .records
                .get_mut(place)
                .filter(|record| !record.ambiguous)
            else {
                continue;
            };
            let told = next.live.entry(id.into()).or_default();
            *told = merged(std::mem::take(told), attribute, observation);
            let posture = record.device.posture();
            let changed = merged(posture.clone(), attribute, observation);
            if changed != *posture {
                *record = Arc::new(with_posture(record, changed));
            }
        }
        next
    }
}

/// A freshly read inventory, with what live sources told the previous one, and with its unchanged devices.
pub(super) fn carried_over(
    records: Vec<Record>,
    index: Index,
    warnings: Arc<[Problem]>,
    previous: Option<&Inventory>,
) -> Inventory {
    let mut live = Map::default();
    let records = records
        .into_iter()
        .map(|mut record| {
            let id = record.device.id();
            if let Some(told) = previous.and_then(|previous| previous.live.get(id)) {
                let posture = overlaid(record.device.posture().clone(), told);
                live.insert(id.into(), told.clone());
                record = with_posture(&record, posture);
            }
            let earlier = previous.and_then(|previous| match previous.find(record.device.id()) {
                Lookup::Found(earlier) => Some(earlier),
                Lookup::Unknown | Lookup::Ambiguous => None,
            });
            if let Some(earlier) =
                earlier.filter(|earlier| same_device(&earlier.device, &record.device))
            {
                record.device = Arc::clone(&earlier.device);
            }
            if let Some(owner) = &record.owner
                && let Some(known) = earlier.and_then(|earlier| earlier.owner.as_ref())
                && same_person(known, owner)
            {
                record.owner = Some(Arc::clone(known));
            }
            Arc::new(record)
        })
        .collect();
    Inventory {
        records,
        index: Arc::new(index),
        live,
        warnings,
    }
}

fn overlaid(posture: DevicePosture, over: &DevicePosture) -> DevicePosture {
    PostureAttribute::ALL
        .into_iter()
        .fold(posture, |posture, attribute| {
            match over.observation(attribute) {
                Some(observation) => merged(posture, attribute, *observation),
                None => posture,
            }
        })
}

fn merged(posture: DevicePosture, attribute: PostureAttribute, new: Observation) -> DevicePosture {
    let replaces = posture
        .observation(attribute)
        .is_none_or(|old| supersedes(&new, old));
    if replaces {
        posture.with(attribute, new)
    } else {
        posture
    }
}

/// Whether `new` takes the place of `old`: it must be newer. A less believable source may report that things got worse,
/// but may not better what a more believable one said while that still counted: otherwise the user of an infected
/// device could declare it sound.
pub(super) fn supersedes(new: &Observation, old: &Observation) -> bool {
    let newer = new.observed_at > old.observed_at;
    let as_believable = new.source <= old.source;
    // Repeating a "no" is no worsening: it would only put the reporter's name under it, and let them take it back.
    let worse = new.value == PostureValue::Flag(false) && old.value == PostureValue::Flag(true);
    let old_had_gone_stale = old.fresh_until() <= new.observed_at;
    newer && (as_believable || worse || old_had_gone_stale)
}

fn with_posture(record: &Record, posture: DevicePosture) -> Record {
    let device = &record.device;
    Record {
        device: Arc::new(Device::new(
            device.id(),
            device.kind(),
            device.ownership(),
            device.owner(),
            device.groups().iter().cloned(),
            posture,
        )),
        ..record.clone()
    }
}

fn same_person(left: &Principal, right: &Principal) -> bool {
    left.id() == right.id()
        && left.name() == right.name()
        && left.groups() == right.groups()
        && left.roles() == right.roles()
}

fn same_device(left: &Device, right: &Device) -> bool {
    left.id() == right.id()
        && left.kind() == right.kind()
        && left.ownership() == right.ownership()
        && left.owner() == right.owner()
        && left.groups() == right.groups()
        && left.posture() == right.posture()
}
