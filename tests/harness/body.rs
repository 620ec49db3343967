//! Bodies that a test sends piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use tokio::sync::mpsc;

/// Any body at all.
pub type AnyBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body and the hand that feeds it; it ends when the hand is dropped.
pub fn fed() -> (Feed, FedBody) {
    let (sender, receiver) = mpsc::channel(1);
    (Feed(sender), FedBody(receiver))
}

/// See [`fed`].
#[derive(Clone, Debug)]
pub struct Feed(mpsc::Sender<Frame<Bytes>>);

impl Feed {
    /// Waits until there is room; false when nobody reads any more.
    pub async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Frame::data(bytes.into())).await.is_ok()
    }
    pub async fn trailers(&self, trailers: HeaderMap) -> bool {
        self.0.send(Frame::trailers(trailers)).await.is_ok()
    }
    /// False when there is no room now.
    pub fn try_data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.try_send(Frame::data(bytes.into())).is_ok()
    }
}

/// See [`fed`].
#[derive(Debug)]
pub struct FedBody(mpsc::Receiver<Frame<Bytes>>);

impl Body for FedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
