//! Masugata beside nginx, HAProxy and Envoy, and as a forward proxy beside squid (`egress/`): same machine, same upstream, same load, one after the other.
//!
//! `compare` starts each proxy that it finds with a configuration of its own (`peers/`), loads it from a separate
//! process and reads what the *proxy* used: processor time from `/proc`, memory from `/proc`, the rest from the load
//! generator. Everything is on loopback and in a temporary directory; only its own children are ever signalled.
//! `docs/performance.md` has the method in words and the results.

#![expect(
    clippy::disallowed_methods,
    reason = "a measuring tool reads the real clock; there is nothing to move by hand"
)]

mod egress;
mod failure;
mod fixture;
mod load;
mod machine;
mod measure;
mod process;
mod proxy;
mod report;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use measure::{Extent, Kind};
use proxy::Name;

/// Compares Masugata, doing everything, with nginx, HAProxy and Envoy, where they are installed
#[derive(Debug, Parser)]
#[command(name = "compare", about)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Name>,
    /// Only these measurements
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    measure: Vec<Kind>,
    /// Seconds for each measurement under load
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    duration: f64,
    /// How often everything is measured; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Requests per second of the latency measurement
    #[arg(long, default_value_t = 2000, value_name = "N")]
    rate: u32,
    /// Connections of the memory measurement
    #[arg(long, default_value_t = 5000, value_name = "N")]
    idle: usize,
    /// Worker threads or processes of each proxy
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: usize,
    /// See in half a minute whether everything works; the numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// The gateway's binary; built with the `dist` profile when not given
    #[arg(long, value_name = "PATH")]
    masugata: Option<PathBuf>,
    /// Also write every single value here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the temporary directory with configurations and logs behind
    #[arg(long)]
    keep: bool,
}

/// The other comparison, and parts of both that run as processes of their own, so that their cost is nobody else's.
#[derive(Debug, Subcommand)]
enum Part {
    /// The small server behind the proxies
    #[command(hide = true)]
    Upstream,
    /// The load generator: a specification on standard input, a result on standard output
    #[command(hide = true)]
    Load,
    /// The way out: Masugata as a forward proxy, beside squid
    Egress(egress::Arguments),
    /// What lies behind the tunnels
    #[command(hide = true)]
    EgressOrigin,
    /// The load generator of the way out
    #[command(hide = true)]
    EgressLoad,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::Upstream) => upstream::serve(),
        Some(Part::Load) => load::run(),
        Some(Part::Egress(arguments)) => egress::compare(arguments),
        Some(Part::EgressOrigin) => egress::origin(),
        Some(Part::EgressLoad) => egress::load(),
        None => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            process::note(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let extent = Extent::of(arguments);
    let found = proxy::find(&arguments.only, arguments.masugata.as_deref())?;
    let directory = tempfile::Builder::new()
        .prefix("masugata-compare-")
        .disable_cleanup(arguments.keep)
        .tempdir()?;
    let machine = machine::Machine::look();
    let results = measure::all(&found, &extent, directory.path())?;
    if arguments.keep {
        process::note(&format!("left behind: {}", directory.path().display()));
    }
    if let Some(path) = &arguments.json {
        report::write_json(path, &machine, &found, &extent, &results)?;
    }
    report::print(&machine, &found, &extent, &results)
}
