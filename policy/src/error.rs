//! What can be wrong with policy files, said so that the author can repair it without reading our source.

use std::cmp::Ordering;
use std::fmt;

/// One problem at one place in one file. Rendered as
/// ```text
/// unrecognized action `Masugata::Action::"raed"`
///   --> policies/wiki.cedar:12:13
/// help: did you mean `Masugata::Action::"read"`?
/// ```
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

impl Problem {
    pub(crate) fn by_position(&self, other: &Self) -> Ordering {
        let place = |problem: &Self| (problem.file.clone(), problem.line, problem.column);
        place(self).cmp(&place(other))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n  --> {}", self.message, self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(formatter, ":{column}")?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\nhelp: {help}")?;
        }
        Ok(())
    }
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
                formatter.write_str("\n\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

/// A source text in which byte offsets become lines and columns.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// From [`line_starts`]: counting lines anew for each of 10,000 policies takes seconds.
    pub(crate) lines: &'a [usize],
}

/// The offset at which each line begins.
pub(crate) fn line_starts(text: &str) -> Vec<usize> {
    let newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
    std::iter::once(0).chain(newlines).collect()
}

impl Text<'_> {
    /// Line and column, counted from 1, the column in characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = self
            .text
            .get(start..offset)
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        (line, column)
    }

    /// A problem at `offset`, or of the file as a whole.
    pub(crate) fn problem(
        &self,
        offset: Option<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Problem {
        let position = offset.map(|offset| self.position(offset));
        Problem {
            file: self.file.into(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: message.into(),
            help,
        }
    }
}

/// The candidate that `word` was probably meant to be: at most two slips away, and fewer than it has letters.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate));
    let (slips, candidate) = scored.min_by_key(|(slips, _)| *slips)?;
    (slips <= 2 && slips < word.chars().count()).then_some(candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours (restricted Damerau-Levenshtein), ignoring case.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.to_lowercase().chars().collect();
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, against) in other.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, column) + usize::from(letter != against);
            let mut least = replaced
                .min(at(&above, column + 1) + 1)
                .min(at(&line, column) + 1);
            if row > 0
                && column > 0
                && one.get(row - 1) == Some(against)
                && other.get(column - 1) == Some(letter)
            {
                least = least.min(at(&before, column - 1) + 1);
            }
            line.push(least);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let source = "公開 x\n 情報y";
        let text = Text {
            file: "f",
            text: source,
            lines: &line_starts(source),
        };
        assert_eq!(text.position(0), (1, 1));
        assert_eq!(text.position("公開 ".len()), (1, 4));
        assert_eq!(text.position("公開 x\n 情報".len()), (2, 4));
        assert_eq!(text.position(1), (1, 1), "inside a character");
        assert_eq!(text.position(usize::MAX), (2, 5));
    }

    #[test]
    fn slips_are_counted() {
        assert_eq!(distance("read", "read"), 0);
        assert_eq!(distance("raed", "read"), 1);
        assert_eq!(distance("rad", "read"), 1);
        assert_eq!(distance("reead", "read"), 1);
        assert_eq!(distance("", "read"), 4);
        assert_eq!(distance("READ", "read"), 0);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(
            nearest("remedy_jp", ["remedy_ja", "reason_ja"]),
            Some("remedy_ja")
        );
        assert_eq!(nearest("x", ["id"]), None);
        assert_eq!(nearest("anything", []), None);
        assert_eq!(nearest("mfaa", ["mfa", "fresh"]), Some("mfa"));
    }
}
