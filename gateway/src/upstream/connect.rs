//! From a server's name to a connection that speaks HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::error::ForwardError;
use super::pool::Want;
use super::server::{Server, TlsTarget};
use super::wire::{Http2Facts, Http2Task, Multiplexed, Socket, Wire};
use crate::config::UpstreamProtocol;

/// How long one address may keep us waiting before the next is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Largest response head and trailer section, bytes.
const RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// What one HTTP/1.1 connection may hold in memory per direction, bytes.
const BUFFER_BYTES: usize = 128 * 1024;
/// HTTP/2 receive windows, bytes: what one stream, and one connection, may pile up before its reader reads.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// An HTTP/2 peer that is silent for this long is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a connection is counted among the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// A permit was taken for it; an HTTP/2 connection gives it back at its end.
    Counted,
    Free,
}

/// A new connection.
pub(super) enum Dialled {
    Http1(Box<Wire>),
    Http2(Multiplexed),
}

/// Connects to a server. The caller bounds the time.
pub(super) async fn dial(
    server: &Arc<Server>,
    want: Want,
    account: Account,
) -> Result<Dialled, ForwardError> {
    let stream = reach(server).await?;
    let protocol = server.protocol();
    let Some(target) = server.tls() else {
        let socket = Socket::Plain(stream);
        return match protocol {
            // Without TLS there is nothing to negotiate with: HTTP/2 only where it is configured.
            UpstreamProtocol::Http2 => multiplex(server, socket, account).await,
            UpstreamProtocol::Auto | UpstreamProtocol::Http1 => single(socket).await,
        };
    };
    let stream = shake_hands(target, stream, want).await?;
    let negotiated_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let socket = Socket::Tls(Box::new(stream));
    match (negotiated_http2, protocol) {
        (true, _) => multiplex(server, socket, account).await,
        (false, UpstreamProtocol::Http2) => Err(ForwardError::Protocol {
            what: "it does not offer HTTP/2 over TLS",
            source: None,
        }),
        (false, UpstreamProtocol::Auto | UpstreamProtocol::Http1) => single(socket).await,
    }
}

async fn shake_hands(
    target: &TlsTarget,
    stream: TcpStream,
    want: Want,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ForwardError> {
    let config = match want {
        Want::Any => &target.settings.requests,
        Want::Upgrade => &target.settings.upgrades,
    };
    TlsConnector::from(Arc::clone(config))
        .connect(target.name.clone(), stream)
        .await
        .map_err(tls_failure)
}

fn tls_failure(error: io::Error) -> ForwardError {
    let certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|inner| {
            matches!(
                inner,
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented
                    | rustls::Error::InvalidCertRevocationList(_)
            )
        });
    if certificate {
        ForwardError::Certificate(error)
    } else {
        ForwardError::Tls(error)
    }
}

/// Connects to one of the server's addresses.
async fn reach(server: &Server) -> Result<TcpStream, ForwardError> {
    if let Some(pinned) = server.pinned() {
        return race(pinned.to_vec())
            .await
            .map_err(ForwardError::Unreachable);
    }
    let (host, port) = server.endpoint();
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(ForwardError::Unresolved)?
        .collect();
    if addresses.is_empty() {
        return Err(ForwardError::Unresolved(io::ErrorKind::NotFound.into()));
    }
    race(addresses).await.map_err(ForwardError::Unreachable)
}

/// Tries addresses in turn, each with a head start over the next; the first to answer wins.
///
/// # Errors
/// What the last of them said; `NotFound` when there are none.
pub(crate) async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = interleaved(addresses).into_iter();
    let Some(first) = rest.next() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut attempts = JoinSet::new();
    attempts.spawn(connect(first));
    let mut last = io::Error::from(io::ErrorKind::NotConnected);
    loop {
        tokio::select! {
            Some(finished) = attempts.join_next() => match finished {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    last = error;
                    match rest.next() {
                        Some(address) => { attempts.spawn(connect(address)); }
                        None if attempts.is_empty() => return Err(last),
                        None => {}
                    }
                }
                Err(_) if attempts.is_empty() => return Err(last),
                Err(_) => {}
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if rest.len() > 0 => {
                if let Some(address) = rest.next() {
                    attempts.spawn(connect(address));
                }
            }
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request head must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok(stream)
}

/// Address families in turn, starting with the one the resolver prefers (RFC 8305 §4).
pub(crate) fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == prefers_v6);
    let mut order = Vec::with_capacity(preferred.len() + other.len());
    let mut other = other.into_iter();
    for address in preferred {
        order.push(address);
        order.extend(other.next());
    }
    order.extend(other);
    order
}

async fn single(socket: Socket) -> Result<Dialled, ForwardError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(RESPONSE_HEAD_BYTES)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(ForwardError::from_hyper)?;
    Ok(Dialled::Http1(Wire::new(
        sender,
        Box::pin(connection.with_upgrades()),
    )))
}

async fn multiplex(
    server: &Arc<Server>,
    socket: Socket,
    account: Account,
) -> Result<Dialled, ForwardError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(RESPONSE_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(ForwardError::from_hyper)?;
    let facts = Http2Facts::new();
    tokio::spawn(Http2Task {
        connection,
        facts: Arc::clone(&facts),
        server: match account {
            Account::Counted => Arc::downgrade(server),
            Account::Free => Weak::new(),
        },
    });
    Ok(Dialled::Http2(Multiplexed { sender, facts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let order = interleaved(vec![
            parse("[::1]:1"),
            parse("[::2]:1"),
            parse("127.0.0.1:1"),
            parse("[::3]:1"),
        ]);
        assert_eq!(
            order,
            [
                parse("[::1]:1"),
                parse("127.0.0.1:1"),
                parse("[::2]:1"),
                parse("[::3]:1")
            ]
        );
    }
}
