//! The server behind the proxies: as cheap as possible, the same for all. `/bytes/N` answers N bytes, everything else
//! 1 KiB; request bodies are read and dropped.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::failure::Failure;

static FILL: [u8; 64 * 1024] = [b'm'; 64 * 1024];

/// Prints its port and serves until standard input ends.
pub(crate) fn serve() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        {
            let mut output = std::io::stdout().lock();
            writeln!(output, "{}", listener.local_addr()?.port())?;
            output.flush()?;
        }
        tokio::select! {
            served = accept(&listener) => served,
            _ = leave() => Ok(()),
        }
    });
    // Reading standard input keeps a thread that cannot be interrupted.
    runtime.shutdown_background();
    served
}

pub(crate) async fn leave() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin()
            .read_line(&mut line)
            .is_ok_and(|length| length > 0)
        {}
        let _ = ended.send(());
    });
    let _ = end.await;
}

async fn accept(listener: &TcpListener) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A proxy that closes its side is no news.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Fill>, Infallible> {
    let length = request
        .uri()
        .path()
        .strip_prefix("/bytes/")
        .and_then(|it| it.parse().ok());
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Fill {
        left: length.unwrap_or(1024),
    }))
}

/// A body of so many bytes, from memory that is never copied.
struct Fill {
    left: u64,
}

impl Body for Fill {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(FILL.len());
        self.left -= length as u64;
        let piece = Bytes::from_static(FILL.get(..length).unwrap_or_default());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
