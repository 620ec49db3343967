//! The two proxies: where they are, in which version, and how each is started with its configuration from `peers/`.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{Doing as _, Failure};
use crate::process::{Running, command};
use crate::proxy::{build, free_port, on_path, version};

/// The host behind the tunnels.
pub(super) const ORIGIN: &str = "origin.test";
/// The list of blocked names, by the way each proxy writes "and everything below".
const LISTS: [&str; 2] = ["blocked.txt", "blocked.squid"];

/// Who takes part, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    Squid,
    Masugata,
}

impl Name {
    /// Whether tunnels can share a connection.
    pub(super) fn speaks_http2(self) -> bool {
        match self {
            Self::Squid => false,
            Self::Masugata => true,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Squid => "squid",
            Self::Masugata => "masugata",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Squid => "squid",
            Self::Masugata => "Masugata",
        })
    }
}

/// A proxy that can be started.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Peer {
    pub(super) name: Name,
    /// `None` where it is not installed.
    pub(super) version: Option<String>,
    #[serde(skip)]
    program: PathBuf,
}

/// Looks for those in `only`, or for both; builds Masugata where no binary is given.
pub(super) fn find(only: &[Name], masugata: Option<&Path>) -> Result<Vec<Peer>, Failure> {
    let mut peers = Vec::new();
    for &name in Name::value_variants() {
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let (program, argument) = match (name, masugata) {
            (Name::Masugata, Some(path)) => (
                Some(path.canonicalize().doing(path.display())?),
                "--version",
            ),
            (Name::Masugata, None) => (Some(build()?), "--version"),
            (Name::Squid, _) => (on_path(name.program()), "-v"),
        };
        peers.push(Peer {
            name,
            version: program
                .as_deref()
                .map(|program| version(program, argument))
                .transpose()?,
            program: program.unwrap_or_default(),
        });
    }
    Ok(peers)
}

/// Beside the files of `fixture::write`: the names, and what squid needs because it gives up root.
pub(super) fn prepare(directory: &Path, names: usize) -> Result<(), Failure> {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).doing(name);
    for (file, before) in LISTS.into_iter().zip(["", "."]) {
        write(file, &super::names::list(names, before))?;
    }
    write("hosts", &format!("127.0.0.1 {ORIGIN}\n"))?;
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(directory, 0o755)?;
    let own = directory.join("squid");
    fs::create_dir_all(&own)?;
    Ok(open(&own, 0o777)?)
}

/// A started proxy.
pub(super) struct Served {
    pub(super) running: Running,
    pub(super) address: SocketAddr,
    /// From the start until it took a connection, in seconds.
    pub(super) started: f64,
}

impl Peer {
    /// Starts it in front of `origin`, with the blocked names or without.
    pub(super) fn start(
        &self,
        origin: u16,
        workers: usize,
        lists: bool,
        directory: &Path,
    ) -> Result<Served, Failure> {
        let port = free_port()?;
        let (file, template, words) = match self.name {
            Name::Squid => (
                "squid.conf",
                include_str!("../peers/squid.conf"),
                format!(
                    "acl blocked dstdomain \"{}\"\nhttp_access deny blocked\n",
                    directory.join("blocked.squid").display()
                ),
            ),
            Name::Masugata => (
                "masugata-egress.toml",
                include_str!("../peers/masugata-egress.toml"),
                "\n[[egress.feed]]\nname = \"blocked\"\nfile = \"blocked.txt\"\nformat = \"plain\"\n\
                 categories = [\"malware\"]\n"
                    .into(),
            ),
        };
        let config = template
            .replace("{lists}", if lists { &words } else { "" })
            .replace("{directory}", &directory.display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{admin}", &free_port()?.to_string())
            .replace("{origin}", &origin.to_string())
            .replace("{workers}", &workers.to_string());
        let path = directory.join(file);
        fs::write(&path, config).doing(path.display())?;
        let path = path.display().to_string();
        let mut command = command(self.program.as_os_str());
        match self.name {
            Name::Squid => command.args(["-N", "-f", &path]),
            Name::Masugata => command.args(["run", "-c", &path]),
        };
        command.current_dir(directory);
        let begun = Instant::now();
        let mut running = Running::start(command, self.name.program(), directory)?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        while TcpStream::connect(address).is_err() {
            if running.ended() || begun.elapsed() > Duration::from_secs(120) {
                return Err(self.said(directory));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(Served {
            running,
            address,
            started: begun.elapsed().as_secs_f64(),
        })
    }

    fn said(&self, directory: &Path) -> Failure {
        let said = ["err", "out"].map(|ending| {
            let path = directory.join(format!("{}.{ending}", self.name.program()));
            fs::read_to_string(path).unwrap_or_default()
        });
        Failure::new(format!("{} does not start:\n{}", self.name, said.concat()))
    }
}
