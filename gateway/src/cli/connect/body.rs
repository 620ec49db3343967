//! Bodies of `masugata connect`, streamed both ways.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::gateway::Use;

/// What goes to the gateway.
#[derive(Debug)]
pub(in crate::cli) enum Outgoing {
    Empty,
    Stream(Incoming),
}

impl Outgoing {
    pub(super) fn of(body: Incoming) -> Self {
        if body.is_end_stream() {
            Self::Empty
        } else {
            Self::Stream(body)
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// What goes to the local program.
#[derive(Debug)]
pub(super) enum Answer {
    Own(Option<Bytes>),
    /// Counted as a use of its connection until it ends.
    Stream(
        Incoming,
        #[expect(dead_code, reason = "it is counted, not read")] Use,
    ),
}

impl Answer {
    pub(super) fn empty() -> Self {
        Self::Own(None)
    }

    pub(super) fn full(text: String) -> Self {
        Self::Own(Some(text.into()))
    }

    pub(super) fn stream(body: Incoming, held: Use) -> Self {
        if body.is_end_stream() {
            Self::empty()
        } else {
            Self::Stream(body, held)
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body, _) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Stream(body, _) => body.size_hint(),
        }
    }
}
