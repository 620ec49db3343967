//! Response bodies: our own pages, and what streams from an upstream, counted, limited in time, and cut when the
//! decision behind it ends.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::reverse::blame;
use super::watch::Watch;
use super::{Lease, headers};
use crate::audit::event::Outcome;
use crate::audit::trail::CompletionTrail;
use crate::upstream::{Checkout, ForwardError, Link, UploadEnd, UploadState};

/// The body of every response the gateway gives.
pub struct Body(Kind);

enum Kind {
    Whole {
        bytes: Bytes,
        record: Option<Record>,
    },
    Streaming(Streaming),
}

/// A trail and how it ends once the body was given away.
struct Record {
    trail: Arc<CompletionTrail>,
    outcome: Outcome,
}

/// Why a body ends before its end. hyper closes the connection, or resets the stream: the client never takes part of
/// a response for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream broke off.
    #[error("the upstream broke off its response")]
    Upstream(#[source] hyper::Error),
    /// A time limit, or the end of the lease.
    #[error(transparent)]
    Ended(ForwardError),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// A page of our own; the caller keeps the record.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole {
            bytes: bytes.into(),
            record: None,
        })
    }

    /// A page of our own that counts itself and ends the record with `outcome` when it is sent or dropped.
    pub fn recorded(
        bytes: impl Into<Bytes>,
        trail: Arc<CompletionTrail>,
        outcome: Outcome,
    ) -> Self {
        Self(Kind::Whole {
            bytes: bytes.into(),
            record: Some(Record { trail, outcome }),
        })
    }

    pub(super) fn streaming(
        incoming: Incoming,
        checkout: Checkout,
        watch: Watch,
        upload: Option<Arc<UploadState>>,
        trail: Arc<CompletionTrail>,
        lease: Arc<dyn Lease>,
    ) -> Self {
        Self(Kind::Streaming(Streaming {
            incoming,
            checkout,
            watch,
            uploaded: 0,
            upload,
            trail,
            lease,
            moved: false,
            begun: false,
            done: false,
        }))
    }
}

struct Streaming {
    incoming: Incoming,
    checkout: Checkout,
    watch: Watch,
    /// Progress of the upload when it was last looked at.
    uploaded: u64,
    upload: Option<Arc<UploadState>>,
    trail: Arc<CompletionTrail>,
    lease: Arc<dyn Lease>,
    /// Something came in the current step.
    moved: bool,
    /// The first frame is through: from then on the time is looked at before each.
    begun: bool,
    done: bool,
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        // A stream that is always ready must not outrun its lease.
        if self.begun
            && let Err(error) = self.look_at_time(cx)
        {
            return Poll::Ready(Some(Err(self.fail(error))));
        }
        match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.pass(frame)))),
            Poll::Ready(Some(Err(error))) => {
                // A request body that was stopped takes the connection with it.
                let blamed = blame(ForwardError::Closed(None), self.upload.as_deref());
                if blamed.blames_upstream() {
                    self.checkout.server().failed();
                }
                self.end(blamed.outcome());
                Poll::Ready(Some(Err(BodyError::Upstream(error))))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending => match self.look_at_time(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(self.fail(error)))),
            },
        }
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = Pin::new(&mut self.incoming);
        match self.checkout.link_mut() {
            Some(Link::Http1(wire)) if wire.is_inline() => {
                let mut nobody = Context::from_waker(Waker::noop());
                if let Poll::Ready(frame) = incoming.poll_frame(&mut nobody) {
                    return Poll::Ready(frame);
                }
                wire.drive(cx);
                Pin::new(&mut self.incoming).poll_frame(&mut nobody)
            }
            Some(Link::Http1(_) | Link::Http2(_)) | None => incoming.poll_frame(cx),
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.begun = true;
        self.moved = true;
        match frame.into_data() {
            Ok(data) => {
                self.trail
                    .sent(u64::try_from(data.len()).unwrap_or(u64::MAX));
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    headers::cleanse_response_trailers(&mut trailers);
                    self.complete();
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            },
        }
    }

    fn look_at_time(&mut self, cx: &mut Context<'_>) -> Result<(), ForwardError> {
        while let Poll::Ready(passed) = self.watch.poll_step(cx) {
            let uploaded = self.upload.as_ref().map_or(0, |upload| upload.moved());
            let moved = self.moved || uploaded != self.uploaded;
            self.uploaded = uploaded;
            self.moved = false;
            self.watch.judge(passed, moved, &*self.lease)?;
        }
        Ok(())
    }

    fn complete(&mut self) {
        self.end(Outcome::Completed);
        let uploading = self
            .upload
            .as_ref()
            .is_some_and(|upload| upload.end() != UploadEnd::Finished);
        if uploading {
            return;
        }
        if let Some(Link::Http1(wire)) = self.checkout.link_mut() {
            wire.timer = self.watch.surrender();
        }
        self.checkout.give_back();
    }

    fn fail(&mut self, error: ForwardError) -> BodyError {
        self.end(error.outcome());
        BodyError::Ended(error)
    }

    fn end(&mut self, outcome: Outcome) {
        self.done = true;
        self.trail.end(outcome);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if !self.done {
            self.trail.end(Outcome::ClientGone);
        }
        // Over HTTP/2 the upload has a life of its own.
        if let Some(upload) = &self.upload
            && upload.end() == UploadEnd::Running
        {
            upload.abort();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Kind::Whole {
            record: Some(record),
            ..
        } = &self.0
        {
            record.trail.end(record.outcome);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Whole { bytes, record } => {
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                let bytes = std::mem::take(bytes);
                if let Some(record) = record {
                    record
                        .trail
                        .sent(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Streaming(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { bytes, .. } => bytes.is_empty(),
            Kind::Streaming(streaming) => streaming.done || streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { bytes, .. } => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Streaming(streaming) => streaming.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole { bytes, .. } => {
                formatter.debug_tuple("Whole").field(&bytes.len()).finish()
            }
            Kind::Streaming(_) => formatter.write_str("Streaming"),
        }
    }
}
