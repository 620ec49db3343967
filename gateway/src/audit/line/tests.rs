use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use masugata_policy::Principal;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::event::{DestinationRecord, Handshake, PersonKind, Presented, Stranger};
use crate::audit::fixtures::{
    NOW, completion, decision, egress_decision, full_decision, operation,
};
use crate::audit::writer;
use crate::denial::DenialReason;

const DOCUMENT: &str = include_str!("../../../../docs/audit-log.md");

fn line_of(event: Event) -> String {
    let mut buffer = Vec::new();
    write_event(
        &mut buffer,
        Head::GENESIS,
        &event,
        false,
        &mut Fragments::default(),
    );
    String::from_utf8(buffer).unwrap()
}

fn decided(decision: Decision) -> String {
    line_of(Event::Decision(Box::new(decision)))
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn certificate() -> CertificatePart<'static> {
    CertificatePart {
        identity: "spiffe://corp.example/device/lt-0042",
        identity_kind: "spiffe",
        serial: "01ab",
        issuer: "CN=Corp Device CA",
        thumbprint: Hex::of(&[0xab; 32]),
        not_after: Stamp::new(NOW),
    }
}

#[test]
fn a_permit_reads_like_this() {
    insta::assert_snapshot!(decided(full_decision()), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"decision","log":"access","request_id":"00000000000000000000000000000042","generation":3,"decision":"permitted","policies":["staff-read"],"observed_limits":["per-person"],"door":"ingress","method":"GET","host":"hr.corp.example","path":"/salaries/2026","action":"read","app":{"name":"hr","level":"confidential"},"principal":{"kind":"user","id":"corp/ada","issuer":"corp","name":"Ada Lovelace","roles":["accountant"],"groups":["finance","staff"]},"authentication":{"multi_factor":true,"phishing_resistant":false,"acr":"urn:corp:mfa","amr":["otp","pwd"],"authenticated_at":"2026-04-01T08:50:00.000Z","age_seconds":600,"certificate_bound":true,"credential":"token"},"device":{"id":"LT-0042","kind":"laptop","ownership":"company","owner":"corp/ada","groups":["tokyo"],"posture":{"disk_encrypted":true,"firewall_enabled":false,"edr_running":"stale","os_version":"14.2.1"}},"connection":{"id":7,"client_address":"203.0.113.5","client_port":50222,"local_address":"192.0.2.1","local_port":443,"protocol":"h2","server_name":"hr.corp.example","tls_version":"TLSv1.3","cipher_suite":"TLS_AES_128_GCM_SHA256","key_exchange_group":"X25519MLKEM768","resumed":false},"hash":"1d22c9ff371167b17af96852da76dd86c1cbd50da316a8237428f7f63d2a94fd"}"#);
}

#[test]
fn a_denial_reads_like_this() {
    let denied = Decision {
        verdict: Verdict::Denied {
            reason: DenialReason::CredentialExpired,
            detail: Some("expired 61 s ago".into()),
            policies: Arc::default(),
            version: None,
        },
        ..decision(0x43)
    };
    insta::assert_snapshot!(decided(denied), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"decision","log":"authentication","request_id":"00000000000000000000000000000043","generation":3,"decision":"denied","code":"credential-expired","stage":"authenticate","detail":"expired 61 s ago","door":"ingress","method":"GET","host":"hr.corp.example","path":"/salaries/2026","connection":{"id":7,"client_address":"203.0.113.5","client_port":50222,"local_address":"192.0.2.1","local_port":443,"protocol":"h2","server_name":"hr.corp.example","tls_version":"TLSv1.3","cipher_suite":"TLS_AES_128_GCM_SHA256","key_exchange_group":"X25519MLKEM768","resumed":false},"hash":"b389c6a3411a3fe716cfecc7b873a686364830607180383a142d8e19fafdc5ec"}"#);
}

#[test]
fn an_abandoned_request_reads_like_this() {
    let abandoned = Decision {
        verdict: Verdict::Abandoned,
        host: None,
        ..decision(0x44)
    };
    insta::assert_snapshot!(decided(abandoned), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"decision","log":"access","request_id":"00000000000000000000000000000044","generation":3,"decision":"abandoned","door":"ingress","method":"GET","path":"/salaries/2026","connection":{"id":7,"client_address":"203.0.113.5","client_port":50222,"local_address":"192.0.2.1","local_port":443,"protocol":"h2","server_name":"hr.corp.example","tls_version":"TLSv1.3","cipher_suite":"TLS_AES_128_GCM_SHA256","key_exchange_group":"X25519MLKEM768","resumed":false},"hash":"74c7dc41460a967d4145f42b30b7c27d80997de9384a498999992f9b1c5774f4"}"#);
}

#[test]
fn a_completion_reads_like_this() {
    insta::assert_snapshot!(line_of(Event::Completion(Box::new(completion(0x42)))), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"completion","log":"access","request_id":"00000000000000000000000000000042","generation":3,"outcome":"completed","status":200,"bytes_received":12,"bytes_sent":3456,"duration_ms":7.25,"upstream":"10.0.0.9:8080","attempts":1,"hash":"46d8f20b138b59e96e11123c737f03e44dfe436890eb668a23139161140b7fc3"}"#);
}

#[test]
fn an_operation_reads_like_this() {
    insta::assert_snapshot!(line_of(Event::Operation(Box::new(operation("reloaded")))), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"operation","log":"operation","privileged":true,"generation":3,"operation":"reloaded","detail":"configuration `masugata.toml`","hash":"813009b444b174199530af17f34591f31bbfe50ab6542dc04ca963cb9bca6ba4"}"#);
}

#[test]
fn a_rotation_reads_like_this() {
    let mut buffer = Vec::new();
    let head = Head {
        sequence: 41,
        hash: Hash::GENESIS.followed_by(b"x"),
    };
    let remark = Remark {
        continues: true,
        ..Remark::default()
    };
    write_remark(&mut buffer, head, &operation(writer::ROTATED), &remark);
    insta::assert_snapshot!(String::from_utf8(buffer).unwrap(), @r#"{"v":1,"seq":42,"time":"2026-04-01T09:00:00.000Z","type":"operation","log":"event","privileged":false,"generation":3,"operation":"rotated","detail":"configuration `masugata.toml`","previous_seq":41,"previous_hash":"3a1202659618d9cb89768d8985513c57288f83353b9cdaff602ad33016aac017","hash":"45bd747bd4a41a3999e0801fccef23da133ef7de5f2416cee34af7fedbc67573"}"#);
}

#[test]
fn a_tunnel_reads_like_this() {
    insta::assert_snapshot!(decided(egress_decision()), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"decision","log":"access","request_id":"00000000000000000000000000000042","generation":3,"decision":"permitted","policies":["staff-read"],"observed_limits":["per-person"],"door":"egress","method":"CONNECT","host":"app.crm.example","action":"connect","destination":{"host":"app.crm.example","port":443,"kind":"tunnel","domain":"crm.example","categories":["business","crm"],"feeds":["allowed@a1b2c3d4e5f6"],"lists":7,"service":"crm","tenant":"corp","level":"internal","addresses":["203.0.113.80:443","[2001:db8::80]:443"]},"principal":{"kind":"user","id":"corp/ada","issuer":"corp","name":"Ada Lovelace","roles":["accountant"],"groups":["finance","staff"]},"authentication":{"multi_factor":true,"phishing_resistant":false,"acr":"urn:corp:mfa","amr":["otp","pwd"],"authenticated_at":"2026-04-01T08:50:00.000Z","age_seconds":600,"certificate_bound":true,"credential":"token"},"device":{"id":"LT-0042","kind":"laptop","ownership":"company","owner":"corp/ada","groups":["tokyo"],"posture":{"disk_encrypted":true,"firewall_enabled":false,"edr_running":"stale","os_version":"14.2.1"}},"connection":{"id":8,"client_address":"203.0.113.5","client_port":50222,"local_address":"192.0.2.1","local_port":443,"protocol":"h2","server_name":"hr.corp.example","tls_version":"TLSv1.3","cipher_suite":"TLS_AES_128_GCM_SHA256","key_exchange_group":"X25519MLKEM768","resumed":false},"hash":"46b31ef9262c9cc5ae319971a354d2eb12923458806d578c80e187cd5af07b99"}"#);
}

#[test]
fn a_destination_that_is_only_observed_reads_like_this() {
    let mut decision = egress_decision();
    decision.uri = "http://198.51.100.7/a?b".parse().unwrap();
    let to = decision.destination.as_deref_mut().unwrap();
    *to = DestinationRecord {
        host: "198.51.100.7".into(),
        port: 80,
        tunnel: false,
        address: true,
        domain: None,
        categories: Box::default(),
        feeds: Box::default(),
        lists: 0,
        service: None,
        observed: true,
        addresses: Vec::new(),
    };
    let line = parsed(&decided(decision));
    insta::assert_snapshot!(line["destination"].to_string(), @r#"{"host":"198.51.100.7","port":80,"kind":"plain","address":true,"lists":0,"observed":true}"#);
    assert_eq!(line["path"], "/a");
    assert_eq!(line["door"], "egress");
}

#[test]
fn a_certificate_reads_like_this() {
    insta::assert_snapshot!(serde_json::to_string(&certificate()).unwrap(), @r#"{"identity":"spiffe://corp.example/device/lt-0042","identity_kind":"spiffe","serial":"01ab","issuer":"CN=Corp Device CA","thumbprint":"abababababababababababababababababababababababababababababababab","not_after":"2026-04-01T09:00:00.000Z"}"#);
}

#[test]
fn the_query_is_recorded_only_when_configured() {
    assert!(!decided(decision(1)).contains("planted-secret"));
    let mut buffer = Vec::new();
    let event = Event::Decision(Box::new(decision(1)));
    write_event(
        &mut buffer,
        Head::GENESIS,
        &event,
        true,
        &mut Fragments::default(),
    );
    let line = parsed(std::str::from_utf8(&buffer).unwrap());
    assert_eq!(line["query"], "token=planted-secret");
}

#[test]
fn user_information_in_an_absolute_uri_is_not_recorded() {
    let uri = "http://ada:planted-secret@hr.corp.example/x"
        .parse()
        .unwrap();
    let line = decided(Decision { uri, ..decision(1) });
    assert!(!line.contains("planted-secret"), "{line}");
    assert_eq!(parsed(&line)["path"], "/x");
}

#[test]
fn no_text_can_forge_a_second_record() {
    let evil = "x\"}\n{\"v\":1,\"seq\":2,\"type\":\"decision\",\"decision\":\"permitted\"}\r\u{2028}\u{202e}\0";
    let principal = Principal::new(PrincipalKind::User, evil, evil, Some(evil), [evil], [evil]);
    let line = decided(Decision {
        principal: Some(Arc::new(principal)),
        host: Some(evil.into()),
        verdict: Verdict::Denied {
            reason: DenialReason::NoPermit,
            detail: Some(evil.into()),
            policies: Arc::new([evil.into()]),
            version: None,
        },
        ..decision(1)
    });
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.ends_with('\n'));
    assert!(
        !line
            .trim_end()
            .contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2028}')
    );
    let value = parsed(&line);
    assert_eq!(value["seq"], 1);
    assert_eq!(value["decision"], "denied");
    for place in ["host", "detail"] {
        assert_eq!(value[place], evil);
    }
    assert_eq!(value["principal"]["id"], evil);
}

#[test]
fn what_is_too_long_is_cut_and_named() {
    let line = decided(Decision {
        uri: format!("/{}", "a".repeat(5000)).parse().unwrap(),
        ..decision(1)
    });
    let value = parsed(&line);
    assert_eq!(value["path"].as_str().unwrap().len(), 4096);
    assert_eq!(value["truncated"], serde_json::json!(["path"]));
}

/// As long as an address can be.
const NOWHERE: SocketAddr = {
    let scope = u32::MAX;
    let address = std::net::Ipv6Addr::new(
        0xfe80, 0x1111, 0x1111, 0x1111, 0x1111, 0x1111, 0x1111, 0x1111,
    );
    SocketAddr::V6(std::net::SocketAddrV6::new(address, 65_535, 0, scope))
};

/// Every character becomes six, and every list is full: no request, however made, gets a line that does not fit.
#[test]
fn the_worst_record_fits_into_a_line() {
    let worst: Box<str> = "\u{7f}".repeat(20_000).into();
    let many = vec![worst.clone(); 300];
    let principal = Principal::new(
        PrincipalKind::User,
        &worst,
        &worst,
        Some(&worst),
        many.clone(),
        many.clone(),
    );
    let base = egress_decision();
    let names: Box<[Arc<str>]> = (0..300).map(|_| Arc::from(&*worst)).collect();
    let service = masugata_policy::CloudService::new(&worst, None, Some(&worst), [""; 0]);
    let destination = DestinationRecord {
        host: worst.clone(),
        domain: Some(worst.clone()),
        categories: names.clone(),
        feeds: names,
        lists: u64::MAX,
        observed: true,
        service: Some(Arc::new(service)),
        addresses: vec![NOWHERE; 300],
        ..*base.destination.clone().unwrap()
    };
    let proof = Authentication::new(true, true, Some(&worst), many.clone(), Some(NOW), true);
    let event = Event::Decision(Box::new(Decision {
        principal: Some(Arc::new(principal)),
        destination: Some(Box::new(destination)),
        authentication: Some(Arc::new(proof)),
        host: Some(worst.clone()),
        method: http::Method::from_bytes(&[b'M'; 9000]).unwrap(),
        uri: format!("/{0}?{0}", "\u{202e}".repeat(10_000))
            .parse()
            .unwrap(),
        observed_limits: vec![Arc::from(&*worst); 300],
        verdict: Verdict::Denied {
            reason: DenialReason::NoPermit,
            detail: Some(worst),
            policies: many.into(),
            version: None,
        },
        ..base
    }));
    let mut buffer = Vec::new();
    write_event(
        &mut buffer,
        Head::GENESIS,
        &event,
        true,
        &mut Fragments::default(),
    );
    assert!(buffer.len() <= LINE_LIMIT, "{} bytes", buffer.len());
    let value = parsed(std::str::from_utf8(&buffer).unwrap());
    assert_eq!(value["decision"], "denied");
    assert!(value["truncated"].as_array().unwrap().len() > 10);

    let event = Event::Operation(Box::new(Operation {
        detail: "\0".repeat(200_000),
        ..operation("reload-refused")
    }));
    let mut buffer = Vec::new();
    write_event(
        &mut buffer,
        Head::GENESIS,
        &event,
        true,
        &mut Fragments::default(),
    );
    assert!(buffer.len() <= LINE_LIMIT, "{} bytes", buffer.len());
}

#[test]
fn what_the_gateway_did_by_itself_is_an_event_and_the_rest_somebody_did() {
    assert_eq!(kind_of_log(writer::LOST), ("event", false));
    assert_eq!(kind_of_log("alert"), ("event", false));
    assert_eq!(kind_of_log("reloaded"), ("operation", true));
    assert_eq!(kind_of_log("reason-given"), ("operation", false));
}

/// All members there are, by name, lists and posture without their elements.
fn members_of(prefix: &str, value: &Value, names: &mut BTreeSet<String>) {
    let Value::Object(members) = value else {
        return;
    };
    for (name, value) in members {
        let name = format!("{prefix}{name}");
        if name == "device.posture" || !value.is_object() {
            names.insert(name.clone());
        }
        if name != "device.posture" {
            members_of(&format!("{name}."), value, names);
        }
    }
}

fn every_member() -> BTreeSet<String> {
    let decision = Decision {
        verdict: Verdict::Denied {
            reason: DenialReason::NoPermit,
            detail: Some("x".into()),
            policies: Arc::new(["x".into()]),
            version: None,
        },
        ..full_decision()
    };
    let mut line = DecisionLine::of(&decision, 1, true, &mut Cutter::new(Caps::USUAL));
    line.policy_version = Some("sha256:00");
    let mut names = BTreeSet::from(["hash".to_owned()]);
    members_of("", &serde_json::to_value(&line).unwrap(), &mut names);
    members_of(
        "certificate.",
        &serde_json::to_value(certificate()).unwrap(),
        &mut names,
    );
    let long = Decision {
        uri: format!("/{}?x=y", "x".repeat(5000)).parse().unwrap(),
        ..decision
    };
    let mut buffer = Vec::new();
    let event = Event::Decision(Box::new(long));
    write_event(
        &mut buffer,
        Head::GENESIS,
        &event,
        true,
        &mut Fragments::default(),
    );
    members_of("", &serde_json::from_slice(&buffer).unwrap(), &mut names);

    for (address, observed) in [(true, true), (false, false)] {
        let mut tunnel = egress_decision();
        let to = tunnel.destination.as_deref_mut().unwrap();
        (to.address, to.observed) = (address, observed);
        members_of("", &parsed(&decided(tunnel)), &mut names);
    }

    let mut completed = completion(1);
    completed.outcome = Outcome::TimedOut("total");
    completed.ech = true;
    let line = parsed(&line_of(Event::Completion(Box::new(completed))));
    members_of("", &line, &mut names);

    let remark = Remark {
        continues: true,
        lost_decisions: Some(1),
        lost_completions: Some(1),
        set_aside_bytes: Some(1),
        set_aside_file: Some("x".to_owned()),
    };
    let mut buffer = Vec::new();
    write_remark(&mut buffer, Head::GENESIS, &operation("rotated"), &remark);
    members_of("", &serde_json::from_slice(&buffer).unwrap(), &mut names);
    for stranger in strangers() {
        members_of("", &parsed(&line_of(handshake(stranger))), &mut names);
    }
    let line = person::tests::line_of(person::tests::fullest());
    members_of("", &parsed(&line), &mut names);
    names
}

fn handshake(stranger: Stranger) -> Event {
    Event::Handshake(Box::new(Handshake {
        at: NOW,
        generation: 3,
        cause: "certificate-expired",
        count: 1,
        stranger,
    }))
}

fn strangers() -> [Stranger; 2] {
    let client: std::net::SocketAddr = "[2001:db8::7]:50000".parse().unwrap();
    let text = |text: &str| Some(text.into());
    [
        Stranger::One {
            client,
            local: "192.0.2.1:443".parse().unwrap(),
            server_name: text("hr.corp.example"),
            certificate: Some(Presented {
                subject: text("CN=lt-0042\n\u{202e}"),
                issuer: text("CN=Corp Device CA"),
                serial: text("01ab"),
                not_after: Some(NOW),
                thumbprint: [0xab; 32],
            }),
        },
        Stranger::Several {
            prefix: Some(client.ip().into()),
            since: NOW,
        },
    ]
}

#[test]
fn a_refused_handshake_says_who_tried_and_what_was_shown() {
    let [one, several] = strangers();
    insta::assert_snapshot!(line_of(handshake(one)), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"handshake","log":"authentication","generation":3,"cause":"certificate-expired","count":1,"presented_certificate":{"subject":"CN=lt-0042\n\u202e","serial":"01ab","issuer":"CN=Corp Device CA","thumbprint":"abababababababababababababababababababababababababababababababab","not_after":"2026-04-01T09:00:00.000Z"},"connection":{"client_address":"2001:db8::7","client_port":50000,"local_address":"192.0.2.1","local_port":443,"server_name":"hr.corp.example"},"hash":"402c04fb1da5b8b23fbb289dea46ffeacb648ffb773ee53a37e195f8ae0fd37a"}"#);
    insta::assert_snapshot!(line_of(handshake(several)), @r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"handshake","log":"authentication","generation":3,"cause":"certificate-expired","count":1,"since":"2026-04-01T09:00:00.000Z","client_prefix":"2001:db8::/64","hash":"7c84e71e56f8dd10d0767de2212e075dd3c467c7d2e2c04bdf56eaf46b7218f5"}"#);
}

#[test]
fn the_document_lists_exactly_the_members_that_are_written() {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.starts_with("Fields"))
        .unwrap();
    let listed: BTreeSet<String> = section
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, every_member());
}

#[test]
fn the_document_explains_every_code_operation_and_posture_word() {
    for reason in DenialReason::ALL {
        assert!(
            DOCUMENT.contains(&format!("\n| `{}` |", reason.code())),
            "{}",
            reason.code()
        );
    }
    for kind in PersonKind::ALL {
        assert!(
            DOCUMENT.contains(&format!("\n| `{}` |", kind.as_str())),
            "{}",
            kind.as_str()
        );
    }
    for kind in [
        writer::ALTERED,
        writer::CHECKPOINT_MISSING,
        writer::LOST,
        writer::RECOVERED,
        writer::RESUMED,
        writer::ROTATED,
    ] {
        assert!(DOCUMENT.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
    for attribute in PostureAttribute::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", attribute.as_str())));
    }
}

proptest! {
    #[test]
    fn any_texts_give_one_line_that_parses(
        id in any::<String>(), name in any::<String>(), groups in prop::collection::vec(any::<String>(), 0..5)
    ) {
        let principal = Principal::new(PrincipalKind::User, &id, "corp", Some(&name), groups, [] as [&str; 0]);
        let line = decided(Decision { principal: Some(Arc::new(principal)), ..decision(1) });
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(serde_json::from_str::<Value>(&line).is_ok());
    }
}

#[test]
fn a_kept_fragment_says_what_a_new_one_would() {
    let mut kept = Fragments::default();
    let event = |moved: u64| {
        let decision = full_decision();
        let at = decision.at.plus(Duration::from_millis(moved));
        Event::Decision(Box::new(Decision { at, ..decision }))
    };
    // The same people and things at other times: ages change with each second, posture goes stale, and the clock may
    // be set back.
    let Event::Decision(first) = event(0) else {
        panic!()
    };
    for moved in [
        0,
        1,
        999,
        1000,
        1001,
        59_999,
        3_600_000,
        86_400_000,
        400 * 86_400_000,
        0,
    ] {
        let at = first.at.plus(Duration::from_millis(moved));
        let again = Decision {
            app: first.app.clone(),
            principal: first.principal.clone(),
            authentication: first.authentication.clone(),
            device: first.device.clone(),
            connection: Arc::clone(&first.connection),
            at,
            ..full_decision()
        };
        let again = Event::Decision(Box::new(again));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        write_event(&mut with, Head::GENESIS, &again, true, &mut kept);
        write_event(
            &mut without,
            Head::GENESIS,
            &again,
            true,
            &mut Fragments::default(),
        );
        assert_eq!(
            String::from_utf8(with).unwrap(),
            String::from_utf8(without).unwrap(),
            "after {moved} ms"
        );
    }
}

/// The slow, obvious version: the part of a decision's line that is its own, by the serialiser.
#[derive(Serialize)]
struct DecisionLine<'a> {
    v: u8,
    seq: u64,
    time: Stamp,
    r#type: &'static str,
    log: &'static str,
    request_id: Shown<crate::exchange::RequestId>,
    generation: u64,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    policies: Texts<'a, Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    observed_limits: Texts<'a, std::sync::Arc<str>>,
    door: &'static str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
}

impl<'a> DecisionLine<'a> {
    fn of(event: &'a Decision, seq: u64, query: bool, cutter: &mut Cutter) -> Self {
        let verdict = VerdictPart::of(&event.verdict);
        Self {
            v: VERSION,
            seq,
            time: Stamp::new(event.at),
            r#type: "decision",
            log: verdict.log(),
            request_id: Shown(event.request),
            generation: event.generation,
            decision: verdict.word,
            code: verdict.code,
            stage: verdict.stage.map(Stage::as_str),
            detail: verdict.detail.map(|text| cutter.text("detail", text)),
            policies: cutter.list("policies", verdict.policies),
            policy_version: verdict.version,
            observed_limits: cutter.list("observed_limits", &event.observed_limits),
            door: "ingress",
            method: cutter.text("method", event.method.as_str()),
            host: event.host.as_deref().map(|host| cutter.text("host", host)),
            path: cutter.path("path", event.uri.path()),
            query: event
                .uri
                .query()
                .filter(|_| query)
                .map(|query| cutter.path("query", query)),
            action: event.action.map(Action::as_str),
        }
    }
}

/// As above.
#[derive(Serialize)]
struct CompletionLine<'a> {
    v: u8,
    seq: u64,
    time: Stamp,
    r#type: &'static str,
    log: &'static str,
    request_id: Shown<crate::exchange::RequestId>,
    generation: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    bytes_received: u64,
    bytes_sent: u64,
    duration_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    attempts: u8,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ech: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    truncated: &'a [&'static str],
}

/// Milliseconds with three decimals, as a number.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        // Exact below 285 years.
        serializer.serialize_f64(micros as f64 / 1000.0)
    }
}

impl<'a> CompletionLine<'a> {
    fn of(event: &'a Completion, seq: u64, cutter: &'a mut Cutter) -> Self {
        let (outcome, cause) = outcome(event.outcome);
        let upstream = event
            .upstream
            .as_deref()
            .map(|upstream| cutter.text("upstream", upstream));
        Self {
            v: VERSION,
            seq,
            time: Stamp::new(event.at),
            r#type: "completion",
            log: "access",
            request_id: Shown(event.request),
            generation: event.generation,
            outcome,
            cause,
            status: event.status,
            bytes_received: event.bytes_received,
            bytes_sent: event.bytes_sent,
            duration_ms: Millis(event.duration),
            upstream,
            attempts: event.attempts,
            ech: event.ech,
            truncated: &cutter.cut,
        }
    }
}

fn serialised(value: &impl Serialize) -> String {
    let mut buffer = Vec::new();
    put(&mut buffer, value).unwrap();
    String::from_utf8(buffer).unwrap()
}

proptest! {
    #[test]
    fn decisions_are_written_as_a_serialiser_writes_them(
        at in any::<i64>(), id in any::<u128>(), seq in any::<u64>(), generation in any::<u64>(),
        denied in any::<bool>(), reason in prop::sample::select(&DenialReason::ALL[..]),
        detail in prop::option::of(any::<String>()),
        policies in prop::collection::vec(any::<String>(), 0..70),
        observed in prop::collection::vec(any::<String>(), 0..3),
        method in "[A-Z!#$%&'*+.^_`|~-]{1,40}", path in "/[!-~&&[^#?<>`{}\"\\\\]]{0,40}",
        host in prop::option::of("[a-z.]{0,2000}"), ask in prop::option::of("[a-z=&]{0,5000}"), query in any::<bool>(),
    ) {
        let policies: Arc<[Box<str>]> = policies.into_iter().map(String::into_boxed_str).collect();
        let verdict = if denied {
            let detail = detail.map(String::into_boxed_str);
            Verdict::Denied { reason, detail, policies, version: None }
        } else {
            Verdict::Permitted { policies, version: None }
        };
        let event = Decision {
            at: Timestamp::from_millis(at),
            request: crate::exchange::RequestId(id),
            generation,
            verdict,
            observed_limits: observed.into_iter().map(Arc::from).collect(),
            method: method.parse().unwrap(),
            uri: ask.map_or(path.clone(), |ask| format!("{path}?{ask}")).parse().unwrap(),
            host: host.map(String::into_boxed_str),
            ..full_decision()
        };
        let (mut cutter, mut other) = (Cutter::new(Caps::USUAL), Cutter::new(Caps::USUAL));
        let mut buffer = Vec::new();
        write_answer(&mut buffer, &event, seq, &mut cutter, &mut Stamps::default()).unwrap();
        write_question(&mut buffer, &event, query, &mut cutter).unwrap();
        buffer.push(b'}');
        let expected = serialised(&DecisionLine::of(&event, seq, query, &mut other));
        prop_assert_eq!(String::from_utf8(buffer).unwrap(), expected);
        prop_assert_eq!(cutter.cut, other.cut);
    }

    #[test]
    fn completions_are_written_as_a_serialiser_writes_them(
        at in any::<i64>(), id in any::<u128>(), seq in any::<u64>(), micros in any::<u64>(),
        status in prop::option::of(any::<u16>()), bytes in any::<(u64, u64)>(), attempts in any::<u8>(), ech in any::<bool>(),
        upstream in prop::option::of(any::<String>()),
        outcome in prop::sample::select(vec![
            Outcome::Completed, Outcome::ClientGone, Outcome::UpstreamFailed("upstream-closed"),
            Outcome::TimedOut("total"), Outcome::Cut(DenialReason::NoPermit), Outcome::ShutDown,
        ]),
    ) {
        let event = Completion {
            at: Timestamp::from_millis(at),
            request: crate::exchange::RequestId(id),
            outcome,
            status,
            bytes_received: bytes.0,
            bytes_sent: bytes.1,
            duration: Duration::from_micros(micros),
            upstream: upstream.map(Arc::from),
            attempts,
            ech,
            ..completion(1)
        };
        let mut buffer = Vec::new();
        write_completion(&mut buffer, Caps::USUAL, seq, &event, &mut Stamps::default()).unwrap();
        let mut cutter = Cutter::new(Caps::USUAL);
        let expected = serialised(&CompletionLine::of(&event, seq, &mut cutter));
        prop_assert_eq!(String::from_utf8(buffer).unwrap(), expected);
    }
}
