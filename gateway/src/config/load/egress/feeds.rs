//! `[[egress.feed]]`: where lists come from and why they are believed.

use std::collections::BTreeSet;

use super::super::{Builder, Purpose, every, value_or, values};
use crate::config::defaults::egress as defaults;
use crate::config::egress::{Feed, FeedEffect, FeedSource, FeedTrust};
use crate::config::raw::egress as raw;
use crate::config::text::{FilePath, Name, Size, Text, Word, quoted};
use crate::destination::builtin;

impl Builder<'_> {
    pub(super) fn feeds(&mut self, raw: Vec<raw::Feed>, has_directory: bool) -> Option<Vec<Feed>> {
        // Copies are kept under these names, also on file systems that do not tell case apart.
        let names = raw.iter().filter_map(|feed| feed.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.to_ascii_lowercase(), name.span.start))
            .collect();
        self.no_duplicates("list", names.iter().map(|(name, at)| (name.as_str(), *at)));
        let url = raw.iter().find_map(|feed| feed.url.as_ref());
        if let Some(url) = url.filter(|_| !has_directory) {
            self.report.error(
                url.span.start,
                "a list is fetched, but there is nowhere to keep its last good copy",
                "write `lists_directory = \"lists\"` under `[egress]`".to_owned(),
            );
        }
        every(raw.into_iter().map(|feed| self.feed(feed)))
    }

    fn feed(&mut self, raw: raw::Feed) -> Option<Feed> {
        let at = raw.name.as_ref().map_or(0, |name| name.span.start);
        if let Some(name) = &raw.name
            && builtin::FEEDS
                .iter()
                .any(|known| name.value.0.eq_ignore_ascii_case(known.name))
        {
            let help =
                "choose another name; the list of that name comes with the program".to_owned();
            self.report.error(
                at,
                format!("the name {} is taken", quoted(&name.value.0)),
                help,
            );
        }
        let effect = value_or(raw.effect, Word(defaults::FEED_EFFECT)).0;
        let categories = self.categories(raw.categories, effect, at);
        let trust = self.trust(&raw.minisign_key, &raw.sha256, raw.unsigned.as_ref());
        let source = match (raw.file, raw.url) {
            (Some(file), None) => {
                let refresh = raw.refresh.map(|text| text.span.start);
                let authority = raw.authority.map(|text| text.span.start);
                if let Some(at) = [refresh, authority].into_iter().flatten().min() {
                    let help = "leave it out: files are read again when they change".to_owned();
                    self.report
                        .error(at, "`refresh` and `authority` are for a `url` only", help);
                }
                let trust = trust.unwrap_or(FeedTrust::Unsigned);
                Some(FeedSource::File {
                    path: self.list_file(&file, &trust),
                    trust,
                })
            }
            (None, Some(url)) => {
                let trust = self.trust_of_url(trust, effect, url.span.start);
                let authority = raw.authority.map(|path| self.file(&path, Purpose::File));
                trust.map(|trust| FeedSource::Https {
                    url: url.value.0,
                    trust,
                    authority,
                    refresh: value_or(raw.refresh, defaults::FEED_REFRESH),
                })
            }
            (file, _) => {
                let says = if file.is_some() { "both" } else { "none" };
                self.report.error(
                    at,
                    format!("a list has {says} of `file` and `url`"),
                    "write one of them".to_owned(),
                );
                None
            }
        };
        Some(Feed {
            name: raw.name?.value.0,
            source: source?,
            format: raw.format?.value.0,
            categories: categories?,
            effect,
            max_bytes: value_or(raw.max_bytes, Size(defaults::FEED_BYTES)).0,
            required: raw.required.unwrap_or(defaults::FEED_REQUIRED),
            alert: raw.alert.unwrap_or(false),
            max_shrink: raw.max_shrink.unwrap_or(defaults::FEED_SHRINK),
        })
    }

    fn categories(
        &mut self,
        written: Option<Vec<Text<Name>>>,
        effect: FeedEffect,
        at: usize,
    ) -> Option<Vec<String>> {
        match (&written, effect) {
            (None, FeedEffect::Block) => {
                self.report.error(
                    at,
                    "a list has no `categories`, so no policy could tell what is in it",
                    "write what its entries are, as in `categories = [\"malware\"]`".to_owned(),
                );
                return None;
            }
            (Some(list), FeedEffect::Allow) => {
                let at = list.first().map_or(at, |text| text.span.start);
                self.report.error(
                    at,
                    "a list with `effect = \"allow\"` gives no categories: it takes them away",
                    "leave `categories` out".to_owned(),
                );
            }
            (Some(_), FeedEffect::Block) | (None, FeedEffect::Allow) => {}
        }
        let names: BTreeSet<_> = values(written).into_iter().map(|name| name.0).collect();
        Some(names.into_iter().collect())
    }

    fn trust(
        &mut self,
        key: &Option<Text<crate::config::text::MinisignKey>>,
        hash: &Option<Text<crate::config::text::Sha256>>,
        unsigned: Option<&crate::config::text::At<bool>>,
    ) -> Option<FeedTrust> {
        let unsigned = unsigned.filter(|written| written.value);
        let places = [
            key.as_ref().map(|text| text.span.start),
            hash.as_ref().map(|text| text.span.start),
            unsigned.map(|written| written.span.start),
        ];
        let mut places = places.into_iter().flatten();
        if let (Some(_), Some(second)) = (places.next(), places.next()) {
            self.report.error(
                second,
                "a list says twice why it is believed",
                "write one of `minisign_key`, `sha256` and `unsigned = true`".to_owned(),
            );
        }
        let key = key
            .as_ref()
            .map(|text| FeedTrust::Minisign(text.value.0.clone()));
        let hash = hash.as_ref().map(|text| FeedTrust::Sha256(text.value.0));
        key.or(hash).or(unsigned.map(|_| FeedTrust::Unsigned))
    }

    fn trust_of_url(
        &mut self,
        trust: Option<FeedTrust>,
        effect: FeedEffect,
        at: usize,
    ) -> Option<FeedTrust> {
        match (trust, effect) {
            (None, _) => {
                self.report.error(
                    at,
                    "nothing proves that this list is what its makers wrote",
                    "write `minisign_key` or `sha256`, or `unsigned = true` to rely on the server alone"
                        .to_owned(),
                );
                None
            }
            (Some(FeedTrust::Unsigned), FeedEffect::Allow) => {
                self.report.error(
                    at,
                    "a list that takes categories away must be signed or pinned",
                    "whoever holds its server could open what other lists name; write `minisign_key` or `sha256`"
                        .to_owned(),
                );
                None
            }
            (trust, _) => trust,
        }
    }

    fn list_file(&mut self, file: &Text<FilePath>, trust: &FeedTrust) -> std::path::PathBuf {
        if matches!(trust, FeedTrust::Minisign(_)) {
            let signature = Text {
                value: FilePath(format!("{}.minisig", file.value.0)),
                span: file.span.clone(),
            };
            self.file(&signature, Purpose::File);
        }
        self.file(file, Purpose::File)
    }
}
