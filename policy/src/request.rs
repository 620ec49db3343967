//! What a decision is asked about: principal, action, resource, context, typed, with no maps of strings.
//!
//! [`Principal`], [`Device`], [`Authentication`], [`App`] and [`Destination`] are built when they change and shared by `Arc`;
//! only [`RequestFacts`] is made per request, and it borrows or copies. Each built value carries a `revision`, unique
//! in this process, so that an earlier decision can be recognised without comparing contents (see `reuse`).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::destination::Destination;
use crate::posture::DevicePosture;
use crate::time::Timestamp;

/// Unique in this process, never reused: two values with the same revision are the same value.
pub(crate) fn next_revision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A person or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person; `Masugata::User` in policies.
    User,
    /// A service account, known by its certificate alone; `Masugata::Service` in policies.
    Service,
}

/// Who asks. Key users by issuer and subject: `id` is `<issuer name>/<user claim>` for users.
#[derive(Debug)]
pub struct Principal {
    revision: u64,
    kind: PrincipalKind,
    id: Box<str>,
    issuer: Box<str>,
    name: Option<Box<str>>,
    groups: Vec<Box<str>>,
    roles: Vec<Box<str>>,
}

impl Principal {
    /// A principal with its direct groups and roles. Order and duplicates in the lists do not matter.
    pub fn new(
        kind: PrincipalKind,
        id: &str,
        issuer: &str,
        name: Option<&str>,
        groups: impl IntoIterator<Item = impl Into<Box<str>>>,
        roles: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        let sorted = |mut names: Vec<Box<str>>| {
            names.sort_unstable();
            names.dedup();
            names
        };
        Self {
            revision: next_revision(),
            kind,
            id: id.into(),
            issuer: issuer.into(),
            name: name.map(Into::into),
            groups: sorted(groups.into_iter().map(Into::into).collect()),
            roles: sorted(roles.into_iter().map(Into::into).collect()),
        }
    }

    /// Unique in this process; see the module's first lines.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// Person or program.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }
    /// The id used in policies, e.g. `corp/ada` for `Masugata::User::"corp/ada"`.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The configured name of the issuer that vouches, or `certificate` for a service account.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// A name to show to people.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// Direct groups, sorted.
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups
    }
    /// Roles (duties), sorted.
    pub fn roles(&self) -> &[Box<str>] {
        &self.roles
    }
}

/// What kind of thing a device is (I-4 asks for it by name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// `laptop`
    Laptop,
    /// `desktop`
    Desktop,
    /// `phone`
    Phone,
    /// `tablet`
    Tablet,
    /// `server`: where service accounts live.
    Server,
    /// `other`
    Other,
}

impl DeviceKind {
    /// Every kind, in the order they are documented.
    pub const ALL: [Self; 6] = [
        Self::Laptop,
        Self::Desktop,
        Self::Phone,
        Self::Tablet,
        Self::Server,
        Self::Other,
    ];

    /// The word used in files, policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Desktop => "desktop",
            Self::Phone => "phone",
            Self::Tablet => "tablet",
            Self::Server => "server",
            Self::Other => "other",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who owns a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// `company`
    Company,
    /// `personal` (BYOD)
    Personal,
}

impl Ownership {
    /// Both, in the order they are documented.
    pub const ALL: [Self; 2] = [Self::Company, Self::Personal];

    /// The word used in files, policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Company => "company",
            Self::Personal => "personal",
        }
    }

    /// The ownership of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ownership| ownership.as_str() == word)
    }
}

/// An enrolled device: what it is, whose it is, what is known of its state and since when.
#[derive(Debug)]
pub struct Device {
    revision: u64,
    id: Box<str>,
    kind: DeviceKind,
    ownership: Ownership,
    /// The enrolled person's principal id (`corp/ada`), when the device belongs to one; otherwise it is shared.
    owner: Option<Box<str>>,
    groups: Vec<Box<str>>,
    posture: DevicePosture,
}

impl Device {
    /// A device as one row of the inventory tells it.
    pub fn new(
        id: &str,
        kind: DeviceKind,
        ownership: Ownership,
        owner: Option<&str>,
        groups: impl IntoIterator<Item = impl Into<Box<str>>>,
        posture: DevicePosture,
    ) -> Self {
        let mut groups: Vec<Box<str>> = groups.into_iter().map(Into::into).collect();
        groups.sort_unstable();
        groups.dedup();
        Self {
            revision: next_revision(),
            id: id.into(),
            kind,
            ownership,
            owner: owner.map(Into::into),
            groups,
            posture,
        }
    }

    /// Unique in this process; see the module's first lines.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// The inventory's id.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// Laptop, phone, …
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }
    /// The company's or the person's own.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }
    /// The enrolled person's principal id.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }
    /// Device groups, sorted.
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups
    }
    /// Dated posture attributes.
    pub fn posture(&self) -> &DevicePosture {
        &self.posture
    }
}

/// By what a principal is known; `context.authentication.credential` in policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Credential {
    /// `token`: a JWT of a configured issuer.
    #[default]
    Token,
    /// `password`: a short-lived proxy password.
    Password,
    /// `certificate`: the device's certificate alone, of its owner or of a service account.
    Certificate,
    /// `session`: the cookie of a person who signed in with a browser.
    Session,
}

impl Credential {
    /// Every kind, in the order they are documented.
    pub const ALL: [Self; 4] = [
        Self::Token,
        Self::Password,
        Self::Certificate,
        Self::Session,
    ];

    /// The word used in policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Session => "session",
        }
    }
}

/// How the principal proved itself, as the verified credential tells it.
#[derive(Debug)]
pub struct Authentication {
    revision: u64,
    /// Two different classes of factors, or an `acr` that the issuer's configuration counts as such.
    pub multi_factor: bool,
    /// `multi_factor` holds only because the configuration says that the issuer always demands it; for the record.
    pub multi_factor_out_of_band: bool,
    /// A factor that cannot be relayed by a false site.
    pub phishing_resistant: bool,
    /// Authentication context class, as received.
    pub acr: Option<Box<str>>,
    /// RFC 8176 method references, as received, sorted.
    pub amr: Vec<Box<str>>,
    /// When the person last proved who they are; absent when the issuer does not say.
    pub authenticated_at: Option<Timestamp>,
    /// The credential is bound to the device certificate of this connection (RFC 8705 `cnf`), or is that certificate.
    pub certificate_bound: bool,
    credential: Credential,
}

impl Authentication {
    /// The facts of one verified credential.
    pub fn new(
        multi_factor: bool,
        phishing_resistant: bool,
        acr: Option<&str>,
        amr: impl IntoIterator<Item = impl Into<Box<str>>>,
        authenticated_at: Option<Timestamp>,
        certificate_bound: bool,
    ) -> Self {
        let mut amr: Vec<Box<str>> = amr.into_iter().map(Into::into).collect();
        amr.sort_unstable();
        amr.dedup();
        Self {
            revision: next_revision(),
            multi_factor,
            multi_factor_out_of_band: false,
            phishing_resistant,
            acr: acr.map(Into::into),
            amr,
            authenticated_at,
            certificate_bound,
            credential: Credential::Token,
        }
    }

    /// Known by something else than a token.
    #[must_use]
    pub fn with_credential(self, credential: Credential) -> Self {
        Self { credential, ..self }
    }

    /// By what the principal is known.
    pub fn credential(&self) -> Credential {
        self.credential
    }

    /// Unique in this process; see the module's first lines.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// The three levels of information (measures E-1 and E-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// 公開情報
    Public,
    /// 業務情報
    Internal,
    /// 機密情報
    Confidential,
}

impl Level {
    /// From the least to the most protected.
    pub const ALL: [Self; 3] = [Self::Public, Self::Internal, Self::Confidential];

    /// The word used in files, policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
        }
    }

    /// The level of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// What is asked for: an app with its level and the app groups it is in.
#[derive(Debug)]
pub struct App {
    revision: u64,
    name: Box<str>,
    level: Level,
    groups: Vec<Box<str>>,
}

impl App {
    /// An app as the configuration declares it.
    pub fn new(
        name: &str,
        level: Level,
        groups: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        let mut groups: Vec<Box<str>> = groups.into_iter().map(Into::into).collect();
        groups.sort_unstable();
        groups.dedup();
        Self {
            revision: next_revision(),
            name: name.into(),
            level,
            groups,
        }
    }

    /// Unique in this process; see the module's first lines.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its level of information.
    pub fn level(&self) -> Level {
        self.level
    }
    /// App groups, sorted.
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups
    }
}

/// What the principal wants to do. In policies `Masugata::Action::"read"` and so on; `modify` is the parent of
/// `write` and `delete`, `use` the parent of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// GET, HEAD, OPTIONS
    Read,
    /// POST, PUT, PATCH and every method not named here
    Write,
    /// DELETE
    Delete,
    /// A WebSocket or another upgrade: bytes flow both ways after one decision. Towards a [`Destination`]: everything
    Connect,
}

impl Action {
    /// Every action, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Connect];

    /// The word used in policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Connect => "connect",
        }
    }
}

/// Which of the configured, named networks the client's address is in, sorted. Built per address range at load; the
/// caller shares it.
pub type NetworkNames = Arc<[Box<str>]>;

/// The HTTP method as policies see it: upper case, `context.request.method`.
pub type Method<'a> = &'a str;

/// The facts of this one request; everything else in a [`Request`] outlives it.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// HTTP method, as received (methods are case-sensitive).
    pub method: Method<'a>,
    /// Host without port, lower case.
    pub host: &'a str,
    /// Path without query. Never ambiguous: routing has refused such paths.
    pub path: &'a str,
    /// The client's address.
    pub address: IpAddr,
    /// Named networks that contain `address`.
    pub networks: &'a NetworkNames,
    /// The person on this device has said what the destination is needed for. Never at the ingress.
    pub reason_given: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// One of our apps.
    App(&'a Arc<App>),
    /// Somewhere on the Internet, as [`crate::PolicySet::place`] made it.
    Destination(&'a Arc<Destination>),
}

impl Resource<'_> {
    pub(crate) fn revision(self) -> u64 {
        match self {
            Self::App(app) => app.revision(),
            Self::Destination(destination) => destination.revision(),
        }
    }

    pub(crate) fn held(self) -> Held {
        match self {
            Self::App(app) => Held::App(Arc::clone(app)),
            Self::Destination(destination) => Held::Destination(Arc::clone(destination)),
        }
    }
}

/// A [`Resource`] that a permit holds on to.
#[derive(Clone, Debug)]
pub enum Held {
    /// One of our apps.
    App(Arc<App>),
    /// A class of destinations.
    Destination(Arc<Destination>),
}

/// A question for the policy set.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Arc<Principal>,
    /// On which device.
    pub device: &'a Arc<Device>,
    /// Proved how.
    pub authentication: &'a Arc<Authentication>,
    /// To do what.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
    /// By which request.
    pub facts: RequestFacts<'a>,
}
