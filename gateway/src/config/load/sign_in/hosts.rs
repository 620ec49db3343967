//! Hosts where people and machines are answered that are no apps.

use super::super::Builder;
use crate::config::raw::sign_in as raw;
use crate::config::text::{HostName, Text, quoted};
use crate::config::{App, ClientCertificateMode, Ingress};

impl Builder<'_> {
    /// None of them twice, none an app's, and each with its handshake.
    pub(super) fn people_hosts(
        &mut self,
        sign_in: Option<&raw::SignIn>,
        scim: Option<&Text<HostName>>,
        apps: &[App],
        ingress: Option<&mut Ingress>,
    ) {
        let login = sign_in.and_then(|sign_in| sign_in.host.as_ref());
        let back = sign_in.and_then(|sign_in| sign_in.back_channel_host.as_ref());
        // Machines of two kinds may share a host: their paths differ, and neither shows a certificate.
        let scim = scim.filter(|scim| back.is_none_or(|back| back.value != scim.value));
        let mut rules = Vec::new();
        for (host, mode) in [
            (login, ClientCertificateMode::Required),
            (back, ClientCertificateMode::Off),
            (scim, ClientCertificateMode::Off),
        ] {
            let Some(host) = host else { continue };
            if mode == ClientCertificateMode::Off
                && login.is_some_and(|login| login.value == host.value)
            {
                self.report.error(
                    host.span.start,
                    format!(
                        "{} asks people for a device certificate, which providers do not have",
                        quoted(&host.value.0)
                    ),
                    "give this a host name of its own".to_owned(),
                );
                continue;
            }
            self.check_no_host_of_app(host, apps);
            if let Some(ingress) = ingress.as_deref() {
                rules.push(self.host_mode(host, mode, ingress));
            }
            self.own_hosts.push(host.clone());
        }
        if let Some(ingress) = ingress {
            // Before the others: the first that names the host counts.
            ingress.client_certificates.splice(0..0, rules);
        }
    }

    /// A host of the gateway itself is no app's.
    pub(in crate::config::load) fn check_no_host_of_app(
        &mut self,
        host: &Text<HostName>,
        apps: &[App],
    ) {
        let app = apps.iter().find(|app| app.hosts.contains(&host.value.0));
        if let Some(app) = app {
            self.report.error(
                host.span.start,
                format!(
                    "{} is a host of app {}",
                    quoted(&host.value.0),
                    quoted(&app.name)
                ),
                "give it a host name of its own".to_owned(),
            );
        }
    }
}
