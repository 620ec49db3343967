//! The commands, and nothing but: each module below does one.

pub mod audit;
mod check;
mod connect;
mod control;
mod destinations;
pub mod logging;
mod printer;
mod proxy_password;
pub(crate) mod run;
mod session;
mod setup;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use printer::Printer;

/// Zero-trust access gateway: device certificate, user token, posture and policy for every request, on record.
#[derive(Debug, Parser)]
#[command(name = "masugata", version, about, long_about = None, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  masugata demo                       a whole gateway with an app behind it, in ./masugata-demo
  masugata check -c masugata.toml     every problem in configuration, policies and certificates
  masugata run -c masugata.toml       serve; SIGHUP reloads, SIGTERM drains
  masugata audit verify audit.jsonl   proof that nobody edited the record

Exit codes: 0 fine, 1 it failed, 2 wrong arguments or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve according to a configuration file, until SIGTERM or SIGINT
    ///
    /// SIGHUP, or a change to any file the configuration names, reloads: whole or not at all.
    Run {
        /// The configuration; paths in it are relative to its directory
        #[arg(short, long, value_name = "FILE", default_value = "masugata.toml")]
        config: PathBuf,
    },
    /// Look for problems in configuration, policies, certificates and inventory; change nothing
    ///
    /// Reports all of them at once, with file, line, column and a way forward. Exit code 2 when there are any.
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = "masugata.toml")]
        config: PathBuf,
        /// Print the JSON Schema of the configuration, for editors, and stop
        #[arg(long)]
        schema: bool,
        /// Print the Cedar schema that policies are checked against, and stop
        #[arg(long, conflicts_with = "schema")]
        policy_schema: bool,
    },
    /// Start a whole working gateway on this machine, with users, devices, apps and policies to try
    ///
    /// Everything is kept in one directory and used again. It listens on loopback only.
    Demo(crate::demo::Arguments),
    /// Give programs that cannot speak TLS to a proxy a local one, which goes through the gateway
    ///
    /// Takes plain HTTP proxying on loopback and carries it over HTTP/2 with this device's certificate. Refusals of the
    /// gateway are passed on as they are. Prints `ready` when programs may come; ends with SIGTERM or SIGINT.
    Connect(connect::Arguments),
    /// Make a proxy password for a device, for programs that can only do Basic
    ///
    /// With the configuration and its key file, for anybody; or with `--from`, where the gateway makes it for whoever has a
    /// token. Prints the password, and on standard error how long it counts.
    ProxyPassword(proxy_password::Arguments),
    /// Tell browsers, systems and programs how to use the gateway
    ///
    /// Prints policies and settings files for one client, made from the configuration.
    Setup(setup::Arguments),
    /// Manage the accounts of the built-in identity provider
    ///
    /// Asks the running gateway; where none runs, works on its files.
    User(user::Arguments),
    /// See who is signed in, and sign people out
    ///
    /// Asks the running gateway; where none runs, works on its files.
    Session(session::Arguments),
    /// Work with the record
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
}

/// Parses arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut printer = Printer::new();
    match arguments.command {
        Command::Run { config } => run::run(&config, &mut printer),
        Command::Check { schema: true, .. } => printer.out(crate::config::schema()),
        Command::Check {
            policy_schema: true,
            ..
        } => printer.out(masugata_policy::schema_text()),
        Command::Check { config, .. } => check::check(&config, &mut printer),
        Command::Demo(arguments) => crate::demo::run(&arguments, &mut printer),
        Command::Connect(arguments) => connect::run(&arguments, &mut printer),
        Command::ProxyPassword(arguments) => proxy_password::run(&arguments, &mut printer),
        Command::Setup(arguments) => setup::run(&arguments, &mut printer),
        Command::User(arguments) => user::run(arguments, &mut printer),
        Command::Session(arguments) => session::run(arguments, &mut printer),
        Command::Audit { command } => ExitCode::from(audit::run(&command, &mut printer)),
    }
}
