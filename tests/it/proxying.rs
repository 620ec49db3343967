//! Requests and answers pass whole and unchanged, whatever versions of HTTP the two sides speak
//! (RFC 9110 §7, RFC 9112, RFC 9113).
//!
//! Where each duty of an intermediary is pinned: fields of one hop, `Via`, loops, forwarding fields: `identity`.
//! `Max-Forwards`, `Expect`, 1xx, trailers, ranges and conditions, 0-RTT: here. `Host`, framing, paths, 421: `smuggling`.
//! What HTTP/2 adds to framing, and floods: `http2_frames`. Upgrades: `websockets`. Sizes, counts and times: `bounds`.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use masugata_tests::{
    Client, TestGateway, Upstream, UpstreamAnswer, assert_denied, eventually, fed, within_reason,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Says what it was asked, with the body and the trailers that came.
async fn echo(request: Request<Incoming>) -> UpstreamAnswer {
    let (head, body) = request.into_parts();
    let Ok(collected) = body.collect().await else {
        return Upstream::text("broken off");
    };
    let trailers = collected.trailers().cloned();
    let mut answer = Response::new(Full::new(collected.to_bytes()).boxed());
    let said = answer.headers_mut();
    said.insert("x-method", head.method.as_str().parse().unwrap());
    said.insert("x-target", head.uri.to_string().parse().unwrap());
    if let Some(sum) = trailers.as_ref().and_then(|trailers| trailers.get("x-sum")) {
        said.insert("x-sum-received", sum.clone());
    }
    answer
}

/// Every pair of versions, with one app each: `h1` and `h2`.
async fn both(program: Program) -> (Upstream, Upstream, TestGateway) {
    let (one, two) = (Upstream::new(program).await, Upstream::h2c(program).await);
    let gateway = TestGateway::new()
        .app("h1", one.address)
        .app_with(
            "h2",
            "internal",
            two.address,
            "upstream.protocol = \"http2\"",
        )
        .start()
        .await;
    (one, two, gateway)
}

type Answering = std::pin::Pin<Box<dyn Future<Output = UpstreamAnswer> + Send>>;
type Program = fn(Request<Incoming>) -> Answering;

fn echoing(request: Request<Incoming>) -> Answering {
    Box::pin(echo(request))
}

fn pairs(gateway: &TestGateway) -> [(Client, &'static str); 4] {
    [
        (gateway.ada(), "h1"),
        (gateway.ada().h2(), "h1"),
        (gateway.ada(), "h2"),
        (gateway.ada().h2(), "h2"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_versions_carries_every_kind_of_request() {
    let (one, two, gateway) = both(echoing).await;
    for (client, app) in pairs(&gateway) {
        for (method, body) in [
            (Method::GET, ""),
            (Method::POST, "a body"),
            (Method::PUT, "x"),
            (Method::PATCH, "y"),
            (Method::DELETE, ""),
            (Method::OPTIONS, ""),
        ] {
            let target = "/a/b%20c/%E3%81%82?q=1&r=%2F..%2F&s=a+b;c";
            let answer = client.request(app, method.clone(), target, body).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{app} {method}: {}",
                answer.text()
            );
            assert_eq!(answer.text(), body);
            assert_eq!(answer.header("x-method"), Some(method.as_str()));
            assert!(
                answer.header("x-target").unwrap().ends_with(target),
                "{answer:?}"
            );
        }
    }
    assert!(
        one.seen()
            .iter()
            .all(|seen| seen.version == Version::HTTP_11)
    );
    assert!(
        two.seen()
            .iter()
            .all(|seen| seen.version == Version::HTTP_2)
    );
    for seen in one.seen() {
        assert_eq!(seen.one("host").as_deref(), Some("h1.corp.test"));
    }
    for seen in two.seen() {
        assert_eq!(seen.uri.authority().unwrap(), "h2.corp.test");
        assert_eq!(seen.uri.scheme_str(), Some("http"));
        assert!(!seen.headers.contains_key("host"));
    }
}

/// No length, known length, nothing at all: what goes upstream says the same as what came.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_keep_their_framing() {
    let (one, _two, gateway) = both(echoing).await;
    for (client, app) in pairs(&gateway) {
        // Chunks, or a stream without a length.
        let mut session = client.session(app).await;
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/chunks").body(body).unwrap();
        let feeding = tokio::spawn(async move {
            for _ in 0..50 {
                feed.data("0123456789").await;
            }
        });
        let answer = session.send_any(request).await.unwrap();
        feeding.await.unwrap();
        assert_eq!(answer.text(), "0123456789".repeat(50), "{app}");
        // A length.
        let answer = client.post(app, "/sized", "12345").await;
        assert_eq!(answer.text(), "12345");
        // A length of nothing.
        let answer = client.post(app, "/empty", "").await;
        assert_eq!(answer.text(), "");
    }
    let last = |path: &str| {
        let seen = one.seen();
        seen.into_iter()
            .rfind(|seen| seen.uri.path() == path)
            .unwrap()
    };
    assert_eq!(
        last("/chunks").one("transfer-encoding").as_deref(),
        Some("chunked")
    );
    assert!(last("/chunks").one("content-length").is_none());
    assert_eq!(last("/sized").one("content-length").as_deref(), Some("5"));
    assert!(last("/sized").one("transfer-encoding").is_none());
    assert!(last("/empty").one("transfer-encoding").is_none());
}

// RFC 9110 §6.5: trailers stay trailers on both ways, and are never merged into the head.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_stay_trailers_both_ways() {
    fn program(request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            let trailers = request
                .into_body()
                .collect()
                .await
                .unwrap()
                .trailers()
                .cloned();
            let mut sent = HeaderMap::new();
            let sum = trailers
                .as_ref()
                .and_then(|trailers| trailers.get("x-sum").cloned());
            sent.insert("x-sum-back", sum.unwrap_or_else(|| "none".parse().unwrap()));
            let forged =
                trailers.is_some_and(|trailers| trailers.contains_key("masugata-assertion"));
            sent.insert("x-forged", forged.to_string().parse().unwrap());
            let frames = [
                Ok(Frame::data(Bytes::from("ok"))),
                Ok(Frame::trailers(sent)),
            ];
            let mut answer =
                Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
            answer
                .headers_mut()
                .insert("trailer", "x-sum-back, x-forged".parse().unwrap());
            answer
        })
    }
    let (one, two, gateway) = both(program).await;
    for (number, (client, app)) in pairs(&gateway).into_iter().enumerate() {
        // Over HTTP/1.1 the connection ends over such a trailer; see below.
        let forging = number % 2 == 1;
        let mut session = client.session(app).await;
        let (feed, body) = fed();
        let request = session
            .build(Method::POST, "/")
            .header("te", "trailers")
            .header("trailer", "x-sum, masugata-assertion")
            .body(body)
            .unwrap();
        let feeding = tokio::spawn(async move {
            feed.data("content").await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            if forging {
                trailers.insert("masugata-assertion", "forged".parse().unwrap());
            }
            feed.trailers(trailers).await;
        });
        let answer = session.send_any(request).await.unwrap();
        feeding.await.unwrap();
        assert!(!answer.headers.contains_key("x-sum-back"), "{answer:?}");
        let trailers = answer
            .trailers
            .unwrap_or_else(|| panic!("no trailers: {app}"));
        assert_eq!(trailers["x-sum-back"], "42", "{app}");
        assert_eq!(trailers["x-forged"], "false", "{app}");
    }
    for seen in one.seen().iter().chain(&two.seen()) {
        assert!(!seen.headers.contains_key("x-sum"));
        assert_eq!(seen.one("te").as_deref(), Some("trailers"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_that_only_we_may_send_ends_the_exchange() {
    let (one, _two, gateway) = both(echoing).await;
    let token = gateway.token("ada").sign();
    for trailer in [
        "Masugata-Assertion: x",
        "X-Forwarded-For: ::1",
        "Content-Length: 5",
        "Host: x",
        "Authorization: Bearer x",
    ] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: h1.corp.test\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailer}\r\n\r\n"
        );
        let answer = gateway.ada().raw("h1", head.as_bytes()).await;
        assert!(
            answer.closed && answer.status() != Some(200),
            "{trailer}: {}",
            answer.text()
        );
    }
    assert!(
        one.seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("content-length"))
    );
}

// RFC 9110 §9.3.2, §15.3.5, §15.4.5
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_content_have_none_and_keep_their_fields() {
    fn program(request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            let mut answer = Upstream::text("");
            if request.method() == Method::HEAD {
                answer
                    .headers_mut()
                    .insert("content-length", "5".parse().unwrap());
            }
            *answer.status_mut() = match request.uri().path() {
                "/204" => StatusCode::NO_CONTENT,
                "/304" => StatusCode::NOT_MODIFIED,
                _ => StatusCode::OK,
            };
            answer
                .headers_mut()
                .insert("etag", "\"v1\"".parse().unwrap());
            answer
        })
    }
    let (_one, _two, gateway) = both(program).await;
    for (client, app) in pairs(&gateway) {
        let mut session = client.session(app).await;
        for (method, path, status) in [
            (Method::HEAD, "/", 200),
            (Method::GET, "/204", 204),
            (Method::GET, "/304", 304),
            (Method::GET, "/", 200),
        ] {
            let answer = session.request(method.clone(), path, "").await;
            assert_eq!(answer.status.as_u16(), status, "{app} {path}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some("\"v1\""));
            assert!(answer.header("transfer-encoding").is_none());
            if method == Method::HEAD {
                assert_eq!(answer.header("content-length"), Some("5"), "{app}");
            }
            if status == 204 {
                assert!(answer.header("content-length").is_none(), "{app}");
            }
        }
    }
}

// RFC 9110 §13, §14; RFC 9111 §3.5: we keep nothing and condition nothing.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_conditions_and_what_is_negotiated_pass_untouched() {
    fn program(_request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            let mut answer = Upstream::text("cde");
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            for (name, value) in ANSWERED {
                answer.headers_mut().append(*name, value.parse().unwrap());
            }
            answer
        })
    }
    const ASKED: &[(&str, &str)] = &[
        ("range", "bytes=2-4, 8-"),
        ("if-range", "\"v1\""),
        ("if-none-match", "W/\"a\", \"b\""),
        ("if-match", "*"),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("cache-control", "no-transform, max-age=0"),
        ("accept-encoding", "br;q=1.0, gzip;q=0.8"),
        ("content-encoding", "gzip"),
    ];
    const ANSWERED: &[(&str, &str)] = &[
        ("content-range", "bytes 2-4/10"),
        ("accept-ranges", "bytes"),
        ("etag", "W/\"v1\""),
        ("cache-control", "private, no-transform"),
        ("vary", "Accept-Encoding, Cookie"),
        ("www-authenticate", "Basic realm=\"app\""),
        ("allow", "GET, HEAD"),
        ("location", "http://other.example/x?y=z"),
        ("set-cookie", "a=1; Path=/; HttpOnly"),
        ("set-cookie", "b=2"),
    ];
    let (one, two, gateway) = both(program).await;
    for (client, app) in pairs(&gateway) {
        let client = ASKED
            .iter()
            .fold(client, |client, (name, value)| client.header(name, value));
        let answer = client.get(app, "/").await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        for (name, value) in ANSWERED {
            let all: Vec<_> = answer.headers.get_all(*name).iter().collect();
            assert!(
                all.iter().any(|found| found == value),
                "{app} {name}: {all:?}"
            );
        }
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    }
    for seen in one.seen().iter().chain(&two.seen()) {
        for (name, value) in ASKED {
            assert_eq!(seen.one(name).as_deref(), Some(*value));
        }
    }
}

// RFC 9113 §8.2.3
#[tokio::test(flavor = "multi_thread")]
async fn split_cookies_are_joined() {
    let (one, _two, gateway) = both(echoing).await;
    let client = gateway
        .ada()
        .h2()
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    assert_eq!(client.get("h1", "/").await.status, StatusCode::OK);
    assert_eq!(one.last().one("cookie").as_deref(), Some("a=1; b=2"));
}

fn head_of(method: &str, app: &str, token: &str, more: &str) -> Vec<u8> {
    format!("{method} / HTTP/1.1\r\nHost: {app}.corp.test\r\nAuthorization: Bearer {token}\r\n{more}\r\n").into_bytes()
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within_reason("an answer", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

// RFC 9110 §10.1.1
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_ask_is_told_so_before_sending_a_body() {
    let (one, two, gateway) = both(echoing).await;
    for app in ["h1", "h2"] {
        let client = gateway.client().device(&gateway.device("laptop"));
        let mut stream = client.stream(app).await.unwrap();
        let head = head_of(
            "POST",
            app,
            "nonsense",
            "Expect: 100-continue\r\nContent-Length: 1000\r\n",
        );
        stream.write_all(&head).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert_eq!((one.count(), two.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_ask_is_told_to_go_on_and_the_body_arrives() {
    let (one, two, gateway) = both(echoing).await;
    for app in ["h1", "h2"] {
        let mut stream = gateway.ada().stream(app).await.unwrap();
        let token = gateway.token("ada").sign();
        let head = head_of(
            "POST",
            app,
            &token,
            "Expect: 100-continue\r\nContent-Length: 5\r\n",
        );
        stream.write_all(&head).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
        stream.write_all(b"hello").await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
    }
    assert_eq!(one.last().one("expect").as_deref(), Some("100-continue"));
    assert_eq!(two.count(), 1);
}

/// The app itself refuses from the head alone: the client is told, and never asked for the body.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_app_comes_instead_of_the_go_ahead() {
    let upstream = Upstream::new(|_request| async {
        let mut answer = Upstream::text("too much");
        *answer.status_mut() = StatusCode::INSUFFICIENT_STORAGE;
        answer
    })
    .await;
    let gateway = TestGateway::new()
        .app("files", upstream.address)
        .start()
        .await;
    let mut stream = gateway.ada().stream("files").await.unwrap();
    let head = head_of(
        "PUT",
        "files",
        &gateway.token("ada").sign(),
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    );
    stream.write_all(&head).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 507 "));
}

/// `Expect` of HTTP/1.0 means nothing (RFC 9110 §10.1.1), and HTTP/1.0 clients get no chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_is_served_in_its_own_way() {
    let upstream = Upstream::new(|_request| async {
        let frames = [
            Ok(Frame::data(Bytes::from("one "))),
            Ok(Frame::data(Bytes::from("two"))),
        ];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed())
    })
    .await;
    let gateway = TestGateway::new()
        .app("old", upstream.address)
        .start()
        .await;
    let token = gateway.token("ada").sign();
    let head = format!(
        "GET / HTTP/1.0\r\nHost: old.corp.test\r\nExpect: 100-continue\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let answer = gateway.ada().raw("old", head.as_bytes()).await;
    let text = answer.text();
    assert!(text.contains(" 200 OK\r\n"), "{text}");
    assert!(!text.contains("100 Continue"), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    assert!(text.ends_with("\r\n\r\none two"), "{text}");
    assert!(answer.closed);
    assert!(!upstream.last().headers.contains_key("expect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_together_are_answered_in_order() {
    let (one, _two, gateway) = both(echoing).await;
    let token = gateway.token("ada").sign();
    let ask = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: h1.corp.test\r\nAuthorization: Bearer {token}\r\n{more}"
        )
    };
    let all = [
        ask("/1", "Content-Length: 3\r\n\r\none"),
        ask(
            "/2",
            "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
        ),
        ask("/3", "Connection: close\r\nContent-Length: 5\r\n\r\nthree"),
    ]
    .concat();
    let answer = gateway.ada().raw("h1", all.as_bytes()).await;
    let text = answer.text();
    assert_eq!(answer.count(), 3, "{text}");
    let places: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|body| text.find(body).unwrap())
        .collect();
    assert!(places.is_sorted());
    assert!(answer.closed);
    let paths: Vec<_> = one
        .seen()
        .iter()
        .map(|seen| seen.uri.path().to_owned())
        .collect();
    assert_eq!(paths, ["/1", "/2", "/3"]);
}

/// Nothing is collected: what one side has sent is on the other before the rest exists. Server-sent events live on it.
#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_and_requests_stream_too() {
    fn program(request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            // Every piece comes back as an event the moment it has arrived.
            let (feed, events) = fed();
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    let piece = frame.into_data().unwrap();
                    // HTTP/2 may end with one that is empty.
                    if piece.is_empty() {
                        continue;
                    }
                    feed.data(format!("data: {}\n\n", String::from_utf8_lossy(&piece)))
                        .await;
                }
            });
            let mut answer = Response::new(events.boxed());
            answer
                .headers_mut()
                .insert("content-type", "text/event-stream".parse().unwrap());
            answer
        })
    }
    let (_one, _two, gateway) = both(program).await;
    // HTTP/1.1 upstreams may, and hyper does, wait with the head for the first piece.
    for (client, app) in pairs(&gateway) {
        let mut session = client.session(app).await;
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/").body(body).unwrap();
        assert!(feed.data("0").await);
        let answer = within_reason("a head", session.open_any(request))
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut events = answer.into_body();
        for number in 0..5 {
            if number > 0 {
                assert!(feed.data(number.to_string()).await);
            }
            let event = within_reason("an event", events.frame())
                .await
                .unwrap()
                .unwrap();
            let expected = format!("data: {number}\n\n");
            assert_eq!(event.into_data().unwrap(), expected, "{app}");
        }
        drop(feed);
        let rest = within_reason("the end", events.collect()).await.unwrap();
        assert!(rest.to_bytes().is_empty(), "{app}");
    }
}

/// A client that asks for what it may not do keeps its connection; a body it has not sent does not hold it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_upload_does_not_reach_the_app() {
    let (one, two, gateway) = both(echoing).await;
    for (client, app) in pairs(&gateway) {
        let mut session = client.token("nonsense").session(app).await;
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/").body(body).unwrap();
        assert!(feed.data("the first bytes").await);
        let answer = within_reason("a refusal", session.open_any(request))
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!((one.count(), two.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_and_plain_connect_are_never_forwarded() {
    let (one, _two, gateway) = both(echoing).await;
    for method in [
        Method::TRACE,
        Method::from_bytes(b"TRACK").unwrap(),
        Method::from_bytes(b"get").unwrap(),
    ] {
        let answer = gateway.ada().request("h1", method, "/", "").await;
        assert_denied(&answer, "method-not-allowed");
        assert_eq!(answer.status.as_u16(), 405);
    }
    let token = gateway.token("ada").sign();
    for target in ["h1.corp.test:443", "127.0.0.1:22"] {
        let connect = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let answer = gateway.ada().raw("h1", connect.as_bytes()).await;
        assert_eq!(answer.status(), Some(405), "{}", answer.text());
    }
    assert_eq!(one.count(), 0);
}

// RFC 9110 §7.6.2
#[tokio::test(flavor = "multi_thread")]
async fn options_with_no_hops_left_ends_at_the_gateway() {
    let (one, _two, gateway) = both(echoing).await;
    let last = gateway
        .ada()
        .header("max-forwards", "0")
        .request("h1", Method::OPTIONS, "/", "")
        .await;
    assert_eq!(last.status, StatusCode::OK);
    assert_eq!(one.count(), 0);
    gateway
        .ada()
        .header("max-forwards", "5")
        .request("h1", Method::OPTIONS, "/", "")
        .await;
    assert_eq!(one.last().one("max-forwards").as_deref(), Some("4"));
    // For other methods it is nobody's business but the app's.
    gateway
        .ada()
        .header("max-forwards", "0")
        .get("h1", "/")
        .await;
    assert_eq!(one.last().one("max-forwards").as_deref(), Some("0"));
}

/// What an upstream breaks off is never passed on as if it were whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_seen_to_be_broken() {
    let upstream = Upstream::connections(|mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
    })
    .await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let mut session = client.session("wiki").await;
        let request = session
            .build(Method::GET, "/")
            .body(Full::<Bytes>::default())
            .unwrap();
        assert!(session.send_any(request).await.is_err());
    }
    let records = gateway.records().await;
    let outcomes: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "completion")
        .map(|record| {
            (
                record["outcome"].as_str().unwrap(),
                record["cause"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(outcomes, [("upstream-failed", "upstream-closed"); 2]);
}

/// A client that leaves frees the app, and the record says who left.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_exchange_on_both_sides() {
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = std::sync::Arc::clone(&gone);
    let upstream = Upstream::connections(move |mut stream| {
        let told = std::sync::Arc::clone(&told);
        async move {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
                .await;
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
            told.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    })
    .await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    let request = session
        .build(Method::GET, "/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut answer = session.open_any(request).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    drop((answer, session));
    eventually("the app is told", || async {
        gone.load(std::sync::atomic::Ordering::SeqCst)
    })
    .await;
    let records = gateway.records().await;
    let ended: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "completion")
        .collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["outcome"], "client-gone");
    assert_eq!(ended[0]["status"], 200);
}

/// A hint before the answer is not the answer. It is not passed on either, which RFC 9110 §15.2 would want: hyper's
/// servers have no way to send one. Nothing depends on a 103, by its definition (RFC 8297 §2).
#[tokio::test(flavor = "multi_thread")]
async fn hints_before_the_answer_do_not_confuse_it() {
    let upstream = Upstream::connections(|mut stream| async move {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {
            let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let mut session = client.session("wiki").await;
        for _ in 0..3 {
            let answer = session.get("/").await;
            assert_eq!(
                (answer.status.as_u16(), answer.text().as_str()),
                (200, "hello")
            );
            assert!(answer.header("link").is_none());
        }
    }
}

/// RFC 8470: what could be replayed is not taken. No ticket of ours permits early data.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_offered_early_data() {
    let (_one, _two, gateway) = both(echoing).await;
    let ada = gateway.ada();
    assert_eq!(ada.get("h1", "/").await.status, StatusCode::OK);
    let mut config = rustls::ClientConfig::clone(&ada.tls_config());
    config.enable_early_data = true;
    let name = "h1.corp.test".try_into().unwrap();
    let mut resuming = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    assert!(resuming.early_data().is_none());
}

/// RFC 9111 §3.5: what we say ourselves is for whom it was said to, and for now.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_answers_are_not_kept_by_anybody() {
    let (_one, _two, gateway) = both(echoing).await;
    for answer in [
        gateway.ada().token("nonsense").get("h1", "/").await,
        gateway.ada().get("nowhere", "/").await,
        gateway
            .ada()
            .header("accept", "text/html")
            .token("nonsense")
            .get("h1", "/")
            .await,
    ] {
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{answer:?}"
        );
    }
}
