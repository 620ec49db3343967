//! A response policy zone in master file form (draft-vixie-dnsop-dns-rpz, RFC 1035 §5): owner names trigger, `CNAME` says
//! what happens.
//!
//! Read: QNAME triggers (`bad.example`, `*.bad.example`) and response addresses (`32.1.2.0.192.rpz-ip`) with the actions
//! `CNAME .`, `CNAME *.`, `CNAME rpz-drop.` and `CNAME rpz-passthru.`. Other triggers and answers of the zone's own are
//! counted as unsupported: they are about name servers, clients, or other answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Entry, Line, host};
use crate::destination::table::{Cover, Effect};

/// What earlier lines said.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// Lower case, without final dot; what owners are relative to.
    origin: String,
    /// The owner of the last record.
    owner: String,
    /// Inside the parentheses of a record, which is then never one that matters (SOA).
    open: bool,
}

const CLASSES: [&str; 4] = ["in", "ch", "hs", "any"];

impl Zone {
    pub(super) fn line(&mut self, line: &str, out: &mut impl FnMut(Entry<'_>)) -> Line {
        let line = line.split(';').next().unwrap_or_default().trim_end();
        if self.open {
            self.open = !line.contains(')');
            return Line::Blank;
        }
        if line.trim().is_empty() {
            return Line::Blank;
        }
        let mut words = line.split_ascii_whitespace();
        if let Some(directive) = line.strip_prefix('$') {
            return self.directive(directive);
        }
        if !line.starts_with([' ', '\t']) {
            let Some(owner) = words.next() else {
                return Line::Blank;
            };
            self.owner = owner.to_ascii_lowercase();
        }
        let mut words =
            words.skip_while(|word| is_ttl(word) || CLASSES.contains(&lower(word).as_str()));
        let Some(kind) = words.next().map(lower) else {
            return Line::Bad;
        };
        let data: Vec<_> = words.collect();
        match kind.as_str() {
            "soa" => {
                self.begin();
                self.open = line.contains('(') && !line.contains(')');
                Line::Blank
            }
            "ns" => Line::Blank,
            "cname" => self.record(&data, out),
            "a" | "aaaa" | "txt" | "mx" | "srv" | "ptr" | "dname" | "svcb" | "https" => {
                Line::Unsupported
            }
            _ => Line::Bad,
        }
    }

    fn directive(&mut self, directive: &str) -> Line {
        let mut words = directive.split_ascii_whitespace();
        match (words.next().map(lower).as_deref(), words.next()) {
            (Some("origin"), Some(name)) => {
                self.origin = lower(name.trim_end_matches('.'));
                Line::Blank
            }
            (Some("ttl"), Some(_)) => Line::Blank,
            // Other files are not ours to read.
            _ => Line::Unsupported,
        }
    }

    /// The owner of the SOA is the zone.
    fn begin(&mut self) {
        if self.origin.is_empty()
            && let Some(zone) = self.owner.strip_suffix('.')
        {
            zone.clone_into(&mut self.origin);
        }
    }

    fn record(&self, data: &[&str], out: &mut impl FnMut(Entry<'_>)) -> Line {
        let [target] = data else {
            return Line::Bad;
        };
        let effect = match lower(target).as_str() {
            "." | "*." | "rpz-drop." | "rpz-drop" => Effect::Block,
            "rpz-passthru." | "rpz-passthru" => Effect::Allow,
            _ => return Line::Unsupported,
        };
        let Some(trigger) = self.trigger() else {
            return Line::Bad;
        };
        if let Some(encoded) = trigger.strip_suffix(".rpz-ip") {
            let Some(range) = address(encoded) else {
                return Line::Bad;
            };
            out(Entry::Range { range, effect });
            return Line::Entries;
        }
        if [".rpz-nsdname", ".rpz-nsip", ".rpz-client-ip"]
            .iter()
            .any(|other| trigger.ends_with(other))
        {
            return Line::Unsupported;
        }
        let (name, cover) = trigger
            .strip_prefix("*.")
            .map_or((trigger, Cover::Host), |name| (name, Cover::Below));
        let Some(name) = host(name) else {
            return Line::Bad;
        };
        out(Entry::Name {
            name: &name,
            cover,
            effect,
        });
        Line::Entries
    }

    /// The owner without the zone; `None` for one outside of it.
    fn trigger(&self) -> Option<&str> {
        match self.owner.strip_suffix('.') {
            None => Some(self.owner.as_str()),
            Some(absolute) if self.origin.is_empty() => Some(absolute),
            Some(absolute) => absolute
                .strip_suffix(self.origin.as_str())?
                .strip_suffix('.'),
        }
        .filter(|trigger| !trigger.is_empty() && *trigger != "@")
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// `300`, `1h`, `1w2d`.
fn is_ttl(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word
            .bytes()
            .all(|b| b.is_ascii_digit() || b"smhdwSMHDW".contains(&b))
}

/// `24.0.2.0.192` is 192.0.2.0/24; `48.zz.2.db8.2001` is 2001:db8:2::/48.
fn address(encoded: &str) -> Option<IpNet> {
    let mut labels: Vec<_> = encoded.split('.').collect();
    let length: u8 = labels.first()?.parse().ok()?;
    labels.remove(0);
    labels.reverse();
    let v4 = |labels: &[&str]| labels.join(".").parse::<Ipv4Addr>().ok();
    let net = match v4(&labels) {
        Some(address) => IpNet::V4(Ipv4Net::new(address, length).ok()?.trunc()),
        None => {
            let text = labels.join(":");
            // `zz` stands for `::`.
            let text = match text.as_str() {
                "zz" => "::".to_owned(),
                text => match (text.strip_prefix("zz:"), text.strip_suffix(":zz")) {
                    (Some(rest), _) => format!("::{rest}"),
                    (None, Some(rest)) => format!("{rest}::"),
                    (None, None) => text.replace(":zz:", "::"),
                },
            };
            IpNet::V6(
                Ipv6Net::new(text.parse::<Ipv6Addr>().ok()?, length)
                    .ok()?
                    .trunc(),
            )
        }
    };
    (net.prefix_len() > 0).then_some(net)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::config::egress::FeedFormat;

    #[test]
    fn a_zone_with_relative_owners_is_read() {
        let (said, lines) = read(
            FeedFormat::Rpz,
            "$TTL 1h\n$ORIGIN rpz.example.\n@ IN SOA ns.example. admin.example. (\n  2026112301 ; serial\n  3600 600 86400 60 )\n  IN NS localhost.\n\
             bad.example CNAME . ; gone\n*.bad.example 300 IN CNAME *.\ndrop.example IN CNAME rpz-drop.\ngood.example CNAME rpz-passthru.\n\
             32.1.2.0.192.rpz-ip CNAME .\n24.0.2.0.192.rpz-ip CNAME .\n48.zz.2.db8.2001.rpz-ip CNAME .\n",
        );
        assert_eq!(
            said,
            [
                "Block Host bad.example",
                "Block Below bad.example",
                "Block Host drop.example",
                "Allow Host good.example",
                "Block 192.0.2.1/32",
                "Block 192.0.2.0/24",
                "Block 2001:db8:2::/48"
            ]
        );
        assert!(!lines.contains(&Line::Bad), "{lines:?}");
    }

    #[test]
    fn absolute_owners_lose_the_zone() {
        let (said, lines) = read(
            FeedFormat::Rpz,
            "rpz.local. 60 IN SOA a. b. 1 2 3 4 5\nBad.Example.rpz.local. 60 IN CNAME .\nother.zone. CNAME .\n",
        );
        assert_eq!(said, ["Block Host bad.example"]);
        assert_eq!(lines[2], Line::Bad);
    }

    #[test]
    fn triggers_and_answers_that_are_about_something_else_are_counted() {
        let (said, lines) = read(
            FeedFormat::Rpz,
            "ns.bad.example.rpz-nsdname CNAME .\n32.1.2.0.192.rpz-nsip CNAME .\n32.1.2.0.192.rpz-client-ip CNAME .\n\
             www.example CNAME garden.example.\nwww.example A 192.0.2.1\ntcp.example CNAME rpz-tcp-only.\n$INCLUDE /etc/passwd",
        );
        assert!(said.is_empty());
        assert_eq!(lines, [Line::Unsupported; 7]);
    }

    #[test]
    fn encoded_addresses_are_turned_round() {
        assert_eq!(address("32.4.3.2.1").unwrap().to_string(), "1.2.3.4/32");
        assert_eq!(address("128.1.zz.2001").unwrap().to_string(), "2001::1/128");
        assert_eq!(address("64.zz.2001").unwrap().to_string(), "2001::/64");
        for bad in [
            "",
            "33.4.3.2.1",
            "0.0.0.0.0",
            "32.256.3.2.1",
            "x.4.3.2.1",
            "129.1.zz",
        ] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }
}
