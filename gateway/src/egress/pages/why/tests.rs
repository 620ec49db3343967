use std::sync::Arc;
use std::time::Duration;

use masugata_policy::{Guidance, PostureAttribute, PostureFault};

use super::*;
use crate::capability::Entropy;
use crate::denial::Denial;
use crate::exchange::RequestId;

const AT: Timestamp = Timestamp::from_seconds(1_795_426_868);
const DEVICE: &str = "laptop-<1>";

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn tokyo() -> Now {
    Now {
        utc_offset_seconds: 9 * 3600,
        ..Now::utc(AT)
    }
}

fn brand() -> Brand {
    Brand::load(&crate::config::Pages {
        logo: None,
        colour: None,
        organisation: "Example & Söhne".to_owned(),
        contact: Some("help@example.com".to_owned()),
    })
    .unwrap()
}

fn prefer(format: Format, language: Language) -> Preferences {
    Preferences {
        format,
        language,
        head_only: false,
        http1: true,
        grpc: false,
    }
}

fn note(refusals: &Refusals, denial: &Denial, host: &str, port: u16, ago: u64) {
    let at = AT.minus(Duration::from_secs(ago));
    let refusal = Refusal::of(denial, host, port, None, RequestId(u128::from(ago)), at);
    refusals.note(DEVICE, refusal);
}

fn samples() -> Refusals {
    let refusals = Refusals::new(20);
    let mut forbidden = Denial::new(DenialReason::Forbidden);
    forbidden.guidance = Some(Arc::new(Guidance {
        reason_en: Some("On a list of <harmful> sites.".into()),
        reason_ja: Some("有害なサイトの<一覧>に載っています。".into()),
        ..Guidance::default()
    }));
    note(&refusals, &forbidden, "c2.threat.test", 443, 300);
    let posture = PostureFault::Failing(PostureAttribute::DiskEncrypted).into();
    note(&refusals, &posture, "app.crm.example", 443, 200);
    note(
        &refusals,
        &DenialReason::NoPermit.into(),
        "\"><script>alert(1)</script>",
        8443,
        100,
    );
    note(
        &refusals,
        &DenialReason::ReasonNeeded.into(),
        "files.example",
        443,
        60,
    );
    note(
        &refusals,
        &DenialReason::ReasonNeeded.into(),
        "files.example",
        443,
        50,
    );
    refusals
}

fn shown(
    refusals: &Refusals,
    refused: Option<&Refused>,
    preferences: Preferences,
) -> Response<Bytes> {
    let (brand, form) = (brand(), FormKey::new(&Zeros));
    let why = Why {
        brand: &brand,
        device: DEVICE,
        refusals,
        form: &form,
        now: tokyo(),
    };
    page(&why, refused, preferences)
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

#[test]
fn every_refusal_is_told_with_what_to_do_and_its_numbers() {
    for language in [Language::English, Language::Japanese] {
        let response = shown(&samples(), None, prefer(Format::Page, language));
        let page = text(&response);
        assert_eq!(response.status(), 200);
        let order = [
            "files.example",
            "alert(1)",
            "app.crm.example",
            "c2.threat.test",
        ];
        let places = order.map(|host| page.find(host).unwrap());
        assert!(places.is_sorted(), "newest first");
        for code in ["reason-needed", "no-permit", "posture-failing", "forbidden"] {
            assert!(page.contains(&format!("<code>{code}</code>")), "{code}");
        }
        // Ten minutes to seven in the evening, in Tokyo.
        assert!(page.contains(">2026-11-23 18:40</time> (×2)"), "{page}");
        assert!(page.contains(&RequestId(50).to_string()));
        assert!(page.contains(":8443</h2>") && !page.contains(":443</h2>"));
        assert!(page.contains("href=\"/setup\""));
    }
}

#[test]
fn a_policys_own_words_and_the_setting_at_fault_are_told() {
    let english = shown(&samples(), None, prefer(Format::Page, Language::English));
    assert!(text(&english).contains("On a list of &lt;harmful&gt; sites."));
    assert!(text(&english).contains("Disk encryption"));
    let japanese = shown(&samples(), None, prefer(Format::Page, Language::Japanese));
    assert!(text(&japanese).contains("有害なサイトの&lt;一覧&gt;に載っています。"));
}

// Attack: a page elsewhere makes the browser ask for a host that is markup.
#[test]
fn nothing_in_a_host_is_markup() {
    for language in [Language::English, Language::Japanese] {
        let response = shown(&samples(), None, prefer(Format::Page, language));
        let page = text(&response);
        for markup in ["<script", "<harmful", "laptop-<1>", "& S"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "nothing is fetched"
        );
        assert_eq!(page.matches("</main>").count(), 1);
    }
}

#[test]
fn one_form_is_there_for_what_asks_for_a_reason_and_only_there() {
    let refusals = samples();
    note(
        &refusals,
        &DenialReason::ReasonNeeded.into(),
        "files.example",
        80,
        10,
    );
    let response = shown(&refusals, None, prefer(Format::Page, Language::English));
    let page = text(&response);
    assert_eq!(page.matches("<form").count(), 1);
    assert!(
        !page.contains("Open the page of your refusals"),
        "it is open"
    );
    let token = FormKey::new(&Zeros).token(DEVICE, AT);
    assert!(page.contains(&format!("name=\"token\" value=\"{token}\"")));
    assert!(page.contains("name=\"domain\" value=\"files.example\""));
    refusals.give_reason(DEVICE, "files.example", AT);
    let response = shown(&refusals, None, prefer(Format::Page, Language::English));
    assert!(!text(&response).contains("<form"));
    assert!(text(&response).contains("it counts until 2026-11-24 02:41"));
}

#[test]
fn a_form_that_did_not_count_says_why_and_keeps_what_was_written() {
    for (fault, status) in [
        (Fault::Foreign, 403),
        (Fault::Malformed, 400),
        (Fault::Expired, 403),
        (Fault::TooShort, 400),
        (Fault::TooLong, 400),
        (Fault::NotAsked, 400),
    ] {
        for language in [Language::English, Language::Japanese] {
            let refused = Refused {
                fault,
                draft: Some(Reason {
                    domain: "files.example".into(),
                    text: "</textarea><b>x".to_owned(),
                }),
            };
            let response = shown(&samples(), Some(&refused), prefer(Format::Page, language));
            assert_eq!(response.status(), status);
            assert!(text(&response).contains("role=\"alert\""));
            assert!(text(&response).contains("&lt;/textarea&gt;&lt;b&gt;x</textarea>"));
        }
    }
}

#[test]
fn the_page_may_use_its_style_send_its_form_and_nothing_else() {
    let response = shown(&samples(), None, prefer(Format::Page, Language::English));
    let page = text(&response);
    let style = page
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[test]
fn an_empty_list_says_so() {
    let response = shown(
        &Refusals::new(20),
        None,
        prefer(Format::Page, Language::English),
    );
    assert!(text(&response).contains("Nothing was refused to this device lately."));
}

#[test]
fn programs_get_the_list() {
    let refusals = Refusals::new(20);
    note(
        &refusals,
        &DenialReason::NoPermit.into(),
        "a.example",
        443,
        60,
    );
    let response = shown(&refusals, None, prefer(Format::Problem, Language::English));
    assert_eq!(response.headers()["content-type"], "application/json");
    insta::assert_snapshot!(text(&response).replace(",\"", ",\n\""), @r#"
    [{"time":"2026-11-23T09:40:08Z",
    "host":"a.example",
    "port":443,
    "code":"no-permit",
    "what":"No rule opens this site or service to you on this device.",
    "remedy":"If you need it for your work, ask the IT department to approve it.",
    "times":1,
    "request_id":"0000000000000000000000000000003c"}]
    "#);
    let head = Preferences {
        head_only: true,
        ..prefer(Format::Problem, Language::English)
    };
    assert!(shown(&refusals, None, head).body().is_empty());
}

#[test]
fn a_form_that_counts_leads_back_to_the_page() {
    let response = taken();
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], "/");
}

/// Writes sample pages to look at: `cargo test -p masugata --lib sample_why -- --ignored`, with `PAGES` set to a directory.
#[test]
#[ignore = "for looking at"]
fn sample_why() {
    let directory =
        std::path::PathBuf::from(std::env::var_os("PAGES").expect("PAGES names a directory"));
    for language in [Language::English, Language::Japanese] {
        let short = Refused {
            fault: Fault::TooShort,
            draft: None,
        };
        for (name, refused) in [("why", None), ("why-fault", Some(&short))] {
            let response = shown(&samples(), refused, prefer(Format::Page, language));
            let file = directory.join(format!("{name}-{}.html", language.tag()));
            std::fs::write(file, response.body()).unwrap();
        }
    }
}
