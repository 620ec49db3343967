//! A place at a server and a connection to it, taken for one exchange and given back by being dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout_at};

use super::connect::{Account, Dialled, dial};
use super::error::ForwardError;
use super::server::Server;
use super::upload::RequestBody;
use super::wire::{Stream, Wire};
use crate::config::UpstreamProtocol;

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Requests and responses.
    Any,
    /// HTTP/1.1 where there is a choice, to be turned into something else.
    Upgrade,
}

/// A connection, or a share in one.
#[derive(Debug)]
pub(crate) enum Link {
    Http1(Box<Wire>),
    Http2(Stream),
}

/// A link and the place it takes up. Without [`Self::give_back`] an HTTP/1.1 connection is closed.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// `None` only after it was given back.
    link: Option<Link>,
    place: Place,
    /// Somebody has signed in on the connection itself: it is nobody else's any more.
    private: bool,
}

/// Whether the credentials are of a kind that servers take for everything that follows on the connection, against RFC 9110
/// §11.6.2, rather than for this request (RFC 4559 §6). The next one could be anybody's.
fn signs_in_for_good(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        })
    })
}

/// Counted while it lives.
#[derive(Debug)]
pub(crate) struct Place {
    server: Arc<Server>,
    /// It occupies a connection of its own (HTTP/2 connections occupy theirs themselves).
    connection: bool,
}

impl Place {
    fn take(server: &Arc<Server>, connection: bool) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            server: Arc::clone(server),
            connection,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.connection {
            self.server.give_back_connection();
        }
    }
}

/// A request that got no response, with the request itself if none of it was sent.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) error: ForwardError,
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
}

impl Server {
    /// A connection that is there already; the usual case, without waiting.
    pub(crate) fn checkout_idle(self: &Arc<Self>, want: Want) -> Option<Checkout> {
        if self.shares(want) {
            let stream = self.shared(false)?;
            return Some(Checkout::shared(self, stream));
        }
        self.connections.try_acquire().ok()?.forget();
        let place = Place::take(self, true);
        let wire = self.take_idle()?;
        Some(Checkout::own(wire, place))
    }

    /// Waits for a place and connects if it must, for the connect timeout at most.
    ///
    /// # Errors
    /// `Saturated`, or whatever kept the connection from being made.
    pub(crate) async fn checkout(self: &Arc<Self>, want: Want) -> Result<Checkout, ForwardError> {
        let deadline = Instant::now() + self.connect_timeout;
        if !self.shares(want) {
            return self.checkout_own(want, deadline).await;
        }
        let Ok(_alone) = timeout_at(deadline, self.dialling.lock()).await else {
            return Err(ForwardError::ConnectTimedOut);
        };
        // Another request may have connected while we waited.
        if let Some(stream) = self.shared(false) {
            return Ok(Checkout::shared(self, stream));
        }
        if self.connections.available_permits() == 0
            && let Some(stream) = self.shared(true)
        {
            return Ok(Checkout::shared(self, stream));
        }
        self.checkout_own(want, deadline).await
    }

    fn shares(&self, want: Want) -> bool {
        match self.protocol() {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => {
                want == Want::Any && self.speaks_http2.load(Ordering::Relaxed)
            }
        }
    }

    async fn checkout_own(
        self: &Arc<Self>,
        want: Want,
        deadline: Instant,
    ) -> Result<Checkout, ForwardError> {
        match timeout_at(deadline, self.connections.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            Ok(Err(_)) | Err(_) => return Err(ForwardError::Saturated),
        }
        let mut place = Place::take(self, true);
        if let Some(wire) = self.take_idle() {
            return Ok(Checkout::own(wire, place));
        }
        match timeout_at(deadline, dial(self, want, Account::Counted)).await {
            Err(_) => Err(ForwardError::ConnectTimedOut),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Dialled::Http1(wire))) => Ok(Checkout::own(wire, place)),
            Ok(Ok(Dialled::Http2(connection))) => {
                // From here on the connection's task gives the permit back.
                place.connection = false;
                Ok(Checkout {
                    link: Some(Link::Http2(self.share(connection))),
                    place,
                    private: false,
                })
            }
        }
    }
}

impl Checkout {
    fn own(wire: Box<Wire>, place: Place) -> Self {
        Self {
            link: Some(Link::Http1(wire)),
            place,
            private: false,
        }
    }

    fn shared(server: &Arc<Server>, stream: Stream) -> Self {
        Self {
            link: Some(Link::Http2(stream)),
            place: Place::take(server, false),
            private: false,
        }
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.place.server
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    pub(crate) fn link_mut(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.link, Some(Link::Http2(_)))
    }

    /// The connection has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        match &self.link {
            Some(Link::Http1(wire)) => wire.reused,
            Some(Link::Http2(_)) | None => true,
        }
    }

    /// Sends a request and waits for the response head. `meanwhile` is polled as long as there is none; what it says
    /// ends the wait.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        mut meanwhile: impl FnMut(&mut Context<'_>) -> Poll<ForwardError>,
    ) -> Result<Response<Incoming>, SendFailure> {
        match &mut self.link {
            Some(Link::Http1(wire)) => {
                self.private |= signs_in_for_good(request.headers());
                let response = wire.sender.try_send_request(request);
                let mut response = std::pin::pin!(response);
                std::future::poll_fn(|cx| {
                    // The connection runs in this very task. Its channel to us must not wake us while we run: that
                    // would cost a second poll of everything for each response.
                    let polled = if wire.drive(cx) {
                        let mut nobody = Context::from_waker(Waker::noop());
                        response.as_mut().poll(&mut nobody)
                    } else {
                        response.as_mut().poll(cx)
                    };
                    match polled {
                        Poll::Ready(answer) => Poll::Ready(answer.map_err(SendFailure::from)),
                        Poll::Pending => meanwhile(cx).map(|error| Err(SendFailure::of(error))),
                    }
                })
                .await
            }
            Some(Link::Http2(stream)) => {
                let response = stream.sender.try_send_request(request);
                let mut response = std::pin::pin!(response);
                std::future::poll_fn(|cx| match response.as_mut().poll(cx) {
                    Poll::Ready(answer) => Poll::Ready(answer.map_err(SendFailure::from)),
                    Poll::Pending => meanwhile(cx).map(|error| Err(SendFailure::of(error))),
                })
                .await
            }
            None => Err(SendFailure::of(ForwardError::Closed(None))),
        }
    }

    /// The exchange is over and nothing is left unread: the connection may serve the next one.
    pub(crate) fn give_back(&mut self) {
        match self.link.take() {
            Some(Link::Http1(wire)) if !self.private => self.place.server.put_idle(wire),
            Some(Link::Http1(_)) => {}
            // A stream ends by itself.
            Some(Link::Http2(_)) | None => {}
        }
    }

    /// The connection becomes a tunnel. The place stays taken while the tunnel lives.
    pub(crate) fn into_tunnel(mut self) -> (Place, Option<Stream>) {
        match self.link.take() {
            Some(Link::Http1(mut wire)) => {
                wire.release_to_upgrade();
                (self.place, None)
            }
            Some(Link::Http2(stream)) => (self.place, Some(stream)),
            None => (self.place, None),
        }
    }
}

impl SendFailure {
    fn of(error: ForwardError) -> Self {
        Self {
            error,
            unsent: None,
        }
    }
}

impl From<TrySendError<Request<RequestBody>>> for SendFailure {
    fn from(mut failure: TrySendError<Request<RequestBody>>) -> Self {
        Self {
            unsent: failure.take_message().map(Box::new),
            error: ForwardError::from_hyper(failure.into_error()),
        }
    }
}
