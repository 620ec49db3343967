//! The files themselves.

use std::fmt::Write as _;

use serde_json::json;

/// Where the device's certificate is shown without asking: at the door, and on the page that shows refusals.
fn select(proxy: &str, why: Option<&str>) -> Vec<String> {
    let door = format!("https://{proxy}");
    let page = why.map(|why| why.trim_end_matches('/').to_owned());
    std::iter::once(door)
        .chain(page)
        .map(|pattern| json!({ "pattern": pattern, "filter": {} }).to_string())
        .collect()
}

/// Policies of Chrome, Chromium and Edge. `ProxyPacMandatory` keeps the browser from going direct when the PAC file cannot
/// be fetched.
pub(super) fn chromium_json(pac: &str, proxy: &str, why: Option<&str>) -> String {
    let policies = json!({
        "ProxySettings": {
            "ProxyMode": "pac_script",
            "ProxyPacUrl": pac,
            "ProxyPacMandatory": true,
        },
        "AutoSelectCertificateForUrls": select(proxy, why),
        "QuicAllowed": false,
        "DnsOverHttpsMode": "off",
        "EncryptedClientHelloEnabled": false,
    });
    pretty(&policies)
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The same as a registry file.
pub(super) fn chromium_registry(key: &str, pac: &str, proxy: &str, why: Option<&str>) -> String {
    let settings = json!({
        "ProxyMode": "pac_script",
        "ProxyPacUrl": pac,
        "ProxyPacMandatory": true,
    });
    let mut registry = format!(
        "Windows Registry Editor Version 5.00\n\n[{key}]\n\"ProxySettings\"=\"{}\"\n\"QuicAllowed\"=dword:00000000\n\
         \"DnsOverHttpsMode\"=\"off\"\n\"EncryptedClientHelloEnabled\"=dword:00000000\n\n\
         [{key}\\AutoSelectCertificateForUrls]\n",
        escaped(&settings.to_string()),
    );
    for (pattern, number) in select(proxy, why).iter().zip(1..) {
        let _ = writeln!(registry, "\"{number}\"=\"{}\"", escaped(pattern));
    }
    registry
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// `policies.json` of Firefox.
pub(super) fn firefox(pac: &str) -> String {
    let locked = |value: serde_json::Value| json!({ "Value": value, "Status": "locked" });
    pretty(&json!({ "policies": {
        "Proxy": {
            "Mode": "autoConfig",
            "AutoConfigURL": pac,
            "Locked": true,
        },
        "DNSOverHTTPS": { "Enabled": false, "Locked": true },
        "Certificates": { "ImportEnterpriseRoots": true },
        "Preferences": {
            "network.http.http3.enable": locked(false.into()),
            // It would ask the proxy for WebSockets by RFC 8441, and give up where that is not offered, rather than use a tunnel.
            "network.http.http2.websockets": locked(false.into()),
            "network.dns.echconfig.enabled": locked(false.into()),
            "network.proxy.failover_direct": locked(false.into()),
            "security.default_personal_cert": locked("Select Automatically".into()),
            "security.osclientcerts.autoload": locked(true.into()),
        },
    }}))
}

/// A network relay of Apple's systems. The identity is a certificate payload of the same profile.
pub(super) fn relay(proxy: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadType</key><string>Configuration</string>
  <key>PayloadVersion</key><integer>1</integer>
  <key>PayloadIdentifier</key><string>masugata</string>
  <key>PayloadUUID</key><string>7A2E3B56-58F4-4C6B-9C0E-0B9D6A1F0001</string>
  <key>PayloadDisplayName</key><string>Masugata</string>
  <key>PayloadContent</key>
  <array>
    <dict>
      <key>PayloadType</key><string>com.apple.relay.managed</string>
      <key>PayloadVersion</key><integer>1</integer>
      <key>PayloadIdentifier</key><string>masugata.relay</string>
      <key>PayloadUUID</key><string>7A2E3B56-58F4-4C6B-9C0E-0B9D6A1F0002</string>
      <key>Relays</key>
      <array>
        <dict>
          <key>HTTP2RelayURL</key><string>https://{proxy}/</string>
          <key>PayloadCertificateUUID</key><string>UUID OF THE DEVICE CERTIFICATE'S PAYLOAD</string>
        </dict>
      </array>
    </dict>
  </array>
</dict>
</plist>"#
    )
}

/// The system's PAC file, for every user.
pub(super) fn windows(pac: &str) -> String {
    format!(
        "Windows Registry Editor Version 5.00\n\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Windows\\CurrentVersion\\Internet Settings]\n\
         \"ProxySettingsPerUser\"=dword:00000000\n\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Internet Settings]\n\
         \"AutoConfigURL\"=\"{}\"\n\
         \"ProxyEnable\"=dword:00000000\n\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Internet Explorer\\Control Panel]\n\
         \"Proxy\"=dword:00000001\n\"Autoconfig\"=dword:00000001\n",
        escaped(pac)
    )
}

pub(super) fn curl(proxy: &str) -> String {
    format!(
        "proxy = \"https://{proxy}\"\nproxy-cert = \"/etc/masugata/device.pem\"\nproxy-key = \"/etc/masugata/device.key\"\n\
         proxy-cacert = \"/etc/masugata/ca.pem\"\n"
    )
}

pub(super) fn git(proxy: &str) -> String {
    format!(
        "[http]\n\tproxy = https://{proxy}\n\tproxySSLCert = /etc/masugata/device.pem\n\
         \tproxySSLKey = /etc/masugata/device.key\n\tproxySSLCAInfo = /etc/masugata/ca.pem\n"
    )
}

pub(super) const PIP: &str = "[global]\nproxy = http://127.0.0.1:3128\n";

pub(super) const NPM: &str = "proxy=http://127.0.0.1:3128\nhttps-proxy=http://127.0.0.1:3128\n";

pub(super) const APT: &str = "Acquire::http::Proxy \"http://127.0.0.1:3128\";\nAcquire::https::Proxy \"http://127.0.0.1:3128\";\n";

pub(super) const DOCKER: &str = r#"{
  "proxies": {
    "http-proxy": "http://127.0.0.1:3128",
    "https-proxy": "http://127.0.0.1:3128",
    "no-proxy": "localhost,127.0.0.0/8"
  }
}"#;

pub(super) const ENVIRONMENT: &str = "http_proxy=http://127.0.0.1:3128\nhttps_proxy=http://127.0.0.1:3128\nno_proxy=localhost,127.0.0.1,::1\n";

pub(super) fn unit(proxy: &str) -> String {
    format!(
        "[Unit]\nDescription=Local way to the gateway\n\n[Service]\n\
         ExecStart=/usr/bin/masugata connect --gateway {proxy} --ca /etc/masugata/ca.pem --cert /etc/masugata/device.pem --key /etc/masugata/device.key\n\
         Restart=on-failure\n\n[Install]\nWantedBy=default.target\n"
    )
}
