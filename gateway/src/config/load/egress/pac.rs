//! `[egress.pac]`: how programs find the gateway.

use super::super::{Builder, every, values};
use crate::config::defaults::egress as defaults;
use crate::config::egress::{DomainPattern, Pac, PacElsewhere, PacFile, PacScope};
use crate::config::raw::egress as raw;
use crate::config::text::{At, PacProxy, Text, quoted};
use crate::destination::pac;

impl Builder<'_> {
    pub(super) fn pac(
        &mut self,
        raw: raw::Pac,
        name: &str,
        port: u16,
        own_hosts: &[String],
    ) -> Option<Pac> {
        let files = raw.file.unwrap_or_default();
        // Served as paths, which some clients write in lower case.
        let names = files.iter().filter_map(|file| file.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.to_ascii_lowercase(), name.span.start))
            .collect();
        self.no_duplicates(
            "PAC file",
            names.iter().map(|(name, at)| (name.as_str(), *at)),
        );
        let proxies = raw
            .proxies
            .map_or_else(|| vec![format!("HTTPS {name}:{port}")], written);
        let files = every(
            files
                .into_iter()
                .map(|file| self.pac_file(file, &proxies, own_hosts)),
        );
        Some(Pac {
            host: raw.host?.value.0,
            files: files?,
        })
    }

    fn pac_file(
        &mut self,
        raw: raw::PacFile,
        proxies: &[String],
        own: &[String],
    ) -> Option<PacFile> {
        let at = raw.name.as_ref().map_or(0, |name| name.span.start);
        let proxied = self.pac_scope(raw.proxied, raw.everything, at);
        self.check_direct(proxied.as_ref(), raw.direct.as_deref().unwrap_or_default());
        let elsewhere = match (raw.elsewhere, &proxied) {
            (Some(text), Some(PacScope::Everything)) => {
                let help =
                    "leave `elsewhere` out, or name what goes through the gateway in `proxied`";
                self.report.error(
                    text.span.start,
                    "everything goes through the gateway, so there is no elsewhere",
                    help.to_owned(),
                );
                text.value
            }
            (Some(text), _) => {
                self.check_elsewhere(&text);
                text.value
            }
            (None, _) => defaults::PAC_ELSEWHERE,
        };
        let file = PacFile {
            name: raw.name?.value.0,
            proxies: raw.proxies.map_or_else(|| proxies.to_vec(), written),
            proxied: proxied?,
            direct: values(raw.direct),
            elsewhere,
        };
        self.check_size(&file, own, at);
        Some(file)
    }

    fn pac_scope(
        &mut self,
        proxied: Option<Vec<Text<DomainPattern>>>,
        everything: Option<At<bool>>,
        at: usize,
    ) -> Option<PacScope> {
        let written: Vec<_> = proxied
            .iter()
            .flatten()
            .map(|text| (text.value.to_string(), text.span.start))
            .collect();
        let written = written.iter().map(|(name, at)| (name.as_str(), *at));
        self.no_duplicates("scope", written);
        let everything = everything.is_some_and(|written| written.value);
        match (proxied, everything) {
            (Some(patterns), false) => Some(PacScope::Only(values(Some(patterns)))),
            (None, true) => Some(PacScope::Everything),
            (patterns, _) => {
                let says = if patterns.is_some() { "both" } else { "none" };
                self.report.error(
                    at,
                    format!("a PAC file has {says} of `proxied` and `everything = true`"),
                    "write one of them".to_owned(),
                );
                None
            }
        }
    }

    /// What is written in both lists would be anybody's guess.
    fn check_direct(&mut self, proxied: Option<&PacScope>, direct: &[Text<DomainPattern>]) {
        let written: Vec<_> = direct
            .iter()
            .map(|text| (text.value.to_string(), text.span.start))
            .collect();
        let written = written.iter().map(|(name, at)| (name.as_str(), *at));
        self.no_duplicates("direct name", written);
        let Some(PacScope::Only(proxied)) = proxied else {
            return;
        };
        for text in direct {
            let other = proxied.iter().find(|other| other.name == text.value.name);
            if let Some(other) = other {
                self.report.error(
                    text.span.start,
                    format!(
                        "{} goes direct and {} through the gateway",
                        quoted(&text.value.to_string()),
                        quoted(&other.to_string())
                    ),
                    "write the name in one of the two lists".to_owned(),
                );
            }
        }
    }

    fn check_elsewhere(&mut self, text: &Text<PacElsewhere>) {
        if text.value == PacElsewhere::Direct {
            self.report.warning(
                text.span.start,
                "what is not in `proxied` goes past the gateway: neither decided nor recorded",
                "leave `elsewhere` out, and the gateway decides on it".to_owned(),
            );
        }
    }

    fn check_size(&mut self, file: &PacFile, own: &[String], at: usize) {
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        let bytes = pac::text(file, &own).len();
        if bytes > pac::MAX_BYTES {
            self.report.error(
                at,
                format!("PAC file {} would have {bytes} bytes", quoted(&file.name)),
                "browsers read at most 1 MiB; write domains instead of their hosts, or `everything = true`".to_owned(),
            );
        }
    }
}

fn written(proxies: Vec<Text<PacProxy>>) -> Vec<String> {
    proxies.into_iter().map(|text| text.value.0).collect()
}
