//! `masugata connect`: a plain HTTP proxy on loopback for programs that cannot speak TLS to one.
//!
//! It decides nothing: every request goes to the gateway over HTTP/2 with this device's certificate, and what the gateway
//! says comes back as it is. It only takes what nobody but a program that means to use a proxy can send, which is CONNECT
//! and absolute targets. A page in a browser sends origin-form at most, whatever name it has bent to loopback; that is
//! refused, without a word that a page could read, and the connection is closed.

pub(super) mod body;
pub(super) mod gateway;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::printer::Printer;
use super::run::runtime;
use crate::forward::tunnel::Half;
use body::{Answer, Outgoing};
use gateway::{Files, Gateway, Trouble, Use};

/// Local connections at once.
const CONNECTIONS: usize = 2048;
/// How long a local program may take for a request head.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const HEAD_BYTES: usize = 128 * 1024;

/// Arguments of `masugata connect`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's egress, by a name that is in its certificate
    #[arg(long, value_name = "HOST:PORT")]
    gateway: Authority,
    /// The CA of the gateway's certificate, PEM; without it the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This device's certificate, PEM, with its chain
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where local programs find the proxy; loopback only
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:3128")]
    listen: SocketAddr,
    /// A file with an access token, for policies that want to know the user and not only the device; read for each request
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, printer: &mut Printer) -> ExitCode {
    let proxy = match Proxy::prepare(arguments) {
        Ok(proxy) => Arc::new(proxy),
        Err(message) => return printer.fail(2, format!("error: {message}")),
    };
    let runtime = match runtime(1) {
        Ok(runtime) => runtime,
        Err(error) => return printer.fail(1, format!("error: cannot start threads: {error}")),
    };
    runtime.block_on(async {
        let mut signals = match super::run::Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                return printer.fail(1, format!("error: cannot listen for signals: {error}"));
            }
        };
        let listener = match TcpListener::bind(arguments.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                let at = arguments.listen;
                return printer.fail(1, format!("error: cannot listen on {at}: {error}"));
            }
        };
        let at = listener.local_addr().unwrap_or(arguments.listen);
        printer.out(format!("ready: http://{at} through {}", arguments.gateway));
        tokio::select! {
            () = serve(&proxy, &listener) => ExitCode::SUCCESS,
            () = signals.ended() => ExitCode::SUCCESS,
        }
    })
}

/// What every local request needs.
struct Proxy {
    gateway: Gateway,
    token: Option<PathBuf>,
}

impl Proxy {
    /// # Errors
    /// What is wrong with the arguments, for the user.
    fn prepare(arguments: &Arguments) -> Result<Self, String> {
        if !arguments.listen.ip().is_loopback() {
            return Err(format!(
                "`{}` is not loopback: whoever reaches it would be this device\nhelp: listen on 127.0.0.1 or [::1]",
                arguments.listen.ip()
            ));
        }
        let files = Files {
            authority: arguments.ca.clone(),
            certificate: arguments.cert.clone(),
            key: arguments.key.clone(),
        };
        let proxy = Self {
            gateway: Gateway::new(&arguments.gateway, files)?,
            token: arguments.token_file.clone(),
        };
        proxy.bearer().map(|_| proxy)
    }

    /// `Proxy-Authorization`, if a token is configured.
    fn bearer(&self) -> Result<Option<HeaderValue>, String> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
            .map_err(|_| format!("{} holds no token", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn serve(proxy: &Arc<Proxy>, listener: &TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let proxy = Arc::clone(proxy);
        tokio::spawn(async move {
            let _place = place;
            attend(proxy, stream).await;
        });
    }
}

async fn attend(proxy: Arc<Proxy>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(answer(&proxy, request).await) }
    });
    // A program that breaks off is not worth a word.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(proxy: &Proxy, mut request: Request<Incoming>) -> Response<Answer> {
    if !is_for_a_proxy(&request) {
        return not_a_page();
    }
    let bearer = match proxy.bearer() {
        Ok(bearer) => bearer,
        Err(message) => return trouble(&Trouble::Local(message)),
    };
    let downstream =
        (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let onward = match onward(request, bearer) {
        Ok(onward) => onward,
        Err(what) => return told(StatusCode::BAD_REQUEST, "http_request_error", what),
    };
    let (mut response, held) = match proxy.gateway.send(onward).await {
        Ok(answered) => answered,
        Err(error) => return trouble(&error),
    };
    *response.version_mut() = Version::HTTP_11;
    match downstream {
        Some(downstream) if response.status().is_success() => {
            let upstream = hyper::upgrade::on(&mut response);
            tokio::spawn(carry(downstream, upstream, held));
            Response::new(Answer::empty())
        }
        // The gateway's words, status and fields: what a program is refused for, it should be able to show.
        Some(_) | None => response.map(|body| Answer::stream(body, held)),
    }
}

/// CONNECT with host and port, or an absolute `http` target. Nothing else is answered.
fn is_for_a_proxy(request: &Request<Incoming>) -> bool {
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        return false;
    };
    if request.method() == Method::CONNECT {
        return uri.scheme().is_none() && authority.port_u16().is_some();
    }
    uri.scheme_str() == Some("http") && !authority.as_str().contains('@')
}

fn not_a_page() -> Response<Answer> {
    let mut response = told(
        StatusCode::BAD_REQUEST,
        "http_request_error",
        "this is a proxy, and answers nothing itself; set it as the HTTP proxy of your program",
    );
    let headers = response.headers_mut();
    // What follows on the connection could be anybody's words in the body of this request.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// The request as the gateway gets it.
fn onward(
    request: Request<Incoming>,
    bearer: Option<HeaderValue>,
) -> Result<Request<Outgoing>, &'static str> {
    let (mut head, body) = request.into_parts();
    strip(&mut head.headers);
    if let Some(bearer) = bearer {
        head.headers.insert(PROXY_AUTHORIZATION, bearer);
    }
    head.version = Version::HTTP_2;
    let mut outgoing = Request::new(Outgoing::Empty);
    if head.method == Method::CONNECT {
        let authority = head.uri.authority().ok_or("it names no host")?;
        *outgoing.uri_mut() = Uri::from(authority.clone());
    } else {
        *outgoing.uri_mut() = head.uri;
        *outgoing.body_mut() = Outgoing::of(body);
    }
    *outgoing.method_mut() = head.method;
    *outgoing.version_mut() = head.version;
    *outgoing.headers_mut() = head.headers;
    Ok(outgoing)
}

/// Takes off what is for this hop only (RFC 9110 §7.6.1). `Proxy-Authorization` is for the gateway, and stays.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect();
    for name in &named {
        headers.remove(name);
    }
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in [CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

async fn carry(
    downstream: hyper::upgrade::OnUpgrade,
    upstream: hyper::upgrade::OnUpgrade,
    _held: Use,
) {
    let Ok((downstream, upstream)) = tokio::try_join!(downstream, upstream) else {
        return;
    };
    let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
    let (mut up, mut down) = (Half::default(), Half::default());
    std::future::poll_fn(|cx| {
        use std::task::Poll::{Pending, Ready};
        let sent = up.poll(cx, &mut downstream, &mut upstream, |_| {});
        let received = down.poll(cx, &mut upstream, &mut downstream, |_| {});
        match (sent, received) {
            (Ready(Err(_)), _) | (_, Ready(Err(_))) | (Ready(Ok(())), Ready(Ok(()))) => Ready(()),
            (Ready(Ok(())) | Pending, Ready(Ok(())) | Pending) => Pending,
        }
    })
    .await;
}

/// The gateway was not reached, or nothing could be sent.
fn trouble(trouble: &Trouble) -> Response<Answer> {
    told(
        trouble.status(),
        trouble.proxy_status(),
        &trouble.to_string(),
    )
}

/// An answer of our own. `error` is a token of RFC 9209 §2.3.
fn told(status: StatusCode, error: &'static str, message: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::full(format!("masugata connect: {message}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(value) = HeaderValue::try_from(format!("masugata-connect; error={error}")) {
        headers.insert(HeaderName::from_static("proxy-status"), value);
    }
    response
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

#[cfg(test)]
#[path = "connect/tests.rs"]
mod tests;
