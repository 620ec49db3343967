//! The proxies: which are here, in which version, and how each is started with its configuration from `peers/`.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{Doing as _, Failure};
use crate::process::{self, Running};

/// Who takes part, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    Nginx,
    Masugata,
    Haproxy,
    Envoy,
}

impl Name {
    pub(crate) const ALL: [Self; 4] = [Self::Nginx, Self::Masugata, Self::Haproxy, Self::Envoy];

    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Masugata => "masugata",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Whether it checks the token; nginx is the bare measure and does not.
    pub(crate) fn verifies_tokens(self) -> bool {
        match self {
            Self::Nginx => false,
            Self::Masugata | Self::Haproxy | Self::Envoy => true,
        }
    }

    /// Whether its TLS library knows X25519MLKEM768; for nginx and HAProxy that depends on how they were built.
    pub(crate) fn speaks_hybrid(self) -> bool {
        match self {
            Self::Nginx | Self::Haproxy => false,
            Self::Masugata | Self::Envoy => true,
        }
    }

    fn template(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx.conf", include_str!("peers/nginx.conf")),
            Self::Masugata => ("masugata.toml", include_str!("peers/masugata.toml")),
            Self::Haproxy => ("haproxy.cfg", include_str!("peers/haproxy.cfg")),
            Self::Envoy => ("envoy.yaml", include_str!("peers/envoy.yaml")),
        }
    }

    fn arguments(self, config: &Path, workers: usize) -> Vec<String> {
        let config = config.display().to_string();
        let workers = workers.to_string();
        let arguments: &[&str] = match self {
            Self::Nginx => &["-e", "stderr", "-c", &config],
            Self::Masugata => &["run", "-c", &config],
            Self::Haproxy => &["-db", "-q", "-f", &config],
            Self::Envoy => &[
                "-c",
                &config,
                "--concurrency",
                &workers,
                "--disable-hot-restart",
                "-l",
                "warn",
            ],
        };
        arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect()
    }

    fn version_argument(self) -> &'static str {
        match self {
            Self::Nginx | Self::Haproxy => "-v",
            Self::Masugata | Self::Envoy => "--version",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nginx => "nginx (bare)",
            Self::Masugata => "Masugata",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        })
    }
}

/// A proxy that can be started.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Proxy {
    pub(crate) name: Name,
    pub(crate) version: String,
    #[serde(skip)]
    program: PathBuf,
}

/// Who is here and who is not.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) present: Vec<Proxy>,
    pub(crate) absent: Vec<Name>,
}

/// Looks for the proxies named in `only`, or for all of them; builds Masugata where no binary is given.
pub(crate) fn find(only: &[Name], masugata: Option<&Path>) -> Result<Found, Failure> {
    let mut found = Found {
        present: Vec::new(),
        absent: Vec::new(),
    };
    for name in Name::ALL
        .into_iter()
        .filter(|name| only.is_empty() || only.contains(name))
    {
        let program = match (name, masugata) {
            (Name::Masugata, Some(path)) => Some(path.canonicalize().doing(path.display())?),
            (Name::Masugata, None) => Some(build()?),
            (Name::Nginx | Name::Haproxy | Name::Envoy, _) => on_path(name.program()),
        };
        match program {
            Some(program) => found.present.push(Proxy {
                name,
                version: version(&program, name.version_argument())?,
                program,
            }),
            None => found.absent.push(name),
        }
    }
    Ok(found)
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Where Debian keeps servers, which is not on everybody's path.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

pub(crate) fn build() -> Result<PathBuf, Failure> {
    process::note("building masugata with the `dist` profile");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(cargo)
        .args([
            "build",
            "--profile",
            "dist",
            "-p",
            "masugata",
            "--bin",
            "masugata",
            "--locked",
        ])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
            manifest,
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .doing("cargo build")?;
    if !output.status.success() {
        return Err(Failure::new(
            "masugata does not build; `--only nginx,haproxy` leaves it out",
        ));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message
                .pointer("/target/name")
                .is_some_and(|name| name == "masugata")
        })
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(|| Failure::new("cargo does not say where the binary is"))
}

/// The first line of what the program says of itself.
pub(crate) fn version(program: &Path, argument: &str) -> Result<String, Failure> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .doing(program.display())?;
    // nginx says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .split(|letter: char| letter.is_whitespace() || letter == '/')
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.'))
        .unwrap_or("unknown version")
        .to_owned())
}

/// A started proxy.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts it in front of `upstream`, with the files of `fixture::write` in `directory`.
    pub(crate) fn start(
        &self,
        upstream: u16,
        workers: usize,
        directory: &Path,
    ) -> Result<Served, Failure> {
        let (file, template) = self.name.template();
        let port = free_port()?;
        let root = fs::read_to_string("/proc/self/status")?
            .lines()
            .any(|line| line.starts_with("Uid:\t0\t"));
        let config = template
            .replace("{directory}", &directory.display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{admin}", &free_port()?.to_string())
            .replace("{upstream}", &upstream.to_string())
            .replace("{workers}", &workers.to_string())
            // Workers would otherwise give up root and lose the temporary directory.
            .replace("{user}", if root { "user root;" } else { "" });
        let path = directory.join(file);
        fs::write(&path, config).doing(path.display())?;
        let mut command = process::command(self.program.as_os_str());
        command
            .args(self.name.arguments(&path, workers))
            .current_dir(directory);
        let running = Running::start(command, self.name.program(), directory)?;
        let mut served = Served {
            running,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        };
        served.wait(self.name, directory)?;
        Ok(served)
    }
}

impl Served {
    fn wait(&mut self, name: Name, directory: &Path) -> Result<(), Failure> {
        let patience = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if self.running.ended() || patience.elapsed() > Duration::from_secs(20) {
                let said = ["err", "out"].map(|ending| {
                    let path = directory.join(format!("{}.{ending}", name.program()));
                    fs::read_to_string(path).unwrap_or_default()
                });
                return Err(Failure::new(format!(
                    "{name} does not start:\n{}",
                    said.concat()
                )));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
