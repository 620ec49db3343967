//! The real program as a process of its own: signals, exit codes, what it prints.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::eventually;

/// Where the program is; built once when it is not there.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        // target/<profile>/deps/it-<hash>
        let profile = test.parent().unwrap().parent().unwrap();
        // Always asked: a program of yesterday would be tested otherwise. With everything that `cargo test --workspace`
        // builds, so that libraries have the same features and nothing is left to do but to link.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bins", "--tests"]);
        if profile.file_name().unwrap() != "debug" {
            build.args(["--profile", profile.file_name().unwrap().to_str().unwrap()]);
        }
        let built = build
            .env("CARGO_TARGET_DIR", profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the program does not build");
        profile.join("masugata")
    })
}

/// A program that ran to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `masugata` with these arguments to its end.
///
/// # Panics
/// When it does not end.
pub fn masugata<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    let output = Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Finished {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A program that runs; killed with the value.
pub struct Process {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// `masugata` with these arguments.
    pub fn start<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut child = Command::new(program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// `masugata run` with this configuration, once it serves.
    pub async fn run(config: &Path) -> Self {
        let mut process = Self::start(["run".as_ref(), "-c".as_ref(), config.as_os_str()]);
        process.until_err("ingress is listening").await;
        process
    }

    /// Standard output so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }
    /// Standard error so far.
    pub fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// Waits for a text on standard output.
    pub async fn until_out(&mut self, text: &str) {
        self.until(text, Self::out).await;
    }
    /// Waits for a text on standard error.
    pub async fn until_err(&mut self, text: &str) {
        self.until(text, Self::err).await;
    }

    async fn until(&mut self, text: &str, read: fn(&Self) -> String) {
        for _ in 0..3000 {
            if read(self).contains(text) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it wrote last may still be on its way to us.
                tokio::time::sleep(Duration::from_millis(100)).await;
                if read(self).contains(text) {
                    return;
                }
                panic!("{status} before `{text}`:\n{}{}", self.out(), self.err());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no `{text}`:\n{}{}", self.out(), self.err());
    }

    /// The address in the log line with this text.
    pub async fn address(&mut self, text: &str) -> SocketAddr {
        self.until_err(text).await;
        let log = self.err();
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        let (_, rest) = line
            .split_once("address=")
            .or_else(|| line.split_once("\"address\":\""))
            .unwrap_or_else(|| panic!("no address in {line}"));
        let end = rest
            .find(|byte: char| byte.is_whitespace() || byte == '"')
            .unwrap_or(rest.len());
        rest[..end].parse().unwrap()
    }
    /// Where it serves.
    pub async fn ingress(&mut self) -> SocketAddr {
        self.address("ingress is listening").await
    }
    /// Where the way out is.
    pub async fn egress(&mut self) -> SocketAddr {
        self.address("egress is listening").await
    }
    /// Where administrators ask.
    pub async fn admin(&mut self) -> SocketAddr {
        self.address("admin is listening").await
    }

    /// The most memory it ever had, KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    /// Sends a signal by name: `HUP`, `TERM`, `KILL`, …
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        let status = Mutex::new(None);
        eventually("the process ends", || async {
            let mut status = status.lock().unwrap();
            *status = child.lock().unwrap().try_wait().unwrap();
            status.is_some()
        })
        .await;
        let status = status.lock().unwrap();
        status.unwrap()
    }
}

/// Gathers what a pipe says, line by line.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            kept.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}
