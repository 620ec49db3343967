//! What can be wrong with a configuration, in the words its author reads.

use std::fmt;
use std::path::PathBuf;

/// One problem at one place. Rendered as
/// ```text
/// error: unknown issuer `corpp` in app `payroll`
///   --> masugata.toml:41:12
/// help: issuers are declared under [[issuer]]; did you mean `corp`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// Line and column, counted from 1, the column in characters.
    pub position: Option<(usize, usize)>,
    /// Lower case, no full stop, the author's text in backticks.
    pub message: String,
    /// A way forward.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render("error", formatter)
    }
}

impl Problem {
    fn render(&self, severity: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{severity}: {}\n  --> {}",
            self.message,
            self.file.display()
        )?;
        if let Some((line, column)) = self.position {
            write!(formatter, ":{line}:{column}")?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

/// Shows a problem that does not stop the configuration from being used: `warning: …`.
#[derive(Clone, Copy, Debug)]
pub struct Warning<'a>(pub &'a Problem);

impl fmt::Display for Warning<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.render("warning", formatter)
    }
}

/// Everything that stops a configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// In order of file and position; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}
