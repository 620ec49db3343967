//! A list of names that nobody may reach: as long as such names are, no two alike, and none below another, because squid
//! wants no such overlaps.

use std::fmt::Write as _;

const TOP: [&str; 12] = [
    "com", "net", "org", "xyz", "top", "info", "co.jp", "jp", "de", "ru", "online", "shop",
];
const WORDS: [&str; 16] = [
    "login", "track", "secure", "cdn", "ads", "update", "pay", "mail", "click", "free", "news",
    "shop", "cloud", "verify", "account", "stat",
];

/// The name with this number: 8 to 30 letters, 19 on average. Every third has a host in front of the registrable name.
pub(super) fn name(number: usize) -> String {
    let mixed = number.wrapping_mul(2_654_435_761) & 0xffff_ffff;
    let word = |shift: u32| WORDS.get((mixed >> shift) % WORDS.len()).copied();
    let top = TOP.get((mixed >> 12) % TOP.len()).copied().unwrap_or("com");
    // Odd multipliers make of each number another one: the label is nobody else's.
    let label = format!("{}{mixed:x}", word(3).unwrap_or_default());
    if number.is_multiple_of(3) {
        format!("{}.{label}.{top}", word(20).unwrap_or_default())
    } else {
        format!("{label}.{top}")
    }
}

/// One on a line, each with `before` in front.
pub(super) fn list(count: usize, before: &str) -> String {
    let mut text = String::with_capacity(count * 24);
    for number in 0..count {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{before}{}", name(number));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_another_or_below_another() {
        let names: std::collections::BTreeSet<_> = (0..50_000).map(name).collect();
        assert_eq!(names.len(), 50_000);
        let below = |name: &str| {
            name.match_indices('.')
                .any(|(at, _)| names.contains(&name[at + 1..]))
        };
        assert!(!names.iter().any(|name| below(name)));
    }

    #[test]
    fn names_are_as_long_as_names_are() {
        let sum: usize = (0..10_000).map(|number| name(number).len()).sum();
        assert!((15..22).contains(&(sum / 10_000)), "{}", sum / 10_000);
    }
}
