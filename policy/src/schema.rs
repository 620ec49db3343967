//! The Cedar schema, embedded, and the names in it that this crate builds values of.

use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

use crate::request::Action;

const TEXT: &str = include_str!("masugata.cedarschema");

/// The schema in Cedar's own syntax, for `masugata check --policy-schema` and editors.
pub fn schema_text() -> &'static str {
    TEXT
}

/// The parsed schema.
#[expect(
    clippy::expect_used,
    reason = "the text is embedded; `the_schema_parses` covers it"
)]
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        Schema::from_cedarschema_str(TEXT)
            .expect("the embedded schema parses")
            .0
    });
    &SCHEMA
}

/// Parsed once: a name costs 0.4 µs to parse and nothing to clone.
pub(crate) struct Vocabulary {
    pub(crate) user: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) group: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) app: EntityTypeName,
    pub(crate) app_group: EntityTypeName,
    pub(crate) level: EntityTypeName,
    pub(crate) destination: EntityTypeName,
    pub(crate) domain: EntityTypeName,
    pub(crate) category: EntityTypeName,
    pub(crate) cloud_service: EntityTypeName,
    pub(crate) credential: EntityTypeName,
    pub(crate) device_kind: EntityTypeName,
    pub(crate) ownership: EntityTypeName,
    pub(crate) weekday: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

/// The vocabulary.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary {
        user: type_name("Masugata::User"),
        service: type_name("Masugata::Service"),
        group: type_name("Masugata::Group"),
        role: type_name("Masugata::Role"),
        app: type_name("Masugata::App"),
        app_group: type_name("Masugata::AppGroup"),
        level: type_name("Masugata::Level"),
        destination: type_name("Masugata::Destination"),
        domain: type_name("Masugata::Domain"),
        category: type_name("Masugata::Category"),
        cloud_service: type_name("Masugata::CloudService"),
        credential: type_name("Masugata::Credential"),
        device_kind: type_name("Masugata::DeviceKind"),
        ownership: type_name("Masugata::Ownership"),
        weekday: type_name("Masugata::Weekday"),
        action: type_name("Masugata::Action"),
    });
    &VOCABULARY
}

#[expect(
    clippy::expect_used,
    reason = "called with literals only; `every_word_of_the_vocabulary_is_in_the_schema` covers them"
)]
fn type_name(text: &str) -> EntityTypeName {
    text.parse().expect("a valid entity type name")
}

/// `kind::"id"`, with the id taken as it is: quotes in it are not syntax.
pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// The action groups that `action` is in.
pub(crate) fn action_groups(action: Action) -> &'static [&'static str] {
    match action {
        Action::Read | Action::Connect => &["use"],
        Action::Write | Action::Delete => &["modify", "use"],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::posture::PostureAttribute;
    use crate::request::{Credential, DeviceKind, Level, Ownership};

    #[test]
    fn the_schema_parses() {
        let (_, warnings) = Schema::from_cedarschema_str(TEXT).unwrap();
        assert_eq!(warnings.count(), 0);
        assert!(schema().is_complete());
    }

    #[test]
    fn every_word_of_the_vocabulary_is_in_the_schema() {
        let declared: BTreeSet<String> = schema().entity_types().map(ToString::to_string).collect();
        let words = vocabulary();
        let named = [
            &words.user,
            &words.service,
            &words.group,
            &words.role,
            &words.app,
            &words.app_group,
            &words.level,
            &words.destination,
            &words.domain,
            &words.category,
            &words.cloud_service,
            &words.credential,
            &words.device_kind,
            &words.ownership,
            &words.weekday,
        ];
        let named: BTreeSet<String> = named.into_iter().map(ToString::to_string).collect();
        assert_eq!(named, declared);
    }

    #[test]
    fn actions_and_their_groups_are_those_of_the_schema() {
        let action = |id: &str| uid(&vocabulary().action, id);
        let declared = schema().action_entities().unwrap();
        for each in Action::ALL {
            let ours: BTreeSet<String> = action_groups(each)
                .iter()
                .map(|group| action(group).to_string())
                .collect();
            let theirs: BTreeSet<String> = declared
                .ancestors(&action(each.as_str()))
                .unwrap()
                .map(ToString::to_string)
                .collect();
            assert_eq!(ours, theirs, "{each:?}");
        }
        assert_eq!(
            declared.len(),
            Action::ALL.len() + 2,
            "the schema declares an action that `Action` does not know"
        );
    }

    #[test]
    fn fixed_lists_are_the_same_in_schema_and_types() {
        let quoted = |words: Vec<&str>| format!("enum [\"{}\"]", words.join("\", \""));
        assert!(TEXT.contains(&quoted(Level::ALL.map(Level::as_str).to_vec())));
        assert!(TEXT.contains(&quoted(DeviceKind::ALL.map(DeviceKind::as_str).to_vec())));
        assert!(TEXT.contains(&quoted(Ownership::ALL.map(Ownership::as_str).to_vec())));
        assert!(TEXT.contains(&quoted(Credential::ALL.map(Credential::as_str).to_vec())));
        for attribute in PostureAttribute::ALL {
            assert!(TEXT.contains(&format!("    {}?: ", attribute.as_str())));
        }
    }
}
