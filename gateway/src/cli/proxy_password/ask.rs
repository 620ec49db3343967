//! `masugata proxy-password --from`: the gateway makes the password, for whoever shows it a token.

use std::path::{Path, PathBuf};

use http::header::{ACCEPT, AUTHORIZATION};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::super::connect::body::Outgoing;
use super::super::connect::gateway::{Files, Gateway};
use super::super::run::runtime;

/// Longest answer that is read, bytes.
const LONGEST: usize = 64 * 1024;

/// Where to ask, and with what.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Ask {
    /// Ask the gateway for a password for this device and the user of a token: its page for people, e.g.
    /// `https://why.corp.example`
    #[arg(long, value_name = "URL", requires_all = ["cert", "key", "token_file"], conflicts_with_all = ["config", "device"])]
    from: Option<Uri>,
    /// With `--from`: the CA of the gateway's certificate, PEM; without it the system's
    #[arg(long, value_name = "FILE", requires = "from")]
    ca: Option<PathBuf>,
    /// With `--from`: this device's certificate, PEM, with its chain
    #[arg(long, value_name = "FILE", requires = "from")]
    cert: Option<PathBuf>,
    /// With `--from`: its key, PEM
    #[arg(long, value_name = "FILE", requires = "from")]
    key: Option<PathBuf>,
    /// With `--from`: a file with an access token
    #[arg(long, value_name = "FILE", requires = "from")]
    token_file: Option<PathBuf>,
}

/// It has no `Debug`.
#[derive(Deserialize)]
struct Issued {
    password: String,
    user: String,
    device: String,
    expires_at: String,
}

/// RFC 9457, as far as a person wants to know it.
#[derive(Deserialize)]
struct Refused {
    title: String,
    detail: String,
    remedy: String,
    code: String,
    request_id: String,
}

impl Ask {
    /// The password, and what to know about it; `None`: the gateway is not to be asked.
    pub(super) fn made(&self) -> Option<Result<(SecretString, String), String>> {
        let (from, cert, key) = (self.from.as_ref()?, self.cert.as_ref()?, self.key.as_ref()?);
        let files = Files {
            authority: self.ca.clone(),
            certificate: cert.clone(),
            key: key.clone(),
        };
        Some(ask(from, files, self.token_file.as_deref()?))
    }
}

fn ask(from: &Uri, files: Files, token: &Path) -> Result<(SecretString, String), String> {
    let authority = authority(from)?;
    let bearer = bearer(token)?;
    let gateway = Gateway::new(&authority, files)?;
    let runtime = runtime(1).map_err(|error| format!("cannot start threads: {error}"))?;
    let (status, body) = runtime.block_on(async {
        let request = request(&authority, bearer)?;
        let (response, _held) = gateway.send(request).await.map_err(|it| it.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
        Ok::<_, String>((status, body.to_bytes()))
    })?;
    if status == StatusCode::OK {
        let issued: Issued = serde_json::from_slice(&body)
            .map_err(|_| format!("{from} gave no password; is it the gateway's `why_host`?"))?;
        let Issued {
            password,
            user,
            device,
            expires_at,
        } = issued;
        let said =
            format!("for {user} on {device}, until {expires_at}; the user name does not matter");
        return Ok((password.into(), said));
    }
    Err(match serde_json::from_slice::<Refused>(&body) {
        Ok(it) => format!(
            "{}: {} ({}, request {})\nhelp: {}",
            it.title, it.detail, it.code, it.request_id, it.remedy
        ),
        Err(_) => format!("{from} answered {status}; is it the gateway's `why_host`?"),
    })
}

/// Host and port of `https://host[:port][/]`.
fn authority(from: &Uri) -> Result<Authority, String> {
    let wrong = || {
        format!("`{from}` is not where a gateway is\nhelp: write `--from https://why.corp.example`")
    };
    let whole = from.scheme() == Some(&Scheme::HTTPS)
        && matches!(from.path(), "" | "/")
        && from.query().is_none();
    let authority = from
        .authority()
        .filter(|it| whole && !it.as_str().contains('@'))
        .ok_or_else(wrong)?;
    if authority.port_u16().is_some() {
        return Ok(authority.clone());
    }
    format!("{authority}:443").parse().map_err(|_| wrong())
}

fn bearer(path: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = SecretString::from(format!("Bearer {}", text.expose_secret().trim()));
    let mut value = HeaderValue::from_str(text.expose_secret())
        .map_err(|_| format!("{} holds no token", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn request(authority: &Authority, bearer: HeaderValue) -> Result<Request<Outgoing>, String> {
    let host = match authority.port_u16() {
        Some(443) | None => authority.host(),
        Some(_) => authority.as_str(),
    };
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{host}/proxy-password"))
        .header(AUTHORIZATION, bearer)
        .header(ACCEPT, "application/json")
        .body(Outgoing::Empty)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_host_over_tls_is_asked() {
        let read = |text: &str| authority(&text.parse().unwrap()).map(|it| it.to_string());
        assert_eq!(
            read("https://why.corp.example").unwrap(),
            "why.corp.example:443"
        );
        assert_eq!(
            read("https://why.corp.example:8443/").unwrap(),
            "why.corp.example:8443"
        );
        for text in [
            "http://why.corp.example",
            "why.corp.example:443",
            "https://ada@why.corp.example",
            "https://why.corp.example/setup",
            "https://why.corp.example/?x",
        ] {
            assert!(read(text).unwrap_err().contains("help: write"), "{text}");
        }
    }
}
