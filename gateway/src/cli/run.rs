//! `masugata run`: serve until told to stop.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::Logging;
use super::printer::Printer;
use crate::config::Config;
use crate::gateway::{Capabilities, Gateway, StartError};

pub(super) fn run(path: &Path, printer: &mut Printer) -> ExitCode {
    let loaded = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return printer.fail(2, error.to_string()),
    };
    let logging = match Logging::start(&loaded.config.runtime) {
        Ok(logging) => logging,
        Err(error) => return printer.fail(1, format!("error: cannot write logs: {error}")),
    };
    let runtime = match runtime(loaded.config.runtime.workers) {
        Ok(runtime) => runtime,
        Err(error) => return printer.fail(1, format!("error: cannot start threads: {error}")),
    };
    runtime.block_on(async {
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                return printer.fail(1, format!("error: cannot listen for signals: {error}"));
            }
        };
        match Gateway::start_with(loaded, Capabilities::default()).await {
            Ok(gateway) => {
                announce(&gateway);
                serve(gateway, signals, Some(&logging)).await;
                ExitCode::SUCCESS
            }
            Err(error @ StartError::Load(_)) => printer.fail(2, error.to_string()),
            Err(error) => printer.fail(1, format!("error: {error}")),
        }
    })
}

/// A runtime with that many worker threads.
pub(crate) fn runtime(workers: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .enable_all()
        .thread_name("masugata")
        .build()
}

fn announce(gateway: &Gateway) {
    for address in gateway.ingress_addresses() {
        tracing::info!(%address, "ingress is listening");
    }
    for address in gateway.egress_addresses() {
        tracing::info!(%address, "egress is listening");
    }
    if let Some(address) = gateway.admin_address() {
        tracing::info!(%address, "admin is listening");
    }
}

/// What the service manager says. Listened for before the first socket is open: whoever sees us serve may send one, and
/// SIGHUP would end a process that does not listen.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads and reopens the record.
pub(crate) async fn serve(gateway: Gateway, mut signals: Signals, logging: Option<&Logging>) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                gateway.reopen_audit();
                // Outcome and problems are logged and recorded where it happens.
                let _ = gateway.reload().await;
            }
            () = gateway.reloaded() => if let Some(logging) = logging {
                logging.set_level(gateway.log_level());
            },
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("draining");
    gateway.shutdown().await;
}
