//! One on a line: `bad.example` and everything below it, `=bad.example` this host, `*.bad.example` only below, an address
//! or a range. Comments begin with `#` or `;`.

use super::{Entry, Line, place, range};
use crate::destination::table::{Cover, Effect};

pub(super) fn line(line: &str, out: &mut impl FnMut(Entry<'_>)) -> Line {
    let line = line.split(['#', ';']).next().unwrap_or_default().trim();
    if line.is_empty() {
        return Line::Blank;
    }
    let (text, cover) = if let Some(host) = line.strip_prefix('=') {
        (host, Cover::Host)
    } else if let Some(name) = line.strip_prefix("*.") {
        (name, Cover::Below)
    } else {
        (line.strip_prefix('.').unwrap_or(line), Cover::Domain)
    };
    if cover != Cover::Domain && range(text).is_some() {
        return Line::Bad;
    }
    place(text, cover, Effect::Block, out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::config::egress::FeedFormat;

    #[test]
    fn names_hosts_and_ranges_are_told_apart() {
        let (said, lines) = read(
            FeedFormat::Plain,
            "# c2\nbad.example\n=one.example ; this only\n*.below.example\n.dot.example\n日本語.jp\n192.0.2.1\n198.51.100.7/24\n2001:db8::/32\n\n",
        );
        assert_eq!(
            said,
            [
                "Block Domain bad.example",
                "Block Host one.example",
                "Block Below below.example",
                "Block Domain dot.example",
                "Block Domain xn--wgv71a119e.jp",
                "Block 192.0.2.1/32",
                "Block 198.51.100.0/24",
                "Block 2001:db8::/32"
            ]
        );
        assert!(!lines.contains(&Line::Bad));
    }

    #[test]
    fn what_is_no_place_is_bad() {
        let (said, lines) = read(
            FeedFormat::Plain,
            "https://bad.example/\na b\n*.*.a\n=*.a\n0.0.0.0/0\n=192.0.2.1\n192.0.2\na..b\n*",
        );
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(lines, [Line::Bad; 9]);
    }
}
