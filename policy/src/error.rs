//! What can be wrong with policy files, said so that the author can repair it without reading our source.

use std::fmt;

/// One problem at one place in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name the source was given under.
    pub file: Box<str>,
    /// Line, counted from 1; `None` when the problem is the file's as a whole.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// Lower case, no full stop, the author's own text in backticks.
    pub message: String,
    /// A way forward.
    pub help: Option<String>,
}

/// Everything that is wrong with a policy set, never only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// In order of file, line, column; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}: {}", problem.file, problem.message)?;
        }
        Ok(())
    }
}
