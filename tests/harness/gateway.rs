//! A whole gateway in a directory of its own, with apps, devices, users and policies as the test says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use masugata::capability::SystemEntropy;
use masugata::gateway::{Capabilities, Gateway};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::Client;
use crate::clock::TestClock;
use crate::pki::{Device, Pki};
use crate::provider::FakeProvider;
use crate::proxy::ProxyClient;
use crate::tokens::{TokenBuilder, TokenIssuer};

/// What the policies of most tests say: employees may do everything.
const EMPLOYEES: &str = r#"
@id("employees")
permit (principal in Masugata::Group::"employees", action, resource);
"#;

/// The same beside a second door: with `resource` left open the Internet would be, too.
const EMPLOYEES_OF_APPS: &str = r#"
@id("employees")
permit (principal in Masugata::Group::"employees", action, resource is Masugata::App);
@id("internet")
permit (
    principal in Masugata::Group::"employees",
    action == Masugata::Action::"connect",
    resource is Masugata::Destination
);
"#;

/// The token with which tests provision accounts.
pub const SCIM_TOKEN: &str = "planted-token-of-the-provisioning-system";

/// A gateway to be started. Apps are reached as `<name>.corp.test`.
pub struct TestGatewayBuilder {
    directory: TempDir,
    pki: Arc<Pki>,
    clock: Arc<TestClock>,
    issuer: TokenIssuer,
    apps: String,
    devices: String,
    policy: String,
    top: String,
    ingress: String,
    sections: String,
    audit: String,
    runtime: String,
    trust: String,
    issuer_keys: String,
    /// `[egress]` and what belongs to it.
    egress: Option<String>,
    watch: bool,
    /// People sign in with a browser; with `accounts` also at the built-in provider.
    sign_in: bool,
}

/// The files of a gateway, for the real program.
pub struct Prepared {
    pub directory: TempDir,
    pub clock: Arc<TestClock>,
    pub issuer: TokenIssuer,
    pki: Arc<Pki>,
}

impl Prepared {
    pub fn config(&self) -> PathBuf {
        self.path("masugata.toml")
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
    /// Replaces a file, as `mv` would.
    pub fn write(&self, name: &str, content: &str) {
        write(self.directory.path(), name, content);
    }
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
    /// What is on record so far, as far as lines are whole.
    pub fn records(&self) -> Vec<serde_json::Value> {
        whole_lines(&self.read("audit.jsonl"))
    }
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }
    /// `laptop` with a good token of `ada`, at `address`.
    pub fn ada(&self, address: SocketAddr) -> Client {
        let token = self
            .issuer
            .token("ada", &["employees"], self.clock.seconds());
        Client::new(address, &self.pki)
            .device(&self.pki.device("laptop"))
            .token(token.sign())
    }
}

fn whole_lines(text: &str) -> Vec<serde_json::Value> {
    text.split_inclusive('\n')
        .filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok())
        .collect()
}

/// A running gateway; ends with the value.
pub struct TestGateway {
    gateway: Option<Gateway>,
    pub clock: Arc<TestClock>,
    pub issuer: TokenIssuer,
    pki: Arc<Pki>,
    directory: TempDir,
}

impl TestGateway {
    /// With one good device (`laptop`), one issuer, no apps yet.
    #[expect(
        clippy::new_ret_no_self,
        reason = "reads as a sentence: TestGateway::new().app(…).start()"
    )]
    pub fn new() -> TestGatewayBuilder {
        let clock = Arc::new(TestClock::default());
        let pki = Arc::new(Pki::new(clock.seconds()));
        let builder = TestGatewayBuilder {
            directory: tempfile::tempdir().unwrap(),
            pki,
            issuer: TokenIssuer::new("https://idp.test", "masugata", "key-1"),
            apps: String::new(),
            devices: String::new(),
            policy: EMPLOYEES.into(),
            top: String::new(),
            ingress: String::new(),
            sections: String::new(),
            audit: String::new(),
            runtime: String::new(),
            trust: String::new(),
            issuer_keys: String::new(),
            egress: None,
            watch: false,
            sign_in: false,
            clock,
        };
        builder.device("laptop", "")
    }

    /// A client without device and token.
    pub fn client(&self) -> Client {
        Client::new(self.address(), &self.pki)
    }

    /// The client of an ordinary day: `laptop`, and a good token of `ada`, an employee.
    pub fn ada(&self) -> Client {
        self.client()
            .device(&self.device("laptop"))
            .token(self.token("ada").sign())
    }

    /// A good MFA token of an employee, to be changed as the test needs.
    pub fn token(&self, user: &str) -> TokenBuilder<'_> {
        self.issuer
            .token(user, &["employees"], self.clock.seconds())
    }

    /// The certificate of a device, made on first use.
    pub fn device(&self, name: &str) -> Device {
        self.pki.device(name)
    }
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }
    pub fn address(&self) -> SocketAddr {
        self.gateway().ingress_addresses()[0]
    }
    pub fn egress_address(&self) -> SocketAddr {
        self.gateway().egress_addresses()[0]
    }
    /// A program on `laptop` without credentials of its own.
    pub fn proxy(&self) -> ProxyClient {
        self.stranger().device(&self.device("laptop"))
    }
    /// A program without a device.
    pub fn stranger(&self) -> ProxyClient {
        ProxyClient::new(self.egress_address(), &self.pki)
    }
    pub fn admin_address(&self) -> SocketAddr {
        self.gateway().admin_address().unwrap()
    }
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
    /// Replaces a file of the gateway's directory, as `mv` would.
    pub fn write(&self, name: &str, content: &str) {
        write(self.directory.path(), name, content);
    }
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
    /// Replaces the whole policy and reloads.
    pub async fn set_policy(&self, policy: &str) {
        self.write("policies/test.cedar", policy);
        self.gateway().reload().await.unwrap();
    }

    /// Replaces one text by another in a file, which must have it.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "`{from}` is not in {name}:\n{text}");
        self.write(name, &text.replace(from, to));
    }
    /// Reads all files again; they must be good.
    pub async fn reload(&self) {
        self.gateway()
            .reload()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops, so that the record is whole, verifies its chain and that every request has one decision and one
    /// completion, and reads it.
    pub async fn records(mut self) -> Vec<serde_json::Value> {
        self.gateway.take().unwrap().shutdown().await;
        crate::record::verify_chain(&self.path("audit.jsonl"));
        let records = self.records_so_far();
        crate::record::assert_paired(&records);
        records
    }

    /// The record while it is being written; a line that is not whole yet is left out.
    pub fn records_so_far(&self) -> Vec<serde_json::Value> {
        let text = self.read("audit.jsonl");
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until as many completions are on record.
    pub async fn completions(&self, count: usize) -> Vec<serde_json::Value> {
        let completions = || -> Vec<serde_json::Value> {
            let records = self.records_so_far().into_iter();
            records
                .filter(|record| record["type"] == "completion")
                .collect()
        };
        crate::eventually(&format!("{count} completions"), async || {
            completions().len() >= count
        })
        .await;
        completions()
    }

    /// Asks the administrators' listener: status and body.
    pub async fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.admin_address())
            .await
            .unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nmasugata-admin: 1\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Stops with grace and starts again, on the same files and with the same clock.
    pub async fn restart(mut self) -> Self {
        self.gateway.take().unwrap().shutdown().await;
        let capabilities = Capabilities {
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy::default()),
        };
        let gateway = Gateway::start(&self.path("masugata.toml"), capabilities).await;
        self.gateway = Some(gateway.unwrap_or_else(|error| panic!("{error}")));
        self
    }

    /// Stops with grace.
    pub async fn shutdown(mut self) -> TempDir {
        self.gateway.take().unwrap().shutdown().await;
        self.directory
    }
}

impl TestGatewayBuilder {
    /// An internal app in front of `upstream`.
    pub fn app(self, name: &str, upstream: SocketAddr) -> Self {
        self.app_with(name, "internal", upstream, "")
    }

    /// An app with more lines: of `[[app]]` itself, then of its tables.
    pub fn app_with(mut self, name: &str, level: &str, upstream: SocketAddr, more: &str) -> Self {
        write!(
            self.apps,
            "[[app]]\nname = \"{name}\"\nlevel = \"{level}\"\nhosts = [\"{name}.corp.test\"]\n\
             upstream.servers = [\"http://{upstream}\"]\n{more}\n"
        )
        .unwrap();
        self
    }

    /// `[[app]]` as written.
    pub fn raw_app(mut self, text: &str) -> Self {
        writeln!(self.apps, "[[app]]\n{text}").unwrap();
        self
    }

    /// A row of the inventory with a good posture, and more or other lines.
    pub fn device(mut self, name: &str, more: &str) -> Self {
        let (id, observed) = (Pki::identity(name), timestamp(self.clock.seconds() - 60));
        let defaults = [
            ("kind", "\"laptop\""),
            ("ownership", "\"company\""),
            ("owner", "\"corp/ada\""),
            ("observed_at", &format!("\"{observed}\"")),
            ("source", "\"agent\""),
            ("posture.disk_encrypted", "true"),
            ("posture.firewall_enabled", "true"),
            ("posture.screen_lock", "true"),
            ("posture.patches_current", "true"),
        ];
        writeln!(
            self.devices,
            "[[device]]\nid = \"{name}\"\nidentities = [\"{id}\"]"
        )
        .unwrap();
        for (key, value) in defaults {
            // `owner = ""`: nobody's.
            if !more
                .lines()
                .any(|line| line.split('=').next().unwrap().trim() == key)
            {
                writeln!(self.devices, "{key} = {value}").unwrap();
            }
        }
        writeln!(self.devices, "{}", more.replace("owner = \"\"", "")).unwrap();
        self
    }

    /// A second door, with more keys of `[egress]` and then tables that belong to it. Every employee may go everywhere,
    /// unless the test has policies of its own; the owner of `laptop`, `ada`, is one.
    pub fn egress(mut self, text: &str) -> Self {
        let first = self.egress.replace(text.to_owned()).is_none();
        if self.policy == EMPLOYEES {
            self.policy = EMPLOYEES_OF_APPS.into();
        }
        let owner = "owner = \"corp/ada\"\n";
        let groups = format!("{owner}owner_groups = [\"employees\"]\n");
        if first {
            self.devices = self.devices.replace(owner, &groups);
        }
        self
    }

    /// A destination on loopback: the name leads there, and may.
    pub fn origin(mut self, host: &str, address: SocketAddr) -> Self {
        write!(
            self.sections,
            "[[egress.address]]\nhost = \"{host}\"\naddresses = [\"{address}\"]\n\
             [[egress.reach]]\nhosts = [\"{host}\"]\nranges = [\"127.0.0.0/8\"]\nports = [{}]\n",
            address.port()
        )
        .unwrap();
        self
    }

    /// People sign in with a browser at `login.corp.test`; sign-outs are reported to `signals.corp.test`. Addresses have no
    /// port, whatever port the gateway has: browsers of the harness know where it is.
    pub fn sign_in(mut self) -> Self {
        if std::mem::replace(&mut self.sign_in, true) {
            return self;
        }
        let mut store = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut store, 0o700);
        store.create(self.directory.path().join("store")).unwrap();
        self.top("store = \"store\"")
            .ingress("public_port = 443")
            .config(
                "[sign_in]\nhost = \"login.corp.test\"\nback_channel_host = \"signals.corp.test\"",
            )
    }

    /// The built-in provider, with more keys of `[identity_provider]`.
    pub fn accounts(self, keys: &str) -> Self {
        self.sign_in()
            .config(&format!("[identity_provider]\n{keys}"))
    }

    /// People sign in there.
    pub fn provider(self, provider: &FakeProvider) -> Self {
        self.provider_with(provider, "", "")
    }

    /// With more keys of `[[issuer]]`, and of `[issuer.sign_in]`.
    pub fn provider_with(self, provider: &FakeProvider, keys: &str, sign_in: &str) -> Self {
        self.sign_in()
            .file(&provider.secret_file(), &provider.client_secret)
            .config(&provider.table(keys, sign_in))
    }

    /// Another system provisions the accounts of that issuer, at `scim.corp.test`, with [`SCIM_TOKEN`].
    pub fn scim(self, issuer: &str) -> Self {
        self.sign_in()
            .file("scim.secret", SCIM_TOKEN)
            .config(&format!(
                "[scim]\nhost = \"scim.corp.test\"\nissuer = \"{issuer}\"\ntoken_files = [\"scim.secret\"]"
            ))
    }

    /// Replaces the policies.
    pub fn policy(mut self, text: &str) -> Self {
        self.policy = text.into();
        self
    }
    /// More tables at the end of the configuration.
    pub fn config(mut self, text: &str) -> Self {
        writeln!(self.sections, "{text}").unwrap();
        self
    }
    /// More top-level keys.
    pub fn top(mut self, text: &str) -> Self {
        writeln!(self.top, "{text}").unwrap();
        self
    }
    /// More keys of `[ingress]`.
    pub fn ingress(mut self, text: &str) -> Self {
        writeln!(self.ingress, "{text}").unwrap();
        self
    }
    /// More keys of `[audit]`.
    pub fn audit(mut self, text: &str) -> Self {
        writeln!(self.audit, "{text}").unwrap();
        self
    }
    /// More keys of `[runtime]`.
    pub fn runtime(mut self, text: &str) -> Self {
        writeln!(self.runtime, "{text}").unwrap();
        self
    }
    /// More keys of `[devices]`.
    pub fn trust(mut self, text: &str) -> Self {
        writeln!(self.trust, "{text}").unwrap();
        self
    }
    /// More keys of the issuer `corp`.
    pub fn issuer_keys(mut self, text: &str) -> Self {
        writeln!(self.issuer_keys, "{text}").unwrap();
        self
    }
    /// Keeps everything on that disk, the record included. To be called first.
    pub fn on_disk(mut self, disk: &crate::record::SmallDisk) -> Self {
        self.directory = tempfile::tempdir_in(disk.path()).unwrap();
        self
    }
    /// A file beside the configuration.
    pub fn file(self, name: &str, content: &str) -> Self {
        write(self.directory.path(), name, content);
        self
    }
    /// Reloads by itself when a file changes; otherwise tests say when.
    pub fn watching(mut self) -> Self {
        self.watch = true;
        self
    }
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }
    /// The clock itself, for what stands beside the gateway.
    pub fn shared_clock(&self) -> Arc<TestClock> {
        Arc::clone(&self.clock)
    }
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the files and starts.
    pub async fn start(self) -> TestGateway {
        self.try_start()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes the files only.
    pub fn prepare(self) -> Prepared {
        self.write_files();
        Prepared {
            directory: self.directory,
            clock: self.clock,
            issuer: self.issuer,
            pki: self.pki,
        }
    }

    fn write_files(&self) {
        let directory = self.directory.path();
        self.pki.write(directory);
        write(directory, "jwks.json", &self.issuer.jwks().to_string());
        write(directory, "devices.toml", &self.devices);
        write(directory, "policies/test.cedar", &self.policy);
        write(directory, "masugata.toml", &self.text());
    }

    /// # Errors
    /// What the gateway says when it does not start.
    pub async fn try_start(self) -> Result<TestGateway, masugata::gateway::StartError> {
        self.write_files();
        let directory = self.directory.path();
        let capabilities = Capabilities {
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy::default()),
        };
        let gateway = Gateway::start(&directory.join("masugata.toml"), capabilities).await?;
        Ok(TestGateway {
            gateway: Some(gateway),
            clock: self.clock,
            issuer: self.issuer,
            pki: self.pki,
            directory: self.directory,
        })
    }

    fn text(&self) -> String {
        let listen = if self.ingress.contains("listen") {
            ""
        } else {
            "listen = [\"127.0.0.1:0\"]\n"
        };
        format!(
            "policies = [\"policies\"]\n{top}\n\
             [ingress]\n{listen}{ingress}\n\
             [[ingress.certificate]]\nchain = \"server.pem\"\nkey = \"server.key\"\n\
             [devices]\nauthorities = [\"ca.pem\"]\ninventory = \"devices.toml\"\n{crl}{trust}\
             [[issuer]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudiences = [\"{audience}\"]\n\
             algorithms = [\"ES256\"]\njwks_file = \"jwks.json\"\n{issuer_keys}\
             [audit]\nfile = \"audit.jsonl\"\n{audit}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [runtime]\nwatch = {watch}\n{runtime}\n\
             {apps}\n{egress}{sections}\n",
            trust = self.trust,
            issuer_keys = self.issuer_keys,
            top = self.top,
            ingress = self.ingress,
            crl = if directory_has(self.directory.path(), "ca.crl") {
                "revocation_lists = [\"ca.crl\"]\n"
            } else {
                ""
            },
            issuer = self.issuer.issuer,
            audience = self.issuer.audience,
            audit = self.audit,
            runtime = self.runtime,
            watch = self.watch,
            apps = self.apps,
            egress = self
                .egress
                .as_ref()
                .map_or_else(String::new, |egress| format!(
                    "[egress]\nlisten = [\"127.0.0.1:0\"]\nname = \"proxy.corp.test\"\n{egress}\n"
                )),
            sections = self.sections,
        )
    }
}

fn directory_has(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

fn write(directory: &Path, name: &str, content: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content).unwrap();
    #[cfg(unix)]
    if name.ends_with(".key") || name.ends_with(".secret") {
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&temporary, private).unwrap();
    }
    std::fs::rename(temporary, path).unwrap();
}

/// RFC 3339.
fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
