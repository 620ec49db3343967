//! AdGuard's DNS rules and what Adblock lists share with them: `||bad.example^`, `@@||good.example^`, hosts lines, names.
//!
//! Rules about paths, elements, clients or answers say nothing about a destination as such and are counted as unsupported;
//! half of a rule would say more than its author did.

use std::net::IpAddr;

use super::{Entry, Line, host, hosts, place, range};
use crate::destination::table::{Cover, Effect};

pub(super) fn line(line: &str, out: &mut impl FnMut(Entry<'_>)) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('!') || line.starts_with('[') || is_comment(line) {
        return Line::Blank;
    }
    // Cosmetic rules: `site##.banner`, `#@#`, `#$#`, `#%#`, `$$`.
    if line.contains("##")
        || line.contains("#@")
        || line.contains("#$")
        || line.contains("#%")
        || line.contains("$$")
    {
        return Line::Unsupported;
    }
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    if first.len() < line.len() && first.parse::<IpAddr>().is_ok() {
        return hosts::line(line, out);
    }
    let (allow, rule) = line
        .strip_prefix("@@")
        .map_or((false, line), |rule| (true, rule));
    if rule.starts_with('/') {
        return Line::Unsupported;
    }
    let (pattern, modifiers) = rule.split_once('$').unwrap_or((rule, ""));
    let Some((important, withdrawn)) = read_modifiers(modifiers) else {
        return Line::Unsupported;
    };
    let effect = match (allow, important) {
        (true, _) => Effect::Allow,
        (false, true) => Effect::Important,
        (false, false) => Effect::Block,
    };
    let (text, cover) = match covered(pattern) {
        Ok(found) => found,
        Err(line) => return line,
    };
    if !withdrawn {
        return place(text, cover, effect, out);
    }
    if range(text).is_some() {
        return Line::Unsupported;
    }
    let Some(name) = host(text) else {
        return Line::Bad;
    };
    out(Entry::Withdrawn {
        name: &name,
        cover,
        effect,
    });
    Line::Entries
}

/// `#` alone or before a space, as hosts files and AdGuard have it.
fn is_comment(line: &str) -> bool {
    line.strip_prefix('#')
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '#', '-', '=']))
}

/// `important` and `badfilter`; `None` with any other, which would narrow the rule in ways we cannot.
fn read_modifiers(modifiers: &str) -> Option<(bool, bool)> {
    let (mut important, mut withdrawn) = (false, false);
    for modifier in modifiers.split(',').map(str::trim) {
        match modifier {
            "" => {}
            "important" => important = true,
            "badfilter" => withdrawn = true,
            _ => return None,
        }
    }
    Some((important, withdrawn))
}

/// The name in a pattern and what it covers.
fn covered(pattern: &str) -> Result<(&str, Cover), Line> {
    let end = pattern
        .strip_suffix("^|")
        .or_else(|| pattern.strip_suffix('^'))
        .or_else(|| pattern.strip_suffix('|'))
        .unwrap_or(pattern);
    let (text, cover) = if let Some(rest) = end.strip_prefix("||") {
        match rest.strip_prefix("*.") {
            Some(rest) => (rest, Cover::Below),
            None => (rest, Cover::Domain),
        }
    } else if let Some(rest) = end.strip_prefix('|') {
        (rest, Cover::Host)
    } else if let Some(rest) = end.strip_prefix("*.") {
        (rest, Cover::Below)
    } else {
        (end, Cover::Host)
    };
    if text.contains(['*', '/', '|', '^', '?', '=', '&']) || text.contains("://") {
        return Err(if text.contains(['<', '>', ' ']) {
            Line::Bad
        } else {
            Line::Unsupported
        });
    }
    Ok((text, cover))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::config::egress::FeedFormat;

    #[test]
    fn rules_for_domains_are_read() {
        let (said, lines) = read(
            FeedFormat::Adguard,
            "[Adblock Plus 2.0]\n! Title: x\n# old comment\n||bad.example^\n||bad.example^|\n|one.example^\nplain.example\n*.below.example\n\
             ||*.sub.example^\n@@||good.example^\n||must.example^$important\n||gone.example^$badfilter\n0.0.0.0 hosts.example\n||192.0.2.1^\n",
        );
        assert_eq!(
            said,
            [
                "Block Domain bad.example",
                "Block Domain bad.example",
                "Block Host one.example",
                "Block Host plain.example",
                "Block Below below.example",
                "Block Below sub.example",
                "Allow Domain good.example",
                "Important Domain must.example",
                "not Block Domain gone.example",
                "Block Host hosts.example",
                "Block 192.0.2.1/32"
            ]
        );
        assert!(!lines.contains(&Line::Bad) && !lines.contains(&Line::Unsupported));
    }

    // A rule that is for one client or one kind of answer would block or open for all if its modifier were skipped.
    #[test]
    fn half_a_rule_is_no_rule() {
        let (said, lines) = read(
            FeedFormat::Adguard,
            "||a.example^$client=10.0.0.1\n@@||a.example^$dnstype=AAAA\n||a.example^$denyallow=b.example\n||a.example^$dnsrewrite=1.2.3.4\n\
             /^ads[0-9]/\n||ads*.example^\n||a.example/path\na.example##.banner\na.example#@#.x\n||a.example^$third-party",
        );
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(lines, [Line::Unsupported; 10]);
    }

    #[test]
    fn nonsense_is_bad() {
        let (said, lines) = read(FeedFormat::Adguard, "<html>\n||a b^\n||^\nsome words here");
        assert!(said.is_empty());
        assert_eq!(lines, [Line::Bad; 4]);
    }
}
