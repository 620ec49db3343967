//! What the documents tell administrators to write is a configuration that loads.

use std::fs;
use std::path::Path;

use crate::config::Config;

/// What a fragment may leave out because the text around it, or another step, has it. Added member by member.
const LEAST: &str = r#"
policies = ["policies"]
audit = { file = "audit.jsonl" }
devices = { authorities = ["ca.pem"], inventory = "devices.toml" }
ingress = { listen = ["127.0.0.1:443"], certificate = [{ chain = "server.pem", key = "server.key" }] }
"#;

const APP: &str = r#"
[[app]]
name = "payroll"
level = "confidential"
hosts = ["payroll.example.com"]
upstream = { servers = ["http://127.0.0.1:8003"] }
"#;

const PEOPLE: &str = r#"
store = "/var/lib/masugata"
sign_in = { host = "login.example.com" }
"#;

const BUILT_IN: &str = "identity_provider = {}";

const PROVIDER: &str = r#"
[[issuer]]
name = "corp"
issuer = "https://id.example.com"
sign_in = { client_id = "masugata", client_secret_file = "secret" }
"#;

const EGRESS: &str = r#"
[egress]
listen = ["127.0.0.1:8443"]
name = "proxy.example.com"
"#;

/// The blocks of TOML in a document.
fn fragments(document: &str) -> Vec<&str> {
    let blocks = document.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split("\n```").next().unwrap())
        .collect()
}

fn table(text: &str) -> toml::Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Adds what is not there, at any depth of tables.
fn complete(whole: &mut toml::Table, missing: &str) {
    fn add(whole: &mut toml::Table, missing: toml::Table) {
        for (key, value) in missing {
            match (whole.get_mut(&key), value) {
                (Some(toml::Value::Table(inner)), toml::Value::Table(more)) => add(inner, more),
                (Some(_), _) => {}
                (None, value) => {
                    whole.insert(key, value);
                }
            }
        }
    }
    add(whole, table(missing));
}

fn written(value: &toml::Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        toml::Value::String(text) => serde_json::to_string(text).unwrap(),
        toml::Value::Array(items) => format!("[{}]", list(items.iter().map(written).collect())),
        toml::Value::Table(table) => {
            let member = |(key, value)| format!("\"{key}\" = {}", written(value));
            format!("{{ {} }}", list(table.iter().map(member).collect()))
        }
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
    }
}

fn has_client(whole: &toml::Table) -> bool {
    let issuers = whole.get("issuer").and_then(toml::Value::as_array);
    issuers.is_some_and(|issuers| issuers.iter().any(|issuer| issuer.get("sign_in").is_some()))
}

/// The fragment with what it leaves out.
fn completed(fragment: &str) -> String {
    // Placeholders that have a form of their own.
    let fragment = fragment.replace("<tenant id>", "3aa4a235-b6e2-48d5-9195-7fcf05b459b0");
    let mut whole = table(&fragment);
    let about_people = ["sign_in", "identity_provider", "scim"];
    if has_client(&whole)
        || about_people
            .iter()
            .any(|section| whole.contains_key(*section))
    {
        complete(&mut whole, PEOPLE);
        let scim = whole.get("scim").and_then(|scim| scim.get("issuer"));
        let names_provider = scim.is_some_and(|issuer| issuer.as_str() == Some("corp"));
        if names_provider && !whole.contains_key("issuer") {
            complete(&mut whole, PROVIDER);
        }
        if !has_client(&whole) {
            complete(&mut whole, BUILT_IN);
        }
    }
    if whole.contains_key("egress") {
        complete(&mut whole, EGRESS);
    }
    complete(&mut whole, APP);
    complete(&mut whole, LEAST);
    let line = |(key, value)| format!("\"{key}\" = {}\n", written(value));
    whole.iter().map(line).collect()
}

#[test]
fn every_fragment_of_a_configuration_in_the_documents_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents: Vec<_> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    documents.extend([root.join("README.md"), root.join("README.ja.md")]);
    let mut problems = String::new();
    let mut count = 0;
    for document in documents {
        let name = document.file_name().unwrap().to_string_lossy();
        for fragment in fragments(&fs::read_to_string(&document).unwrap()) {
            // A row of the inventory, which is another file.
            if fragment.contains("[[device]]") {
                continue;
            }
            count += 1;
            if let Err(error) = Config::parse(&completed(fragment), Path::new("masugata.toml")) {
                problems += &format!("{name}:\n{fragment}\n\n{error}\n\n");
            }
        }
    }
    assert!(count >= 28, "only {count} fragments were found");
    assert!(problems.is_empty(), "{problems}");
}
