//! `masugata setup`: how clients are told to use the gateway.

use std::path::PathBuf;
use std::process::ExitCode;

use super::printer::Printer;
use crate::config::Config;
use crate::config::text::Vocabulary as _;
use crate::egress::setup::{self, Client, SetupFacts};
use crate::respond::Language;

/// Arguments of `masugata setup`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whom to tell; without it, who can be told
    #[arg(value_name = "CLIENT", value_parser = client)]
    client: Option<Client>,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "masugata.toml")]
    config: PathBuf,
    /// The PAC file to point to, by name; without it the first
    #[arg(long, value_name = "NAME")]
    pac: Option<String>,
    /// `en` or `ja`; without it as `LC_ALL`, `LC_MESSAGES` or `LANG` say
    #[arg(long, value_name = "LANGUAGE", value_parser = language)]
    language: Option<Language>,
}

fn client(text: &str) -> Result<Client, String> {
    let words = Client::WORDS.iter();
    let found = words.clone().find(|(word, ..)| *word == text);
    found.map(|(_, client, _)| *client).ok_or_else(|| {
        let words: Vec<_> = words.map(|(word, ..)| *word).collect();
        format!("one of {}", words.join(", "))
    })
}

fn language(text: &str) -> Result<Language, &'static str> {
    match text {
        "ja" => Ok(Language::Japanese),
        "en" => Ok(Language::English),
        _ => Err("`en` or `ja`"),
    }
}

/// As POSIX looks for it: the first that is set and not empty.
fn of_environment() -> Language {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty());
    if set.is_some_and(|value| value.starts_with("ja")) {
        Language::Japanese
    } else {
        Language::English
    }
}

pub(super) fn run(arguments: &Arguments, printer: &mut Printer) -> ExitCode {
    let Some(client) = arguments.client else {
        let list = Client::WORDS
            .iter()
            .map(|(word, _, meaning)| format!("masugata setup {word:<9} {meaning}\n"));
        return printer.out(list.collect::<String>());
    };
    // The text alone: instructions are written also where the files it names are not.
    let path = &arguments.config;
    let config = match crate::config::read_text(path).and_then(|text| Config::parse(&text, path)) {
        Ok(parsed) => parsed.config,
        Err(error) => return printer.fail(2, error.to_string()),
    };
    let Some(facts) = SetupFacts::of(&config, arguments.pac.as_deref()) else {
        return printer.fail(2, missing(&config, arguments.pac.as_deref()));
    };
    let language = arguments.language.unwrap_or_else(of_environment);
    printer.out(setup::text(client, &facts, language))
}

fn missing(config: &Config, pac: Option<&str>) -> String {
    let Some(egress) = &config.egress else {
        return "error: there is no `[egress]` in this configuration, so there is nothing to set up"
            .to_owned();
    };
    let files = egress.pac.iter().flat_map(|pac| &pac.files);
    let names: Vec<_> = files.map(|file| format!("`{}`", file.name)).collect();
    format!(
        "error: there is no PAC file `{}`\nhelp: known are {}",
        pac.unwrap_or_default(),
        names.join(", ")
    )
}
