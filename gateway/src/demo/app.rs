//! The small application behind the demo: pages, an echo API, a WebSocket, server-sent events, an upload, a download.
//! It knows nothing of the gateway except the assertion it is handed, which it shows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

/// Largest echoed body; the rest is counted and dropped.
const ECHO_BYTES: usize = 64 * 1024;
/// Largest download.
const DOWNLOAD_BYTES: u64 = 16 << 30;

/// Serves on `listener` until `stop`.
pub async fn serve(listener: TcpListener, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => stream,
                Err(_error) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let stop = stop.clone();
        tokio::spawn(async move {
            let serving = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades();
            tokio::select! {
                _ = serving => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Binds a port of the system's choice on loopback.
///
/// # Errors
/// When loopback has no port left.
pub async fn bind() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn answer(request: Request<Incoming>) -> Result<Response<AppBody>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/" => page(&request),
        "/api/echo" => echo(request).await,
        "/ws" => web_socket(request),
        "/events" => events(&request),
        "/upload" => upload(request).await,
        "/download" => download(&request),
        "/health" => text(StatusCode::OK, "text/plain", "ok\n"),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "the demo app has no such page\n",
        ),
    })
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<AppBody> {
    let mut response = Response::new(AppBody::Whole(Some(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_answer(status: StatusCode, value: &Value) -> Response<AppBody> {
    text(status, "application/json", format!("{value:#}\n"))
}

/// What the gateway says about the caller. A real app verifies the signature with the gateway's published keys
/// before it believes a word; see `docs/apps.md`.
fn claims(headers: &HeaderMap) -> Option<Value> {
    let assertion = headers.get("masugata-assertion")?.to_str().ok()?;
    let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn page(request: &Request<Incoming>) -> Response<AppBody> {
    let claims = claims(request.headers());
    let who = claims
        .as_ref()
        .and_then(|claims| claims.get("sub")?.as_str())
        .unwrap_or("?");
    let device = claims
        .as_ref()
        .and_then(|claims| claims.get("device")?.get("id")?.as_str())
        .unwrap_or("?");
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("?");
    let shown = claims
        .as_ref()
        .map_or_else(|| "-".to_owned(), |claims| format!("{claims:#}"));
    let body = PAGE
        .replace("{host}", &escape(host))
        .replace("{who}", &escape(who))
        .replace("{device}", &escape(device))
        .replace("{claims}", &escape(&shown));
    text(StatusCode::OK, "text/html; charset=utf-8", body)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

async fn echo(request: Request<Incoming>) -> Response<AppBody> {
    let (head, body) = request.into_parts();
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match headers.get_mut(name.as_str()) {
            Some(Value::Array(values)) => values.push(value.into()),
            Some(_) | None => {
                headers.insert(name.as_str().to_owned(), json!([value]));
            }
        }
    }
    let Ok((kept, bytes, _digest, trailers)) = drain(body).await else {
        return text(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "the body broke off\n",
        );
    };
    json_answer(
        StatusCode::OK,
        &json!({
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "headers": headers,
            "body": String::from_utf8_lossy(&kept),
            "body_bytes": bytes,
            "trailers": trailers,
            "assertion": claims(&head.headers),
        }),
    )
}

async fn upload(request: Request<Incoming>) -> Response<AppBody> {
    if request.method() != Method::POST && request.method() != Method::PUT {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "POST or PUT a file\n",
        );
    }
    match drain(request.into_body()).await {
        Ok((_kept, bytes, digest, _trailers)) => json_answer(
            StatusCode::CREATED,
            &json!({ "bytes": bytes, "sha256": digest }),
        ),
        Err(_error) => text(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "the upload broke off\n",
        ),
    }
}

/// The first bytes, how many there were, their SHA-256 and the trailers.
async fn drain(mut body: Incoming) -> Result<(Vec<u8>, u64, String, Value), hyper::Error> {
    let (mut kept, mut bytes, mut digest) = (Vec::new(), 0u64, Digest::new(&SHA256));
    let mut trailers = Map::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                digest.update(&data);
                let room = ECHO_BYTES.saturating_sub(kept.len());
                kept.extend(data.iter().take(room));
            }
            Err(frame) => {
                for (name, value) in frame.trailers_ref().into_iter().flatten() {
                    trailers.insert(
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into(),
                    );
                }
            }
        }
    }
    let digest = digest
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((kept, bytes, digest, trailers.into()))
}

fn query(request: &Request<Incoming>, name: &str) -> Option<u64> {
    let pairs = request.uri().query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?
        .1
        .parse()
        .ok()
}

fn download(request: &Request<Incoming>) -> Response<AppBody> {
    let bytes = query(request, "bytes")
        .unwrap_or(1 << 20)
        .min(DOWNLOAD_BYTES);
    let mut response = Response::new(AppBody::Zeros(bytes));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        "content-disposition",
        HeaderValue::from_static("attachment; filename=\"zeros\""),
    );
    response
}

/// `?count=N&interval=MS`; without a count until the client leaves.
fn events(request: &Request<Incoming>) -> Response<AppBody> {
    let interval = Duration::from_millis(query(request, "interval").unwrap_or(1000).max(1));
    let count = query(request, "count").unwrap_or(u64::MAX);
    let mut timer = tokio::time::interval(interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut response = Response::new(AppBody::Ticks {
        timer,
        sent: 0,
        count,
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn web_socket(mut request: Request<Incoming>) -> Response<AppBody> {
    let key = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()));
    let Some(Ok(accept)) = key.map(HeaderValue::try_from) else {
        return text(
            StatusCode::UPGRADE_REQUIRED,
            "text/plain",
            "this address speaks WebSocket\n",
        );
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        echo_messages(socket).await;
    });
    let mut response = Response::new(AppBody::Whole(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo_messages(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    use futures_util::{SinkExt as _, StreamExt as _};
    while let Some(Ok(message)) = socket.next().await {
        // Pings are answered by the library; a close is answered and ends the stream.
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Bodies the app sends.
enum AppBody {
    Whole(Option<Bytes>),
    Zeros(u64),
    Ticks {
        timer: tokio::time::Interval,
        sent: u64,
        count: u64,
    },
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl http_body::Body for AppBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Whole(body) => body.take().filter(|body| !body.is_empty()),
            Self::Zeros(left) => {
                let chunk = ZEROS
                    .get(
                        ..usize::try_from(*left)
                            .unwrap_or(usize::MAX)
                            .min(ZEROS.len()),
                    )
                    .unwrap_or(&ZEROS);
                *left -= chunk.len() as u64;
                (!chunk.is_empty()).then(|| Bytes::from_static(chunk))
            }
            Self::Ticks { timer, sent, count } => {
                if *sent >= *count {
                    return Poll::Ready(None);
                }
                std::task::ready!(timer.poll_tick(context));
                *sent += 1;
                Some(Bytes::from(format!(
                    "event: tick\nid: {sent}\ndata: {{\"count\":{sent}}}\n\n"
                )))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => {
                http_body::SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Zeros(left) => http_body::SizeHint::with_exact(*left),
            Self::Ticks { .. } => http_body::SizeHint::default(),
        }
    }
}

const PAGE: &str = include_str!("page.html");
