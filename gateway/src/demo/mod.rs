//! The demo: a whole gateway on this machine, in a directory of its own, to try and to start from.
//!
//! What it makes is kept and used again; what a person has changed is never overwritten. Only tokens are made anew at
//! every start, because they expire.

pub mod app;
mod files;
mod internet;
mod people;
mod tour;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::Printer;
use crate::cli::logging::Logging;
use crate::cli::run::{Signals, runtime, serve};
use crate::config::Config;
use crate::gateway::{Capabilities, Gateway};

use files::{Demo, Ports};
use internet::Internet;

/// What `masugata demo` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where everything is kept; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "./masugata-demo")]
    dir: PathBuf,
    /// Port of the gateway; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8443)]
    port: u16,
    /// Port of the proxy to the demo's Internet; without it 8445, or any free one where that is taken
    #[arg(long, value_name = "N")]
    egress_port: Option<u16>,
    /// Port of the administrators' listener; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8444)]
    admin_port: u16,
}

/// Nobody was asked for it before there was a second door, so it must not keep a demo from starting.
const EGRESS_PORT: u16 = 8445;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] masugata_certs::IssueError),
    #[error("`{}` is not a key of the demo; move the directory away and start again", .0.display())]
    Key(PathBuf),
    #[error("cannot use a certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot sign a token: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
    #[error("port {port} is taken; choose another with {option}")]
    PortTaken { port: u16, option: &'static str },
    #[error("cannot use loopback: {0}")]
    Loopback(#[source] std::io::Error),
    #[error("the demo listens on loopback only, but its configuration says {0}")]
    NotLoopback(SocketAddr),
    #[error("{0}")]
    Load(#[from] crate::config::error::LoadError),
    #[error("{0}")]
    People(#[from] people::PeopleError),
    #[error("{0}")]
    Start(#[from] crate::gateway::StartError),
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error("cannot start threads: {0}")]
    Threads(#[source] std::io::Error),
}

impl DemoError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Makes what is missing, starts, explains, serves.
pub(crate) fn run(arguments: &Arguments, printer: &mut Printer) -> ExitCode {
    match start(arguments, printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DemoError::Load(error)) => printer.fail(2, error.to_string()),
        Err(error) => printer.fail(1, format!("error: {error}")),
    }
}

fn start(arguments: &Arguments, printer: &mut Printer) -> Result<(), DemoError> {
    let capabilities = Capabilities::default();
    let ports = Ports {
        ingress: free_port(arguments.port, "--port")?,
        egress: match arguments.egress_port {
            Some(port) => free_port(port, "--egress-port")?,
            None if is_free(EGRESS_PORT) => EGRESS_PORT,
            None => free_port(0, "")?,
        },
        admin: free_port(arguments.admin_port, "--admin-port")?,
    };
    let demo = Demo::prepare(&arguments.dir, ports, &capabilities)?;
    let loaded = Config::load(&demo.config)?;
    let admin = loaded.config.admin.listen;
    let egress = loaded.config.egress.as_ref();
    if let Some(address) = loaded
        .config
        .ingress
        .listen
        .iter()
        .chain(egress.into_iter().flat_map(|egress| &egress.listen))
        .chain(&admin)
        .find(|it| !it.ip().is_loopback())
    {
        return Err(DemoError::NotLoopback(*address));
    }
    let logging = Logging::start(&loaded.config.runtime);
    runtime(loaded.config.runtime.workers)
        .map_err(DemoError::Threads)?
        .block_on(async {
            let signals = Signals::listen().map_err(DemoError::Signals)?;
            let stop = CancellationToken::new();
            let app = tokio::spawn(app::serve(bind(demo.places.app).await?, stop.clone()));
            let sites = Internet::open(&demo.sites)?;
            let sites = tokio::spawn(sites.serve(
                bind(demo.places.sites).await?,
                bind(demo.places.plain_sites).await?,
                stop.clone(),
            ));
            let people = people::prepare(&loaded.config, &demo.directory, &capabilities).await?;
            let sign_in = loaded.config.sign_in.as_ref();
            let sign_in = sign_in.map(|it| loaded.config.ingress.origin_of(&it.host));
            let gateway = Gateway::start_with(loaded, capabilities).await?;
            let ingress = gateway
                .ingress_addresses()
                .first()
                .map_or(ports.ingress, SocketAddr::port);
            let egress = gateway.egress_addresses().first().map(SocketAddr::port);
            let admin = gateway.admin_address();
            demo.describe(ingress, egress, admin, sign_in.as_deref(), &people)?;
            let tour = tour::text(&demo, ingress, egress, admin, sign_in.as_deref(), &people);
            printer.out(tour);
            printer.out("ready");
            serve(gateway, signals, logging.as_ref().ok()).await;
            stop.cancel();
            let _ = tokio::join!(app, sites);
            Ok(())
        })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, DemoError> {
    TcpListener::bind(address)
        .await
        .map_err(DemoError::Loopback)
}

/// Whether a port of loopback can be had.
fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The port itself when it is free, or any free one for 0.
fn free_port(port: u16, option: &'static str) -> Result<u16, DemoError> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            DemoError::PortTaken { port, option }
        } else {
            DemoError::Loopback(error)
        }
    })?;
    Ok(listener.local_addr().map_err(DemoError::Loopback)?.port())
}
