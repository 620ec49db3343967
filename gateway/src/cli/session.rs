//! `masugata session`: who is signed in with a browser, and signing people out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::control::{ask, flag, json, rows, table, text, texts, time};
use super::printer::Printer;
use crate::control::request::{ControlRequest, Selection};

/// Arguments of `masugata session`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  masugata session list --user ada
  masugata session end --device LT-0042
  masugata session end 3f2a9c01d4e5b67788990a1b2c3d4e5f

Exit codes: 0 done, 1 it failed or nothing fits, 2 wrong arguments or configuration.")]
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
    /// Sign-ins that are not over, newest first
    List {
        #[command(flatten)]
        whose: Whose,
        /// Print a JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// End sign-ins at once; what is open through them is cut within a second
    #[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
    End {
        /// One sign-in, as `list` shows it
        #[arg(value_name = "ID", group = "which")]
        id: Option<String>,
        /// All of a person: `issuer/name`, a user name, or an e-mail address
        #[arg(long, value_name = "NAME", group = "which")]
        user: Option<String>,
        /// All on a device, by its id in the inventory
        #[arg(long, value_name = "ID", group = "which")]
        device: Option<String>,
        /// Everybody's
        #[arg(long, group = "which", conflicts_with_all = ["id", "user", "device"])]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Whose {
    /// Only of this person: `issuer/name`, a user name, or an e-mail address
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only on this device, by its id in the inventory
    #[arg(long, value_name = "ID")]
    device: Option<String>,
}

pub(super) fn run(arguments: Arguments, printer: &mut Printer) -> ExitCode {
    let (request, show): (_, fn(&Value, &mut Printer) -> ExitCode) = match arguments.command {
        Command::List { whose, json } => {
            let which = Selection {
                user: whose.user,
                device: whose.device,
                ..Selection::default()
            };
            (
                ControlRequest::SessionList(which),
                if json { as_json } else { list },
            )
        }
        Command::End {
            id,
            user,
            device,
            all,
        } => {
            let which = Selection {
                id,
                user,
                device,
                all,
            };
            (ControlRequest::SessionEnd(which), ended)
        }
    };
    match ask(&arguments.config, request, printer) {
        Ok(value) => show(&value, printer),
        Err(code) => code,
    }
}

fn as_json(value: &Value, printer: &mut Printer) -> ExitCode {
    printer.out(json(value))
}

fn list(value: &Value, printer: &mut Printer) -> ExitCode {
    if rows(value).is_empty() {
        printer.note("nobody is signed in");
        return ExitCode::SUCCESS;
    }
    printer.out(listed(value))
}

fn listed(value: &Value) -> String {
    let row = |session: &Value| {
        let strength = if flag(session, "phishing_resistant") {
            "phishing-resistant"
        } else if flag(session, "multi_factor") {
            "multi-factor"
        } else {
            "one factor"
        };
        vec![
            text(session, "id").to_owned(),
            text(session, "principal").to_owned(),
            text(session, "device").to_owned(),
            time(session.get("signed_in_at")),
            time(session.get("last_used")),
            strength.to_owned(),
            texts(session, "hosts").join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = rows(value).iter().map(row).collect();
    let head = [
        "ID",
        "USER",
        "DEVICE",
        "SIGNED IN",
        "LAST USED",
        "PROVED BY",
        "HOSTS",
    ];
    table(&head, &rows)
}

fn ended(value: &Value, printer: &mut Printer) -> ExitCode {
    printer.out(said_of_ended(value))
}

fn said_of_ended(value: &Value) -> String {
    match texts(value, "ended").as_slice() {
        [] => "nobody was signed in".to_owned(),
        [one] => format!("ended {one}"),
        many => format!("ended {} sign-ins", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_are_listed_for_people() {
        let session = json!([{
            "id": "3f2a9c01d4e5b67788990a1b2c3d4e5f", "principal": "corp/ada", "name": "Ada",
            "issuer": "corp", "email": null, "device": "LT-0042",
            "signed_in_at": 1_800_000_000_000_i64, "proved_at": 1_800_000_000_000_i64,
            "last_used": 1_800_000_060_999_i64, "factors": ["hwk"], "multi_factor": true,
            "phishing_resistant": true, "hosts": ["login.example.com", "wiki.example.com"],
        }]);
        insta::assert_snapshot!(listed(&session), @r"
        ID                                USER      DEVICE   SIGNED IN             LAST USED             PROVED BY           HOSTS
        3f2a9c01d4e5b67788990a1b2c3d4e5f  corp/ada  LT-0042  2027-01-15T08:00:00Z  2027-01-15T08:01:00Z  phishing-resistant  login.example.com, wiki.example.com
        ");
    }

    #[test]
    fn what_ended_is_said() {
        assert_eq!(
            said_of_ended(&json!({ "ended": [] })),
            "nobody was signed in"
        );
        assert_eq!(said_of_ended(&json!({ "ended": ["a"] })), "ended a");
        assert_eq!(
            said_of_ended(&json!({ "ended": ["a", "b"] })),
            "ended 2 sign-ins"
        );
    }

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: Arguments,
    }

    // A slip of the finger must not sign everybody out.
    #[test]
    fn whose_sessions_end_has_to_be_said() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(!parses("session end"));
        assert!(!parses("session end --all --user ada"));
        assert!(!parses("session end abc --all"));
        assert!(parses("session end --all"));
        assert!(parses("session end --user ada --device LT-1"));
        assert!(parses("session list -c x.toml"));
    }
}
