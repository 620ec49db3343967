//! Programs of other people, such as curl and git, without anything that this machine has configured for them.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::Finished;

/// Longer than anything takes on a busy machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// An installed program.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    home: PathBuf,
    environment: Vec<(String, String)>,
    /// What it says about itself.
    pub version: String,
}

impl Program {
    /// `None`, and a line that says so, where there is no such program. Its home is that directory.
    pub fn find(name: &'static str, home: &Path) -> Option<Self> {
        let said = Command::new(name)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let Some(said) = said.ok().filter(|said| said.status.success()) else {
            skipped(&format!("there is no {name} on this machine"));
            return None;
        };
        Some(Self {
            name,
            home: home.to_owned(),
            environment: vec![],
            version: String::from_utf8_lossy(&said.stdout).into_owned(),
        })
    }

    /// With a variable more.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs to the end, with an environment of its own.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        let mut child = Command::new(self.name)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .envs(self.environment.iter().cloned())
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = gather(child.stdout.take().unwrap());
        let err = gather(child.stderr.take().unwrap());
        let mut left = PATIENCE;
        let step = Duration::from_millis(10);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if left.is_zero() {
                let _ = child.kill();
                panic!("{} does not end: {}", self.name, err.join().unwrap());
            }
            tokio::time::sleep(step).await;
            left = left.saturating_sub(step);
        };
        Finished {
            code: status.code(),
            out: out.join().unwrap(),
            err: err.join().unwrap(),
        }
    }
}

/// Reads a pipe to its end, beside the program.
fn gather(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Says why a test has nothing to do here.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
