//! `[[app]]`: names, places, demands, headers and times.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use masugata_policy::{Level, PostureAttribute, PostureRequirement};

use super::{Builder, Named, every, value_or, values};
use crate::config::nearest::suggestion;
use crate::config::text::{
    EditedHeader, Name, Size, Text, Unlimited, Vocabulary as _, Word, quoted,
};
use crate::config::{
    App, Backend, ClientCertificateMode, HeaderEdits, Ingress, Requirements, Timeouts, defaults,
    raw,
};

impl Builder<'_> {
    pub(super) fn apps(
        &mut self,
        raw: Vec<raw::App>,
        issuers: &[String],
        ingress: Option<&Ingress>,
    ) -> Named<App> {
        let names: Vec<_> = raw.iter().filter_map(|app| app.name.as_ref()).collect();
        let kept = names.iter().map(|name| name.value.0.clone()).collect();
        self.no_duplicates(
            "app",
            names
                .iter()
                .map(|name| (name.value.0.as_str(), name.span.start)),
        );
        self.check_places(&raw);
        Named {
            items: every(raw.into_iter().map(|app| self.app(app, issuers, ingress))),
            names: kept,
        }
    }

    /// Two apps at one place: which policy would decide?
    fn check_places(&mut self, raw: &[raw::App]) {
        let mut places = Vec::new();
        for app in raw {
            let prefix = app
                .path_prefix
                .as_ref()
                .map_or(defaults::PATH_PREFIX, |prefix| prefix.value.0.as_str());
            for host in app.hosts.iter().flatten() {
                places.push((format!("{}{prefix}", host.value.0), host.span.start));
            }
        }
        self.no_duplicates(
            "app at",
            places.iter().map(|(place, at)| (place.as_str(), *at)),
        );
    }

    fn app(&mut self, raw: raw::App, issuers: &[String], ingress: Option<&Ingress>) -> Option<App> {
        let at = raw.name.as_ref().map_or(0, |name| name.span.start);
        let level = raw.level.as_ref().map(|level| level.value.0);
        for host in raw.hosts.iter().flatten() {
            self.check_reachable(&host.value.0, host.span.start, ingress);
        }
        let require = raw.require.unwrap_or_default();
        let requirements = self.requirements(require, defaults::MULTI_FACTOR, level, at, issuers);
        let timeouts = self.timeouts(raw.timeouts.unwrap_or_default(), defaults::TIMEOUTS);
        let backend = self.backend(
            at,
            raw.name.as_ref(),
            raw.upstream,
            raw.redirect,
            raw.response,
        );
        let request = raw.request_headers.unwrap_or_default();
        let set = request.set.unwrap_or_default().into_iter();
        let request_headers = self.header_edits(
            set.map(|(name, text)| (name, text.value.0, text.span.start)),
            request.remove,
        );
        let response = raw.response_headers.unwrap_or_default();
        let set = response.set.unwrap_or_default().into_iter();
        let response_headers = self.header_edits(
            set.map(|(name, text)| (name, text.value.0, text.span.start)),
            response.remove,
        );
        let name = raw.name?.value.0;
        Some(App {
            audience: raw
                .audience
                .map_or_else(|| name.clone(), |text| text.value.0),
            name,
            level: level?,
            groups: values(raw.groups)
                .into_iter()
                .map(|group| group.0)
                .collect(),
            hosts: raw.hosts?.into_iter().map(|host| host.value.0).collect(),
            path_prefix: raw
                .path_prefix
                .map_or_else(|| defaults::PATH_PREFIX.to_owned(), |text| text.value.0),
            requirements,
            backend: backend?,
            request_headers,
            response_headers,
            max_body_bytes: value_or(raw.max_body, Unlimited(Some(Size(defaults::MAX_BODY))))
                .0
                .map(|size| size.0),
            timeouts,
            upgrades: raw.upgrades.unwrap_or(defaults::UPGRADES),
            forward_authorization: raw
                .forward_authorization
                .unwrap_or(defaults::FORWARD_AUTHORIZATION),
        })
    }

    fn check_reachable(&mut self, host: &str, at: usize, ingress: Option<&Ingress>) {
        let mode = ingress.map(|ingress| ingress.client_certificate_mode(host));
        if mode == Some(ClientCertificateMode::Off) {
            let message = format!(
                "nobody can reach {}: no client certificate is asked for there",
                quoted(host)
            );
            let help = "use `required` or `optional` for the hosts of apps".to_owned();
            self.report.error(at, message, help);
        }
    }

    /// `multi_factor` is the default of the door.
    pub(super) fn requirements(
        &mut self,
        raw: raw::Require,
        multi_factor: bool,
        level: Option<Level>,
        at: usize,
        issuers: &[String],
    ) -> Requirements {
        let at = raw
            .multi_factor
            .as_ref()
            .map_or(at, |written| written.span.start);
        let phishing_resistant = raw.phishing_resistant.unwrap_or(false);
        let multi_factor = raw
            .multi_factor
            .map_or(multi_factor || phishing_resistant, |written| written.value);
        if !multi_factor && level == Some(Level::Confidential) {
            let help = "leave `multi_factor = false` out, or lower the level if the information permits (E-2, H-2)";
            let message = "a confidential app must require multi-factor authentication";
            self.report.error(at, message, help.to_owned());
        }
        if !multi_factor && phishing_resistant {
            let help = "a phishing-resistant factor is required as one of several; leave one of the two out".to_owned();
            let message = "`phishing_resistant = true` contradicts `multi_factor = false`";
            self.report.error(at, message, help);
        }
        for issuer in raw.issuers.iter().flatten() {
            self.check_known(
                "issuer",
                issuer,
                issuers,
                "issuers are declared under `[[issuer]]`",
            );
        }
        let posture = self.posture(raw.posture, raw.posture_max_age, raw.posture_max_ages);
        Requirements {
            multi_factor,
            phishing_resistant,
            max_authentication_age: raw.max_authentication_age.map(|age| age.value),
            acr_values: values(raw.acr_values)
                .into_iter()
                .map(|value| value.0)
                .collect(),
            certificate_bound: raw.certificate_bound.unwrap_or(false),
            posture,
            issuers: values(raw.issuers).into_iter().map(|name| name.0).collect(),
        }
    }

    pub(super) fn check_known(
        &mut self,
        what: &str,
        name: &Text<Name>,
        known: &[String],
        otherwise: &str,
    ) {
        if !known.contains(&name.value.0) {
            let help = suggestion(&name.value.0, known.iter().map(String::as_str));
            let help = help.map_or_else(
                || otherwise.to_owned(),
                |help| format!("{otherwise}; {help}"),
            );
            self.report.error(
                name.span.start,
                format!("unknown {what} {}", quoted(&name.value.0)),
                help,
            );
        }
    }

    fn posture(
        &mut self,
        attributes: Option<Vec<Text<Word<PostureAttribute>>>>,
        all: Option<Text<Duration>>,
        single: Option<BTreeMap<String, Text<Duration>>>,
    ) -> Vec<PostureRequirement> {
        let attributes = attributes.unwrap_or_default();
        let mut single = single.unwrap_or_default();
        let words = attributes
            .iter()
            .map(|text| (text.value.0.word(), text.span.start));
        self.no_duplicates("requirement of", words);
        if let (Some(age), true) = (&all, attributes.is_empty()) {
            let help = "name the attributes in `posture`, or leave the age out".to_owned();
            self.report.error(
                age.span.start,
                "`posture_max_age` without `posture` demands nothing",
                help,
            );
        }
        let requirements = attributes
            .iter()
            .map(|text| PostureRequirement {
                attribute: text.value.0,
                max_age: single
                    .remove(text.value.0.word())
                    .or_else(|| all.clone())
                    .map(|age| age.value),
            })
            .collect();
        for (name, age) in single {
            let help = format!("add `{name}` to `posture`; an age alone demands nothing");
            self.report.error(
                age.span.start,
                format!("`{name}` is not among the required attributes"),
                help,
            );
        }
        requirements
    }

    fn header_edits(
        &mut self,
        set: impl Iterator<Item = (String, HeaderValue, usize)>,
        remove: Option<Vec<Text<EditedHeader>>>,
    ) -> HeaderEdits {
        let set: Vec<(HeaderName, HeaderValue, usize)> = set
            .filter_map(|(name, value, at)| {
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value, at))
            })
            .collect();
        let remove = remove.unwrap_or_default();
        let every = set.iter().map(|(name, _, at)| (name.as_str(), *at));
        let every = every.chain(
            remove
                .iter()
                .map(|text| (text.value.0.as_str(), text.span.start)),
        );
        self.no_duplicates("change to header", every.collect::<Vec<_>>());
        HeaderEdits {
            set: set
                .into_iter()
                .map(|(name, value, _)| (name, value))
                .collect(),
            remove: remove.into_iter().map(|text| text.value.0).collect(),
        }
    }

    pub(super) fn timeouts(&mut self, raw: raw::Timeouts, default: Timeouts) -> Timeouts {
        let total_at = raw.total.as_ref().map_or(0, |text| text.span.start);
        let timeouts = Timeouts {
            connect: value_or(raw.connect, default.connect),
            response_header: value_or(raw.response_header, default.response_header),
            idle: value_or(raw.idle, default.idle),
            total: value_or(raw.total, Unlimited(default.total)).0,
        };
        if timeouts.total.is_some_and(|total| total < timeouts.connect) {
            let help = "the whole exchange includes connecting".to_owned();
            self.report
                .error(total_at, "`total` is shorter than `connect`", help);
        }
        timeouts
    }

    fn backend(
        &mut self,
        at: usize,
        name: Option<&Text<Name>>,
        upstream: Option<raw::Upstream>,
        redirect: Option<raw::Redirect>,
        response: Option<raw::Response>,
    ) -> Option<Backend> {
        let written = [upstream.is_some(), redirect.is_some(), response.is_some()];
        let count = written.iter().filter(|written| **written).count();
        if count != 1 {
            let name = name.map_or("", |name| name.value.0.as_str());
            let says = if count == 0 {
                "does not say"
            } else {
                "says more than once"
            };
            let message = format!("app {} {says} how it answers", quoted(name));
            let help =
                "write one of `[app.upstream]`, `[app.redirect]` and `[app.response]`".to_owned();
            self.report.error(at, message, help);
        }
        let proxy = upstream.map(|upstream| self.upstream(upstream));
        if count != 1 {
            return None;
        }
        if let Some(proxy) = proxy {
            return proxy.map(Backend::Proxy);
        }
        if let Some(raw) = redirect {
            return Some(Backend::Redirect {
                status: StatusCode::from_u16(raw.status.unwrap_or(defaults::REDIRECT_STATUS))
                    .ok()?,
                location: raw.location?.value.0,
            });
        }
        let raw = response?;
        Some(Backend::Fixed {
            status: StatusCode::from_u16(raw.status.unwrap_or(defaults::RESPONSE_STATUS)).ok()?,
            content_type: raw.content_type.map_or_else(
                || HeaderValue::from_static(defaults::RESPONSE_CONTENT_TYPE),
                |text| text.value.0,
            ),
            body: raw.body.unwrap_or_default(),
        })
    }
}
