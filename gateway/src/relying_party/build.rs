//! From configured issuers to providers at which people can sign in: secrets and keys are read here, once, and every
//! problem is told at once. A provider that is defined as before goes on as it is.

use std::path::Path;
use std::sync::Arc;

use super::groups::GRAPH;
use super::proof::Proof;
use super::tables::Tables;
use super::{Provider, Providers};
use crate::capability::Entropy;
use crate::config::error::Problem;
use crate::config::sign_in::{Client, ClientAuthentication, Overage};
use crate::config::{self, KeySource};
use crate::issuer::Issuers;

impl Providers {
    /// The providers among `issuers`; `file` is the configuration, for problems that lie there.
    ///
    /// # Errors
    /// All problems, in the order of the configuration.
    pub(crate) fn build(
        issuers: &Issuers,
        file: &Path,
        previous: Option<&Self>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems {
            file,
            found: Vec::new(),
        };
        let mut list: Vec<Arc<Provider>> = Vec::new();
        for issuer in issuers.all() {
            let config = issuer.config();
            let Some(client) = &config.sign_in else {
                continue;
            };
            problems.check(config, client);
            problems.check_beside(&list, config, client);
            let proof = Proof::load(&client.authentication);
            let (Ok(proof), Some(transport)) = (
                proof.map_err(|problem| problems.found.push(problem)),
                issuer.transport(),
            ) else {
                continue;
            };
            let known = previous.and_then(|previous| previous.by_issuer_name(&config.name));
            if let Some(known) = known
                && known.issuer.same_as(issuer)
                && known.proof.same_as(&proof)
            {
                list.push(Arc::clone(known));
                continue;
            }
            // What must not come twice must not come twice because of a reload either.
            let same_issuer = known.filter(|it| it.issuer.config().issuer == config.issuer);
            let tables =
                same_issuer.map_or_else(Arc::<Tables>::default, |it| Arc::clone(&it.tables));
            list.push(Arc::new(Provider {
                transport: transport.clone(),
                issuer: Arc::clone(issuer),
                client: client.clone(),
                proof,
                entropy: Arc::clone(entropy),
                tables,
                graph: GRAPH.into(),
            }));
        }
        if problems.found.is_empty() {
            Ok(Self { list })
        } else {
            Err(problems.found)
        }
    }
}

struct Problems<'a> {
    file: &'a Path,
    found: Vec<Problem>,
}

impl Problems<'_> {
    fn refuse(&mut self, message: String, help: &str) {
        self.found.push(Problem {
            file: self.file.to_owned(),
            position: None,
            message,
            help: Some(help.to_owned()),
        });
    }

    fn check(&mut self, config: &config::Issuer, client: &Client) {
        let name = &config.name;
        if client.client_id.trim().is_empty() {
            self.refuse(
                format!("issuer `{name}` has no `client_id` for sign-in"),
                "the provider shows it where the application is registered",
            );
        }
        if client.label.trim().is_empty() {
            self.refuse(
                format!("issuer `{name}` has no `label` for sign-in"),
                "people choose among providers by their labels, as in `label = \"Example KK\"`",
            );
        }
        let built_in = config.keys == KeySource::BuiltIn;
        let as_built_in = client.authentication == ClientAuthentication::BuiltIn;
        if built_in != as_built_in {
            self.refuse(
                format!("issuer `{name}` and the way to prove ourselves there do not fit"),
                "only the built-in provider is asked without a secret or a key",
            );
        }
        if matches!(config.keys, KeySource::File(_)) {
            self.refuse(
                format!("people cannot sign in at issuer `{name}`: its keys come from a file"),
                "sign-in needs the provider's own metadata; leave `jwks_file` out",
            );
        }
        if built_in && client.overage == Overage::MicrosoftGraph {
            self.refuse(
                format!("issuer `{name}` is not Entra ID, so Microsoft Graph knows nobody of it"),
                "leave `overage` out",
            );
        }
    }

    fn check_beside(&mut self, others: &[Arc<Provider>], config: &config::Issuer, client: &Client) {
        for other in others {
            if other.client.label == client.label {
                self.refuse(
                    format!(
                        "issuers `{}` and `{}` have the same `label`",
                        other.name(),
                        config.name
                    ),
                    "people choose among providers by their labels",
                );
            }
            let shared = client
                .email_domains
                .iter()
                .find(|domain| other.client.email_domains.contains(domain));
            if let Some(domain) = shared {
                self.refuse(
                    format!(
                        "issuers `{}` and `{}` both have the e-mail domain `{domain}`",
                        other.name(),
                        config.name
                    ),
                    "an address leads to one provider",
                );
            }
        }
    }
}
