//! From configured issuers to issuers with keys: files are read and judged here, once; keys that a provider published are
//! taken over from the previous configuration where it defines the issuer alike.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use quick_cache::sync::Cache;
use rustls::RootCertStore;

use super::cache::TokenCache;
use super::fetch::{self, Local, Location, Transport};
use super::group_names::GroupNames;
use super::keys::{KeySet, RefusedKey};
use super::source::{Definition, KeySource, RemoteKeys};
use super::{Issuer, Issuers};
use crate::capability::{Clock, Entropy};
use crate::config::error::Problem;
use crate::config::{self};

/// How long the built-in provider may take; signing in is the slowest thing it does.
const BUILT_IN_TIMEOUT: Duration = Duration::from_secs(10);

/// Its keys cost nothing to ask for, so a rotation is seen soon.
const BUILT_IN_REFRESH: Duration = Duration::from_secs(60);
const BUILT_IN_MAX_AGE: Duration = Duration::from_secs(3600);

/// Principals remembered for sharing.
const PRINCIPALS: usize = 8_192;

impl Issuers {
    /// Issuers as configured; `file` is the configuration, for problems that lie there. No verified token is taken over
    /// from `previous`: a reload is a reason to look again. `built_in` answers for issuers that live in this process;
    /// without it they are known and cannot be reached, as when a configuration is only checked.
    /// # Errors: all problems, in the order of the configuration.
    pub fn build(
        configured: &[config::Issuer],
        file: &Path,
        previous: Option<&Self>,
        built_in: Option<&Arc<dyn Local>>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Vec<Problem>> {
        let mut builder = Builder {
            file,
            previous,
            built_in,
            clock,
            system_roots: OnceLock::new(),
            problems: Vec::new(),
        };
        let mut issuers = Vec::with_capacity(configured.len());
        for (index, issuer) in configured.iter().enumerate() {
            let twin = |other: &&config::Issuer| other.issuer == issuer.issuer;
            if let Some(other) = configured.iter().take(index).find(twin) {
                builder.refuse(
                    None,
                    format!(
                        "issuers `{}` and `{}` have the same `issuer`",
                        other.name, issuer.name
                    ),
                    "a token names its issuer by that URL; list all audiences in one [[issuer]]",
                );
            }
            let group_names = builder.group_names(issuer);
            if let (Some(keys), Some(group_names)) = (builder.key_source(issuer), group_names) {
                issuers.push(Arc::new(Issuer {
                    config: Arc::new(issuer.clone()),
                    group_names: Arc::new(group_names),
                    keys,
                }));
            }
        }
        if !builder.problems.is_empty() {
            return Err(builder.problems);
        }
        Ok(Self {
            issuers,
            tokens: TokenCache::new(entropy),
            principals: Cache::new(PRINCIPALS),
            epoch: AtomicU64::new(0),
        })
    }
}

struct Builder<'a> {
    file: &'a Path,
    previous: Option<&'a Issuers>,
    built_in: Option<&'a Arc<dyn Local>>,
    clock: &'a Arc<dyn Clock>,
    /// Read at most once, and only if some issuer needs them: there are many.
    system_roots: OnceLock<RootCertStore>,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn refuse(&mut self, file: Option<&Path>, message: String, help: &str) {
        self.problems.push(Problem {
            file: file.map_or_else(|| self.file.to_owned(), Path::to_owned),
            position: None,
            message,
            help: Some(help.to_owned()),
        });
    }

    fn read(&mut self, path: &Path, what: &str, issuer: &config::Issuer) -> Option<Vec<u8>> {
        std::fs::read(path)
            .inspect_err(|error| {
                self.refuse(
                    Some(path),
                    format!("{what} of issuer `{}` cannot be read: {error}", issuer.name),
                    "the path is relative to the configuration file",
                );
            })
            .ok()
    }

    fn key_source(&mut self, issuer: &config::Issuer) -> Option<KeySource> {
        if issuer.algorithms.iter().any(is_symmetric) || issuer.algorithms.is_empty() {
            self.refuse(
                None,
                format!(
                    "issuer `{}` allows no or a symmetric algorithm",
                    issuer.name
                ),
                "use ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384 or RS512",
            );
            return None;
        }
        match &issuer.keys {
            config::KeySource::File(path) => self.file_keys(issuer, path),
            config::KeySource::BuiltIn => self.built_in_keys(issuer),
            config::KeySource::Discovery {
                authority,
                timeout,
                refresh,
                max_age,
            } => {
                let authority = match authority {
                    Some(path) => Some((path, self.read(path, "the CA file", issuer)?)),
                    None => None,
                };
                let definition = Definition {
                    name: issuer.name.as_str().into(),
                    issuer: issuer.issuer.as_str().into(),
                    algorithms: issuer.algorithms.clone(),
                    authority: authority.as_ref().map(|(_, pem)| pem.clone()),
                    timeout: *timeout,
                    refresh: *refresh,
                    max_age: *max_age,
                };
                self.remote_keys(definition, authority.as_ref().map(|(path, _)| *path))
            }
        }
    }

    fn group_names(&mut self, issuer: &config::Issuer) -> Option<GroupNames> {
        let file = issuer
            .sign_in
            .as_ref()
            .and_then(|it| it.group_names.as_ref());
        let Some(file) = file else {
            return Some(GroupNames::default());
        };
        let text = self.read(file, "the file of group names", issuer)?;
        GroupNames::parse(file, &text)
            .map_err(|error| self.problems.extend(error.problems))
            .ok()
    }

    /// The same code as for any provider; only the way to it is short.
    fn built_in_keys(&mut self, issuer: &config::Issuer) -> Option<KeySource> {
        let definition = Definition {
            name: issuer.name.as_str().into(),
            issuer: issuer.issuer.as_str().into(),
            algorithms: issuer.algorithms.clone(),
            authority: None,
            timeout: BUILT_IN_TIMEOUT,
            refresh: BUILT_IN_REFRESH,
            max_age: BUILT_IN_MAX_AGE,
        };
        let known = self.known(&definition);
        if let Some(known) = known.filter(|it| it.transport().is_local_to(self.built_in)) {
            return Some(KeySource::Remote(known));
        }
        let location = self.location(&definition)?;
        let transport = Transport::local(self.built_in.cloned(), definition.timeout);
        Some(KeySource::Remote(Arc::new(RemoteKeys::new(
            definition,
            location,
            transport,
            Arc::clone(self.clock),
        ))))
    }

    fn file_keys(&mut self, issuer: &config::Issuer, path: &Path) -> Option<KeySource> {
        let document = self.read(path, "the key set", issuer)?;
        let before = self.problems.len();
        let (keys, refused) = match KeySet::parse(&document, &issuer.algorithms) {
            Ok(parsed) => parsed,
            Err(fault) => {
                self.refuse(
                    Some(path),
                    format!("the key set of issuer `{}` is {fault}", issuer.name),
                    "a JWKS looks like {\"keys\": [{\"kty\": \"EC\", \"kid\": \"...\", ...}]} (RFC 7517)",
                );
                return None;
            }
        };
        for key in &refused {
            self.judge_refused(issuer, path, key);
        }
        if keys.len() == 0 && self.problems.len() == before {
            self.refuse(
                Some(path),
                format!(
                    "the key set of issuer `{}` has no key for the allowed algorithms",
                    issuer.name
                ),
                "check `algorithms` of the issuer, and `alg`, `use` and `kty` of the keys",
            );
        }
        (self.problems.len() == before).then(|| KeySource::fixed(keys))
    }

    /// A file is written by its reader's own people: what cannot be right in it is a mistake they want to hear of.
    fn judge_refused(&mut self, issuer: &config::Issuer, path: &Path, key: &RefusedKey) {
        if key.fault.is_harmless() {
            tracing::debug!(issuer = %issuer.name, %key, "a key of the file is not used");
            return;
        }
        self.refuse(
            Some(path),
            format!("issuer `{}`: {key}", issuer.name),
            "put the issuer's public signature keys, and nothing else, into the file",
        );
    }

    fn remote_keys(
        &mut self,
        definition: Definition,
        authority: Option<&PathBuf>,
    ) -> Option<KeySource> {
        let known = self.known(&definition);
        if let Some(known) = known.filter(|it| !it.transport().is_local()) {
            return Some(KeySource::Remote(known));
        }
        let name = definition.name.clone();
        let location = self.location(&definition)?;
        let roots = match &definition.authority {
            Some(pem) => fetch::roots_from_pem(pem)
                .inspect_err(|fault| {
                    self.refuse(
                        authority.map(PathBuf::as_path),
                        format!("the CA file of issuer `{name}`: {fault}"),
                        "the file holds the PEM certificates of the CA that issued the provider's certificate",
                    );
                })
                .ok()?,
            None => self.system_roots.get_or_init(fetch::system_roots).clone(),
        };
        let transport = Transport::new(roots, definition.timeout, Arc::clone(self.clock))
            .inspect_err(|error| {
                self.refuse(
                    None,
                    format!("TLS to issuer `{name}`: {error}"),
                    "this is a defect; please report it",
                );
            })
            .ok()?;
        Some(KeySource::Remote(Arc::new(RemoteKeys::new(
            definition,
            location,
            transport,
            Arc::clone(self.clock),
        ))))
    }

    fn location(&mut self, definition: &Definition) -> Option<Location> {
        Location::parse(&definition.issuer)
            .inspect_err(|fault| {
                let name = &definition.name;
                self.refuse(
                    None,
                    format!("`issuer` of issuer `{name}` is {fault}"),
                    "keys are fetched over https; plain http is for providers on this machine",
                );
            })
            .ok()
    }

    fn known(&self, definition: &Definition) -> Option<Arc<RemoteKeys>> {
        self.previous?
            .issuers
            .iter()
            .find_map(|issuer| match &issuer.keys {
                KeySource::Remote(remote) if remote.definition() == definition => {
                    Some(Arc::clone(remote))
                }
                KeySource::Remote(_) | KeySource::Fixed(_) => None,
            })
    }
}

fn is_symmetric(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    )
}
