//! A hosts file: `0.0.0.0 bad.example worse.example # why`. Each name is one host.

use std::net::IpAddr;

use super::{Entry, Line, host};
use crate::destination::table::{Cover, Effect};

/// Names that every hosts file has and that no list means.
const OWN: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "0.0.0.0",
];

pub(super) fn line(line: &str, out: &mut impl FnMut(Entry<'_>)) -> Line {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let Some(address) = words.next() else {
        return Line::Blank;
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Line::Bad;
    };
    let mut found = Line::Bad;
    for word in words {
        if OWN.contains(&word) {
            found = own(found);
            continue;
        }
        // A real address says where a host is, not that it is bad.
        if !(address.is_unspecified() || address.is_loopback()) {
            return Line::Bad;
        }
        let Some(name) = host(word) else {
            return bad(found);
        };
        out(Entry::Name {
            name: &name,
            cover: Cover::Host,
            effect: Effect::Block,
        });
        found = Line::Entries;
    }
    found
}

fn own(found: Line) -> Line {
    if found == Line::Entries {
        found
    } else {
        Line::Blank
    }
}

/// What was said before counts; the rest of the line is lost.
fn bad(found: Line) -> Line {
    if found == Line::Entries {
        found
    } else {
        Line::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::config::egress::FeedFormat;

    #[test]
    fn hosts_files_name_hosts() {
        let (said, lines) = read(
            FeedFormat::Hosts,
            "# a list\n127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n0.0.0.0 bad.example\n\
             127.0.0.1\tWorse.Example. other.example # why\n:: v6.example\n",
        );
        assert_eq!(
            said,
            [
                "Block Host bad.example",
                "Block Host worse.example",
                "Block Host other.example",
                "Block Host v6.example"
            ]
        );
        assert_eq!(lines[..3], [Line::Blank; 3]);
        assert_eq!(lines[3..], [Line::Entries; 3]);
    }

    // A company's own hosts file by mistake: its names are not bad.
    #[test]
    fn a_real_address_names_nothing_bad() {
        let (said, lines) = read(
            FeedFormat::Hosts,
            "10.0.0.1 erp.corp.example\nbad.example\n0.0.0.0\n0.0.0.0 a..b",
        );
        assert!(said.is_empty());
        assert_eq!(lines, [Line::Bad; 4]);
    }
}
