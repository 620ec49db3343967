//! `masugata run`: serve until told to stop.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::logging::Logging;
use super::printer::Printer;
use crate::config::Config;
use crate::gateway::{Capabilities, Gateway, StartError};

pub(super) fn run(path: &Path, printer: &mut Printer) -> ExitCode {
    let loaded = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return printer.fail(2, error.to_string()),
    };
    if let Err(error) = Logging::start(&loaded.config.runtime) {
        return printer.fail(1, format!("error: cannot write logs: {error}"));
    }
    let runtime = match runtime(loaded.config.runtime.workers) {
        Ok(runtime) => runtime,
        Err(error) => return printer.fail(1, format!("error: cannot start threads: {error}")),
    };
    runtime.block_on(async {
        match Gateway::start_with(loaded, Capabilities::default()).await {
            Ok(gateway) => {
                announce(&gateway);
                serve(gateway).await;
                ExitCode::SUCCESS
            }
            Err(error @ StartError::Load(_)) => printer.fail(2, error.to_string()),
            Err(error) => printer.fail(1, format!("error: {error}")),
        }
    })
}

/// A runtime with that many worker threads.
pub(crate) fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
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
    if let Some(address) = gateway.admin_address() {
        tracing::info!(%address, "admin is listening");
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads and reopens the record.
pub(crate) async fn serve(gateway: Gateway) {
    let (Ok(mut hangup), Ok(mut terminate)) = (
        signal(SignalKind::hangup()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::error!("cannot listen for signals");
        return gateway.shutdown().await;
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                gateway.reopen_audit();
                // Outcome and problems are logged and recorded where it happens.
                let _ = gateway.reload().await;
            }
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    tracing::info!("draining");
    gateway.shutdown().await;
}
