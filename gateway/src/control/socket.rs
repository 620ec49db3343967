//! The running gateway's end of the socket.

use std::future::Future;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accounts;
use super::execute::{Place, execute};
use super::operator::Operator;
use super::request::{Answer, Call, Refusal, VERSION};
use crate::gateway::Shared;

const FILE: &str = "control.sock";

/// Bytes of the longest line that asks; a file of accounts fits into it.
const LONGEST: usize = 12 * 1024 * 1024;

/// Who may be served at a time.
const MOST: usize = 8;

/// How long the line may take to come, and the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("`{}` can be entered by others (mode {mode:04o}); run `chmod 700` on it", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("a gateway is running already: it answers at `{}`", .0.display())]
    InUse(PathBuf),
    #[error("`{}` is there and is no socket", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot make the socket `{}`: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where it is.
pub(crate) fn path(store: &Path) -> PathBuf {
    store.join(FILE)
}

/// A socket that listens; taken away when this goes.
pub(crate) struct Listening {
    listener: UnixListener,
    path: PathBuf,
    /// Whose process this is.
    owner: u32,
}

impl Listening {
    /// Makes the socket. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ControlError`]: others can enter the directory, or another gateway listens there.
    pub(crate) fn bind(store: &Path) -> Result<Self, ControlError> {
        let path = path(store);
        let failed = |source| ControlError::Io {
            path: path.clone(),
            source,
        };
        let mode = std::fs::metadata(store).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = store.to_owned();
            return Err(ControlError::Open { path, mode });
        }
        clear(&path)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // Between the two nobody else can get there: the directory is ours alone.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(failed)?;
        let owner = std::fs::symlink_metadata(&path).map_err(failed)?.uid();
        Ok(Self {
            listener,
            path,
            owner,
        })
    }

    /// Answers until told to stop.
    pub(crate) async fn serve<F>(
        self,
        answer: impl Fn(Call, Operator) -> F + Send + Sync + 'static,
        stop: CancellationToken,
    ) where
        F: Future<Output = Result<serde_json::Value, Refusal>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        let places = Arc::new(Semaphore::new(MOST));
        let mut talks = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            while talks.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else {
                // Out of descriptors; the next one may have more luck.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (answer, owner) = (Arc::clone(&answer), self.owner);
            talks.spawn(async move {
                let _place = place;
                converse(stream, owner, &*answer).await;
            });
        }
        // What was begun is carried through.
        while talks.join_next().await.is_some() {}
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes away what a gateway left behind that was killed.
fn clear(path: &Path) -> Result<(), ControlError> {
    use std::os::unix::fs::FileTypeExt as _;
    let failed = |source| ControlError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ControlError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(source) => Err(failed(source)),
        Ok(_) => Err(ControlError::InUse(path.to_owned())),
    }
}

/// The gateway's own user, and root, who could be that user anyway.
pub(super) fn admits(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}

async fn converse<F>(mut stream: UnixStream, owner: u32, answer: &impl Fn(Call, Operator) -> F)
where
    F: Future<Output = Result<serde_json::Value, Refusal>>,
{
    let Ok(peer) = stream.peer_cred().map(|peer| peer.uid()) else {
        return;
    };
    if !admits(peer, owner) {
        tracing::warn!(uid = peer, "another user asked at the control socket");
        return;
    }
    let line = match timeout(PATIENCE, line_of(&mut stream)).await {
        Err(_) => return,
        Ok(line) => line,
    };
    let done = match line.and_then(|line| understood(&line)) {
        Err(refusal) => Err(refusal),
        Ok(call) => {
            let operator = Operator::of(peer, call.through.as_deref());
            answer(call, operator).await
        }
    };
    let line = written(match done {
        Ok(value) => Answer::Done(value),
        Err(refusal) => Answer::Refused(refusal),
    });
    let _gone = timeout(PATIENCE, async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    })
    .await;
}

async fn line_of(stream: &mut UnixStream) -> Result<Vec<u8>, Refusal> {
    let mut line = Vec::new();
    let mut part = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut part).await.unwrap_or(0);
        let part = part.get(..read).unwrap_or_default();
        let end = part.iter().position(|byte| *byte == b'\n');
        let (more, _) = part.split_at(end.unwrap_or(part.len()));
        if line.len() + more.len() > LONGEST {
            return Err(Refusal::new("the request is too long"));
        }
        line.extend_from_slice(more);
        if end.is_some() {
            return Ok(line);
        }
        if read == 0 {
            return Err(Refusal::new("the request does not end"));
        }
    }
}

fn understood(line: &[u8]) -> Result<Call, Refusal> {
    let call: Call = serde_json::from_slice(line)
        .map_err(|_| Refusal::new("the request makes no sense to this version of the gateway"))?;
    if call.version != VERSION {
        let message = "the gateway that runs is of another version than this command";
        return Err(Refusal::new(message).with_help("restart the gateway, or use its own program"));
    }
    Ok(call)
}

fn written(answer: Answer) -> Vec<u8> {
    // What is in memory always serialises.
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Serves a running gateway's socket.
pub(crate) async fn serve(listening: Listening, shared: Arc<Shared>, stop: CancellationToken) {
    let answer = move |call: Call, operator: Operator| {
        let shared = Arc::clone(&shared);
        async move {
            let state = shared.state();
            let place = Place {
                provider: state
                    .config
                    .identity_provider
                    .as_ref()
                    .map(|provider| provider.name.clone()),
                link_base: accounts::link_base(&state.config),
            };
            let desk = shared.desk(&state);
            execute(&desk, &place, call.request, &operator, shared.clock.now()).await
        }
    };
    listening.serve(answer, stop).await;
}
