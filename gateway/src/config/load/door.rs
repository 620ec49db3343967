//! `[ingress]` and `[devices]`.

use ipnet::IpNet;

use super::{Builder, Purpose, value_or, values};
use crate::config::text::{At, Size, Text, Word, quoted};
use crate::config::{
    Bounds, CertificateFiles, ClientCertificateRule, Devices, Ingress, TlsProfile, defaults, raw,
};

impl Builder<'_> {
    pub(super) fn ingress(&mut self, raw: Option<raw::Ingress>) -> Option<Ingress> {
        let raw = raw?;
        let listen = raw.listen.unwrap_or_default();
        let written: Vec<_> = listen
            .iter()
            .map(|text| (text.value.to_string(), text.span.start))
            .collect();
        self.no_duplicates(
            "listening address",
            written.iter().map(|(name, at)| (name.as_str(), *at)),
        );
        let profile = raw
            .tls_profile
            .as_ref()
            .map_or(defaults::TLS_PROFILE, |text| text.value.0);
        let hybrid = self.hybrid(profile, raw.hybrid_key_exchange);
        let certificates = raw.certificate.unwrap_or_default();
        let certificates: Option<Vec<_>> = certificates
            .into_iter()
            .map(|pair| self.certificate(pair))
            .collect();
        let rules = self.client_certificate_rules(raw.client_certificate.unwrap_or_default());
        let proxy_protocol_from = self.trusted(raw.proxy_protocol_from);
        let trusted_forwarders = self.trusted(raw.trusted_forwarders);
        Some(Ingress {
            listen: listen.into_iter().map(|text| text.value).collect(),
            tls_profile: profile,
            hybrid_key_exchange: hybrid,
            certificates: certificates?,
            client_certificates: rules,
            client_certificate_default: value_or(
                raw.client_certificates,
                Word(defaults::CLIENT_CERTIFICATES),
            )
            .0,
            proxy_protocol_from,
            trusted_forwarders,
            bounds: bounds(raw.bounds.unwrap_or_default(), defaults::BOUNDS),
            public_port: raw.public_port,
        })
    }

    fn hybrid(&mut self, profile: TlsProfile, written: Option<At<bool>>) -> bool {
        match (profile, written) {
            (TlsProfile::CryptrecRecommended, written) => {
                written.map_or(defaults::HYBRID_KEY_EXCHANGE, |written| written.value)
            }
            (TlsProfile::CryptrecHigh, Some(At { value: true, span })) => {
                let message = "`cryptrec-high` does not permit `hybrid_key_exchange = true`";
                let help = "leave `hybrid_key_exchange` out, or choose `cryptrec-recommended`";
                self.report.error(span.start, message, help.to_owned());
                false
            }
            (TlsProfile::CryptrecHigh, _) => false,
        }
    }

    pub(super) fn certificate(&mut self, raw: raw::CertificateFiles) -> Option<CertificateFiles> {
        let chain = raw.chain.map(|path| self.file(&path, Purpose::File));
        let key = raw.key.map(|path| self.file(&path, Purpose::PrivateKey));
        Some(CertificateFiles {
            chain: chain?,
            key: key?,
        })
    }

    fn client_certificate_rules(
        &mut self,
        raw: Vec<raw::ClientCertificateRule>,
    ) -> Vec<ClientCertificateRule> {
        let hosts = raw.iter().flat_map(|rule| rule.hosts.iter().flatten());
        let hosts: Vec<_> = hosts
            .map(|host| (host.value.0.as_str(), host.span.start))
            .collect();
        self.no_duplicates("client certificate rule for host", hosts);
        raw.into_iter()
            .filter_map(|rule| {
                Some(ClientCertificateRule {
                    hosts: rule.hosts?.into_iter().map(|host| host.value.0).collect(),
                    mode: rule.mode?.value.0,
                })
            })
            .collect()
    }

    /// Ranges of peers that are believed; a range of everybody is not a range of trusted peers.
    fn trusted(&mut self, ranges: Option<Vec<Text<IpNet>>>) -> Vec<IpNet> {
        for range in ranges
            .iter()
            .flatten()
            .filter(|range| range.value.prefix_len() == 0)
        {
            self.report.error(
                range.span.start,
                format!(
                    "{} would let everybody say whose request this is",
                    quoted(&range.value.to_string())
                ),
                "name the addresses of the proxies in front of this gateway".to_owned(),
            );
        }
        values(ranges)
    }

    pub(super) fn devices(&mut self, raw: Option<raw::Devices>) -> Option<Devices> {
        let raw = raw?;
        let mut all = |paths: Option<Vec<_>>| -> Vec<_> {
            paths
                .unwrap_or_default()
                .iter()
                .map(|path| self.file(path, Purpose::File))
                .collect()
        };
        let authorities = all(raw.authorities);
        let revocation_lists = all(raw.revocation_lists);
        let posture_max_age = value_or(raw.posture_max_age, defaults::POSTURE_MAX_AGE);
        let inventory = raw.inventory?;
        let path = self.file(&inventory, Purpose::File);
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("toml" | "csv")) {
            self.report.error(
                inventory.span.start,
                format!(
                    "{} is neither `.toml` nor `.csv`",
                    quoted(&inventory.value.0)
                ),
                "the ending says how the inventory is read".to_owned(),
            );
        } else {
            self.inventory = Some((path.clone(), posture_max_age));
        }
        Some(Devices {
            authorities,
            revocation_lists,
            refuse_on_expired_list: raw
                .refuse_on_expired_list
                .unwrap_or(defaults::REFUSE_ON_EXPIRED_LIST),
            inventory: path,
            posture_max_age,
        })
    }
}

pub(super) fn bounds(raw: raw::Bounds, default: Bounds) -> Bounds {
    let header_bytes = raw.header_bytes.map(
        |Text {
             value: Size(bytes), ..
         }| usize::try_from(bytes).unwrap_or(usize::MAX),
    );
    Bounds {
        connections: raw.connections.unwrap_or(default.connections),
        connections_per_address: raw
            .connections_per_address
            .unwrap_or(default.connections_per_address),
        handshakes_per_address: raw
            .handshakes_per_address
            .unwrap_or(default.handshakes_per_address),
        handshake_timeout: value_or(raw.handshake_timeout, default.handshake_timeout),
        header_timeout: value_or(raw.header_timeout, default.header_timeout),
        header_bytes: header_bytes.unwrap_or(default.header_bytes),
        header_count: raw.header_count.unwrap_or(default.header_count),
        concurrent_streams: raw.concurrent_streams.unwrap_or(default.concurrent_streams),
        keep_alive: value_or(raw.keep_alive, default.keep_alive),
        drain: value_or(raw.drain, default.drain),
    }
}
