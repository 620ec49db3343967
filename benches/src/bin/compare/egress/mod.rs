//! The way out beside squid: same machine, same origin, same load, one after the other.
//!
//! `compare egress` asks of both what a forward proxy does all day: let a device with a certificate tunnel to a named
//! destination, carry its bytes, know a million names that nobody may reach, and hold thousands of tunnels in which
//! nothing happens.

mod course;
mod load;
mod names;
mod origin;
mod peer;
mod table;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use load::run as load;
pub(crate) use origin::serve as origin;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::process::note;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Tunnels opened and closed
    Connect,
    /// Bytes through tunnels
    Bulk,
    /// Blocked names: time to load, memory, and what they cost each tunnel
    Lists,
    /// Memory with tunnels in which nothing happens
    Idle,
}

/// How much is measured, and on what.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct Arguments {
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<peer::Name>,
    /// Only these measurements
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    measure: Vec<Kind>,
    /// Seconds for each measurement of tunnels opened and closed
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    duration: f64,
    /// How often everything is measured; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// MiB through all tunnels together, each way
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    bulk: u64,
    /// Blocked names
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    names: usize,
    /// Tunnels of the memory measurement
    #[arg(long, default_value_t = 5000, value_name = "N")]
    idle: usize,
    /// Worker threads of the gateway; squid has one, as it comes
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: usize,
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

impl Arguments {
    fn measures(&self, kind: Kind) -> bool {
        self.measure.is_empty() || self.measure.contains(&kind)
    }
}

/// Compares and prints.
pub(crate) fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let peers = peer::find(&arguments.only, arguments.masugata.as_deref())?;
    let directory = tempfile::Builder::new()
        .prefix("masugata-compare-")
        .disable_cleanup(arguments.keep)
        .tempdir()?;
    let machine = Machine::look();
    let results = course::run(&peers, arguments, directory.path())?;
    if arguments.keep {
        note(&format!("left behind: {}", directory.path().display()));
    }
    if let Some(path) = &arguments.json {
        table::write_json(path, &machine, &peers, arguments, &results)?;
    }
    table::print(&machine, &peers, arguments, &results)
}
