//! What lies behind the tunnels: as cheap as possible, the same for both. It waits for a TLS record (the hello that
//! Masugata wants to see) and then does as it is told: a letter and eight bytes of a number.

use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;

/// Answer one byte.
pub(super) const ECHO: u8 = b'e';
/// Send so many bytes.
pub(super) const SEND: u8 = b's';
/// Take so many bytes, then answer one.
pub(super) const TAKE: u8 = b't';

static PIECE: [u8; 64 * 1024] = [b'm'; 64 * 1024];

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
            () = crate::upstream::leave() => Ok(()),
        }
    });
    // Reading standard input keeps a thread that cannot be interrupted.
    runtime.shutdown_background();
    served
}

async fn accept(listener: &TcpListener) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A tunnel that ends is no news.
            let _ = obey(stream).await;
        });
    }
}

async fn obey(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [_, _, _, high, low] = head;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut hello).await?;
    drop(hello);
    loop {
        let word = stream.read_u8().await?;
        let mut left = stream.read_u64().await?;
        match word {
            SEND => {
                while left > 0 {
                    let piece = piece(left);
                    stream.write_all(piece).await?;
                    left -= piece.len() as u64;
                }
                continue;
            }
            TAKE => {
                let mut buffer = vec![0; PIECE.len()];
                while left > 0 {
                    let taken = stream.read(&mut buffer).await?;
                    if taken == 0 {
                        return Ok(());
                    }
                    left = left.saturating_sub(taken as u64);
                }
            }
            _ => {}
        }
        stream.write_u8(b'.').await?;
    }
}

/// At most `left` bytes to send.
pub(super) fn piece(left: u64) -> &'static [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
    PIECE.get(..length).unwrap_or_default()
}
