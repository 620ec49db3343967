//! The command's end of the socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::request::{Answer, Call, ControlRequest, Refusal, VERSION};
use super::socket;

/// Bytes of the longest answer.
const LONGEST: u64 = 64 * 1024 * 1024;

/// An import makes thousands of accounts before it answers.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why the gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    /// No gateway runs on this store.
    #[error("nobody listens")]
    Nobody,
    #[error("cannot ask the gateway at `{path}`: {source}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// What the running gateway says to it.
///
/// # Errors
/// [`Silence`]; the inner result is the gateway's own.
pub(crate) fn ask(
    store: &Path,
    request: ControlRequest,
) -> Result<Result<Value, Refusal>, Silence> {
    let path = socket::path(store);
    let failed = |source| Silence::Io {
        path: path.display().to_string(),
        source,
    };
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(Silence::Nobody);
        }
        Err(source) => return Err(failed(source)),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let call = Call {
        version: VERSION,
        through: std::env::var("SUDO_USER").ok(),
        request,
    };
    let mut line = serde_json::to_vec(&call).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(LONGEST)
        .read_to_end(&mut answer)
        .map_err(failed)?;
    if answer.is_empty() {
        let message = "it hung up; only its own user and root are heard";
        return Err(failed(io::Error::other(message)));
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Done(value)) => Ok(Ok(value)),
        Ok(Answer::Refused(refusal)) => Ok(Err(refusal)),
        Err(error) => Err(failed(error.into())),
    }
}
