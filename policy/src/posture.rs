//! Device posture: which facts are held about a device, from whom, and how old they may be.
//!
//! Pure: the caller supplies `now`. Collection lives in the gateway; rules that use posture live in Cedar policies,
//! where an attribute that is absent or stale is simply not there and so matches nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// The vocabulary, closed on purpose: a misspelt attribute must stop the load, not silently never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PostureAttribute {
    /// All fixed disks are encrypted.
    DiskEncrypted,
    /// The host firewall is on.
    FirewallEnabled,
    /// Malware protection is running.
    AntivirusRunning,
    /// Its definitions are current.
    AntivirusCurrent,
    /// An endpoint detection agent is running.
    EdrRunning,
    /// The screen locks itself and asks for a secret.
    ScreenLock,
    /// Booted with verified boot.
    SecureBoot,
    /// Not jailbroken or rooted, system integrity protection on.
    IntegrityIntact,
    /// Security updates are installed within the company's deadline.
    PatchesCurrent,
    /// The operating system still receives security updates.
    OsSupported,
    /// Enrolled in device management.
    Managed,
    /// The device management's own overall verdict.
    Compliant,
    /// Version of the operating system.
    OsVersion,
}

impl PostureAttribute {
    /// How many there are.
    pub const COUNT: usize = 13;

    /// Every attribute, in the order they are documented.
    pub const ALL: [Self; Self::COUNT] = [
        Self::DiskEncrypted,
        Self::FirewallEnabled,
        Self::AntivirusRunning,
        Self::AntivirusCurrent,
        Self::EdrRunning,
        Self::ScreenLock,
        Self::SecureBoot,
        Self::IntegrityIntact,
        Self::PatchesCurrent,
        Self::OsSupported,
        Self::Managed,
        Self::Compliant,
        Self::OsVersion,
    ];

    /// The word used in files, policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskEncrypted => "disk_encrypted",
            Self::FirewallEnabled => "firewall_enabled",
            Self::AntivirusRunning => "antivirus_running",
            Self::AntivirusCurrent => "antivirus_current",
            Self::EdrRunning => "edr_running",
            Self::ScreenLock => "screen_lock",
            Self::SecureBoot => "secure_boot",
            Self::IntegrityIntact => "integrity_intact",
            Self::PatchesCurrent => "patches_current",
            Self::OsSupported => "os_supported",
            Self::Managed => "managed",
            Self::Compliant => "compliant",
            Self::OsVersion => "os_version",
        }
    }

    /// The attribute of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|attribute| attribute.as_str() == word)
    }
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostureValue {
    /// Yes or no.
    Flag(bool),
    /// Major, minor, patch; only for [`PostureAttribute::OsVersion`].
    Version(u32, u32, u32),
}

/// Who says so, from the most to the least believable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PostureSource {
    /// Signed by the hardware.
    Attested,
    /// The device management server.
    Mdm,
    /// An agent on the device.
    Agent,
    /// A person who looked, in the inventory file.
    Inspection,
    /// The device's user.
    SelfDeclared,
}

impl PostureSource {
    /// Every source, most believable first.
    pub const ALL: [Self; 5] = [
        Self::Attested,
        Self::Mdm,
        Self::Agent,
        Self::Inspection,
        Self::SelfDeclared,
    ];

    /// The word used in files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Mdm => "mdm",
            Self::Agent => "agent",
            Self::Inspection => "inspection",
            Self::SelfDeclared => "self_declared",
        }
    }

    /// The source of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// One dated fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was seen.
    pub value: PostureValue,
    /// By whom.
    pub source: PostureSource,
    /// When.
    pub observed_at: Timestamp,
    /// For how long it counts (RFC 9334 §10, freshness).
    pub max_age: Duration,
}

impl Observation {
    /// Longest time a report may be dated ahead of our clock before it is disbelieved.
    pub const MAX_SKEW: Duration = Duration::from_secs(60);

    /// Counts at `now`: neither too old nor dated in the future.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until() && now.plus(Self::MAX_SKEW) >= self.observed_at
    }

    /// The first instant at which it no longer counts.
    pub fn fresh_until(&self) -> Timestamp {
        self.observed_at.plus(self.max_age)
    }
}

/// Everything known about one device's state; at most one observation per attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePosture {
    observations: [Option<Observation>; PostureAttribute::COUNT],
}

impl DevicePosture {
    /// The posture with `observation` recorded, replacing an earlier one of the same attribute.
    #[must_use]
    pub fn with(mut self, attribute: PostureAttribute, observation: Observation) -> Self {
        if let Some(slot) = self.observations.get_mut(attribute as usize) {
            *slot = Some(observation);
        }
        self
    }

    /// What was last seen of `attribute`, fresh or not.
    pub fn observation(&self, attribute: PostureAttribute) -> Option<&Observation> {
        self.observations.get(attribute as usize)?.as_ref()
    }

    /// What counts at `now`: absent when never seen, stale, or dated in the future.
    pub fn fresh(&self, attribute: PostureAttribute, now: Timestamp) -> Option<PostureValue> {
        self.observation(attribute)
            .filter(|seen| seen.is_fresh(now))
            .map(|seen| seen.value)
    }

    /// Whether every requirement holds at `now`; the first that does not is the error.
    ///
    /// # Errors
    /// [`PostureFault`] names the attribute and what is wrong with it: absent and stale never pass.
    pub fn assess(
        &self,
        requirements: &[PostureRequirement],
        now: Timestamp,
    ) -> Result<(), PostureFault> {
        requirements
            .iter()
            .try_for_each(|requirement| requirement.check(self, now))
    }
}

/// What an app demands of a device before any policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostureRequirement {
    /// The attribute, which must be fresh and, for a flag, true.
    pub attribute: PostureAttribute,
    /// A stricter age than the observation's own.
    pub max_age: Option<Duration>,
}

impl PostureRequirement {
    fn check(&self, posture: &DevicePosture, now: Timestamp) -> Result<(), PostureFault> {
        let attribute = self.attribute;
        let Some(seen) = posture.observation(attribute) else {
            return Err(PostureFault::Missing(attribute));
        };
        let young_enough = self
            .max_age
            .is_none_or(|limit| now < seen.observed_at.plus(limit));
        if !seen.is_fresh(now) || !young_enough {
            return Err(PostureFault::Stale(attribute));
        }
        match seen.value {
            PostureValue::Flag(false) => Err(PostureFault::Failing(attribute)),
            PostureValue::Flag(true) | PostureValue::Version(..) => Ok(()),
        }
    }
}

/// Why a posture requirement does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostureFault {
    /// Nothing is known.
    Missing(PostureAttribute),
    /// What is known is too old, or dated in the future.
    Stale(PostureAttribute),
    /// It is known, and bad.
    Failing(PostureAttribute),
}

impl PostureFault {
    /// The attribute at fault.
    pub fn attribute(self) -> PostureAttribute {
        match self {
            Self::Missing(attribute) | Self::Stale(attribute) | Self::Failing(attribute) => {
                attribute
            }
        }
    }
}
