//! `docs/policies.md` is complete and its examples load.

use crate::facts::leaves;
use crate::request::Action;
use crate::{PolicySet, PolicySource, schema_text};

const GUIDE: &str = include_str!("../../../docs/policies.md");

fn examples() -> Vec<&'static str> {
    let blocks = GUIDE.split("```cedar\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .collect()
}

#[test]
fn every_fact_is_in_the_vocabulary() {
    for (path, _) in leaves() {
        let row = format!("| `context.{path}` |");
        assert!(GUIDE.contains(&row), "no row begins with {row}");
    }
}

#[test]
fn every_row_of_the_vocabulary_is_a_fact() {
    let known: Vec<String> = leaves()
        .map(|(path, _)| format!("context.{path}"))
        .collect();
    for row in GUIDE.lines().filter(|line| line.starts_with("| `context.")) {
        let path = row.split('`').nth(1).unwrap();
        assert!(known.iter().any(|known| known == path), "{path} is no fact");
    }
}

#[test]
fn every_word_of_a_fixed_list_is_in_the_guide() {
    let lists = schema_text()
        .lines()
        .filter(|line| line.contains(" enum ["));
    let words = lists.flat_map(|line| line.split('"').skip(1).step_by(2));
    let actions = Action::ALL.map(Action::as_str);
    for word in words.chain(actions).chain(["use", "modify"]) {
        assert!(GUIDE.contains(&format!("`{word}`")), "`{word}` is missing");
    }
}

#[test]
fn every_type_and_annotation_is_in_the_guide() {
    let types = [
        "User",
        "Service",
        "Group",
        "Role",
        "App",
        "AppGroup",
        "Level",
        "Destination",
        "Domain",
        "Category",
        "CloudService",
        "Credential",
        "DeviceKind",
        "Ownership",
        "Weekday",
        "Action",
    ];
    for name in types {
        assert!(
            GUIDE.contains(&format!("Masugata::{name}")),
            "{name} is missing"
        );
    }
    for annotation in crate::load::ANNOTATIONS {
        assert!(
            GUIDE.contains(&format!("`@{annotation}`")),
            "{annotation} is missing"
        );
    }
}

#[test]
fn every_example_loads() {
    let examples = examples();
    assert!(examples.len() >= 10);
    for text in examples {
        let source = PolicySource {
            name: "docs/policies.md",
            text,
        };
        PolicySet::load(&[source]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn the_examples_fit_together() {
    let text = examples().concat();
    let source = PolicySource {
        name: "docs/policies.md",
        text: &text,
    };
    PolicySet::load(&[source]).unwrap_or_else(|error| panic!("{error}"));
}
