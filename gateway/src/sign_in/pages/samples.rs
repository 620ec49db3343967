//! Every page with plausible and with hostile content, for the tests, and to look at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use jiff::tz::TimeZone;
use masugata_policy::{Guidance, Level, PostureAttribute, PostureFault, Timestamp};

use super::*;
use crate::config::Pages;
use crate::denial::DenialReason;
use crate::inventory::{Inventory, Lookup};
use crate::relying_party::{SignInError, Unmet};
use crate::session::SessionView;
use crate::sign_in::fault::{Fault, OwnFault};
use crate::sign_in::my_apps::{AppCard, Refusal};
use crate::sign_in::my_device::MyDevice;

/// 2026-11-23T09:41:08Z
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_795_426_868);

const INVENTORY: &str = r#"
[[device]]
id = "laptop-7"
identities = ["serial:C02XK1"]
kind = "laptop"
ownership = "company"
owner = "corp/ada"
hostname = "ada-macbook"
observed_at = "2026-11-23T09:20:00Z"
source = "mdm"
[device.posture]
disk_encrypted = false
firewall_enabled = true
screen_lock = true
os_version = "15.6.1"

[[device]]
id = "phone-3"
identities = ["serial:F17"]
kind = "phone"
ownership = "personal"
owner = "corp/ada"
model = "iPhone 17 <b>"
"#;

pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) language: Language,
    pub(super) response: Response<Bytes>,
}

impl Sample {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.response.body()).unwrap()
    }
}

pub(super) fn brand(logo: Option<&Path>, colour: Option<[u8; 3]>) -> Brand {
    Brand::load(&Pages {
        organisation: "蔵田商事株式会社".to_owned(),
        contact: Some("情報システム部 内線 1234 / 03-1234-5678 / help@kurata.example".to_owned()),
        logo: logo.map(Path::to_owned),
        colour,
    })
    .unwrap()
}

pub(super) fn look<'a>(brand: &'a Brand, zone: &'a Zone, target: &str, accept: &str) -> Look<'a> {
    let request = Request::get(target)
        .header("accept", "text/html")
        .header("accept-language", accept);
    let head = request.body(()).unwrap().into_parts().0;
    Look::of(brand, zone, &head, RequestId(0x0123_4567_89ab_cdef))
}

/// Every kind of page in both languages.
pub(super) fn all(brand: &Brand) -> Vec<Sample> {
    let zone = Zone::new(TimeZone::get("Asia/Tokyo").unwrap());
    let mut samples = Vec::new();
    for (language, accept) in [(Language::English, "en"), (Language::Japanese, "ja")] {
        let at = |target: &str| look(brand, &zone, target, accept);
        let mut add = |name, response| {
            samples.push(Sample {
                name,
                language,
                response,
            });
        };
        choosers(&at("/choose?to=x"), &mut add);
        for (name, fault) in faults() {
            add(
                name,
                error(&at("/callback/corp"), &fault, Some("/start?to=x")),
            );
        }
        let label = "Kurata ID <i>";
        add(
            "signed-out",
            signed_out(&at("/signed-out"), AtProvider::Ended),
        );
        let next = AtProvider::Next {
            label,
            link: "https://id.example/end?a=1&b=2",
        };
        add("signed-out-next", signed_out(&at("/signed-out"), next));
        let not_told = AtProvider::NotTold { label };
        add(
            "signed-out-not-told",
            signed_out(&at("/signed-out"), not_told),
        );
        mine(&at("/?x=%22"), &mut add);
        kept_forms(&at("/expenses"), &mut add);
        let there = at("/.masugata/signed-in");
        add("signed-in", signed_in_elsewhere(&there));
    }
    samples
}

fn choosers(look: &Look<'_>, add: &mut impl FnMut(&'static str, Response<Bytes>)) {
    let choices = [
        Choice {
            label: "蔵田商事アカウント",
            link: "/start?to=x&with=corp".to_owned(),
        },
        Choice {
            label: "Partner <Co> & Sons",
            link: "/start?to=x&with=partner".to_owned(),
        },
    ];
    let carried = [("to", "https://wiki.kurata.example/?a=\"b\"".to_owned())];
    let by_email = |unknown| {
        Some(ByEmail {
            carried: &carried,
            unknown,
        })
    };
    for (name, app, choices, by_email) in [
        ("choose", Some("expenses"), &choices[..], by_email(None)),
        ("choose-list", None, &choices[..], None),
        (
            "choose-unknown",
            Some("expenses"),
            &choices[..],
            by_email(Some("ada@nowhere.example")),
        ),
        ("choose-no-address", None, &[][..], by_email(Some("\"ada"))),
    ] {
        let page = Chooser {
            app,
            choices,
            by_email,
        };
        add(name, chooser(look, &page));
    }
}

fn faults() -> Vec<(&'static str, Fault)> {
    let mut faults: Vec<(&'static str, Fault)> = OwnFault::ALL
        .into_iter()
        .map(|fault| (fault.code(), fault.into()))
        .collect();
    let provider = SignInError::Unavailable {
        provider: "corp".into(),
        detail: "<secret detail>".into(),
    };
    faults.push(("error-unavailable", provider.into()));
    let unmet = SignInError::Unmet(Unmet::PhishingResistant);
    faults.push(("error-unmet", unmet.into()));
    faults
}

fn mine(look: &Look<'_>, add: &mut impl FnMut(&'static str, Response<Bytes>)) {
    let inventory = Inventory::parse(
        INVENTORY,
        Path::new("devices.toml"),
        Duration::from_secs(3600),
        None,
    )
    .unwrap();
    let Lookup::Found(laptop) = inventory.find("laptop-7") else {
        panic!("it is in the inventory");
    };
    let Lookup::Found(phone) = inventory.find("phone-3") else {
        panic!("it is in the inventory");
    };
    let demands = [
        (
            "payroll".to_owned(),
            vec![demand(PostureAttribute::DiskEncrypted)],
        ),
        (
            "customer-database".to_owned(),
            vec![
                demand(PostureAttribute::DiskEncrypted),
                demand(PostureAttribute::EdrRunning),
            ],
        ),
    ];
    let apps = apps();
    let sessions = [
        session("a1", "laptop-7", 600),
        session("b2", "phone-3", 40_000),
        session("c3", "lost-<tablet>", 90_000),
    ];
    let (bad, good) = (
        MyDevice::demanded(laptop, &demands, NOW),
        MyDevice::demanded(phone, &[], NOW),
    );
    let built_in = Factors {
        link: "/id/factors",
        passkeys: 1,
        password: true,
        codes: false,
        recovery_codes: 8,
    };
    let page = MyPage {
        name: "Ada 蔵田 <ada>",
        email: Some("ada@kurata.example"),
        provider: "Kurata ID",
        apps: &apps,
        device: &bad,
        sessions: &sessions,
        current: "a1",
        inventory: &inventory,
        factors: Some(built_in),
        token: "token-\"of-this-session",
        notice: Some(MyNotice::SessionEnded),
    };
    add("my-page", my_page(look, &page));
    let bare = MyPage {
        apps: &[],
        device: &good,
        sessions: &sessions[..1],
        factors: None,
        notice: Some(MyNotice::Expired),
        ..page
    };
    add("my-page-bare", my_page(look, &bare));
}

fn demand(attribute: PostureAttribute) -> masugata_policy::PostureRequirement {
    masugata_policy::PostureRequirement {
        attribute,
        max_age: None,
    }
}

fn apps() -> Vec<AppCard> {
    let card = |name: &str, level, refused| AppCard {
        name: Arc::from(name),
        link: Some(format!("https://{name}.kurata.example/")),
        level,
        refused,
    };
    let refusal = |reason| Refusal {
        reason,
        guidance: None,
        posture: None,
        step_up: false,
    };
    vec![
        card("wiki", Level::Internal, None),
        card("expenses", Level::Internal, None),
        card(
            "personnel-files",
            Level::Confidential,
            Some(Refusal {
                step_up: true,
                ..refusal(DenialReason::AssuranceInsufficient)
            }),
        ),
        AppCard {
            link: None,
            ..card("branches", Level::Public, None)
        },
        card(
            "payroll",
            Level::Confidential,
            Some(Refusal {
                posture: Some(PostureFault::Failing(PostureAttribute::DiskEncrypted)),
                ..refusal(DenialReason::PostureFailing)
            }),
        ),
        card(
            "customer-database",
            Level::Confidential,
            Some(Refusal {
                guidance: Some(Arc::new(Guidance {
                    reason_en: Some("Only during <working> hours.".into()),
                    reason_ja: Some(
                        "業務時間内（<平日>の 8 時から 20 時まで）だけ利用できます。".into(),
                    ),
                    remedy_en: Some("Come back tomorrow.".into()),
                    remedy_ja: None,
                })),
                ..refusal(DenialReason::Forbidden)
            }),
        ),
    ]
}

fn session(id: &str, device: &str, ago: i64) -> SessionView {
    let now = NOW.as_millis();
    SessionView {
        id: id.to_owned(),
        principal: "corp/ada".to_owned(),
        name: None,
        issuer: "corp".to_owned(),
        email: None,
        device: device.to_owned(),
        signed_in_at: now - ago * 2000,
        proved_at: now - ago * 2000,
        last_used: now - ago * 1000,
        factors: Vec::new(),
        multi_factor: true,
        phishing_resistant: true,
        hosts: Vec::new(),
    }
}

fn kept_forms(look: &Look<'_>, add: &mut impl FnMut(&'static str, Response<Bytes>)) {
    let fields = [
        ("title".to_owned(), "交通費 \"11 月\"".to_owned()),
        (
            "note".to_owned(),
            "\nline one\r\nline two </textarea><script>".to_owned(),
        ),
    ];
    for (name, entries) in [
        (
            "kept",
            Entries::Kept {
                action: "/expenses?id=4&x=\"y\"",
                multipart: true,
                fields: &fields,
            },
        ),
        ("kept-go-back", Entries::GoBack),
    ] {
        let kept = KeptForm {
            app: "expenses",
            sign_in: "https://login.kurata.example/start?to=a&bind=b",
            entries,
        };
        add(name, kept_form(look, &kept));
    }
}

/// Writes all pages to look at: `cargo test -p masugata --lib sample_sign_in -- --ignored`, with `PAGES` set to a
/// directory, and perhaps `LOGO` to a file.
#[test]
#[ignore = "for looking at"]
fn sample_sign_in() {
    let directory =
        std::path::PathBuf::from(std::env::var_os("PAGES").expect("PAGES names a directory"));
    let logo = std::env::var_os("LOGO").map(std::path::PathBuf::from);
    let colour = logo.as_ref().map(|_| [0xe6, 0x00, 0x33]);
    for sample in all(&brand(logo.as_deref(), colour)) {
        let file = format!("{}-{}.html", sample.name, sample.language.tag());
        std::fs::write(directory.join(file), sample.response.body()).unwrap();
    }
}
