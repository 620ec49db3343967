//! What the demo says at its start: where everything is, and requests with what to expect.

use std::fmt::Write as _;
use std::net::SocketAddr;

use secrecy::ExposeSecret as _;

use super::files::{APPS, Demo};
use super::internet::SITES;
use super::people::Person;

pub(super) fn text(
    demo: &Demo,
    port: u16,
    egress: Option<u16>,
    admin: Option<SocketAddr>,
    sign_in: Option<&str>,
    people: &[Person],
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, demo, port, egress, admin);
    if let Some(sign_in) = sign_in {
        let _ = browser(&mut text, port, sign_in, people);
    }
    let _ = writeln!(text, "Ctrl-C ends the demo; the directory stays.\n");
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
    )
}

/// People with a browser: what to import, where to go, what to see.
fn browser(text: &mut String, port: u16, sign_in: &str, people: &[Person]) -> std::fmt::Result {
    writeln!(
        text,
        "\nWith a browser, on the shared laptop. It needs the device's certificate, and must trust the demo's authority:\n"
    )?;
    writeln!(
        text,
        "   openssl pkcs12 -export -passout pass:demo -out laptop.p12 \\\n\
         \x20       -in devices/laptop.pem -inkey devices/laptop.key"
    )?;
    writeln!(
        text,
        "   Import laptop.p12 (password: demo) as your own certificate and ca.pem as an authority for web sites, in the\n   \
         browser's settings; for Chrome and Chromium on Linux:\n   \
         certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n masugata-demo -i ca.pem\n   \
         pk12util -d sql:$HOME/.pki/nssdb -i laptop.p12 -W demo\n   \
         Take both out again afterwards: whoever has ca.key could pose as any site to this browser.\n"
    )?;
    let ada = people.iter().find(|person| person.user == "ada");
    if let Some(link) = ada.and_then(|person| person.link.as_ref()) {
        writeln!(
            text,
            "a. Ada's first sign-in, with a link that works once: make a passkey, and you are on her page\n   {}\n",
            link.expose_secret()
        )?;
    }
    let payroll = format!("https://payroll.localhost:{port}/");
    let projects = format!("https://projects.localhost:{port}/");
    for (letter, what, url) in [
        (
            'b',
            "An app: you are led to the sign-in and back, and the app knows who you are",
            projects.as_str(),
        ),
        (
            'c',
            "As Ben, with the password and code from demo.json: no-permit, with the reason and what to do",
            payroll.as_str(),
        ),
        (
            'd',
            "My page: my apps, this device, my sessions with a way to end each, my passkeys",
            sign_in,
        ),
    ] {
        writeln!(text, "{letter}. {what}\n   {url}\n")?;
    }
    writeln!(
        text,
        "   demo.json has a link, a password and a TOTP secret of ada, ben and chie under `users`, for scripts.\n"
    )
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
