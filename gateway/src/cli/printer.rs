//! The one way to the terminal. A reader that has gone away (`| head`) is not an error worth a word.

use std::io::{self, Write};
use std::process::ExitCode;

/// Standard output and standard error.
pub(crate) struct Printer {
    out: io::Stdout,
    err: io::Stderr,
}

impl Printer {
    pub(super) fn new() -> Self {
        Self {
            out: io::stdout(),
            err: io::stderr(),
        }
    }

    /// What the command is for.
    pub(crate) fn out(&mut self, text: impl AsRef<str>) -> ExitCode {
        let _ = writeln!(self.out, "{}", text.as_ref().trim_end_matches('\n'));
        let _ = self.out.flush();
        ExitCode::SUCCESS
    }

    /// What the reader of the output should know, beside it.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref().trim_end_matches('\n'));
    }

    /// What went wrong; the exit code says how.
    pub(crate) fn fail(&mut self, code: u8, text: impl AsRef<str>) -> ExitCode {
        let _ = writeln!(self.err, "{}", text.as_ref().trim_end_matches('\n'));
        ExitCode::from(code)
    }
}

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
