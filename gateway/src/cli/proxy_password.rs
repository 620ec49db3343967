//! `masugata proxy-password`: a short-lived password for one device, made here by whoever has the key file, or by the
//! gateway for whoever has a token.

mod ask;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use masugata_certs::DeviceIdentity;
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;

use super::printer::Printer;
use crate::capability::{Clock as _, SystemClock};
use crate::config::text::Written as _;
use crate::config::{Config, Egress, Loaded};
use crate::egress::password::{PasswordKey, Sealed};
use crate::inventory::{DeviceState, Inventory, Lookup, Record};
use ask::Ask;

/// Arguments of `masugata proxy-password`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "masugata.toml")]
    config: PathBuf,
    /// The device, by its id in the inventory
    #[arg(long, value_name = "ID", required_unless_present = "from")]
    device: Option<String>,
    /// Its certificate, PEM, to which the password will be bound; not needed where the inventory knows the device by
    /// `sha256:…`
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    certificate: Option<PathBuf>,
    /// The person, as `issuer/name`; without it the device's owner
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    user: Option<String>,
    /// A group of that person, beside those that the inventory gives its owner; may be repeated
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "from")]
    groups: Vec<String>,
    /// How long it counts, e.g. `45m`; at most, and by default, `password_lifetime`
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "from")]
    lifetime: Option<Duration>,
    #[command(flatten)]
    ask: Ask,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text).map_err(|fault| format!("it {}; {}", fault.why, fault.help))
}

pub(super) fn run(arguments: &Arguments, printer: &mut Printer) -> ExitCode {
    let made = match arguments.ask.made() {
        Some(made) => made,
        None => match Config::load(&arguments.config) {
            Ok(loaded) => make(arguments, &loaded, SystemClock.now()),
            Err(error) => return printer.fail(2, error.to_string()),
        },
    };
    match made {
        Ok((password, said)) => {
            printer.note(said);
            printer.out(password.expose_secret())
        }
        Err(message) => printer.fail(2, format!("error: {message}")),
    }
}

/// The password, and what to know about it.
fn make(
    arguments: &Arguments,
    loaded: &Loaded,
    now: Timestamp,
) -> Result<(secrecy::SecretString, String), String> {
    let egress = loaded
        .config
        .egress
        .as_ref()
        .ok_or("there is no [egress] in this configuration")?;
    let key = egress
        .password_key
        .as_deref()
        .ok_or("passwords are off\nhelp: name a key file with `password_key` under [egress]")?;
    let key = PasswordKey::read(key)
        .map_err(|error| format!("{} {}", error.path.display(), error.message))?;
    let record = device(
        &loaded.inventory,
        arguments.device.as_deref().unwrap_or_default(),
    )?;
    let bound = certificate(arguments.certificate.as_deref(), record)?;
    let principal = principal(arguments, &loaded.config, record)?;
    // That the device has its key is checked whenever it comes; nobody has proved more.
    let authentication = Authentication::new(false, false, None, ["pop"], None, true);
    let expires = expiry(arguments.lifetime, egress, &bound, now);
    let sealed = Sealed::new(&principal, &authentication, &bound.thumbprint, now, expires)
        .map_err(|error| error.to_string())?;
    let until = jiff::Timestamp::from_millisecond(expires.as_millis())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let said = format!(
        "for {} on {}, until {until}; the user name does not matter",
        principal.id(),
        record.device.id()
    );
    Ok((key.seal(&sealed), said))
}

fn device<'a>(inventory: &'a Inventory, id: &str) -> Result<&'a Record, String> {
    match inventory.find(id) {
        Lookup::Unknown => Err(format!("the inventory has no device `{id}`")),
        Lookup::Ambiguous => Err(format!("the inventory has `{id}` more than once")),
        Lookup::Found(record) if record.state == DeviceState::Active => Ok(record),
        Lookup::Found(record) => Err(format!("device `{id}` is {}", record.state.as_str())),
    }
}

/// What the password is bound to.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    thumbprint: [u8; 32],
    /// The certificate's own end; unknown where only its thumbprint is.
    ends: Option<Timestamp>,
}

fn certificate(path: Option<&Path>, record: &Record) -> Result<Bound, String> {
    let Some(path) = path else {
        let mut known = record
            .identities
            .iter()
            .filter_map(|identity| digits(identity.strip_prefix("sha256:")?));
        return match (known.next(), known.next()) {
            (Some(thumbprint), None) => Ok(Bound {
                thumbprint,
                ends: None,
            }),
            _ => Err(
                "the password is bound to one certificate\nhelp: name it with `--certificate FILE`"
                    .to_owned(),
            ),
        };
    };
    let named = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("cannot read {named}: {error}"))?;
    let leaf = CertificateDer::from_pem_slice(&pem)
        .map_err(|_| format!("{named} holds no certificate in PEM"))?;
    let (identity, thumbprint) =
        masugata_certs::claim_of(&leaf).map_err(|error| format!("{named}: {error}"))?;
    if !is_of(record, &identity) {
        return Err(format!(
            "{named} is the certificate of `{identity}`, which is not `{}`",
            record.device.id()
        ));
    }
    let summary = masugata_certs::summarize(&leaf).map_err(|error| format!("{named}: {error}"))?;
    Ok(Bound {
        thumbprint,
        ends: Some(Timestamp::from_seconds(
            summary.not_after_seconds.saturating_add(1),
        )),
    })
}

fn is_of(record: &Record, identity: &DeviceIdentity) -> bool {
    let mut known = record.identities.iter();
    known.any(|known| **known == *identity.as_str())
}

/// 64 hexadecimal digits.
fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The owner as the inventory knows him, or whoever the administrator says, with the groups that he is given here.
fn principal(arguments: &Arguments, config: &Config, record: &Record) -> Result<Principal, String> {
    let owner = record.owner.as_deref();
    let id = arguments
        .user
        .as_deref()
        .or_else(|| owner.map(Principal::id))
        .ok_or("the device has no owner\nhelp: name the person with `--user issuer/name`")?;
    let (issuer, _) = id
        .split_once('/')
        .filter(|(_, name)| !name.is_empty())
        .ok_or_else(|| format!("`{id}` is no user\nhelp: write `--user issuer/name`"))?;
    if !config.issuers.iter().any(|known| known.name == issuer) {
        return Err(format!("there is no issuer `{issuer}`"));
    }
    let owner = owner.filter(|owner| owner.id() == id);
    let known = owner.map(Principal::groups).unwrap_or_default().iter();
    let groups: Vec<Box<str>> = known
        .cloned()
        .chain(arguments.groups.iter().map(|group| group.as_str().into()))
        .collect();
    Ok(Principal::new(
        PrincipalKind::User,
        id,
        issuer,
        owner.and_then(Principal::name),
        groups,
        owner
            .map(Principal::roles)
            .unwrap_or_default()
            .iter()
            .cloned(),
    ))
}

fn expiry(asked: Option<Duration>, egress: &Egress, bound: &Bound, now: Timestamp) -> Timestamp {
    let longest = egress.password_lifetime;
    let expires = now.plus(asked.unwrap_or(longest).min(longest));
    bound.ends.map_or(expires, |ends| ends.min(expires))
}

#[cfg(test)]
#[path = "proxy_password_tests.rs"]
mod tests;
