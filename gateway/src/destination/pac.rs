//! The proxy auto-configuration file: which destinations go through the gateway.
//!
//! The script is as old as its engines: Windows still runs it in JScript, so nothing newer than ECMAScript 3 is in it. It
//! resolves no names, because a file that asks DNS tells DNS where people go, and stalls while it does. A destination that
//! goes through the gateway has no second way: nothing here ends in `DIRECT`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::egress::{DomainPattern, PacElsewhere, PacFile, PacScope};

/// Larger files are refused by browsers.
pub const MAX_BYTES: usize = 1024 * 1024;

/// `Content-Type` of the file.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";

const GATEWAY: u8 = 1;
const DIRECT: u8 = 0;

/// The script for one scope. `own_hosts` are hosts of this gateway, which are reached without it: exact names, or
/// `*.suffix` for what is below.
pub fn text(file: &PacFile, own_hosts: &[&str]) -> String {
    let tables = Tables::new(file, own_hosts);
    let gateway = file.proxies.join("; ");
    let elsewhere = match &file.elsewhere {
        PacElsewhere::Gateway => gateway.as_str(),
        PacElsewhere::Direct => "DIRECT",
        PacElsewhere::Proxy(proxy) => proxy,
    };
    let elsewhere = match file.proxied {
        PacScope::Everything => gateway.as_str(),
        PacScope::Only(_) => elsewhere,
    };
    let mut out = String::from(
        "// Which destinations go through the gateway. Made from its configuration by Masugata.\n",
    );
    let _ = writeln!(out, "var gateway = {};", quoted(&gateway));
    let _ = writeln!(out, "var elsewhere = {};", quoted(elsewhere));
    table(&mut out, "hosts", &tables.hosts);
    table(&mut out, "domains", &tables.domains);
    out.push_str(SCRIPT);
    out
}

/// 1: through the gateway, 0: past it. Keys begin with a dot, so that no name means something to the engine.
const SCRIPT: &str = r#"
function has(table, name) {
  return Object.prototype.hasOwnProperty.call(table, "." + name);
}

function FindProxyForURL(url, host) {
  var name = String(host).toLowerCase().replace(/^\[/, "").replace(/\]$/, "").replace(/\.+$/, "");
  var rest = name;
  var dot;
  if (has(hosts, name)) {
    return hosts["." + name] ? gateway : "DIRECT";
  }
  if (name === "::1" || /^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$/.test(name)) {
    return "DIRECT";
  }
  while (rest !== "") {
    if (has(domains, rest)) {
      return domains["." + rest] ? gateway : "DIRECT";
    }
    dot = rest.indexOf(".");
    rest = dot < 0 ? "" : rest.substring(dot + 1);
  }
  return elsewhere;
}
"#;

/// What is decided by name.
struct Tables<'a> {
    /// For the host alone.
    hosts: BTreeMap<&'a str, u8>,
    /// For the name and everything below it; the longest wins.
    domains: BTreeMap<&'a str, u8>,
}

impl<'a> Tables<'a> {
    fn new(file: &'a PacFile, own_hosts: &[&'a str]) -> Self {
        let mut tables = Self {
            hosts: BTreeMap::new(),
            // This very machine (RFC 6761 §6.3).
            domains: BTreeMap::from([("localhost", DIRECT)]),
        };
        for pattern in &file.direct {
            tables.insert(pattern, DIRECT);
        }
        if let PacScope::Only(proxied) = &file.proxied {
            for pattern in proxied {
                tables.insert(pattern, GATEWAY);
            }
        }
        // Last: through itself nobody reaches the gateway.
        for host in own_hosts {
            match host.strip_prefix("*.") {
                Some(suffix) => tables.domains.entry(suffix).or_insert(DIRECT),
                None => {
                    tables.hosts.insert(host, DIRECT);
                    continue;
                }
            };
        }
        tables
    }

    fn insert(&mut self, pattern: &'a DomainPattern, way: u8) {
        let table = if pattern.below {
            &mut self.domains
        } else {
            &mut self.hosts
        };
        table.insert(&pattern.name, way);
    }
}

fn table(out: &mut String, name: &str, entries: &BTreeMap<&str, u8>) {
    let _ = write!(out, "var {name} = {{");
    for (index, (name, way)) in entries.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\n  {}: {way}", quoted(&format!(".{name}")));
    }
    out.push_str("\n};\n");
}

/// A string literal. What the configuration accepts needs no escapes; this holds whatever it accepts.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn the_script_is_short_enough_to_read() {
        let pattern = |name: &str| DomainPattern {
            name: name.trim_start_matches('.').to_owned(),
            below: name.starts_with('.'),
        };
        let file = PacFile {
            name: "staff".to_owned(),
            proxies: vec![
                "HTTPS a.example:8443".to_owned(),
                "HTTPS b.example:8443".to_owned(),
            ],
            proxied: PacScope::Only(vec![pattern(".box.com"), pattern("login.example")]),
            direct: vec![pattern(".corp.example")],
            elsewhere: PacElsewhere::Proxy("PROXY office.example:3128".to_owned()),
        };
        let script = text(&file, &["why.corp.example", "*.apps.example"]);
        let head = script.split("\nfunction").next().unwrap();
        assert_snapshot!(head, @r#"
        // Which destinations go through the gateway. Made from its configuration by Masugata.
        var gateway = "HTTPS a.example:8443; HTTPS b.example:8443";
        var elsewhere = "PROXY office.example:3128";
        var hosts = {
          ".login.example": 1,
          ".why.corp.example": 0
        };
        var domains = {
          ".apps.example": 0,
          ".box.com": 1,
          ".corp.example": 0,
          ".localhost": 0
        };
        "#);
    }

    #[test]
    fn strings_stay_strings() {
        assert_eq!(quoted("a\"b\\c\n</日"), "\"a\\\"b\\\\c\\u000a</\\u65e5\"");
    }
}
