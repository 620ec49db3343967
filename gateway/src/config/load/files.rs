//! The files a configuration names: are they there, may we read them, and which are worth watching.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Builder, why_unreadable};
use crate::config::egress::{Egress, FeedSource, FeedTrust, ResolverKind, signature_of};
use crate::config::sign_in::{Client, ClientAuthentication};
use crate::config::text::quoted;
use crate::config::{Backend, CertificateFiles, Config, KeySource};

/// One mention of a file.
pub(super) struct FileUse {
    pub(super) path: PathBuf,
    /// As the author wrote it.
    pub(super) written: String,
    pub(super) at: usize,
    pub(super) purpose: Purpose,
}

/// What a file is for, and so what must be true of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Read.
    File,
    /// Read, and nobody else should.
    PrivateKey,
    /// Read; a secret that is worth nothing once others can read it too.
    Secret,
    /// Read, and sent with pages.
    Logo,
    /// A file or a directory.
    Policies,
    /// Written; its directory must exist.
    Record,
    /// Files are written into it.
    Directory,
    /// The same, and nobody else may enter.
    Store,
}

impl Builder<'_> {
    /// Reports the files that cannot be used.
    pub(super) fn check_files(&mut self) {
        for used in std::mem::take(&mut self.files) {
            let fault = match used.purpose {
                Purpose::File | Purpose::PrivateKey | Purpose::Secret => readable(&used.path),
                Purpose::Logo => readable(&used.path).or_else(|| too_large(&used.path)),
                Purpose::Policies if used.path.is_dir() => {
                    fs::read_dir(&used.path).err().map(|e| why_unreadable(&e))
                }
                Purpose::Policies => readable(&used.path),
                Purpose::Record => no_place(&used.path),
                Purpose::Directory | Purpose::Store => no_directory(&used.path),
            };
            if let Some(fault) = fault {
                let message = format!("{} {fault}", quoted(&used.written));
                let path = used.path.display();
                let help = if used.purpose == Purpose::Store && !used.path.exists() {
                    format!("as the user that the gateway runs as: `mkdir -m 700 {path}`")
                } else {
                    format!("looked for {path}")
                };
                self.report.error(used.at, message, help);
            } else if matches!(
                used.purpose,
                Purpose::PrivateKey | Purpose::Secret | Purpose::Store
            ) {
                self.check_key_mode(&used);
            }
        }
    }

    #[cfg(unix)]
    fn check_key_mode(&mut self, used: &FileUse) {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(metadata) = fs::metadata(&used.path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            if used.purpose == Purpose::Store {
                self.report.error(
                    used.at,
                    format!(
                        "{} can be entered by others (mode {mode:04o})",
                        quoted(&used.written)
                    ),
                    format!("run `chmod 700 {}`", used.path.display()),
                );
                return;
            }
            let help = format!("run `chmod 600 {}`", used.path.display());
            let exposed = format!(
                "{} can be read by others (mode {mode:04o})",
                quoted(&used.written)
            );
            if used.purpose == Purpose::Secret {
                self.report
                    .error(used.at, format!("secret {exposed}"), help);
            } else {
                self.report
                    .warning(used.at, format!("private key {exposed}"), help);
            }
        }
    }

    #[cfg(not(unix))]
    fn check_key_mode(&mut self, _: &FileUse) {}
}

fn readable(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Some("is a directory, not a file".to_owned()),
        Ok(_) => File::open(path).err().map(|error| why_unreadable(&error)),
        Err(error) => Some(why_unreadable(&error)),
    }
}

/// Pages carry it; larger ones are photographs by mistake.
fn too_large(path: &Path) -> Option<String> {
    const MOST: u64 = 64 * 1024;
    let bytes = fs::metadata(path).ok()?.len();
    (bytes > MOST).then(|| format!("has {bytes} bytes, and a logo at most {MOST}"))
}

fn no_place(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some("is a directory, not a file".to_owned());
    }
    let parent = path.parent()?;
    (!parent.is_dir()).then(|| "is in a directory that does not exist".to_owned())
}

fn no_directory(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some("is a file, not a directory".to_owned()),
        Err(error) => Some(why_unreadable(&error)),
    }
}

/// Every file that the gateway reads.
pub(super) fn of(config: &Config) -> Vec<PathBuf> {
    let mut files = vec![config.path.clone(), config.devices.inventory.clone()];
    let pair = |files: &mut Vec<PathBuf>, pair: &CertificateFiles| {
        files.extend([pair.chain.clone(), pair.key.clone()]);
    };
    for certificate in &config.ingress.certificates {
        pair(&mut files, certificate);
    }
    files.extend(config.devices.authorities.iter().cloned());
    files.extend(config.devices.revocation_lists.iter().cloned());
    files.extend(config.policies.iter().cloned());
    for issuer in &config.issuers {
        match &issuer.keys {
            KeySource::File(path) => files.push(path.clone()),
            KeySource::BuiltIn => {}
            KeySource::Discovery { authority, .. } => files.extend(authority.clone()),
        }
        if let Some(client) = &issuer.sign_in {
            of_client(client, &mut files);
        }
    }
    for app in &config.apps {
        if let Backend::Proxy(upstream) = &app.backend {
            files.extend(upstream.tls.authority.clone());
            if let Some(certificate) = &upstream.tls.client_certificate {
                pair(&mut files, certificate);
            }
        }
    }
    files.extend(config.assertion.key.clone());
    files.extend(config.pages.logo.clone());
    if let Some(provider) = &config.identity_provider {
        files.extend(provider.breached_passwords.clone());
    }
    if let Some(scim) = &config.scim {
        files.extend(scim.tokens.iter().cloned());
    }
    if let Some(egress) = &config.egress {
        of_egress(egress, &mut files);
    }
    files.sort();
    files.dedup();
    files
}

fn of_client(client: &Client, files: &mut Vec<PathBuf>) {
    match &client.authentication {
        ClientAuthentication::SecretBasic(file)
        | ClientAuthentication::SecretPost(file)
        | ClientAuthentication::PrivateKey { file, .. } => files.push(file.clone()),
        ClientAuthentication::BuiltIn => {}
    }
    files.extend(client.group_names.clone());
}

fn of_egress(egress: &Egress, files: &mut Vec<PathBuf>) {
    files.extend(egress.password_key.clone());
    match &egress.resolver.kind {
        ResolverKind::System => {}
        ResolverKind::Tls(servers) | ResolverKind::Https { servers, .. } => {
            files.extend(servers.authority.clone());
        }
    }
    for feed in &egress.feeds {
        match &feed.source {
            FeedSource::File { path, trust } => {
                files.push(path.clone());
                if matches!(trust, FeedTrust::Minisign(_)) {
                    files.push(signature_of(path));
                }
            }
            FeedSource::Https { authority, .. } => files.extend(authority.clone()),
        }
    }
}
