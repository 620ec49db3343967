//! People, devices and questions for the tests of this crate.

use std::sync::Arc;
use std::time::Duration;

use crate::destination::{CloudService, Destination, Whereto};
use crate::posture::{DevicePosture, Observation, PostureAttribute, PostureSource, PostureValue};
use crate::request::{
    Action, App, Authentication, Device, DeviceKind, Level, NetworkNames, Ownership, Principal,
    PrincipalKind, Request, RequestFacts, Resource,
};
use crate::set::{PolicySet, PolicySource};
use crate::time::{Now, Timestamp};

/// 2026-11-23T09:41:08Z, a Monday.
pub(crate) const AT: Timestamp = Timestamp::from_seconds(1_795_426_868);

const NONE: [&str; 0] = [];

pub(crate) fn user(id: &str, groups: &[&str]) -> Arc<Principal> {
    let groups = groups.iter().copied();
    Arc::new(Principal::new(
        PrincipalKind::User,
        id,
        "corp",
        None,
        groups,
        NONE,
    ))
}

pub(crate) fn observed(value: PostureValue, observed_at: Timestamp) -> Observation {
    Observation {
        value,
        source: PostureSource::Mdm,
        observed_at,
        max_age: Duration::from_secs(3600),
    }
}

/// Everything good, seen at [`AT`], for an hour.
pub(crate) fn full_posture() -> DevicePosture {
    PostureAttribute::ALL
        .into_iter()
        .fold(DevicePosture::default(), |posture, attribute| {
            let value = if attribute == PostureAttribute::OsVersion {
                PostureValue::Version(14, 6, 1)
            } else {
                PostureValue::Flag(true)
            };
            posture.with(attribute, observed(value, AT))
        })
}

pub(crate) fn laptop(posture: DevicePosture) -> Arc<Device> {
    Arc::new(Device::new(
        "laptop-7",
        DeviceKind::Laptop,
        Ownership::Company,
        Some("corp/ada"),
        ["field"],
        posture,
    ))
}

/// A place on the Internet.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: bool,
    pub(crate) domain: Option<&'static str>,
    pub(crate) categories: Vec<Arc<str>>,
    pub(crate) service: Option<Arc<CloudService>>,
}

/// An unknown host on the usual port.
pub(crate) fn site(host: &str) -> Site {
    Site {
        host: host.to_owned(),
        port: 443,
        address: host.parse::<std::net::IpAddr>().is_ok(),
        domain: None,
        categories: Vec::new(),
        service: None,
    }
}

impl Site {
    pub(crate) fn whereto(&self) -> Whereto<'_> {
        Whereto {
            host: &self.host,
            port: self.port,
            address: self.address,
            domain: self.domain,
            categories: &self.categories,
            service: self.service.as_ref(),
        }
    }
}

/// A question that tests change one thing of.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) principal: Arc<Principal>,
    pub(crate) device: Arc<Device>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) action: Action,
    pub(crate) app: Arc<App>,
    /// Asked for instead of the app, if there is one.
    pub(crate) destination: Option<Arc<Destination>>,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) address: std::net::IpAddr,
    pub(crate) networks: NetworkNames,
    pub(crate) reason_given: bool,
    pub(crate) now: Now,
}

/// Ada reads the wiki on her good laptop, signed in with a passkey ten minutes ago.
pub(crate) fn asked() -> Asked {
    let proved_at = Some(AT.minus(Duration::from_secs(600)));
    Asked {
        principal: user("corp/ada", &["employees", "hr"]),
        device: laptop(full_posture()),
        authentication: Arc::new(Authentication::new(
            true,
            true,
            Some("aal2"),
            ["hwk"],
            proved_at,
            true,
        )),
        action: Action::Read,
        app: Arc::new(App::new("wiki", Level::Internal, ["tools"])),
        destination: None,
        method: "GET".to_owned(),
        host: "wiki.example".to_owned(),
        path: "/".to_owned(),
        address: [192, 0, 2, 1].into(),
        networks: Arc::from([]),
        reason_given: false,
        now: Now::utc(AT),
    }
}

impl Asked {
    /// The same for a connection to `site`.
    pub(crate) fn to(&self, set: &PolicySet, site: &Site) -> Self {
        Self {
            action: Action::Connect,
            destination: Some(set.place(&site.whereto())),
            ..self.clone()
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            principal: &self.principal,
            device: &self.device,
            authentication: &self.authentication,
            action: self.action,
            resource: match &self.destination {
                Some(destination) => Resource::Destination(destination),
                None => Resource::App(&self.app),
            },
            facts: RequestFacts {
                method: &self.method,
                host: &self.host,
                path: &self.path,
                address: self.address,
                networks: &self.networks,
                reason_given: self.reason_given,
            },
        }
    }
}

pub(crate) fn set(text: &str) -> PolicySet {
    let loaded = PolicySet::load(&[PolicySource {
        name: "test.cedar",
        text,
    }]);
    loaded.unwrap_or_else(|error| panic!("{error}"))
}
