//! How browsers, systems and programs are told to use the gateway.
//!
//! Only what the client really can do is written: few system stacks speak TLS to a proxy, fewer show it a certificate, and
//! for those `masugata connect` is the way, not a half secured one.

mod files;

use std::fmt;

use crate::config::Config;
use crate::config::text::Vocabulary;
use crate::respond::Language;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Chrome,
    Edge,
    Firefox,
    Macos,
    Windows,
    Ios,
    Android,
    Curl,
    Git,
    Pip,
    Npm,
    Apt,
    Docker,
    Connect,
}

impl Client {
    pub const ALL: [Self; 14] = [
        Self::Chrome,
        Self::Edge,
        Self::Firefox,
        Self::Macos,
        Self::Windows,
        Self::Ios,
        Self::Android,
        Self::Curl,
        Self::Git,
        Self::Pip,
        Self::Npm,
        Self::Apt,
        Self::Docker,
        Self::Connect,
    ];
}

impl Vocabulary for Client {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("chrome", Self::Chrome, "Chrome and Chromium"),
        ("edge", Self::Edge, "Microsoft Edge"),
        ("firefox", Self::Firefox, "Firefox"),
        ("macos", Self::Macos, "programs on macOS"),
        ("windows", Self::Windows, "programs on Windows"),
        ("ios", Self::Ios, "iPhone and iPad"),
        ("android", Self::Android, "Android"),
        ("curl", Self::Curl, "curl"),
        ("git", Self::Git, "git"),
        ("pip", Self::Pip, "pip"),
        ("npm", Self::Npm, "npm"),
        ("apt", Self::Apt, "apt"),
        ("docker", Self::Docker, "Docker"),
        (
            "connect",
            Self::Connect,
            "everything that cannot speak TLS to a proxy",
        ),
    ];
}

/// What instructions say about this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupFacts {
    /// Host and port of the door.
    pub proxy: String,
    /// URL of the PAC file, if one is served.
    pub pac: Option<String>,
    /// URL of the page that shows a device its refusals.
    pub why: Option<String>,
    /// Proxy passwords are accepted.
    pub passwords: bool,
}

impl SetupFacts {
    /// The facts of a configuration, with the PAC file of that name, or the first. `None`: there is no second door, or no
    /// such file.
    pub fn of(config: &Config, pac: Option<&str>) -> Option<Self> {
        let egress = config.egress.as_ref()?;
        let port = egress.listen.first()?.port();
        let url = |host: &str, path: &str| page_url(config, host, path);
        let files = egress.pac.as_ref().map(|pac| pac.files.as_slice());
        let mut files = files.unwrap_or_default().iter();
        let file = match pac {
            Some(name) => Some(files.find(|file| file.name == name)?),
            None => files.next(),
        };
        let pac = egress.pac.as_ref().zip(file);
        Some(Self {
            proxy: format!("{}:{port}", egress.name),
            pac: pac.map(|(pac, file)| url(&pac.host, &format!("{}.pac", file.name))),
            why: egress.why_host.as_deref().map(|host| url(host, "")),
            passwords: egress.credentials.password && egress.password_key.is_some(),
        })
    }
}

/// Where a page of ours is, on a host of the first door.
pub fn page_url(config: &Config, host: &str, path: &str) -> String {
    format!("{}/{path}", config.ingress.origin_of(host))
}

/// A step of instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sentences; what is between backquotes is typed as it stands.
    Say(String),
    /// A file to write.
    File { name: String, content: String },
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(text) => writeln!(out, "{text}\n"),
            Self::File { name, content } => writeln!(out, "--- {name}\n{content}\n"),
        }
    }
}

/// What to do for one client, as plain text.
pub fn text(client: Client, facts: &SetupFacts, language: Language) -> String {
    let steps = steps(client, facts, language);
    steps.iter().map(Step::to_string).collect()
}

/// What to do for one client.
pub fn steps(client: Client, facts: &SetupFacts, language: Language) -> Vec<Step> {
    let mut page = Page {
        steps: Vec::new(),
        language,
    };
    match client {
        Client::Chrome => chromium(&mut page, facts, &CHROME),
        Client::Edge => chromium(&mut page, facts, &EDGE),
        Client::Firefox => firefox(&mut page, facts),
        Client::Macos => macos(&mut page, facts),
        Client::Windows => windows(&mut page, facts),
        Client::Ios => ios(&mut page, facts),
        Client::Android => android(&mut page, facts),
        Client::Curl => curl(&mut page, facts),
        Client::Git => git(&mut page, facts),
        Client::Pip => local(&mut page, facts, "pip.conf", files::PIP),
        Client::Npm => local(&mut page, facts, ".npmrc", files::NPM),
        Client::Apt => local(
            &mut page,
            facts,
            "/etc/apt/apt.conf.d/90masugata",
            files::APT,
        ),
        Client::Docker => docker(&mut page, facts),
        Client::Connect => connect(&mut page, facts),
    }
    if let Some(why) = &facts.why {
        page.say(
            &format!(
                "A refused page says nothing in a browser. What was refused, and what to do: {why}"
            ),
            &format!("拒否された理由はブラウザには表示されません。理由と対処はこちら: {why}"),
        );
    }
    page.steps
}

/// Instructions as they grow.
struct Page {
    steps: Vec<Step>,
    language: Language,
}

impl Page {
    fn say(&mut self, english: &str, japanese: &str) {
        let text = match self.language {
            Language::English => english,
            Language::Japanese => japanese,
        };
        self.steps.push(Step::Say(text.to_owned()));
    }

    fn file(&mut self, name: &str, content: &str) {
        self.steps.push(Step::File {
            name: name.to_owned(),
            content: content.trim_end().to_owned(),
        });
    }

    /// The PAC file's URL, or a word on what is missing.
    fn pac(&mut self, facts: &SetupFacts) -> String {
        if let Some(pac) = &facts.pac {
            return pac.clone();
        }
        self.say(
            "This gateway serves no PAC file yet: write `[egress.pac]` in its configuration, and put the URL in below.",
            "このゲートウェイは PAC ファイルをまだ配信していません。設定に `[egress.pac]` を書き、下の URL を置き換えてください。",
        );
        "https://pac.corp.example/staff.pac".to_owned()
    }

    fn device_files(&mut self) {
        self.say(
            "`device.pem` and `device.key` are this device's certificate and key, `ca.pem` is the CA of the gateway's own \
             certificate (leave that line out if the system knows it).",
            "`device.pem` と `device.key` はこの端末の証明書と鍵、`ca.pem` はゲートウェイの証明書を発行した CA です(OS が信頼して\
             いる CA ならその行は不要です)。",
        );
    }

    fn through_connect(&mut self) {
        self.say(
            "This program cannot show a certificate to a proxy. Run `masugata connect` beside it (see `masugata setup \
             connect`) and let it use the local port:",
            "このプログラムはプロキシに証明書を提示できません。`masugata connect` を動かし(`masugata setup connect` を参照)、\
             ローカルのポートを使わせてください。",
        );
    }
}

/// One of the browsers made from Chromium.
struct Chromium {
    linux: &'static str,
    registry: &'static str,
    domain: &'static str,
}

const CHROME: Chromium = Chromium {
    linux: "/etc/opt/chrome/policies/managed/masugata.json (Chromium: /etc/chromium/policies/managed/masugata.json)",
    registry: r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Google\Chrome",
    domain: "com.google.Chrome",
};

const EDGE: Chromium = Chromium {
    linux: "/etc/opt/edge/policies/managed/masugata.json",
    registry: r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Edge",
    domain: "com.microsoft.Edge",
};

fn chromium(page: &mut Page, facts: &SetupFacts, browser: &Chromium) {
    let pac = page.pac(facts);
    page.say(
        &format!(
            "Managed policies, by device management. The browser speaks TLS to the proxy and shows the device's certificate, \
             which has to be in the system's store. QUIC, DNS over HTTPS and encrypted ClientHello are off, because they go \
             past the proxy or hide from it. On macOS the same keys belong in a profile for `{}`.",
            browser.domain
        ),
        &format!(
            "端末管理で配布するポリシーです。ブラウザは TLS でプロキシに接続し、OS の証明書ストアにある端末証明書を提示します。QUIC、\
             DNS over HTTPS、暗号化 ClientHello はプロキシを迂回または隠れるため無効にします。macOS では同じキーを `{}` のプロファイルに\
             書きます。",
            browser.domain
        ),
    );
    let why = facts.why.as_deref();
    page.file(
        browser.linux,
        &files::chromium_json(&pac, &facts.proxy, why),
    );
    page.file(
        "masugata.reg (Windows)",
        &files::chromium_registry(browser.registry, &pac, &facts.proxy, why),
    );
    page.say(
        "`\"filter\":{}` takes any certificate. With several on a device, name the issuer: \
         `{\"ISSUER\":{\"CN\":\"Device CA\"}}`. Add your apps' hosts, for instance `https://[*.]corp.example`, so that nobody is \
         asked there either.",
        "`\"filter\":{}` はどの証明書でも選びます。端末に複数ある場合は発行者を指定してください: \
         `{\"ISSUER\":{\"CN\":\"Device CA\"}}`。業務アプリのホスト(例: `https://[*.]corp.example`)も加えると、そこでも確認を\
         求められません。",
    );
}

fn firefox(page: &mut Page, facts: &SetupFacts) {
    let pac = page.pac(facts);
    page.say(
        "`policies.json` beside the program, or by device management. The certificate comes from the system's store; where \
         your release does not show it to a proxy, use `masugata connect` and a PAC file that names `PROXY 127.0.0.1:3128`.",
        "`policies.json` をプログラムの横に置くか、端末管理で配布します。証明書は OS のストアから使われます。お使いの版がプロキシに提示\
         しない場合は `masugata connect` と、`PROXY 127.0.0.1:3128` を指す PAC ファイルを使ってください。",
    );
    page.file("distribution/policies.json", &files::firefox(&pac));
}

fn macos(page: &mut Page, facts: &SetupFacts) {
    page.say(
        "Chrome, Edge and Firefox: see their own pages. The system's own stack (Safari, most programs) does not speak TLS to \
         a proxy. Either run `masugata connect` and let a PAC file name `PROXY 127.0.0.1:3128`, or, from macOS 14, use a \
         network relay as below. The relay is Apple's own client of HTTP/2 CONNECT; no test of this project runs it, so try \
         it on one device first.",
        "Chrome、Edge、Firefox はそれぞれのページを参照してください。OS 標準の通信(Safari など)は TLS でプロキシに接続しません。\
         `masugata connect` を動かして `PROXY 127.0.0.1:3128` を指す PAC を使うか、macOS 14 以降なら下のネットワークリレーを使います。\
         リレーは Apple 自身の HTTP/2 CONNECT クライアントで、このプロジェクトの試験では動かしていません。まず一台で試してください。",
    );
    page.file("masugata.mobileconfig", &files::relay(&facts.proxy));
}

fn ios(page: &mut Page, facts: &SetupFacts) {
    page.say(
        "iPhone and iPad do not speak TLS to a proxy that Wi-Fi settings name. From iOS 17 a network relay does, with the \
         device's certificate (replace the UUID by that of its payload). It is Apple's own client of HTTP/2 CONNECT; no test \
         of this project runs it, so try it on one device first. Older systems: not without a VPN.",
        "iPhone と iPad は Wi-Fi 設定のプロキシに TLS で接続しません。iOS 17 以降のネットワークリレーなら端末証明書(UUID を証明書\
         ペイロードのものに置き換え)を使って接続できます。Apple 自身の HTTP/2 CONNECT クライアントで、このプロジェクトの試験では動かして\
         いません。まず一台で試してください。古い OS では VPN なしには使えません。",
    );
    page.file("masugata.mobileconfig", &files::relay(&facts.proxy));
}

fn android(page: &mut Page, facts: &SetupFacts) {
    let pac = page.pac(facts);
    page.say(
        "Android's own proxy settings are without TLS and are only a hint to programs. Chrome takes managed \
         configurations from device management (`com.android.chrome`); other programs are not covered.",
        "Android 標準のプロキシ設定は TLS に対応せず、アプリには目安にすぎません。Chrome には端末管理の管理対象設定\
         (`com.android.chrome`)で配布できます。他のアプリは対象外です。",
    );
    page.file(
        "managed configuration of com.android.chrome",
        &files::chromium_json(&pac, &facts.proxy, facts.why.as_deref()),
    );
}

fn windows(page: &mut Page, facts: &SetupFacts) {
    let pac = page.pac(facts);
    page.say(
        "Edge and Chrome: see their own pages. The system's stacks (WinHTTP, WinINET) do not speak TLS to a proxy: run \
         `masugata connect` and give them a PAC file that names `PROXY 127.0.0.1:3128`. The keys below make the system use a \
         PAC file for every user, and keep users from changing it.",
        "Edge と Chrome はそれぞれのページを参照してください。OS 標準の通信(WinHTTP、WinINET)は TLS でプロキシに接続しません。\
         `masugata connect` を動かし、`PROXY 127.0.0.1:3128` を指す PAC を使わせてください。下のキーは全利用者に PAC を適用し、変更を\
         禁止します。",
    );
    page.file("masugata.reg", &files::windows(&pac));
}

fn curl(page: &mut Page, facts: &SetupFacts) {
    page.device_files();
    page.file("~/.curlrc", &files::curl(&facts.proxy));
    if facts.passwords {
        let password = match &facts.why {
            Some(why) => format!(
                "masugata proxy-password --from {why} --ca ca.pem --cert device.pem --key device.key --token-file token"
            ),
            None => "masugata proxy-password …".to_owned(),
        };
        page.say(
            &format!(
                "Where policy asks for more than the device: `-U \"x:$({password})\"`, or `--proxy-header \
                 \"Proxy-Authorization: Bearer …\"`."
            ),
            &format!(
                "ポリシーが端末以上を求める場合: `-U \"x:$({password})\"`、または `--proxy-header \
                 \"Proxy-Authorization: Bearer …\"`。"
            ),
        );
    }
}

fn git(page: &mut Page, facts: &SetupFacts) {
    page.device_files();
    page.say("From git 2.26:", "git 2.26 以降:");
    page.file("~/.gitconfig", &files::git(&facts.proxy));
}

fn local(page: &mut Page, _facts: &SetupFacts, name: &str, content: &str) {
    page.through_connect();
    page.file(name, content);
}

fn docker(page: &mut Page, _facts: &SetupFacts) {
    page.through_connect();
    page.file("/etc/docker/daemon.json", files::DOCKER);
    page.say(
        "The daemon pulls through it. Containers do not reach the loopback of their host: build with `--network host`, or \
         run `masugata connect` in the container.",
        "デーモンのイメージ取得に使われます。コンテナからホストのループバックには届かないため、ビルドは `--network host` で行うか、\
         コンテナ内で `masugata connect` を動かしてください。",
    );
}

fn connect(page: &mut Page, facts: &SetupFacts) {
    page.device_files();
    page.say(
        "A plain proxy on this machine only, which carries everything to the gateway with the device's certificate:",
        "この端末だけで使える平文のプロキシで、端末証明書を使ってすべてをゲートウェイへ運びます。",
    );
    page.file(
        "~/.config/systemd/user/masugata-connect.service",
        &files::unit(&facts.proxy),
    );
    page.say("Programs then use:", "プログラムには次を設定します。");
    page.file("environment", files::ENVIRONMENT);
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn facts() -> SetupFacts {
        SetupFacts {
            proxy: "proxy.corp.example:8443".to_owned(),
            pac: Some("https://pac.corp.example/staff.pac".to_owned()),
            why: Some("https://why.corp.example/".to_owned()),
            passwords: true,
        }
    }

    #[test]
    fn instructions_in_english() {
        let all = Client::ALL.map(|client| {
            format!(
                "===== {}\n{}",
                client.word(),
                text(client, &facts(), Language::English)
            )
        });
        assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn instructions_in_japanese() {
        let all = Client::ALL.map(|client| {
            format!(
                "===== {}\n{}",
                client.word(),
                text(client, &facts(), Language::Japanese)
            )
        });
        assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn what_is_json_is_json() {
        for text in [
            files::chromium_json("https://pac.example/a.pac", "proxy.example:1", None),
            files::firefox("https://pac.example/a.pac"),
            files::DOCKER.to_owned(),
        ] {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn every_client_has_a_word() {
        for client in Client::ALL {
            assert!(!client.word().is_empty());
        }
        assert_eq!(Client::WORDS.len(), Client::ALL.len());
    }
}
