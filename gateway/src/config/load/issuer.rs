//! `[[issuer]]`, `[[service]]` and `[[network]]`.

use super::preset::{self, Ways};
use super::sign_in::Of;
use super::{Builder, Named, Purpose, every, value_or, values};
use crate::config::sign_in::Preset;
use crate::config::text::{AcrValue, ClaimPath, Text, quoted};
use crate::config::{ClaimNames, Issuer, KeySource, Network, ServiceAccount, defaults, raw};

impl Builder<'_> {
    pub(super) fn issuers(&mut self, raw: Vec<raw::Issuer>) -> Named<Issuer> {
        let names: Vec<_> = raw
            .iter()
            .filter_map(|issuer| issuer.name.as_ref())
            .collect();
        let kept = names.iter().map(|name| name.value.0.clone()).collect();
        self.no_duplicates(
            "issuer",
            names
                .iter()
                .map(|name| (name.value.0.as_str(), name.span.start)),
        );
        let urls = raw.iter().filter_map(|issuer| issuer.issuer.as_ref());
        let urls: Vec<_> = urls
            .map(|url| (url.value.0.as_str(), url.span.start))
            .collect();
        self.no_duplicates("issuer with the identifier", urls);
        let clients = raw.iter().filter_map(|issuer| issuer.sign_in.as_ref());
        let domains = clients.flat_map(|client| client.value.email_domains.iter().flatten());
        let domains: Vec<_> = domains
            .map(|domain| (domain.value.0.as_str(), domain.span.start))
            .collect();
        self.no_duplicates("provider for addresses in", domains);
        Named {
            items: every(raw.into_iter().map(|issuer| self.issuer(issuer))),
            names: kept,
        }
    }

    fn issuer(&mut self, raw: raw::Issuer) -> Option<Issuer> {
        let at = raw.name.as_ref().map_or(0, |name| name.span.start);
        let name = raw.name.as_ref().map_or("", |name| name.value.0.as_str());
        self.check_not_reserved(name, at);
        let preset = raw.preset.as_ref().map(|preset| preset.value.0);
        let ways = preset::ways(preset, raw.sign_in.is_some());
        self.check_use(&raw, preset, at);
        let keys = self.key_source(raw.jwks_file, raw.discovery);
        let out_of_band = raw.multi_factor_out_of_band.filter(|at| at.value);
        if let Some(out_of_band) = &out_of_band {
            let message = format!(
                "every user of {} counts as having used several factors",
                quoted(name)
            );
            let help = "true only if the provider enforces it for everybody; every record says that it was assumed";
            self.report
                .warning(out_of_band.span.start, message, help.to_owned());
        }
        let acr = |written: Option<Vec<Text<AcrValue>>>, known: &[&str]| -> Vec<String> {
            written.map_or_else(
                || known.iter().map(|&value| value.to_owned()).collect(),
                |list| list.into_iter().map(|text| text.value.0).collect(),
            )
        };
        let acr_multi_factor = acr(raw.acr_multi_factor, ways.acr_multi_factor);
        let acr_phishing_resistant = acr(raw.acr_phishing_resistant, ways.acr_phishing_resistant);
        let client = raw.sign_in.map(|client| {
            let of = Of {
                name,
                issuer: raw.issuer.as_ref(),
                preset,
                ways: &ways,
                can_ask: !(acr_multi_factor.is_empty() && acr_phishing_resistant.is_empty()),
                out_of_band: out_of_band.is_some(),
            };
            self.client(client, &of)
        });
        let algorithms = raw.algorithms.map_or_else(
            || ways.algorithms.to_vec(),
            |list| list.into_iter().map(|text| text.value.0).collect(),
        );
        let token_types = raw.token_types.map_or_else(
            || ways.token_types.iter().map(|&one| one.to_owned()).collect(),
            |list| list.into_iter().map(|text| text.value.0).collect(),
        );
        Some(Issuer {
            name: raw.name?.value.0,
            issuer: raw.issuer?.value.0,
            audiences: values(raw.audiences.map(|list| list.value))
                .into_iter()
                .map(|audience| audience.0)
                .collect(),
            algorithms,
            keys,
            token_types,
            claims: claims(raw.claims.unwrap_or_default(), &ways),
            acr_multi_factor,
            acr_phishing_resistant,
            multi_factor_out_of_band: out_of_band.is_some(),
            leeway: value_or(raw.leeway, defaults::LEEWAY),
            max_token_lifetime: value_or(raw.max_token_lifetime, defaults::MAX_TOKEN_LIFETIME),
            sign_in: match client {
                Some(client) => Some(client?),
                None => None,
            },
        })
    }

    /// What an issuer is there for, and what that needs.
    fn check_use(&mut self, raw: &raw::Issuer, preset: Option<Preset>, at: usize) {
        let name = raw.name.as_ref().map_or("", |name| name.value.0.as_str());
        if let Some(list) = raw.audiences.as_ref().filter(|list| list.value.is_empty()) {
            self.report.error(
                list.span.start,
                format!("`audiences` in `[[issuer]]` of {} is empty", quoted(name)),
                "name at least one".to_owned(),
            );
        }
        match (&raw.audiences, &raw.sign_in) {
            (None, None) => self.report.error(
                at,
                format!(
                    "issuer {} has neither `audiences` nor `[issuer.sign_in]`",
                    quoted(name)
                ),
                "write `audiences` to accept access tokens, `[issuer.sign_in]` to let people sign in with a browser, or both"
                    .to_owned(),
            ),
            (Some(_), Some(_)) if preset == Some(Preset::Okta) => {
                let user = raw.claims.as_ref().and_then(|claims| claims.user.as_ref());
                if user.is_none() {
                    self.report.error(
                        at,
                        format!("{} does not say what identifies people in both kinds of tokens", quoted(name)),
                        "Okta's ID Tokens have the user's id in `sub`, its access tokens in `uid`; add a claim `uid` to ID Tokens and write `claims.user = \"uid\"`"
                            .to_owned(),
                    );
                }
            }
            (Some(_), _) | (_, Some(_)) => {}
        }
        if let (Some(file), Some(_)) = (&raw.jwks_file, &raw.sign_in) {
            self.report.error(
                file.span.start,
                "`jwks_file` does not say where people sign in",
                "leave it out: endpoints and keys are read from the provider's discovery document"
                    .to_owned(),
            );
        }
    }

    fn key_source(
        &mut self,
        jwks_file: Option<Text<crate::config::text::FilePath>>,
        discovery: Option<raw::Discovery>,
    ) -> KeySource {
        if let (Some(file), Some(_)) = (&jwks_file, &discovery) {
            let help =
                "keep `jwks_file` for keys from a file, or the table for keys from the network"
                    .to_owned();
            self.report.error(
                file.span.start,
                "both `jwks_file` and `[issuer.discovery]` are written",
                help,
            );
        }
        if let Some(file) = jwks_file {
            return KeySource::File(self.file(&file, Purpose::File));
        }
        let raw = discovery.unwrap_or_default();
        let authority = raw.authority.map(|path| self.file(&path, Purpose::File));
        let at = raw
            .max_age
            .as_ref()
            .or(raw.refresh.as_ref())
            .map_or(0, |text| text.span.start);
        let refresh = value_or(raw.refresh, defaults::DISCOVERY_REFRESH);
        let max_age = value_or(raw.max_age, defaults::DISCOVERY_MAX_AGE);
        if max_age < refresh {
            let help =
                "keys must stay good until the next refresh, or every user is refused in between"
                    .to_owned();
            self.report
                .error(at, "`max_age` is shorter than `refresh`", help);
        }
        KeySource::Discovery {
            authority,
            timeout: value_or(raw.timeout, defaults::DISCOVERY_TIMEOUT),
            refresh,
            max_age,
        }
    }

    pub(super) fn services(&mut self, raw: Vec<raw::Service>) -> Option<Vec<ServiceAccount>> {
        let names = raw.iter().filter_map(|service| service.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.as_str(), name.span.start))
            .collect();
        self.no_duplicates("service", names);
        let devices = raw.iter().filter_map(|service| service.device.as_ref());
        let devices: Vec<_> = devices
            .map(|device| (device.value.0.as_str(), device.span.start))
            .collect();
        self.no_duplicates("service on device", devices);
        raw.into_iter()
            .map(|service| {
                if let Some(device) = &service.device {
                    self.devices.push(Text {
                        value: device.value.0.clone(),
                        span: device.span.clone(),
                    });
                }
                Some(ServiceAccount {
                    name: service.name?.value.0,
                    device: service.device?.value.0,
                    groups: values(service.groups)
                        .into_iter()
                        .map(|group| group.0)
                        .collect(),
                })
            })
            .collect()
    }

    pub(super) fn networks(&mut self, raw: Vec<raw::Network>) -> Option<Vec<Network>> {
        let names = raw.iter().filter_map(|network| network.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.as_str(), name.span.start))
            .collect();
        self.no_duplicates("network", names);
        raw.into_iter()
            .map(|network| {
                Some(Network {
                    name: network.name?.value.0,
                    ranges: network
                        .ranges?
                        .into_iter()
                        .map(|range| range.value)
                        .collect(),
                })
            })
            .collect()
    }
}

fn claims(raw: raw::Claims, ways: &Ways) -> ClaimNames {
    let path = |text: Option<Text<ClaimPath>>, default: &str| {
        text.map_or_else(|| default.to_owned(), |text| text.value.0)
    };
    ClaimNames {
        user: path(raw.user, ways.user),
        require_verified_email: raw.require_verified_email.is_none_or(|at| at.value),
        name: path(raw.name, defaults::CLAIM_NAME),
        groups: path(raw.groups, defaults::CLAIM_GROUPS),
        roles: path(raw.roles, ways.roles),
        group_prefix: raw
            .group_prefix
            .map(|text| text.value.0)
            .unwrap_or_default(),
    }
}
