//! From text to [`Config`]: every problem at once, each at its place.
//!
//! Three steps. The text is parsed with recovery; `shape` takes out and reports what the schema does not accept; the
//! rest becomes `raw` and is judged section by section in `load/`, which checks what only makes sense together. A
//! section whose required keys are missing yields `None`: that has been reported already.

mod app;
mod door;
mod egress;
mod files;
mod issuer;
mod preset;
mod process;
mod sign_in;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::Spanned;
use toml::de::DeTable;

use self::files::{FileUse, Purpose};
use super::error::{LoadError, Problem};
use super::nearest::suggestion;
use super::report::Report;
use super::text::{FilePath, HostName, Text, quoted};
use super::{Config, raw, schema, shape};
use crate::inventory::{Inventory, Lookup};

/// A configuration that may be used, with the inventory it names.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub inventory: Inventory,
    /// What its author should know, in order of position.
    pub warnings: Vec<Problem>,
}

/// What could be understood of a configuration, and what is wrong with it.
#[derive(Debug)]
pub struct Examined {
    pub config: Option<Config>,
    pub inventory: Option<Inventory>,
    /// Empty only if it may be used.
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// A configuration judged by its text alone.
#[derive(Debug)]
pub struct Parsed {
    pub config: Config,
    /// What its author should know, in order of position.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a configuration, checks that the files it names can be read, and reads its inventory.
    ///
    /// # Errors
    /// Every problem found, those of the inventory included. What policies, certificates and keys hold is judged by
    /// those who read them.
    pub fn load(path: &Path) -> Result<Loaded, LoadError> {
        Self::load_with(path, None)
    }

    /// As [`Config::load`]; devices that did not change keep their identity from `previous`, so that earlier decisions
    /// about them stay reusable.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(path: &Path, previous: Option<&Inventory>) -> Result<Loaded, LoadError> {
        match Self::examine(path, previous)? {
            Examined {
                config: Some(config),
                inventory: Some(inventory),
                problems,
                warnings,
            } if problems.is_empty() => Ok(Loaded {
                config,
                inventory,
                warnings,
            }),
            Examined { problems, .. } => Err(LoadError { problems }),
        }
    }

    /// As [`Config::load_with`], but gives whatever could be understood beside the problems: for `check`, which goes on to
    /// look for more.
    ///
    /// # Errors
    /// When the file itself cannot be read.
    pub fn examine(path: &Path, previous: Option<&Inventory>) -> Result<Examined, LoadError> {
        let text = read_text(path)?;
        let mut builder = Builder::new(&text, path);
        let config = builder.config();
        builder.check_files();
        let (inventory, mut of_inventory) = builder.inventory(previous);
        let (mut problems, mut warnings) = match builder.report.finish() {
            Ok(warnings) => (Vec::new(), warnings),
            Err(error) => (error.problems, Vec::new()),
        };
        problems.append(&mut of_inventory);
        if let Some(inventory) = &inventory {
            warnings.extend_from_slice(inventory.warnings());
        }
        Ok(Examined {
            config,
            inventory,
            problems,
            warnings,
        })
    }

    /// Judges the text of a configuration without looking at any other file. Relative paths in it are taken to be
    /// relative to the directory of `path`.
    ///
    /// # Errors
    /// Every problem that the text alone shows.
    pub fn parse(text: &str, path: &Path) -> Result<Parsed, LoadError> {
        let mut builder = Builder::new(text, path);
        let config = builder.config();
        let warnings = builder.report.finish()?;
        // INVARIANT: a section is `None` only after a problem was reported, so this is never the empty error.
        let config = config.ok_or_else(|| LoadError {
            problems: vec![whole_file(
                path,
                "the configuration could not be read".to_owned(),
                None,
            )],
        })?;
        Ok(Parsed { config, warnings })
    }

    /// Every file and directory that this configuration names and the gateway reads, itself included: what to watch.
    pub fn files(&self) -> Vec<PathBuf> {
        files::of(self)
    }
}

/// Reads a file as UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, LoadError> {
    let failed = |message, help| LoadError {
        problems: vec![whole_file(path, message, help)],
    };
    let bytes = std::fs::read(path)
        .map_err(|error| failed(format!("the file {}", why_unreadable(&error)), None))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let help = format!(
            "save it as UTF-8; the first bad byte is number {}",
            good.saturating_add(1)
        );
        failed("the file is not UTF-8 text".to_owned(), Some(help))
    })
}

fn whole_file(path: &Path, message: String, help: Option<String>) -> Problem {
    Problem {
        file: path.to_path_buf(),
        position: None,
        message,
        help,
    }
}

fn why_unreadable(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        "does not exist".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "may not be read by this user".to_owned()
    } else {
        format!("cannot be read: {kind}")
    }
}

/// Parses with recovery, reports what is no TOML, and takes out what does not fit `schema`. `None` when it is no TOML:
/// what recovery guesses is not worth judging.
pub(crate) fn parse_checked<T: DeserializeOwned>(
    text: &str,
    schema: &Value,
    report: &mut Report<'_>,
) -> Option<T> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut told = BTreeSet::new();
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        // One slip often breaks the rest of its line in the parser's eyes.
        if !told.insert(report.position(at).0) {
            continue;
        }
        // A slip is a character or two; what is longer may be the secret whose quotes were forgotten.
        let found = text
            .get(error.span().unwrap_or_default())
            .filter(|text| !text.trim().is_empty() && text.chars().count() <= 3);
        let found = found
            .map(|text| format!(" at {}", quoted(text)))
            .unwrap_or_default();
        report.error(
            at,
            format!("this is not TOML: {}{found}", error.message()),
            None,
        );
    }
    if errors.is_empty() {
        fit(table, schema, report)
    } else {
        None
    }
}

/// Takes out and reports what does not fit `schema`, and reads the rest.
pub(crate) fn fit<T: DeserializeOwned>(
    mut table: Spanned<DeTable<'_>>,
    schema: &Value,
    report: &mut Report<'_>,
) -> Option<T> {
    shape::prune(&mut table, schema, report);
    match T::deserialize(toml::de::Deserializer::from(table)) {
        Ok(raw) => Some(raw),
        Err(error) => {
            // Not expected after pruning; reported all the same, because a problem unreported is a default taken.
            let at = error.span().map_or(0, |span| span.start);
            report.error(at, error.message().to_owned(), None);
            None
        }
    }
}

/// What the sections need while they are judged.
struct Builder<'a> {
    text: &'a str,
    path: PathBuf,
    base: PathBuf,
    report: Report<'a>,
    files: Vec<FileUse>,
    inventory: Option<(PathBuf, Duration)>,
    /// Inventory ids that services run on, and where they are named.
    devices: Vec<Text<String>>,
    /// Where each `[issuer.sign_in]` stands.
    clients: Vec<usize>,
    /// Sections that keep something, and where they stand.
    needs_store: Vec<(&'static str, usize)>,
    /// Hosts of the gateway itself that `[ingress]` serves, each once.
    own_hosts: Vec<Text<HostName>>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, path: &'a Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let base = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
        Self {
            text,
            path: absolute,
            base,
            report: Report::new(path, text),
            files: Vec::new(),
            inventory: None,
            devices: Vec::new(),
            clients: Vec::new(),
            needs_store: Vec::new(),
            own_hosts: Vec::new(),
        }
    }

    fn config(&mut self) -> Option<Config> {
        let raw: raw::Config = parse_checked(self.text, &schema::CONFIG, &mut self.report)?;
        let pages = self.pages(raw.pages.unwrap_or_default());
        let mut issuers = self.issuers(raw.issuer.unwrap_or_default());
        let services = self.services(raw.service.unwrap_or_default());
        let networks = self.networks(raw.network.unwrap_or_default());
        let mut ingress = self.ingress(raw.ingress);
        let devices = self.devices(raw.devices);
        let mut people = sign_in::People {
            store: raw.store,
            sign_in: raw.sign_in,
            identity_provider: raw.identity_provider,
            scim: raw.scim,
        };
        let has_provider = people.identity_provider.is_some();
        let identity_provider = self.identity_provider(
            &mut people,
            &pages.organisation,
            ingress.as_ref(),
            &mut issuers,
        );
        let apps = self.apps(
            raw.app.unwrap_or_default(),
            &issuers.names,
            ingress.as_ref(),
        );
        let mut limited = apps.names;
        if raw.egress.is_some() {
            limited.push(egress::NAME.to_owned());
        }
        let limits = self.limits(raw.limit.unwrap_or_default(), &limited);
        let policies = raw.policies.unwrap_or_default();
        let policies = policies
            .iter()
            .map(|path| self.file(path, Purpose::Policies))
            .collect();
        let admin = self.admin(raw.admin.unwrap_or_default(), ingress.as_ref());
        let apps = apps.items.unwrap_or_default();
        let people = self.people(people, has_provider, &issuers, &apps, ingress.as_mut());
        let egress = raw
            .egress
            .and_then(|raw| self.egress(raw, &issuers.names, &apps, &admin, ingress.as_mut()));
        let lockout = self.lockout(raw.lockout.unwrap_or_default());
        let audit = self.audit(raw.audit);
        let assertion = self.assertion(raw.assertion.unwrap_or_default());
        Some(Config {
            path: self.path.clone(),
            ingress: ingress?,
            egress,
            devices: devices?,
            // A list with a bad item is left out whole: the item has been reported, and `check` still looks at the rest.
            issuers: issuers.items.unwrap_or_default(),
            services: services.unwrap_or_default(),
            apps,
            policies,
            networks: networks.unwrap_or_default(),
            time_zone: raw
                .time_zone
                .map_or(jiff::tz::TimeZone::UTC, |zone| zone.value),
            limits: limits.unwrap_or_default(),
            lockout,
            audit: audit?,
            admin,
            assertion,
            pages,
            runtime: process::runtime(raw.runtime.unwrap_or_default()),
            store: people.store,
            sign_in: people.sign_in,
            identity_provider,
            scim: people.scim,
        })
    }

    /// Notes that a file is used, and returns its absolute path.
    fn file(&mut self, written: &Text<FilePath>, purpose: Purpose) -> PathBuf {
        let path = self.base.join(&written.value.0);
        self.files.push(FileUse {
            path: path.clone(),
            written: written.value.0.clone(),
            at: written.span.start,
            purpose,
        });
        path
    }

    /// Reports every repetition in `items`; `what` names the kind of thing.
    fn no_duplicates<'k>(&mut self, what: &str, items: impl IntoIterator<Item = (&'k str, usize)>) {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_by_key(|(_, at)| *at);
        let mut seen = BTreeMap::new();
        for (name, at) in items {
            if let Some(first) = seen.insert(name, at) {
                let (line, _) = self.report.position(first);
                let help =
                    format!("the first is in line {line}; write one of them only, or rename it");
                self.report
                    .error(at, format!("a second {what} {}", quoted(name)), help);
            }
        }
    }

    /// The inventory, and its own problems.
    fn inventory(&mut self, previous: Option<&Inventory>) -> (Option<Inventory>, Vec<Problem>) {
        let Some((path, max_age)) = self.inventory.take() else {
            return (None, Vec::new());
        };
        // A file that is not there has been reported where it is named.
        if !path.is_file() {
            return (None, Vec::new());
        }
        match Inventory::load_with(&path, max_age, previous) {
            Ok(inventory) => {
                self.check_devices(&inventory);
                (Some(inventory), Vec::new())
            }
            Err(error) => (None, error.problems),
        }
    }

    fn check_devices(&mut self, inventory: &Inventory) {
        for named in &self.devices {
            if matches!(inventory.find(&named.value), Lookup::Unknown) {
                let ids = inventory.devices().map(|record| record.device.id());
                let help = suggestion(&named.value, ids.collect::<Vec<_>>()).unwrap_or_else(|| {
                    "a service runs on a device of the inventory, by its `id`".to_owned()
                });
                let message = format!("unknown device {}", quoted(&named.value));
                self.report.error(named.span.start, message, help);
            }
        }
    }
}

/// Items that were understood, and all names, also of those that were not: whoever refers to a broken app has not
/// misspelt it.
struct Named<T> {
    items: Option<Vec<T>>,
    names: Vec<String>,
}

/// All or nothing, and the rest is looked at even so: `collect` into an `Option` would stop at the first item that was
/// reported, and what is wrong with the others would come to light one by one.
fn every<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<_> = items.collect();
    items.into_iter().collect()
}

fn value_or<T>(text: Option<Text<T>>, default: T) -> T {
    text.map_or(default, |text| text.value)
}

fn values<T>(texts: Option<Vec<Text<T>>>) -> Vec<T> {
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect()
}

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod tests;
