//! What the demo says at its start: where everything is, and requests with what to expect.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::files::{APPS, Demo};
use super::internet::SITES;

pub(super) fn text(
    demo: &Demo,
    port: u16,
    egress: Option<u16>,
    admin: Option<SocketAddr>,
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, demo, port, egress, admin);
    text
}

fn write(
    text: &mut String,
    demo: &Demo,
    port: u16,
    egress: Option<u16>,
    admin: Option<SocketAddr>,
) -> std::fmt::Result {
    writeln!(text, "Masugata demo in {}\n", demo.directory.display())?;
    for (name, host, level) in APPS {
        writeln!(
            text,
            "  {:<44} {name} ({level})",
            format!("https://{host}:{port}/")
        )?;
    }
    if let Some(admin) = admin {
        writeln!(
            text,
            "  {:<44} health, metrics, effective configuration",
            format!("http://{admin}/readyz")
        )?;
    }
    writeln!(
        text,
        "\n  configuration, policies and devices may be edited while it runs: {}",
        demo.config.display()
    )?;
    writeln!(
        text,
        "\nTry, in another terminal:\n\n  cd {}\n",
        quoted(&demo.directory.display().to_string())
    )?;
    let payroll = format!("https://payroll.localhost:{port}/");
    let examples = [
        (
            "An enrolled, healthy laptop, two factors, the right group: 200",
            "laptop",
            "ada",
            "api/echo",
        ),
        (
            "A password alone: 401 assurance-insufficient, with a challenge",
            "laptop",
            "ada-password-only",
            "",
        ),
        (
            "A laptop last seen ten days ago: 403 posture-stale, with the remedy",
            "stale-laptop",
            "ada",
            "",
        ),
        ("The wrong role: 403 no-permit", "laptop", "ben", ""),
    ];
    for (index, (what, device, token, path)) in examples.into_iter().enumerate() {
        writeln!(text, "{}. {what}", index + 1)?;
        writeln!(
            text,
            "   curl -i --cacert ca.pem --cert devices/{device}.pem --key devices/{device}.key \\\n\
             \x20       -H \"Authorization: Bearer $(cat tokens/{token}.jwt)\" {payroll}{path}\n"
        )?;
    }
    writeln!(
        text,
        "5. No device certificate: the TLS handshake fails (certificate required)"
    )?;
    writeln!(
        text,
        "   curl -i --cacert ca.pem -H \"Authorization: Bearer $(cat tokens/ada.jwt)\" {payroll}\n"
    )?;
    if let Some(egress) = egress {
        way_out(text, port, egress)?;
    }
    writeln!(text, "What was decided, and proof that nobody edited it:\n")?;
    writeln!(text, "   tail -n 4 audit.jsonl")?;
    writeln!(text, "   {} audit verify audit.jsonl\n", program())?;
    writeln!(
        text,
        "curl and browsers know that *.localhost is this machine; other programs may need these names in /etc/hosts."
    )?;
    writeln!(text, "Ctrl-C ends the demo; the directory stays.\n")
}

/// The second door: Ada's laptop asks for sites of the demo's Internet.
fn way_out(text: &mut String, port: u16, egress: u16) -> std::fmt::Result {
    writeln!(
        text,
        "The way out: a proxy for the Internet, and a few sites that exist only here\n"
    )?;
    for (index, site) in SITES.iter().enumerate() {
        writeln!(text, "{}. {}", index + 6, site.what)?;
        writeln!(
            text,
            "   curl -i -x https://proxy.localhost:{egress} --proxy-cacert ca.pem \\\n\
             \x20       --proxy-cert devices/ada-laptop.pem --proxy-key devices/ada-laptop.key \\\n\
             \x20       --cacert ca.pem {}\n",
            site.url
        )?;
    }
    let last = SITES.len() + 6;
    writeln!(
        text,
        "{last}. The shared laptop without a name: 407; with a password for Ben, 200"
    )?;
    writeln!(
        text,
        "   curl -i -x https://proxy.localhost:{egress} --proxy-cacert ca.pem \\\n\
         \x20       --proxy-cert devices/laptop.pem --proxy-key devices/laptop.key --cacert ca.pem \\\n\
         \x20       -U \"ben:$({} proxy-password --device laptop-1 --certificate devices/laptop.pem \\\n\
         \x20       --user demo/ben --group employees)\" https://crm.cloud.test/\n",
        program()
    )?;
    writeln!(
        text,
        "   https://pac.localhost:{port}/staff.pac   for browsers\n   \
         https://why.localhost:{port}/            what was refused to this device, and why\n"
    )
}

/// This program as a shell finds it: after `cargo run` it is not on the path.
fn program() -> String {
    std::env::current_exe().map_or_else(
        |_unknown| "masugata".to_owned(),
        |path| quoted(&path.display().to_string()),
    )
}

fn quoted(path: &str) -> String {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
