//! Who proves what to whom at our door: server certificates, device CAs and revocation lists, read from their files.

use std::path::PathBuf;
use std::sync::Arc;

use masugata_certs::{
    CertError, ClientAuth, DeviceAuthorities, InFile, Profile, Revocations, ServerCertificates,
    ServerOptions,
};

use super::Environment;
use super::build::{Problems, problem, read};
use crate::capability::Clock;
use crate::config::error::LoadError;
use crate::config::{Config, TlsProfile};
use crate::tls::{ALPN, TlsConfigs};

/// Certificates, authorities and lists, read and checked against each other.
pub(super) struct Trust {
    pub(super) tls: TlsConfigs,
    pub(super) certificates: Arc<ServerCertificates>,
    pub(super) authorities: Arc<DeviceAuthorities>,
    pub(super) revocations: Revocations,
}

impl Trust {
    pub(super) fn load(config: &Config, environment: &Environment) -> Result<Self, LoadError> {
        let profile = profile(config.ingress.tls_profile);
        let mut problems = Problems::default();
        let certificates = problems
            .collect(load_certificates(config, profile))
            .map(Arc::new);
        let authorities = problems
            .collect(load_authorities(config, profile))
            .map(Arc::new);
        let revocations = authorities
            .as_ref()
            .and_then(|authorities| problems.collect(load_revocations(config, authorities)));
        let Problems(found) = problems;
        let (Some(certificates), Some(authorities), Some(revocations)) =
            (certificates, authorities, revocations)
        else {
            return Err(LoadError { problems: found });
        };
        let time = Arc::new(TlsTime(Arc::clone(&environment.clock)));
        let options = |client_auth: ClientAuth| ServerOptions {
            profile,
            hybrid: config.ingress.hybrid_key_exchange,
            certificates: Arc::clone(&certificates),
            client_auth,
            alpn: &ALPN,
            time: time.clone(),
        };
        let tls = TlsConfigs::build(options, &authorities, Arc::clone(&certificates))
            .map_err(|error| problem(&config.path, error.to_string(), None))?;
        Ok(Self {
            tls,
            certificates,
            authorities,
            revocations,
        })
    }
}

/// The profile of that name in the library of identities and keys.
pub(crate) fn profile(profile: TlsProfile) -> Profile {
    match profile {
        TlsProfile::CryptrecRecommended => Profile::CryptrecRecommended,
        TlsProfile::CryptrecHigh => Profile::CryptrecHigh,
    }
}

fn load_certificates(config: &Config, profile: Profile) -> Result<ServerCertificates, LoadError> {
    let files = &config.ingress.certificates;
    let mut problems = Problems::default();
    let mut pairs = Vec::new();
    for certificate in files {
        let chain = problems.collect(read(&certificate.chain));
        let key = problems.collect(read(&certificate.key));
        pairs.extend(chain.zip(key));
    }
    if !problems.0.is_empty() {
        return Err(LoadError {
            problems: problems.0,
        });
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(chain, key)| (chain.as_slice(), key.as_slice()))
        .collect();
    ServerCertificates::load(&pairs, profile).map_err(|error| {
        let of_key = matches!(
            error.problem,
            CertError::NoKey | CertError::UnusableKey | CertError::KeyMismatch { .. }
        );
        let file = files.get(error.file).map_or(&config.path, |pair| {
            if of_key { &pair.key } else { &pair.chain }
        });
        problem(file, error.to_string(), None)
    })
}

fn load_authorities(config: &Config, profile: Profile) -> Result<DeviceAuthorities, LoadError> {
    let help = "expected PEM certificates of the CAs that issue device certificates";
    load_files(config, &config.devices.authorities, help, |contents| {
        DeviceAuthorities::load(contents, profile)
    })
}

fn load_revocations(
    config: &Config,
    authorities: &DeviceAuthorities,
) -> Result<Revocations, LoadError> {
    let help = "expected CRLs, PEM or DER, signed by one of devices.authorities";
    load_files(config, &config.devices.revocation_lists, help, |contents| {
        Revocations::load(contents, authorities)
    })
}

/// Makes one thing of several files; a problem is told with the file that has it.
fn load_files<T, E: std::error::Error + 'static>(
    config: &Config,
    files: &[PathBuf],
    help: &str,
    load: impl FnOnce(&[&[u8]]) -> Result<T, InFile<E>>,
) -> Result<T, LoadError> {
    let contents = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    load(&contents).map_err(|error| {
        let file = files
            .get(error.file)
            .map_or(config.path.as_path(), PathBuf::as_path);
        problem(file, error.to_string(), Some(help))
    })
}

/// rustls asks for the time through this, so that tests move it too.
#[derive(Clone)]
pub(super) struct TlsTime(pub(super) Arc<dyn Clock>);

impl std::fmt::Debug for TlsTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsTime")
    }
}

impl rustls::time_provider::TimeProvider for TlsTime {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(
            std::time::Duration::from_secs(seconds),
        ))
    }
}
