//! HTTP/1.1 by hand, for what no decent client sends.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Answer;

/// How long silence lasts until a connection counts as kept open.
const SILENCE: Duration = Duration::from_secs(3);

/// Everything that came back.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    pub bytes: Vec<u8>,
    /// The gateway ended the connection.
    pub closed: bool,
}

impl RawAnswer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
    /// Status of the first response.
    pub fn status(&self) -> Option<u16> {
        let text = self.text();
        text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }
    /// How many responses there are.
    pub fn count(&self) -> usize {
        self.text().matches("HTTP/1.1 ").count()
    }
    /// `code` of the problem document.
    pub fn code(&self) -> Option<String> {
        let text = self.text();
        let (_, body) = text.split_once("\r\n\r\n")?;
        let problem: serde_json::Value = serde_json::from_str(body).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    }
}

pub(crate) async fn exchange<IO>(mut stream: IO, bytes: &[u8]) -> RawAnswer
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut answer = RawAnswer {
        bytes: Vec::new(),
        closed: false,
    };
    // A gateway that has refused already may not read the rest.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let mut buffer = [0; 16 * 1024];
    loop {
        match tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
            Err(_silent) => return answer,
            Ok(Ok(0) | Err(_)) => {
                answer.closed = true;
                return answer;
            }
            Ok(Ok(read)) => answer.bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Plain HTTP, as for the administrators' listener; `host` may be a lie.
///
/// # Panics
/// When there is no answer.
pub async fn http_get(address: SocketAddr, path: &str, host: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
        trailers: None,
    }
}
