//! Just enough HTTP/1.1 to ask and to know where the answer ends, so that the generator leaves the processor to the
//! proxies. An answer without `Content-Length` is an error here: the upstream always sends one.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::failure::{Doing as _, Failure};

/// Read at once; also more than any head here.
const BUFFER: usize = 64 * 1024;

/// A parsed answer head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Bytes of body.
    pub(super) content: u64,
    /// Bytes of head.
    pub(super) length: usize,
}

/// The head at the beginning of `bytes`; `None` while it is incomplete.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = bytes
        .get(..end)
        .map(str::from_utf8)
        .transpose()
        .ok()
        .flatten()
        .unwrap_or_default();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
    let content = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    match (status, content) {
        (Some(status), Some(content)) => Ok(Some(Head {
            status,
            content,
            length: end + 4,
        })),
        _ => Err(Failure::new(format!(
            "an answer without status or length: {text}"
        ))),
    }
}

/// A connection that asks one thing at a time.
pub(super) struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
    filled: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            filled: 0,
        }
    }

    /// Sends a whole request, and reads and drops the answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Head, Failure> {
        self.send(request).await?;
        self.answer().await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.doing("send")?;
        self.stream.flush().await.doing("send")
    }

    /// Gives the buffer back while nothing is expected.
    pub(super) fn rest(&mut self) {
        if self.filled == 0 {
            self.buffer = Vec::new();
        }
    }

    pub(super) async fn answer(&mut self) -> Result<Head, Failure> {
        self.buffer.resize(BUFFER, 0);
        let head = loop {
            if let Some(head) = head(self.buffer.get(..self.filled).unwrap_or_default())? {
                break head;
            }
            self.filled += self.read().await?;
        };
        let mut left = head.content;
        let mut here = self.filled - head.length;
        loop {
            left = left
                .checked_sub(here as u64)
                .ok_or_else(|| Failure::new("more than the answer"))?;
            if left == 0 {
                break;
            }
            self.filled = 0;
            here = self.read().await?;
        }
        self.filled = 0;
        Ok(head)
    }

    async fn read(&mut self) -> Result<usize, Failure> {
        let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(space).await.doing("receive")? {
            0 => Err(Failure::new("the connection was closed")),
            length => Ok(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_with_status_and_length() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let head = head(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.content, head.length), (200, 5, 38));
    }

    #[test]
    fn an_incomplete_head_asks_for_more() {
        assert!(
            head(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
