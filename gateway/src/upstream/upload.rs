//! The request body on its way upstream: counted, limited, held back until the upstream says 100, never collected.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::audit::trail::CompletionTrail;
use crate::framing::Violation;

/// The body of an upstream request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streaming(Box<Upload>),
}

/// A body that is being sent.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: Incoming,
    trail: Arc<CompletionTrail>,
    /// Bytes that may still come; `None`: any number.
    allowance: Option<u64>,
    state: Arc<UploadState>,
    /// Run over trailers before they are passed on.
    cleanse: fn(&mut http::HeaderMap),
}

/// How far an upload is, for whoever waits for the response.
#[derive(Debug, Default)]
pub(crate) struct UploadState {
    moved: AtomicU64,
    end: AtomicU8,
    /// The client is the one we wait for.
    awaits_client: AtomicBool,
    /// The upstream has not yet asked for the body (`Expect: 100-continue`).
    held: AtomicBool,
    aborted: AtomicBool,
    waker: Mutex<Option<Waker>>,
    violation: OnceLock<Violation>,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadEnd {
    Running,
    Finished,
    TooLarge,
    /// Its framing stopped making sense.
    Malformed(Violation),
    ClientGone,
}

/// Why an upload stopped; seen by hyper only.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the request body is larger than allowed")]
    TooLarge,
    #[error("the request body is malformed")]
    Malformed,
    #[error("the client left")]
    ClientGone,
    #[error("the exchange is over")]
    Aborted,
}

impl RequestBody {
    /// Wraps a body that is not empty.
    pub(crate) fn streaming(
        incoming: Incoming,
        trail: Arc<CompletionTrail>,
        allowance: Option<u64>,
        held: bool,
        cleanse: fn(&mut http::HeaderMap),
    ) -> (Self, Arc<UploadState>) {
        let state = Arc::new(UploadState {
            held: AtomicBool::new(held),
            ..UploadState::default()
        });
        let upload = Upload {
            incoming,
            trail,
            allowance,
            state: Arc::clone(&state),
            cleanse,
        };
        (Self::Streaming(Box::new(upload)), state)
    }
}

impl RequestBody {
    /// Lets a body flow that was held back.
    pub(crate) fn let_go(&self) {
        if let Self::Streaming(upload) = self {
            upload.state.let_go();
        }
    }
}

impl UploadState {
    /// Grows with everything that is read from the client.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) -> UploadEnd {
        match self.end.load(Ordering::Acquire) {
            0 => UploadEnd::Running,
            1 => UploadEnd::Finished,
            2 => UploadEnd::TooLarge,
            _ => match self.violation.get() {
                Some(violation) => UploadEnd::Malformed(*violation),
                None => UploadEnd::ClientGone,
            },
        }
    }

    pub(crate) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Lets the body flow; harmless when it does already.
    pub(crate) fn let_go(&self) {
        if self.held.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Ends the upload with an error the next time it is asked for more.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.wake();
    }

    /// Neither over nor told to end.
    pub(crate) fn goes_on(&self) -> bool {
        self.end() == UploadEnd::Running && !self.aborted.load(Ordering::Acquire)
    }

    fn wake(&self) {
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    fn finish(&self, end: UploadEnd) {
        let number = match end {
            UploadEnd::Running => 0,
            UploadEnd::Finished => 1,
            UploadEnd::TooLarge => 2,
            UploadEnd::Malformed(violation) => {
                let _first = self.violation.set(violation);
                3
            }
            UploadEnd::ClientGone => 3,
        };
        self.end.store(number, Ordering::Release);
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        // Registered before the flags are read, or a change between the two would be slept through.
        if self.state.is_held() {
            self.state.register(cx.waker());
            if self.state.is_held() && !self.state.aborted.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        if self.state.aborted.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(UploadError::Aborted)));
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.state.awaits_client.store(true, Ordering::Relaxed);
                self.state.register(cx.waker());
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.state.finish(UploadEnd::Finished);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broken(&error)))),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.pass(frame))),
        }
    }

    fn broken(&self, error: &hyper::Error) -> UploadError {
        let (end, error) = match Violation::behind(error) {
            Some(violation) => (UploadEnd::Malformed(violation), UploadError::Malformed),
            None => (UploadEnd::ClientGone, UploadError::ClientGone),
        };
        self.state.finish(end);
        error
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        self.state.awaits_client.store(false, Ordering::Relaxed);
        let frame = match frame.into_data() {
            Ok(data) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                if let Some(allowance) = &mut self.allowance {
                    let Some(rest) = allowance.checked_sub(length) else {
                        self.state.finish(UploadEnd::TooLarge);
                        return Err(UploadError::TooLarge);
                    };
                    *allowance = rest;
                }
                self.trail.received(length);
                self.state
                    .moved
                    .fetch_add(length.saturating_add(1), Ordering::Relaxed);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    (self.cleanse)(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            },
        };
        // hyper does not ask again after a last frame that says so.
        if self.incoming.is_end_stream() || frame.is_trailers() {
            self.state.finish(UploadEnd::Finished);
        }
        Ok(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(upload) => upload.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(upload) => upload.incoming.size_hint(),
        }
    }
}
