//! Of `headers`: what is taken off, put on and kept, in both directions.

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn stripped(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(lines);
    strip_request(&mut headers, |name| fate(name, false, false));
    headers
}

fn prepared(lines: &[(&str, &str)], trusted: bool) -> HeaderMap {
    made(lines, trusted, true)
}

fn made(lines: &[(&str, &str)], trusted: bool, disclose: bool) -> HeaderMap {
    let mut headers = map(lines);
    prepare_request(
        &mut headers,
        RequestFacts {
            disclose,
            host: &HeaderValue::from_static("app.example"),
            peer: "192.0.2.1".parse().unwrap(),
            client: if trusted {
                "198.51.100.7".parse().unwrap()
            } else {
                "192.0.2.1".parse().unwrap()
            },
            trusted,
            request_id: RequestId(0x0123_4567_89ab_cdef),
            assertion: Some(HeaderValue::from_static("signed")),
            forward_authorization: false,
            via: &HeaderValue::from_static("1.1 masugata-x"),
            edits: &Edits::default(),
        },
    );
    headers
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().unwrap();
    assert!(values.next().is_none(), "{name} is there twice");
    Some(first)
}

#[test]
fn an_origin_on_the_internet_is_told_nothing_about_the_client() {
    let headers = made(
        &[
            ("accept", "*/*"),
            ("authorization", "Bearer for-the-origin"),
            ("proxy-authorization", "Bearer for-us"),
            ("proxy-connection", "keep-alive"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_host", "intranet"),
            ("x-real-ip", "10.0.0.1"),
            ("masugata-assertion", "forged"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("x-http-method-override", "PATCH"),
            ("x-request-id", "the-client's"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("via", "1.1 office"),
        ],
        false,
        false,
    );
    let mut left: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "accept: */*",
            "authorization: Bearer for-the-origin",
            "cookie: a=1; b=2",
            "via: 1.1 office, 1.1 masugata-x",
            "x-http-method-override: PATCH",
            "x-request-id: the-client's",
        ]
    );
}

#[test]
fn addresses_are_written_as_they_are_displayed() {
    for address in [
        "0.0.0.0",
        "1.20.255.100",
        "203.0.113.9",
        "10.99.101.0",
        "2001:db8::7",
    ] {
        let mut text = Text::<64>::default();
        text.push_address(address.parse().unwrap()).unwrap();
        assert_eq!(text.as_bytes(), address.as_bytes());
    }
}

#[test]
fn fields_of_one_hop_end_here() {
    for name in [
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "proxy-authenticate",
    ] {
        assert!(stripped(&[(name, "x")]).is_empty(), "{name}");
    }
}

#[test]
fn fields_named_by_connection_end_here_on_every_line() {
    let headers = stripped(&[
        ("connection", "close, X-Private"),
        ("connection", ",, x-Other ,"),
        ("x-private", "1"),
        ("x-other", "2"),
        ("x-third", "3"),
    ]);
    assert_eq!(headers.len(), 1);
    assert!(headers.contains_key("x-third"));
}

#[test]
fn connection_cannot_take_away_what_frames_or_names() {
    let headers = stripped(&[
        ("connection", "host, content-length, content-type"),
        ("host", "app.example"),
        ("content-length", "5"),
        ("content-type", "text/plain"),
    ]);
    assert!(headers.contains_key("host"));
    assert!(headers.contains_key("content-length"));
    assert!(!headers.contains_key("content-type"));
}

#[test]
fn connection_cannot_take_away_what_we_say() {
    let headers = prepared(
        &[(
            "connection",
            "masugata-assertion, x-forwarded-for, x-request-id, via, forwarded, x-forwarded-proto",
        )],
        false,
    );
    assert_eq!(value(&headers, "masugata-assertion"), Some("signed"));
    assert_eq!(value(&headers, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(value(&headers, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(&headers, "via"), Some("1.1 masugata-x"));
    assert!(headers.contains_key("x-request-id"));
    assert!(headers.contains_key("forwarded"));
}

#[test]
fn every_spelling_of_what_only_we_say_is_removed() {
    for name in [
        "masugata-assertion",
        "Masugata_Assertion",
        "MASUGATA-anything",
        "masugata",
        "masugata_x",
        "x-masugata-user",
        "X_Masugata_User",
        "x_masugata-user",
        "x-forwarded-client-cert",
        "X_Forwarded_Client_Cert",
        "client-cert",
        "Client_Cert",
        "client-cert-chain",
        "client_cert-chain",
        "x-client-cert",
        "ssl-client-verify",
        "ssl_client_s_dn",
        "x-ssl-client-dn",
        "x-forwarded-user",
        "x_forwarded_email",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-real-ip",
        "x_real_ip",
        "x-request-id",
        "x-original-url",
        "x-original-uri",
        "x_original_method",
        "x-rewrite-url",
        "x-http-method-override",
        "x-remote-user",
        "remote-user",
        "Remote_User",
        "x-auth-request-email",
        "x-webauth-user",
        "x-pomerium-jwt-assertion",
        "x-goog-iap-jwt-assertion",
        "x-amzn-oidc-data",
        "cf-access-jwt-assertion",
        "cf-connecting-ip",
        "true-client-ip",
        "forwarded",
        "proxy",
        "authorization",
        "proxy-authorization",
    ] {
        assert!(stripped(&[(name, "forged")]).is_empty(), "{name}");
    }
}

#[test]
fn what_is_not_ours_stays() {
    let lines = [
        ("accept", "*/*"),
        ("content-type", "text/plain"),
        ("origin", "https://a"),
        ("x-requested-with", "XMLHttpRequest"),
        ("x-csrf-token", "t"),
        ("x-xsrftoken", "t"),
        ("range", "bytes=0-1"),
        ("referer", "https://a/"),
        ("sec-fetch-mode", "navigate"),
        ("traceparent", "00-1-2-01"),
        ("user-agent", "u"),
        ("trailer", "x-sum"),
        ("expect", "100-continue"),
        ("masu", "gata"),
        ("remote", "x"),
        ("if-match", "*"),
    ];
    assert_eq!(stripped(&lines).len(), lines.len());
}

#[test]
fn a_stranger_s_forwarding_fields_are_replaced() {
    let headers = prepared(
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example"),
            ("x-request-id", "mine"),
            ("masugata-assertion", "forged"),
        ],
        false,
    );
    assert_eq!(value(&headers, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(
        value(&headers, "forwarded"),
        Some("for=192.0.2.1;host=\"app.example\";proto=https")
    );
    assert_eq!(value(&headers, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(&headers, "x-forwarded-host"), Some("app.example"));
    assert_eq!(
        value(&headers, "x-request-id"),
        Some("00000000000000000123456789abcdef")
    );
    assert_eq!(value(&headers, "masugata-assertion"), Some("signed"));
}

#[test]
fn a_trusted_forwarder_s_fields_are_added_to_but_it_cannot_say_who_the_user_is() {
    let headers = prepared(
        &[
            ("x-forwarded-for", "198.51.100.7"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded-for", "203.0.113.5"),
            ("forwarded", "for=198.51.100.7"),
            ("x-forwarded-host", "public.example"),
            ("x-real-ip", "198.51.100.7"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-client-cert", "Hash=x"),
        ],
        true,
    );
    assert_eq!(
        value(&headers, "x-forwarded-for"),
        Some("198.51.100.7, 203.0.113.5, 192.0.2.1")
    );
    assert_eq!(
        value(&headers, "forwarded"),
        Some("for=198.51.100.7, for=192.0.2.1;host=\"app.example\";proto=https")
    );
    assert_eq!(value(&headers, "x-forwarded-host"), Some("public.example"));
    assert_eq!(value(&headers, "x-real-ip"), Some("198.51.100.7"));
    assert_eq!(value(&headers, "x-forwarded-proto"), Some("https"));
    assert!(!headers.contains_key("x_forwarded_for"));
    assert!(!headers.contains_key("x-forwarded-user"));
    assert!(!headers.contains_key("x-forwarded-client-cert"));
}

#[test]
fn an_ipv6_address_is_quoted_in_forwarded() {
    let mut text = Text::<512>::default();
    write_forwarded(
        &mut text,
        "2001:db8::1".parse().unwrap(),
        &HeaderValue::from_static("h:8443"),
    )
    .unwrap();
    assert_eq!(
        text.as_bytes(),
        b"for=\"[2001:db8::1]\";host=\"h:8443\";proto=https"
    );
}

#[test]
fn an_authorization_is_forwarded_where_the_app_asks_for_it() {
    let mut headers = map(&[("authorization", "Bearer t")]);
    strip_request(&mut headers, |name| fate(name, false, true));
    assert!(headers.contains_key("authorization"));
}

#[test]
fn our_cookies_are_kept_from_the_app() {
    let headers = stripped(&[
        ("cookie", "a=1; __Host-masugata-session=s; b=\"x\""),
        ("cookie", "__HOST-MASUGATA=t"),
        ("cookie", "c=__Host-masugata"),
    ]);
    assert_eq!(
        value(&headers, "cookie"),
        Some("a=1; b=\"x\"; c=__Host-masugata")
    );
    assert!(!stripped(&[("cookie", "__Host-masugata=s")]).contains_key("cookie"));
    assert_eq!(
        value(&stripped(&[("cookie", "a=1;b=2")]), "cookie"),
        Some("a=1;b=2"),
        "untouched when there is nothing to do"
    );
}

#[test]
fn trailers_are_wanted_only_when_said() {
    let taken =
        |te: &str| strip_request(&mut map(&[("te", te)]), |name| fate(name, false, false)).trailers;
    assert!(taken("trailers"));
    assert!(taken("gzip, Trailers"));
    assert!(!taken("gzip"));
    assert!(!taken("x-trailers"));
}

#[test]
fn via_is_added_to() {
    let headers = prepared(&[("via", "1.0 fred"), ("via", "1.1 p.example")], false);
    assert_eq!(
        value(&headers, "via"),
        Some("1.0 fred, 1.1 p.example, 1.1 masugata-x")
    );
}

#[test]
fn a_loop_is_one_only_with_our_own_name() {
    let seen = |via: &str| is_loop(&map(&[("via", via)]), "masugata-1a2b3c4d");
    assert!(seen("1.1 masugata-1a2b3c4d"));
    assert!(seen("1.0 fred, 2.0  MASUGATA-1A2B3C4D (x)"));
    assert!(seen("HTTP/1.1 masugata-1a2b3c4d"));
    assert!(!seen("1.1 masugata-ffffffff"));
    assert!(!seen("1.1 masugata"));
    assert!(!seen("masugata-1a2b3c4d"));
    assert!(!is_loop(&HeaderMap::new(), "masugata-1a2b3c4d"));
}

#[test]
fn a_response_loses_what_is_for_this_hop_or_ours_to_say() {
    let mut headers = map(&[
        ("connection", "x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("upgrade", "h2c"),
        ("alt-svc", "h3=\":443\""),
        ("masugata-assertion", "x"),
        ("x-masugata-user", "x"),
        ("www-authenticate", "Bearer"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        (
            "set-cookie",
            "__Host-Masugata-session=planted; path=/; secure",
        ),
        ("via", "1.1 cache"),
    ]);
    prepare_response(
        &mut headers,
        &HeaderValue::from_static("1.1 us"),
        &Edits::default(),
    );
    assert_eq!(headers.len(), 4);
    assert_eq!(value(&headers, "via"), Some("1.1 cache, 1.1 us"));
    assert_eq!(value(&headers, "www-authenticate"), Some("Bearer"));
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
}

#[test]
fn edits_cannot_break_framing_or_forge() {
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "masugata-assertion",
        "masugata-x",
        "via",
        "te",
        "x-request-id",
    ] {
        assert!(!is_editable(&HeaderName::from_static(name)), "{name}");
    }
    assert!(is_editable(&HeaderName::from_static("authorization")));
    assert!(is_editable(&HeaderName::from_static("x-forwarded-for")));
}

proptest::proptest! {
    #[test]
    fn nothing_that_begins_with_our_name_survives(rest in "[-_a-z0-9]{0,12}", underscored: bool) {
        let name = if underscored { format!("masugata_{rest}") } else { format!("masugata-{rest}") };
        proptest::prop_assert!(stripped(&[(&name, "x")]).is_empty());
    }

    #[test]
    fn any_cookie_field_can_be_cleaned(text in "[ -~]{0,60}") {
        let headers = stripped(&[("cookie", text.trim())]);
        for value in headers.get_all("cookie") {
            proptest::prop_assert!(!pairs(value).any(is_our_cookie));
        }
    }
}
