//! What the documents claim to be tested is tested.

use std::path::Path;

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut missing = Vec::new();
    let mut named = 0;
    for document in ["docs/attacks.md", "docs/failure-modes.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((file, test)) = quoted.split_once("::") else {
                continue;
            };
            named += 1;
            let code = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !code.contains(&format!("fn {test}(")) {
                missing.push(format!("{document}: {quoted}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
    assert!(named > 50, "only {named}");
}
