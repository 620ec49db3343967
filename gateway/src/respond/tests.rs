//! Every refusal, in both languages and both formats.

use std::sync::Arc;

use http::Request;
use masugata_policy::{Guidance, PostureAttribute, PostureFault};

use super::*;
use crate::config::Pages;

const ID: RequestId = RequestId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const DOORS: [Door; 2] = [Door::Ingress, Door::Egress];
const LANGUAGES: [Language; 2] = [Language::English, Language::Japanese];

fn brand() -> Brand {
    branded("Example <Corp> & Söhne", "help@example.com, 内線 \"1234\"")
}

fn branded(organisation: &str, contact: &str) -> Brand {
    Brand::load(&Pages {
        logo: None,
        colour: None,
        organisation: organisation.to_owned(),
        contact: Some(contact.to_owned()),
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

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn field<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// What policies' authors and inventories could write.
fn hostile(reason: DenialReason) -> Denial {
    let text = |text: &str| Some(Box::from(text));
    let mut denial = Denial::new(reason).with_detail("secret detail");
    denial.policies = Arc::from([Box::from("secret-policy")]);
    denial.guidance = Some(Arc::new(Guidance {
        reason_en: text("<script>alert('en')</script> \"because\""),
        reason_ja: text("<script>alert('ja')</script>理由\u{2028}です"),
        remedy_en: text("<img src=x onerror=alert(1)> do this"),
        remedy_ja: text("</main><b>こうする</b>"),
    }));
    denial
}

#[test]
fn every_refusal_has_code_id_and_remedy_in_both_languages_and_formats() {
    let formats = [Format::Page, Format::Problem];
    for (reason, door) in DenialReason::ALL
        .into_iter()
        .flat_map(|it| DOORS.map(|door| (it, door)))
    {
        for (language, format) in LANGUAGES
            .into_iter()
            .flat_map(|it| formats.map(|format| (it, format)))
        {
            {
                for said in [Denial::new(reason), hostile(reason)] {
                    let response = denial(
                        &said,
                        prefer(format, language),
                        ID,
                        &brand(),
                        Vec::new(),
                        door,
                    );
                    let text = body(&response);
                    assert_eq!(response.status(), status_at(door, reason));
                    assert!(text.contains(reason.code()), "{text}");
                    assert!(text.contains(&ID.to_string()), "{text}");
                    assert!(!text.contains("secret"), "{text}");
                    assert_eq!(field(&response, "content-language"), language.tag());
                    assert_eq!(field(&response, "cache-control"), "no-store");
                    assert_eq!(field(&response, "content-length"), text.len().to_string());
                    assert!(field(&response, "proxy-status").starts_with("masugata; error="));
                    match format {
                        Format::Page => check_page(text, language),
                        Format::Problem => check_problem(text, reason, door),
                    }
                }
            }
        }
    }
}

fn check_page(text: &str, language: Language) {
    for markup in [
        "<script",
        "<img",
        "<b>",
        "<Corp>",
        "& S",
        "\"because\"",
        "\"1234\"",
    ] {
        assert!(!text.contains(markup), "{markup}: {text}");
    }
    assert_eq!(text.matches("</main>").count(), 1);
    assert!(
        !text.contains("http://") && !text.contains("https://"),
        "nothing is fetched"
    );
    let japanese = text
        .chars()
        .any(|it| ('\u{3041}'..='\u{3096}').contains(&it));
    assert!(japanese || language == Language::English);
    assert!(text.contains(match language {
        Language::English => "What you can do",
        Language::Japanese => "対処方法",
    }));
}

fn check_problem(text: &str, reason: DenialReason, door: Door) {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        value["type"],
        format!("urn:masugata:denial:{}", reason.code())
    );
    assert_eq!(value["code"], reason.code());
    assert_eq!(value["status"], status_at(door, reason).as_u16());
    for member in ["title", "detail", "remedy"] {
        assert!(
            value[member].as_str().is_some_and(|it| it.len() > 5),
            "{member}: {text}"
        );
    }
}

#[test]
fn the_two_languages_say_the_same_number_of_things_and_never_the_same_words() {
    for (reason, door) in DenialReason::ALL
        .into_iter()
        .flat_map(|it| DOORS.map(|door| (it, door)))
    {
        let english = words_of(reason, Language::English, door);
        let japanese = words_of(reason, Language::Japanese, door);
        if door == Door::Egress {
            let of_site = LANGUAGES.map(|it| site::of_denial(reason, it).is_some());
            assert_eq!(of_site[0], of_site[1], "{reason:?}");
        }
        for said in [english.title, english.what, english.remedy] {
            assert!(said.is_ascii() && !said.is_empty(), "{said}");
        }
        for said in [japanese.title, japanese.what, japanese.remedy] {
            assert!(
                said.chars()
                    .any(|it| ('\u{3041}'..='\u{3096}').contains(&it)),
                "{said}"
            );
        }
        assert!(japanese.what.ends_with('。') && japanese.remedy.ends_with('。'));
        assert!(english.what.ends_with('.') && english.remedy.ends_with('.'));
    }
}

#[test]
fn the_setting_at_fault_is_named_in_words_with_what_to_do() {
    for attribute in PostureAttribute::ALL {
        for language in LANGUAGES {
            for fault in [
                PostureFault::Missing(attribute),
                PostureFault::Stale(attribute),
                PostureFault::Failing(attribute),
            ] {
                let page = denial(
                    &fault.into(),
                    prefer(Format::Page, language),
                    ID,
                    &brand(),
                    Vec::new(),
                    Door::Ingress,
                );
                assert!(body(&page).contains(&text::of_posture(fault, language)));
                let problem = denial(
                    &fault.into(),
                    prefer(Format::Problem, language),
                    ID,
                    &brand(),
                    Vec::new(),
                    Door::Ingress,
                );
                let value: serde_json::Value = serde_json::from_str(body(&problem)).unwrap();
                assert_eq!(value["attribute"], attribute.as_str());
                // What was not reported may well be in order: nobody is told to mend it.
                let remedy = text::posture_remedy(attribute, language);
                let failing = matches!(fault, PostureFault::Failing(_));
                assert_eq!(value["remedy"] == remedy, failing);
                assert_eq!(
                    body(&page).contains(&remedy.replace('\'', "&#39;")),
                    failing
                );
            }
        }
    }
}

#[test]
fn a_policys_own_words_come_first_and_the_other_language_before_none() {
    let mut said = Denial::new(DenialReason::Forbidden);
    said.guidance = Some(Arc::new(Guidance {
        reason_ja: Some("夜間は利用できません。".into()),
        remedy_en: Some("Come back at 8.".into()),
        ..Guidance::default()
    }));
    let response = denial(
        &said,
        prefer(Format::Problem, Language::English),
        ID,
        &brand(),
        Vec::new(),
        Door::Ingress,
    );
    let value: serde_json::Value = serde_json::from_str(body(&response)).unwrap();
    assert_eq!(value["detail"], "夜間は利用できません。");
    assert_eq!(value["remedy"], "Come back at 8.");
}

#[test]
fn head_gets_the_fields_and_no_content() {
    let mut wants = prefer(Format::Page, Language::English);
    let said = Denial::new(DenialReason::NoPermit);
    let with = denial(&said, wants, ID, &brand(), Vec::new(), Door::Ingress);
    wants.head_only = true;
    let without = denial(&said, wants, ID, &brand(), Vec::new(), Door::Ingress);
    assert!(without.body().is_empty());
    assert_eq!(with.headers(), without.headers());
}

#[test]
fn fields_that_the_status_demands_are_there() {
    let wants = prefer(Format::Problem, Language::English);
    for reason in DenialReason::ALL {
        let response = denial(
            &Denial::new(reason),
            wants,
            ID,
            &brand(),
            Vec::new(),
            Door::Ingress,
        );
        let status = reason.status();
        assert_eq!(
            field(&response, "www-authenticate").is_empty(),
            status != 401
        );
        assert_eq!(field(&response, "allow").is_empty(), status != 405);
        let http2 = denial(
            &Denial::new(reason),
            Preferences {
                http1: false,
                ..wants
            },
            ID,
            &brand(),
            Vec::new(),
            Door::Ingress,
        );
        assert_eq!(field(&http2, "connection"), "");
    }
    let challenge = HeaderValue::from_static("Bearer error=\"insufficient_user_authentication\"");
    let said = Denial::new(DenialReason::AssuranceInsufficient);
    let response = denial(
        &said,
        wants,
        ID,
        &brand(),
        vec![challenge.clone()],
        Door::Ingress,
    );
    assert_eq!(response.headers().get("www-authenticate"), Some(&challenge));
    let malformed = denial(
        &Denial::new(DenialReason::RequestMalformed),
        wants,
        ID,
        &brand(),
        Vec::new(),
        Door::Ingress,
    );
    assert_eq!(field(&malformed, "connection"), "close");
}

#[test]
fn a_proxy_asks_for_credentials_with_407_and_its_own_field() {
    let wants = prefer(Format::Problem, Language::English);
    let challenges = || {
        vec![
            HeaderValue::from_static("Bearer realm=\"masugata\""),
            HeaderValue::from_static("Basic realm=\"masugata\", charset=\"UTF-8\""),
        ]
    };
    for reason in DenialReason::ALL {
        for challenge in [Vec::new(), challenges()] {
            let given = challenge.len();
            let said = Denial::new(reason);
            let response = denial(&said, wants, ID, &brand(), challenge, Door::Egress);
            let status = response.status();
            assert!(![401, 421].contains(&status.as_u16()), "{reason:?}");
            assert!(!response.headers().contains_key("www-authenticate"));
            let fields: Vec<_> = response
                .headers()
                .get_all("proxy-authenticate")
                .iter()
                .collect();
            let expected = if status == 407 { given.max(1) } else { 0 };
            assert_eq!(fields.len(), expected, "{reason:?}");
        }
    }
    let said = Denial::new(DenialReason::CredentialMissing);
    let response = denial(&said, wants, ID, &brand(), challenges(), Door::Egress);
    assert_eq!(response.status(), 407);
    assert!(field(&response, "proxy-status").contains("credential-missing"));
}

#[test]
fn retry_after_is_whole_seconds_rounded_up() {
    let wants = prefer(Format::Problem, Language::English);
    for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
        let said = Denial::new(DenialReason::QuotaExceeded)
            .with_retry_after(Duration::from_millis(millis));
        assert_eq!(
            field(
                &denial(&said, wants, ID, &brand(), Vec::new(), Door::Ingress),
                "retry-after"
            ),
            seconds
        );
    }
}

#[test]
fn failures_behind_us_are_told_apart() {
    let mut seen = std::collections::BTreeSet::new();
    for status in [408, 502, 503, 504] {
        let failure = UpstreamFailure {
            code: "upstream-closed",
            status: StatusCode::from_u16(status).unwrap(),
            error: "connection_terminated",
            retry_after: None,
        };
        for language in LANGUAGES {
            let response = upstream_failure(
                &failure,
                prefer(Format::Problem, language),
                ID,
                &brand(),
                Door::Ingress,
            );
            let value: serde_json::Value = serde_json::from_str(body(&response)).unwrap();
            assert_eq!(value["type"], "urn:masugata:failure:upstream-closed");
            assert!(seen.insert(value["detail"].to_string()));
            assert_eq!(
                field(&response, "proxy-status"),
                "masugata; error=connection_terminated; details=\"upstream-closed\""
            );
            let page = upstream_failure(
                &failure,
                prefer(Format::Page, language),
                ID,
                &brand(),
                Door::Ingress,
            );
            assert!(body(&page).contains("upstream-closed"));
        }
    }
}

#[test]
fn an_application_that_could_not_be_reached_is_not_said_to_have_answered() {
    let failure = UpstreamFailure {
        code: "upstream-unreachable",
        status: StatusCode::BAD_GATEWAY,
        error: "connection_refused",
        retry_after: None,
    };
    let wants = prefer(Format::Problem, Language::English);
    let response = upstream_failure(&failure, wants, ID, &brand(), Door::Ingress);
    let value: serde_json::Value = serde_json::from_str(body(&response)).unwrap();
    assert_eq!(value["status"], 502);
    assert_eq!(value["title"], "The application is not available");
}

#[test]
fn the_page_is_allowed_its_own_style_and_nothing_else() {
    let wants = prefer(Format::Page, Language::English);
    let response = denial(
        &Denial::new(DenialReason::NoPermit),
        wants,
        ID,
        &brand(),
        Vec::new(),
        Door::Ingress,
    );
    let style = body(&response)
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let policy = field(&response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(
        policy.contains(&format!("style-src 'sha256-{hash}'")),
        "{policy}"
    );
}

#[test]
fn a_problem_reads_well() {
    let said = PostureFault::Stale(PostureAttribute::DiskEncrypted).into();
    let response = denial(
        &said,
        prefer(Format::Problem, Language::English),
        ID,
        &brand(),
        Vec::new(),
        Door::Ingress,
    );
    insta::assert_snapshot!(body(&response).replace(",\"", ",\n\""), @r#"
    {"type":"urn:masugata:denial:posture-stale",
    "title":"The last check of this device is too old",
    "status":403,
    "detail":"This application needs a recent security check, and the last one was too long ago.",
    "code":"posture-stale",
    "request_id":"0123456789abcdef0123456789abcdef",
    "remedy":"Connect to the Internet, let the management software report, then try again in a few minutes.",
    "attribute":"disk_encrypted",
    "contact":"help@example.com, 内線 \"1234\""}
    "#);
}

/// What `docs/denials.md` says is what the code does.
#[test]
fn every_code_is_documented_with_its_status_and_stage() {
    let document = include_str!("../../../docs/denials.md");
    for reason in DenialReason::ALL {
        let start = format!(
            "| `{}` | {} | {} |",
            reason.code(),
            reason.status().as_u16(),
            reason.stage().as_str()
        );
        assert_eq!(document.matches(&start).count(), 1, "{start}");
    }
}

#[test]
fn preferences_come_from_the_head() {
    let request = Request::head("/")
        .header("accept", "text/html")
        .header("accept-language", "ja");
    let head = request.body(()).unwrap().into_parts().0;
    assert_eq!(
        Preferences::of(&head),
        Preferences {
            format: Format::Page,
            language: Language::Japanese,
            head_only: true,
            http1: true,
            grpc: false,
        }
    );
}

#[test]
fn callers_of_grpc_are_told_in_its_own_words() {
    let wants = Preferences {
        grpc: true,
        ..prefer(Format::Problem, Language::English)
    };
    let told = |reason: DenialReason| {
        let response = denial(
            &Denial::new(reason),
            wants,
            ID,
            &brand(),
            Vec::new(),
            Door::Ingress,
        );
        (
            field(&response, "grpc-status").to_owned(),
            field(&response, "grpc-message").to_owned(),
        )
    };
    let pair = |status: &str, message: &str| (status.to_owned(), message.to_owned());
    assert_eq!(
        told(DenialReason::CredentialMissing),
        pair("16", "credential-missing")
    );
    assert_eq!(told(DenialReason::NoPermit), pair("7", "no-permit"));
    assert_eq!(
        told(DenialReason::QuotaExceeded),
        pair("14", "quota-exceeded")
    );
}

/// Writes sample pages to look at: `cargo test -p masugata --lib sample_pages -- --ignored`, with `PAGES` set to a directory.
#[test]
#[ignore = "for looking at"]
fn sample_pages() {
    let directory =
        std::path::PathBuf::from(std::env::var_os("PAGES").expect("PAGES names a directory"));
    let brand = branded(
        "Example株式会社",
        "情報システム部 内線 1234 / help@example.co.jp",
    );
    let stale = PostureFault::Failing(PostureAttribute::DiskEncrypted).into();
    let busy = Denial::new(DenialReason::LockedOut).with_retry_after(Duration::from_secs(600));
    let samples = [
        ("posture", stale),
        ("locked", busy),
        ("permit", DenialReason::NoPermit.into()),
    ];
    for (name, said) in samples {
        for language in LANGUAGES {
            let page = denial(
                &said,
                prefer(Format::Page, language),
                ID,
                &brand,
                Vec::new(),
                Door::Ingress,
            );
            let file = directory.join(format!("{name}-{}.html", language.tag()));
            std::fs::write(file, page.body()).unwrap();
        }
    }
}
