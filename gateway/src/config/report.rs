//! Where problems are gathered while a file is read, so that its author learns of all of them at once.

use std::path::Path;

use super::error::{LoadError, Problem};

/// The problems and warnings of one file, each at a byte of its text.
pub(crate) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where each line begins: an inventory may have as many problems as rows.
    lines: Vec<usize>,
    problems: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(newline, _)| newline + 1))
                .collect(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Something that stops the file from being used.
    pub(crate) fn error(
        &mut self,
        at: usize,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let problem = self.problem(at, message.into(), help.into());
        self.problems.push((at, problem));
    }

    /// Something that its author should know.
    pub(crate) fn warning(
        &mut self,
        at: usize,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let problem = self.problem(at, message.into(), help.into());
        self.warnings.push((at, problem));
    }

    fn problem(&self, at: usize, message: String, help: Option<String>) -> Problem {
        Problem {
            file: self.file.to_path_buf(),
            position: Some(self.position(at)),
            message,
            help,
        }
    }

    /// Line and column of a byte, both from 1, the column in characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self
            .text
            .get(start..at)
            .map_or(0, |before| before.chars().count());
        (line, column + 1)
    }

    /// The warnings, or all problems; each in order of position.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, LoadError> {
        if self.problems.is_empty() {
            Ok(in_order(self.warnings))
        } else {
            Err(LoadError {
                problems: in_order(self.problems),
            })
        }
    }
}

fn in_order(mut problems: Vec<(usize, Problem)>) -> Vec<Problem> {
    problems.sort_by_key(|(at, _)| *at);
    problems.into_iter().map(|(_, problem)| problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters() {
        let report = Report::new(Path::new(""), "a = 1\n機密 = 2\n");
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position(6), (2, 1));
        assert_eq!(report.position(13), (2, 4));
        assert_eq!(report.position(999), (3, 1));
        assert_eq!(Report::new(Path::new(""), "").position(0), (1, 1));
    }
}
