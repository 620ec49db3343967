//! `masugata check`: every problem in configuration, policies, certificates and inventory; nothing is changed, nothing listens.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::printer::Printer;
use crate::config::Config;
use crate::config::error::LoadError;
use crate::gateway::Capabilities;
use crate::metrics::Metrics;
use crate::state::{self, Environment, State};

pub(super) fn check(path: &Path, printer: &mut Printer) -> ExitCode {
    match examine(path) {
        Ok(report) => printer.out(report),
        Err(error) => {
            let count = error.problems.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            printer.fail(
                2,
                format!("{error}\n\n{count} {noun} in {}", path.display()),
            )
        }
    }
}

/// What would run, in words.
fn examine(path: &Path) -> Result<String, LoadError> {
    let Capabilities { clock, entropy } = Capabilities::default();
    let now = clock.now().as_seconds();
    let loaded = Config::load(path)?;
    let state = State::build(
        loaded,
        None,
        &Environment {
            clock,
            entropy,
            metrics: Metrics::new(),
        },
    )?;
    let mut report = format!("{}: no problems\n", path.display());
    // Writing to a string cannot fail.
    let _ = describe(&mut report, &state, now);
    Ok(report)
}

fn describe(report: &mut String, state: &State, now: i64) -> std::fmt::Result {
    let config = &state.config;
    let profile =
        state::profile(config.ingress.tls_profile).describe(config.ingress.hybrid_key_exchange);
    writeln!(report, "\nTLS\n{}", indent(&profile.to_string()))?;
    writeln!(report, "\nServer certificates")?;
    for summary in state.certificates.summaries() {
        let days = (summary.not_after_seconds - now).div_euclid(86_400);
        writeln!(
            report,
            "  {} ({}, {days} days left)",
            summary.names.join(", "),
            summary.key
        )?;
    }
    writeln!(report, "\nApps")?;
    for app in &state.apps {
        writeln!(
            report,
            "  {:<14} {:<20} {}{}",
            app.config.level.as_str(),
            app.name,
            app.config.hosts.join(", "),
            app.config.path_prefix
        )?;
    }
    writeln!(
        report,
        "\n{} ({}), {}, {}, {}",
        count(state.policies.len(), "policy", "policies"),
        state.policies.version().as_str(),
        count(state.inventory.devices().len(), "device", "devices"),
        count(config.issuers.len(), "issuer", "issuers"),
        count(config.limits.len(), "limit", "limits"),
    )?;
    if !state.warnings.is_empty() {
        writeln!(report, "\nWarnings")?;
        for warning in &state.warnings {
            writeln!(report, "  - {warning}")?;
        }
    }
    Ok(())
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
