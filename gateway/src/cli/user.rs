//! `masugata user`: the accounts of the built-in identity provider.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::control::{ask, flag, json, plain, rows, table, text, texts, time};
use super::printer::Printer;
use crate::control::request::{ControlRequest, GroupChange, NewUser};

/// Arguments of `masugata user`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  masugata user add ada --name 'Ada Lovelace' --email ada@corp.example --group finance
  masugata user import staff.csv > links.csv
  masugata user groups ada --add auditors --remove finance
  masugata user disable ada

Exit codes: 0 done, 1 it failed, 2 wrong arguments or configuration.")]
pub(super) struct Arguments {
    /// The configuration
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "masugata.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account, and print the link for its owner's first sign-in
    ///
    /// Whoever has the link becomes that person: hand it over where nobody else sees it. It counts once.
    Add {
        /// The user name: a-z, 0-9, and . _ - @ +; it cannot be changed and is never given to anybody else
        name: String,
        /// What people call them
        #[arg(long = "name", value_name = "TEXT")]
        display_name: Option<String>,
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// A group, as policies name it; may be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// All accounts
    List {
        /// Print a JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// One account with its factors
    Show {
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End all sessions of a person and let no new one begin; factors are kept
    Disable { name: String },
    /// Undo `disable`
    Enable { name: String },
    /// Remove an account with its factors for good; its name is never given to anybody else
    Remove { name: String },
    /// Show or change somebody's groups; a change signs them out, so that it counts at once
    Groups {
        name: String,
        /// Exactly these, separated by commas; an empty text for none
        #[arg(long, value_name = "GROUPS", conflicts_with_all = ["add", "remove"])]
        set: Option<String>,
        /// A group more; may be repeated
        #[arg(long, value_name = "GROUP")]
        add: Vec<String>,
        /// A group less; may be repeated
        #[arg(long, value_name = "GROUP")]
        remove: Vec<String>,
    },
    /// Remove all factors, end all sessions, and print a new first sign-in link
    ///
    /// For somebody whose devices are lost or in wrong hands.
    Reset { name: String },
    /// Print a new first sign-in link beside the factors that are there; the one before is void
    Link { name: String },
    /// Make an account for each line of a CSV file, and print their links as CSV
    ///
    /// The file begins with `user,name,email,groups`, groups separated by `;`. All of it is taken, or nothing.
    Import {
        /// `-` is standard input
        file: PathBuf,
    },
}

/// Bytes of the longest file of accounts.
const LONGEST: u64 = 8 * 1024 * 1024;

pub(super) fn run(arguments: Arguments, printer: &mut Printer) -> ExitCode {
    let (request, show): (_, fn(&Value, &mut Printer) -> ExitCode) = match arguments.command {
        Command::Add {
            name,
            display_name,
            email,
            groups,
        } => {
            let new = NewUser {
                name,
                display_name,
                email,
                groups,
            };
            (ControlRequest::UserAdd(new), link)
        }
        Command::List { json: true } => (ControlRequest::UserList, as_json),
        Command::List { json: false } => (ControlRequest::UserList, list),
        Command::Show { name, json: true } => (ControlRequest::UserShow(name), as_json),
        Command::Show { name, json: false } => (ControlRequest::UserShow(name), show),
        Command::Disable { name } => (ControlRequest::UserDisable(name), |it, printer| {
            printer.out(format!("{} is disabled and signed out", text(it, "id")))
        }),
        Command::Enable { name } => (ControlRequest::UserEnable(name), |it, printer| {
            printer.out(format!("{} is enabled", text(it, "id")))
        }),
        Command::Remove { name } => (ControlRequest::UserRemove(name), |it, printer| {
            printer.out(format!("{} is removed and signed out", text(it, "id")))
        }),
        Command::Groups {
            name,
            set: None,
            add,
            remove,
        } if add.is_empty() && remove.is_empty() => (ControlRequest::UserShow(name), groups),
        Command::Groups {
            name,
            set,
            add,
            remove,
        } => {
            let change = match set {
                Some(set) => GroupChange::Set(split(&set)),
                None => GroupChange::AddAndRemove { add, remove },
            };
            (ControlRequest::UserGroups { name, change }, groups)
        }
        Command::Reset { name } => (ControlRequest::UserReset(name), link),
        Command::Link { name } => (ControlRequest::UserLink(name), link),
        Command::Import { file } => match read(&file) {
            Ok(file) => (ControlRequest::UserImport(file), links),
            Err(error) => {
                let name = plain(&file.display().to_string());
                return printer.fail(2, format!("error: cannot read `{name}`: {error}"));
            }
        },
    };
    match ask(&arguments.config, request, printer) {
        Ok(value) => show(&value, printer),
        Err(code) => code,
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let mut limited: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock().take(LONGEST + 1))
    } else {
        Box::new(std::fs::File::open(file)?.take(LONGEST + 1))
    };
    limited.read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it has more than 8 MiB"));
    }
    Ok(text)
}

fn split(groups: &str) -> Vec<String> {
    let groups = groups.split(',').map(str::trim);
    let groups = groups.filter(|group| !group.is_empty());
    groups.map(str::to_owned).collect()
}

fn as_json(value: &Value, printer: &mut Printer) -> ExitCode {
    printer.out(json(value))
}

fn link(value: &Value, printer: &mut Printer) -> ExitCode {
    printer.note(said_of_link(value));
    printer.out(text(value, "link"))
}

fn said_of_link(value: &Value) -> String {
    format!(
        "first sign-in of {}, once, until {}",
        text(value, "id"),
        time(value.get("until"))
    )
}

fn links(value: &Value, printer: &mut Printer) -> ExitCode {
    let count = rows(value).len();
    printer.note(format!(
        "{count} {} made; each link counts once",
        if count == 1 { "account" } else { "accounts" }
    ));
    printer.out(links_csv(value))
}

fn links_csv(value: &Value) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = writer.write_record(["user", "link", "until"]);
    for row in rows(value) {
        let until = time(row.get("until"));
        let _ = writer.write_record([text(row, "id"), text(row, "link"), &until]);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn list(value: &Value, printer: &mut Printer) -> ExitCode {
    if rows(value).is_empty() {
        printer.note("no accounts yet; `masugata user add NAME` makes one");
        return ExitCode::SUCCESS;
    }
    printer.out(listed(value))
}

fn listed(value: &Value) -> String {
    let row = |account: &Value| {
        vec![
            text(account, "id").to_owned(),
            state(account).to_owned(),
            text(account, "display_name").to_owned(),
            factors(account),
            texts(account, "groups").join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = rows(value).iter().map(row).collect();
    table(&["USER", "STATE", "NAME", "FACTORS", "GROUPS"], &rows)
}

fn state(account: &Value) -> &'static str {
    if !flag(account, "active") {
        "disabled"
    } else if flag(account, "can_sign_in") {
        "active"
    } else if account.get("link_until").is_some_and(Value::is_i64) {
        "invited"
    } else {
        "no factor"
    }
}

fn factors(account: &Value) -> String {
    let passkeys = account.get("passkeys").map(rows).unwrap_or_default().len();
    let mut factors = Vec::new();
    match passkeys {
        0 => {}
        1 => factors.push("passkey".to_owned()),
        many => factors.push(format!("{many} passkeys")),
    }
    if account.get("password_set_at").is_some_and(Value::is_i64) {
        factors.push("password".to_owned());
    }
    if flag(account, "totp") {
        factors.push("code app".to_owned());
    }
    if factors.is_empty() {
        return "none".to_owned();
    }
    factors.join(", ")
}

fn show(account: &Value, printer: &mut Printer) -> ExitCode {
    printer.out(shown(account))
}

fn shown(account: &Value) -> String {
    let passkey = |it: &Value| {
        let synced = if flag(it, "synced") { ", synced" } else { "" };
        format!(
            "{} (since {}, last used {}{synced})",
            text(it, "name"),
            time(it.get("added_at")),
            time(it.get("used_at")),
        )
    };
    let passkeys = account.get("passkeys").map(rows).unwrap_or_default();
    let passkeys: Vec<String> = passkeys.iter().map(passkey).collect();
    let codes = account.get("recovery_codes").and_then(Value::as_u64);
    let mut lines = vec![
        ("user", text(account, "id").to_owned()),
        ("state", state(account).to_owned()),
        ("name", text(account, "display_name").to_owned()),
        ("email", text(account, "email").to_owned()),
        ("groups", texts(account, "groups").join(", ")),
        ("external id", text(account, "external_id").to_owned()),
        ("created", time(account.get("created_at"))),
        ("changed", time(account.get("changed_at"))),
        ("password", time(account.get("password_set_at"))),
        (
            "code app",
            if flag(account, "totp") { "yes" } else { "no" }.to_owned(),
        ),
        (
            "recovery",
            format!("{} codes left", codes.unwrap_or_default()),
        ),
        ("link until", time(account.get("link_until"))),
    ];
    if passkeys.is_empty() {
        lines.push(("passkey", "none".to_owned()));
    }
    lines.extend(passkeys.into_iter().map(|passkey| ("passkey", passkey)));
    let line = |(name, value): (&str, String)| {
        let value = if value.is_empty() { "-" } else { &value };
        format!("{name:<12} {}", plain(value))
    };
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn groups(account: &Value, printer: &mut Printer) -> ExitCode {
    let groups = texts(account, "groups");
    if groups.is_empty() {
        printer.note(format!("{} is in no group", text(account, "id")));
        return ExitCode::SUCCESS;
    }
    printer.out(groups.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;

    fn account() -> Value {
        json!({
            "id": "ada", "display_name": "Ada \u{1b}[31mLovelace", "email": "ada@corp.example",
            "groups": ["auditors", "finance"], "active": true, "external_id": null,
            "created_at": 1_800_000_000_000_i64, "changed_at": 1_800_000_060_000_i64,
            "passkeys": [{
                "id": "p1", "name": "laptop", "added_at": 1_800_000_000_000_i64,
                "used_at": null, "synced": true,
            }],
            "password_set_at": null, "password_is_short": false, "totp": false,
            "recovery_codes": 10, "link_until": null, "can_sign_in": true,
        })
    }

    #[test]
    fn accounts_are_listed_for_people() {
        let mut grace = account();
        for (member, value) in [
            ("id", json!("grace")),
            ("display_name", json!("")),
            ("passkeys", json!([])),
            ("groups", json!([])),
            ("can_sign_in", json!(false)),
            ("link_until", json!(1_800_000_000_000_i64)),
        ] {
            grace[member] = value;
        }
        let mut gone = grace.clone();
        gone["id"] = json!("gone");
        gone["active"] = json!(false);
        gone["totp"] = json!(true);
        gone["password_set_at"] = json!(1);
        insta::assert_snapshot!(listed(&json!([account(), grace, gone])), @r"
        USER   STATE     NAME               FACTORS             GROUPS
        ada    active    Ada ?[31mLovelace  passkey             auditors, finance
        grace  invited                      none
        gone   disabled                     password, code app
        ");
    }

    #[test]
    fn one_account_is_shown_whole() {
        insta::assert_snapshot!(shown(&account()), @r"
        user         ada
        state        active
        name         Ada ?[31mLovelace
        email        ada@corp.example
        groups       auditors, finance
        external id  -
        created      2027-01-15T08:00:00Z
        changed      2027-01-15T08:01:00Z
        password     -
        code app     no
        recovery     10 codes left
        link until   -
        passkey      laptop (since 2027-01-15T08:00:00Z, last used -, synced)
        ");
    }

    #[test]
    fn links_come_with_when_they_end() {
        let link = json!({
            "id": "ada", "link": "https://login.example.com/id/welcome#abc",
            "until": 1_800_000_000_000_i64,
        });
        insta::assert_snapshot!(said_of_link(&link), @"first sign-in of ada, once, until 2027-01-15T08:00:00Z");
        insta::assert_snapshot!(links_csv(&json!([link])), @r"
        user,link,until
        ada,https://login.example.com/id/welcome#abc,2027-01-15T08:00:00Z
        ");
    }

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn arguments_are_read_wherever_the_configuration_stands() {
        for line in [
            "user -c x.toml groups ada --add a --add b",
            "user groups ada --add a --add b -c x.toml",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.arguments.config, Path::new("x.toml"));
        }
        assert!(Cli::try_parse_from("user groups ada --set a --add b".split(' ')).is_err());
        assert!(Cli::try_parse_from("user add".split(' ')).is_err());
        assert_eq!(split(" a, b,,"), ["a", "b"]);
        assert!(split("").is_empty());
    }
}
