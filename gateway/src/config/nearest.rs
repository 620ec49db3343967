//! "Did you mean …?": the known word nearest to a misspelt one.

/// The candidate at the least edit distance, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = fold(given);
    // A third of the letters may be wrong; of short words, one.
    let most = (folded.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` where something is near, else the list of what is known.
pub(crate) fn suggestion<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    const LISTED: usize = 16;
    if let Some(near) = nearest(given, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let known: Vec<_> = candidates
        .into_iter()
        .map(|word| format!("`{word}`"))
        .collect();
    (1..=LISTED)
        .contains(&known.len())
        .then(|| format!("known here: {}", known.join(", ")))
}

/// Case and the choice between `-` and `_` are slips that count for nothing.
fn fold(text: &str) -> Vec<char> {
    // Text of an attacker never comes here, but a pasted file may: the cost is quadratic.
    text.chars()
        .take(64)
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut last_left = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(above.len());
        current.push(row + 1);
        let mut last_right = None;
        for (column, &b) in right.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&above, column) + usize::from(a != b))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            if last_left == Some(b) && last_right == Some(a) {
                best = best.min(at(&before, column.wrapping_sub(1)) + 1);
            }
            current.push(best);
            last_right = Some(b);
        }
        before = std::mem::replace(&mut above, current);
        last_left = Some(a);
    }
    above.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let known = ["listen", "level", "tls_profile", "confidential"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("lsiten", known), Some("listen"));
        assert_eq!(nearest("tls-profile", known), Some("tls_profile"));
        assert_eq!(nearest("Confidental", known), Some("confidential"));
        assert_eq!(nearest("upstream", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        let d = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(d("kitten", "sitting"), 3);
        assert_eq!(d("ab", "ba"), 1);
        assert_eq!(d("", "abc"), 3);
        assert_eq!(d("abc", ""), 3);
        assert_eq!(d("same", "same"), 0);
    }
}
