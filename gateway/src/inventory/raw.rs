//! The inventory file as it is written; the doc comments are its documentation. CSV is read into the same shape.

use std::time::Duration;

use masugata_policy::{DeviceKind, Ownership, PostureAttribute, PostureSource};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{DeviceState, Identity, Instant, PrincipalId, Version};
use crate::config::text::{PlainText, Text, Vocabulary as _, Word};

/// Every device that may have rights.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// One table for each device.
    pub device: Option<Vec<Device>>,
}

/// One device, with the attributes that measure B-1 of the guideline asks for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name here, in policies (`Masugata::Device::"laptop-1"`) and in records.
    #[schemars(required)]
    pub id: Option<Text<PlainText>>,
    /// Identities of its certificates. What a certificate calls its device is looked for in this order: URI SAN
    /// `spiffe://…`, URI SAN `urn:uuid:…`, permanent identifier (`permanent-id:…`), hardware module name
    /// (`hardware:<oid>/<hex>`), subject serial number (`serial:…`), SHA-256 of the certificate (`sha256:…`).
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub identities: Option<Vec<Text<Identity>>>,
    /// What kind of device it is.
    #[schemars(required)]
    pub kind: Option<Text<Word<DeviceKind>>>,
    /// Whose it is.
    #[schemars(required)]
    pub ownership: Option<Text<Word<Ownership>>>,
    /// Where it is in its life. Only active devices have rights.
    #[schemars(extend("default" = "active"))]
    pub state: Option<Text<Word<DeviceState>>>,
    /// The person who uses it, as principal id. Not written: it is shared, and anybody may sit at it.
    pub owner: Option<Text<PrincipalId>>,
    /// The owner's name, to be shown to people. Optional.
    pub owner_name: Option<Text<PlainText>>,
    /// The owner's groups, for what the device's certificate alone opens at the egress: policies see these, while
    /// somebody who signs in brings the groups of the token.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub owner_groups: Option<Vec<Text<PlainText>>>,
    /// The owner's roles, likewise.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub owner_roles: Option<Vec<Text<PlainText>>>,
    /// Device groups, for policies.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub groups: Option<Vec<Text<PlainText>>>,
    /// Serial number. Optional.
    pub serial: Option<Text<PlainText>>,
    /// Maker and model. Optional.
    pub model: Option<Text<PlainText>>,
    /// Host name. Optional.
    pub hostname: Option<Text<PlainText>>,
    /// Its operating system.
    pub os: Option<OperatingSystem>,
    /// Notable applications, with versions where they matter.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub applications: Option<Vec<Text<PlainText>>>,
    /// How far it is patched, in words. Decisions use `posture.patches_current`. Optional.
    pub patch_status: Option<Text<PlainText>>,
    /// Where it is kept. Optional.
    pub location: Option<Text<PlainText>>,
    /// Who observed the posture, where an attribute does not say.
    #[schemars(extend("default" = PostureSource::Inspection.word()))]
    pub source: Option<Text<Word<PostureSource>>>,
    /// When the posture was observed, where an attribute does not say. Optional where every attribute says it.
    pub observed_at: Option<Text<Instant>>,
    /// How long observations count, where an attribute does not say. Not written: `devices.posture_max_age`.
    #[schemars(extend("x-least" = "1s"))]
    pub max_age: Option<Text<Duration>>,
    /// What was observed. Each attribute is the bare value, or a table such as `{ value = true, source = "mdm",
    /// observed_at = 2026-11-23T09:00:00+09:00, max_age = "1h" }`; what the table leaves out is taken from the device.
    pub posture: Option<Posture>,
}

/// Its operating system.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatingSystem {
    /// `windows`, `macos`, `linux`, `ios`, `android`, or what you call it. Optional.
    pub kind: Option<Text<PlainText>>,
    /// Version, as text for people. Decisions use `posture.os_version`. Optional.
    pub version: Option<Text<PlainText>>,
}

/// Posture attributes; what is not written is not known, and what is not known never passes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Posture {
    /// All fixed disks are encrypted. Optional.
    pub disk_encrypted: Option<Flag>,
    /// The host firewall is on. Optional.
    pub firewall_enabled: Option<Flag>,
    /// Malware protection is running. Optional.
    pub antivirus_running: Option<Flag>,
    /// Its definitions are current. Optional.
    pub antivirus_current: Option<Flag>,
    /// An endpoint detection agent is running. Optional.
    pub edr_running: Option<Flag>,
    /// The screen locks itself and asks for a secret. Optional.
    pub screen_lock: Option<Flag>,
    /// Booted with verified boot. Optional.
    pub secure_boot: Option<Flag>,
    /// Not jailbroken or rooted, system integrity protection on. Optional.
    pub integrity_intact: Option<Flag>,
    /// Security updates are installed within the company's deadline. Optional.
    pub patches_current: Option<Flag>,
    /// The operating system still receives security updates. Optional.
    pub os_supported: Option<Flag>,
    /// Enrolled in device management. Optional.
    pub managed: Option<Flag>,
    /// The device management's own overall verdict. Optional.
    pub compliant: Option<Flag>,
    /// Version of the operating system, in numbers. Optional.
    pub os_version: Option<SystemVersion>,
}

impl Posture {
    /// The attributes that are yes or no.
    pub(super) fn flags(
        self,
    ) -> (
        [(PostureAttribute, Option<Flag>); 12],
        Option<SystemVersion>,
    ) {
        use PostureAttribute as A;
        let flags = [
            (A::DiskEncrypted, self.disk_encrypted),
            (A::FirewallEnabled, self.firewall_enabled),
            (A::AntivirusRunning, self.antivirus_running),
            (A::AntivirusCurrent, self.antivirus_current),
            (A::EdrRunning, self.edr_running),
            (A::ScreenLock, self.screen_lock),
            (A::SecureBoot, self.secure_boot),
            (A::IntegrityIntact, self.integrity_intact),
            (A::PatchesCurrent, self.patches_current),
            (A::OsSupported, self.os_supported),
            (A::Managed, self.managed),
            (A::Compliant, self.compliant),
        ];
        (flags, self.os_version)
    }
}

/// A dated yes or no.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-short" = "value"))]
pub struct Flag {
    /// What was seen.
    #[schemars(required)]
    pub value: Option<bool>,
    /// Who saw it. Not written: the device's `source`.
    pub source: Option<Text<Word<PostureSource>>>,
    /// When. Not written: the device's `observed_at`.
    pub observed_at: Option<Text<Instant>>,
    /// How long it counts. Not written: the device's `max_age`.
    #[schemars(extend("x-least" = "1s"))]
    pub max_age: Option<Text<Duration>>,
}

/// A dated version.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-short" = "value"))]
pub struct SystemVersion {
    /// What was seen.
    #[schemars(required)]
    pub value: Option<Text<Version>>,
    /// Who saw it. Not written: the device's `source`.
    pub source: Option<Text<Word<PostureSource>>>,
    /// When. Not written: the device's `observed_at`.
    pub observed_at: Option<Text<Instant>>,
    /// How long it counts. Not written: the device's `max_age`.
    #[schemars(extend("x-least" = "1s"))]
    pub max_age: Option<Text<Duration>>,
}
