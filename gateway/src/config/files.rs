//! Which files a configuration names: what is watched, and what `check` looks at.

use std::path::{Path, PathBuf};

use super::{Backend, Config, KeySource};

impl Config {
    /// Every file that takes part, the configuration itself first, policy directories expanded; sorted and unique.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone(), self.devices.inventory.clone()];
        for certificate in &self.ingress.certificates {
            files.extend([certificate.chain.clone(), certificate.key.clone()]);
        }
        files.extend(self.devices.authorities.iter().cloned());
        files.extend(self.devices.revocation_lists.iter().cloned());
        files.extend(self.assertion.key.iter().cloned());
        files.extend(self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            KeySource::File(file) => Some(file.clone()),
            KeySource::Discovery { authority, .. } => authority.clone(),
        }));
        for app in &self.apps {
            if let Backend::Proxy(upstream) = &app.backend {
                files.extend(upstream.tls.authority.iter().cloned());
                if let Some(certificate) = &upstream.tls.client_certificate {
                    files.extend([certificate.chain.clone(), certificate.key.clone()]);
                }
            }
        }
        files.extend(self.policy_files());
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Policy files: those named, and every `.cedar` file directly in a directory that is named. A directory itself is
    /// listed too, so that a file added to it is noticed.
    pub fn policy_files(&self) -> Vec<PathBuf> {
        self.policies.iter().flat_map(|path| cedar_files(path)).collect()
    }
}

fn cedar_files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "cedar"))
        .collect();
    files.sort_unstable();
    // So that the fingerprint changes, and the watcher looks, also while the directory is empty.
    if files.is_empty() {
        files.push(path.join("*.cedar"));
    }
    files
}
