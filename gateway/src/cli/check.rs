//! `masugata check`: every problem in configuration, policies, certificates and inventory; nothing is changed, nothing listens.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use masugata_policy::Level;

use super::printer::Printer;
use crate::config::egress::{AcceptedCredentials, Egress, Mode};
use crate::config::error::{LoadError, Problem};
use crate::config::sign_in::{ClientAuthentication, SignIn};
use crate::config::text::duration_text;
use crate::config::{Config, Examined, Loaded};
use crate::destination::FeedStatus;
use crate::egress::setup::SetupFacts;
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
    let environment = Environment {
        clock,
        entropy,
        metrics: Metrics::new(),
        built_in: None,
    };
    let Examined {
        config,
        inventory,
        mut problems,
        warnings,
    } = Config::examine(path, None)?;
    // Policies, keys and certificates are looked at even when the configuration cannot be used as it is, so that
    // everything can be repaired in one go.
    let built = config.map(|config| {
        let inventory = inventory.unwrap_or_default();
        let loaded = Loaded {
            config,
            inventory,
            warnings,
        };
        State::build(loaded, None, &environment)
    });
    let state = match built {
        Some(Ok(state)) if problems.is_empty() => state,
        Some(Ok(_)) | None => return Err(LoadError { problems }),
        Some(Err(more)) => {
            let files: Vec<_> = problems.iter().map(|known| known.message.clone()).collect();
            let is_news = |found: &Problem| {
                let name = found.file.file_name().unwrap_or_default().to_string_lossy();
                !files.iter().any(|known| known.contains(&*name))
            };
            problems.extend(more.problems.into_iter().filter(is_news));
            return Err(LoadError { problems });
        }
    };
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
    if let Some(sign_in) = &config.sign_in {
        people(report, config, sign_in)?;
    }
    if let Some(egress) = &state.egress {
        way_out(report, config, &egress.config)?;
        lists(report, &egress.catalogue.status())?;
    }
    writeln!(
        report,
        "\n{} ({}), {}, {}, {}",
        count(state.policies.len() as u64, "policy", "policies"),
        state.policies.version().as_str(),
        count(state.inventory.devices().len() as u64, "device", "devices"),
        count(config.issuers.len() as u64, "issuer", "issuers"),
        count(config.limits.len() as u64, "limit", "limits"),
    )?;
    if !state.warnings.is_empty() {
        writeln!(report, "\nWarnings")?;
        for warning in &state.warnings {
            writeln!(report, "  - {warning}")?;
        }
    }
    Ok(())
}

/// Where people sign in, and what has to be registered at their providers.
fn people(report: &mut String, config: &Config, sign_in: &SignIn) -> std::fmt::Result {
    let origin_of = |host: &str| config.ingress.origin_of(host);
    let origin = origin_of(&sign_in.host);
    writeln!(report, "\nSign-in")?;
    let mut line =
        |name: &str, value: std::fmt::Arguments<'_>| writeln!(report, "  {name:<12} {value}");
    line("My page", format_args!("{origin}/"))?;
    for issuer in &config.issuers {
        let Some(client) = &issuer.sign_in else {
            continue;
        };
        let name = &issuer.name;
        if client.authentication == ClientAuthentication::BuiltIn {
            line("accounts", format_args!("{name}, in `store`"))?;
            continue;
        }
        line("provider", format_args!("{name}, {}", issuer.issuer))?;
        line("  redirect", format_args!("{origin}/callback/{name}"))?;
        line("  afterwards", format_args!("{origin}/signed-out"))?;
        if let Some(host) = &sign_in.back_channel_host {
            let signals = origin_of(host);
            line(
                "  sign-outs",
                format_args!("{signals}/backchannel-logout/{name}"),
            )?;
        }
    }
    if let Some(scim) = &config.scim {
        let (origin, issuer) = (origin_of(&scim.host), &scim.issuer);
        line("SCIM", format_args!("{origin}/scim/v2 for {issuer}"))?;
    }
    for level in [Level::Public, Level::Internal, Level::Confidential] {
        let lifetime = sign_in.lifetimes.of(level);
        let (idle, absolute) = (
            duration_text(lifetime.idle),
            duration_text(lifetime.absolute),
        );
        let name = level.as_str();
        line(
            name,
            format_args!("{idle} without a request, {absolute} in all"),
        )?;
    }
    Ok(())
}

/// The second door.
fn way_out(report: &mut String, config: &Config, egress: &Egress) -> std::fmt::Result {
    let Some(known) = SetupFacts::of(config, None) else {
        return Ok(());
    };
    let AcceptedCredentials {
        owner,
        token,
        password,
    } = egress.credentials;
    let ways = [
        (owner, "the device's owner"),
        (token, "token"),
        (password && egress.password_key.is_some(), "proxy password"),
    ];
    let ways: Vec<_> = ways.iter().filter(|(on, _)| *on).map(|it| it.1).collect();
    let unpermitted = match egress.mode {
        Mode::Enforce => "refused",
        Mode::Observe => "let through and recorded (mode = \"observe\")",
    };
    let services: Vec<_> = egress.services.iter().map(|it| it.name.as_str()).collect();
    let ports: Vec<_> = egress.ports.iter().map(u16::to_string).collect();
    let pac = egress.pac.iter().flat_map(|pac| &pac.files);
    let pac = pac.filter_map(|file| SetupFacts::of(config, Some(&file.name))?.pac);
    let pac: Vec<_> = pac.collect();
    writeln!(report, "\nThe way out")?;
    for (name, value) in [
        ("proxy", format!("https://{}", known.proxy)),
        ("people", ways.join(", ")),
        ("unpermitted", unpermitted.to_owned()),
        ("ports", ports.join(", ")),
        ("services", services.join(", ")),
        ("PAC", pac.join(", ")),
        ("why", known.why.unwrap_or_default()),
    ] {
        let value = if value.is_empty() { "none" } else { &value };
        writeln!(report, "  {name:<11} {value}")?;
    }
    Ok(())
}

fn lists(report: &mut String, lists: &[FeedStatus]) -> std::fmt::Result {
    if lists.is_empty() {
        return Ok(());
    }
    writeln!(report, "\nLists")?;
    for list in lists {
        write!(report, "  {:<14} ", list.name)?;
        match (&list.version, &list.fault) {
            (Some(version), _) => write!(
                report,
                "{}, version {version}",
                count(list.entries, "entry", "entries")
            )?,
            (None, Some(fault)) => write!(report, "{fault}")?,
            (None, None) => write!(report, "not there")?,
        }
        if list.version.is_none() && list.required {
            write!(report, "; until it is there, nothing is let through")?;
        }
        if let Some(first) = list.first_bad {
            let bad = count(list.bad, "line makes", "lines make");
            write!(report, "; {bad} no sense, first line {first}")?;
        }
        if list.unsupported > 0 {
            let unsupported = count(list.unsupported, "line says", "lines say");
            write!(report, "; {unsupported} what a list cannot")?;
        }
        writeln!(report)?;
    }
    Ok(())
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
