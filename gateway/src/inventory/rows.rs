//! From rows as written to records, and from records to the index by which they are found.

use std::sync::Arc;
use std::time::Duration;

use masugata_policy::{
    Device, DevicePosture, Observation, PostureAttribute, PostureSource, PostureValue, Principal,
    PrincipalKind, Timestamp,
};

use super::{DeviceState, Index, PrincipalId, Record, raw};
use crate::config::Report;
use crate::config::text::{PlainText, Text, Vocabulary as _, quoted};

/// A record and where its id and identities stand, for messages.
pub(super) struct Row {
    record: Record,
    id_at: usize,
    identities_at: Vec<usize>,
}

/// Every row that makes sense; the others are reported.
pub(super) fn judge(
    file: raw::File,
    default_max_age: Duration,
    report: &mut Report<'_>,
) -> Vec<Row> {
    let rows = file.device.unwrap_or_default().into_iter();
    rows.filter_map(|device| row(device, default_max_age, report))
        .collect()
}

fn row(raw: raw::Device, default_max_age: Duration, report: &mut Report<'_>) -> Option<Row> {
    let id = raw.id?;
    let dating = Dating {
        source: raw
            .source
            .map_or(PostureSource::Inspection, |text| text.value.0),
        observed_at: raw.observed_at.map(|text| text.value.0),
        max_age: raw.max_age.map_or(default_max_age, |text| text.value),
    };
    let posture = posture(raw.posture.unwrap_or_default(), &dating, &id, report);
    let os = raw.os.unwrap_or_default();
    let facts = Enrolled {
        name: raw.owner_name,
        groups: raw.owner_groups,
        roles: raw.owner_roles,
    };
    let owner = owner(raw.owner.as_ref(), facts, &id, report);
    let identities = raw.identities.unwrap_or_default();
    let device = Device::new(
        &id.value.0,
        raw.kind?.value.0,
        raw.ownership?.value.0,
        raw.owner.as_ref().map(|owner| &*owner.value.0),
        words(raw.groups),
        posture,
    );
    Some(Row {
        id_at: id.span.start,
        identities_at: identities.iter().map(|text| text.span.start).collect(),
        record: Record {
            owner,
            device: Arc::new(device),
            state: raw.state.map_or(DeviceState::Active, |text| text.value.0),
            identities: identities.into_iter().map(|text| text.value.0).collect(),
            serial: word(raw.serial),
            model: word(raw.model),
            hostname: word(raw.hostname),
            os_kind: word(os.kind),
            os_version: word(os.version),
            applications: words(raw.applications),
            patch_status: word(raw.patch_status),
            location: word(raw.location),
            ambiguous: false,
        },
    })
}

/// What a row says of the owner beyond the id.
struct Enrolled {
    name: Option<Text<PlainText>>,
    groups: Option<Vec<Text<PlainText>>>,
    roles: Option<Vec<Text<PlainText>>>,
}

/// The person for whom the device's certificate stands.
fn owner(
    owner: Option<&Text<PrincipalId>>,
    facts: Enrolled,
    id: &Text<PlainText>,
    report: &mut Report<'_>,
) -> Option<Arc<Principal>> {
    let Some(owner) = owner else {
        let named = facts.name.is_some() || facts.groups.is_some() || facts.roles.is_some();
        if named {
            let message = format!(
                "{} says something about an owner, and has none",
                quoted(&id.value.0)
            );
            let help = "write `owner`, or leave out `owner_name`, `owner_groups` and `owner_roles`";
            report.error(id.span.start, message, help.to_owned());
        }
        return None;
    };
    let principal = &*owner.value.0;
    let (issuer, _) = principal.split_once('/')?;
    Some(Arc::new(Principal::new(
        PrincipalKind::User,
        principal,
        issuer,
        word(facts.name).as_deref(),
        words(facts.groups),
        words(facts.roles),
    )))
}

/// What an observation takes from its row.
struct Dating {
    source: PostureSource,
    observed_at: Option<Timestamp>,
    max_age: Duration,
}

fn posture(
    raw: raw::Posture,
    dating: &Dating,
    id: &Text<PlainText>,
    report: &mut Report<'_>,
) -> DevicePosture {
    let (flags, version) = raw.flags();
    let mut posture = DevicePosture::default();
    let mut undated = Vec::new();
    let mut note = |attribute: PostureAttribute, value, seen: Dated| {
        let Some(value) = value else { return };
        let Some(observed_at) = seen.observed_at.or(dating.observed_at) else {
            undated.push(format!("`{}`", attribute.word()));
            return;
        };
        let observation = Observation {
            value,
            source: seen.source.unwrap_or(dating.source),
            observed_at,
            max_age: seen.max_age.unwrap_or(dating.max_age),
        };
        posture = std::mem::take(&mut posture).with(attribute, observation);
    };
    for (attribute, flag) in flags {
        let Some(flag) = flag else { continue };
        let seen = dated(flag.source, flag.observed_at, flag.max_age);
        note(attribute, flag.value.map(PostureValue::Flag), seen);
    }
    if let Some(version) = version {
        let seen = dated(version.source, version.observed_at, version.max_age);
        let value = version.value.map(|text| text.value);
        let value = value.map(|version| PostureValue::Version(version.0, version.1, version.2));
        note(PostureAttribute::OsVersion, value, seen);
    }
    if !undated.is_empty() {
        let message = format!(
            "the posture of {} does not say when it was observed: {}",
            quoted(&id.value.0),
            undated.join(", ")
        );
        let help = "write `observed_at` for the device or for each attribute; what is not dated never passes".to_owned();
        report.error(id.span.start, message, help);
    }
    posture
}

/// What an observation says of itself.
struct Dated {
    source: Option<PostureSource>,
    observed_at: Option<Timestamp>,
    max_age: Option<Duration>,
}

fn dated(
    source: Option<Text<crate::config::text::Word<PostureSource>>>,
    observed_at: Option<Text<super::Instant>>,
    max_age: Option<Text<Duration>>,
) -> Dated {
    Dated {
        source: source.map(|text| text.value.0),
        observed_at: observed_at.map(|text| text.value.0),
        max_age: max_age.map(|text| text.value),
    }
}

fn word(text: Option<Text<PlainText>>) -> Option<Box<str>> {
    text.map(|text| text.value.0.into())
}

fn words(texts: Option<Vec<Text<PlainText>>>) -> Vec<Box<str>> {
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value.0.into())
        .collect()
}

/// Where every id and identity leads. Rows that share one lose their rights, both of them: nobody can say which device
/// such a certificate is, and an attacker who gets a second row written must not inherit the first one's rights.
pub(super) fn index(rows: Vec<Row>, report: &mut Report<'_>) -> (Vec<Record>, Index) {
    let mut index = Index::default();
    let mut ambiguous = vec![false; rows.len()];
    let mut ids_at = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        let id = row.record.device.id();
        ids_at.push((id, row.id_at));
        let mut clash = |first: usize, what: &str, name: &str, at: usize| {
            if first == place {
                let message = format!("{} names the {what} {} twice", quoted(id), quoted(name));
                report.warning(at, message, "one of the two can go".to_owned());
                return;
            }
            for each in [first, place] {
                if let Some(flag) = ambiguous.get_mut(each) {
                    *flag = true;
                }
            }
            let (other, line) = ids_at
                .get(first)
                .map_or(("", 0), |(id, at)| (*id, report.position(*at).0));
            let message = format!(
                "devices {} and {} have the same {what} {}",
                quoted(other),
                quoted(id),
                quoted(name)
            );
            let help = format!(
                "neither has rights until one of them lets it go; the other row is in line {line}"
            );
            report.warning(at, message, help);
        };
        match index.by_id.get(id).copied() {
            Some(first) => clash(first, "id", id, row.id_at),
            None => drop(index.by_id.insert(id.into(), place)),
        }
        for (identity, at) in row.record.identities.iter().zip(&row.identities_at) {
            match index.by_identity.get(identity).copied() {
                Some(first) => clash(first, "identity", identity, *at),
                None => drop(index.by_identity.insert(identity.clone(), place)),
            }
        }
    }
    let records = rows
        .into_iter()
        .zip(ambiguous)
        .map(|(row, ambiguous)| Record {
            ambiguous,
            ..row.record
        })
        .collect();
    (records, index)
}
