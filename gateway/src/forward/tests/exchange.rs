//! Plain exchanges: reuse of connections, retries, what passes unchanged, what changes between versions of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::world::*;
use crate::config::{Backend, HeaderEdits, HostHeader, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn requests_one_after_the_other_share_one_connection() {
    let (address, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    for _ in 0..5 {
        assert!(get(&gateway, "/").await.ends_with("\r\n\r\nok"));
    }
    assert_eq!(seen.connections(), 1);
    assert_eq!(seen.heads().len(), 5);
}

#[tokio::test]
async fn a_kept_alive_client_gets_many_answers() {
    let (address, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    for _ in 0..50 {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(read_until(&mut client, "ok").await, "ok");
    }
    assert_eq!(seen.connections(), 1);
}

#[tokio::test]
async fn an_upstream_that_says_close_is_not_asked_again_on_that_connection() {
    let (address, seen) =
        fixed("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    get(&gateway, "/").await;
    get(&gateway, "/").await;
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn a_connection_with_bytes_left_over_is_not_used_again() {
    // Response splitting: what follows the first answer must not become the answer to somebody else.
    let (address, seen) = fixed(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    for _ in 0..3 {
        let answer = get(&gateway, "/").await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
    assert_eq!(seen.connections(), 3);
}

/// Answers one request per connection, then closes it a little later, unannounced.
async fn closes_after_each() -> (std::net::SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let address = raw(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            let head = read_head(&mut stream).await.unwrap();
            seen.requests.lock().unwrap().push(head);
            stream.write_all(OK.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    })
    .await;
    (address, kept)
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_nobody_anything() {
    let (address, seen) = closes_after_each().await;
    let gateway = gateway(&app(Upstream {
        retries: 0,
        ..upstream(&[address])
    }))
    .await;
    for _ in 0..3 {
        assert!(get(&gateway, "/").await.ends_with("ok"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let post =
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    assert!(talk(&gateway, post).await.starts_with("HTTP/1.1 200"));
    assert_eq!(seen.connections(), 4);
}

/// Closes the first connection after reading a request on it, answers on the others.
async fn fails_first() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let heads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heads);
    let address = raw(move |number, mut stream| {
        let heads = Arc::clone(&heads);
        async move {
            while read_head(&mut stream).await.is_some() {
                heads.fetch_add(1, Ordering::SeqCst);
                if number == 0 {
                    return;
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (address, counted)
}

#[tokio::test]
async fn a_get_that_was_lost_is_sent_again() {
    let (address, heads) = fails_first().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
    assert_eq!(heads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    let (address, heads) = fails_first().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("upstream-closed"));
    assert_eq!(heads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_put_with_a_body_is_not_sent_again() {
    let (address, heads) = fails_first().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "PUT / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(heads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_retries_even_a_get_is_sent_once() {
    let (address, heads) = fails_first().await;
    let gateway = gateway(&app(Upstream {
        retries: 0,
        ..upstream(&[address])
    }))
    .await;
    assert!(get(&gateway, "/").await.starts_with("HTTP/1.1 502"));
    assert_eq!(heads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn conditions_ranges_and_the_target_pass_untouched() {
    let (address, seen) = fixed(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/9\r\netag: W/\"x\"\r\nallow: GET\r\nwww-authenticate: Basic realm=\"y\"\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "GET /%C3%A4//b%20c?x=%2f&&y= HTTP/1.1\r\nhost: app.example\r\nrange: bytes=0-1\r\nif-range: W/\"x\"\r\nif-none-match: \"z\"\r\nif-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\ncache-control: no-transform\r\nconnection: close\r\n\r\n",
    )
    .await;
    let head = seen.last();
    assert!(
        head.starts_with("GET /%C3%A4//b%20c?x=%2f&&y= HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "range: bytes=0-1",
        "if-range: W/\"x\"",
        "if-none-match: \"z\"",
        "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
        "cache-control: no-transform",
        "host: app.example",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
    assert!(answer.starts_with("HTTP/1.1 206 Partial Content\r\n"));
    for line in [
        "content-range: bytes 0-1/9",
        "etag: W/\"x\"",
        "allow: GET",
        "www-authenticate: Basic realm=\"y\"",
    ] {
        assert!(
            answer.contains(&format!("{line}\r\n")),
            "{line} in {answer}"
        );
    }
}

#[tokio::test]
async fn an_absolute_target_names_the_host_and_becomes_a_path() {
    let (address, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    talk(
        &gateway,
        "GET http://app.example/a?b HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n",
    )
    .await;
    let head = seen.last();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: app.example\r\n"), "{head}");
    assert!(!head.contains("other.example"), "{head}");
}

#[tokio::test]
async fn what_a_client_says_of_itself_never_reaches_the_app_and_what_we_say_does() {
    let (address, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    talk(
        &gateway,
        "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close, Masugata-Assertion, X-Forwarded-For, Host\r\nMASUGATA-Assertion: forged\r\nMasugata_Assertion: forged\r\nX-Forwarded-For: forged\r\nAuthorization: Bearer forged\r\nX-Forwarded-User: forged\r\n\r\n",
    )
    .await;
    let head = seen.last();
    assert!(!head.contains("forged"), "{head}");
    for line in [
        "masugata-assertion: signed",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: app.example",
        "forwarded: for=127.0.0.1;host=\"app.example\";proto=https",
        "x-request-id: 00000000000000000000000000000abc",
        "host: app.example",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
    assert!(head.contains("via: 1.1 masugata-"), "{head}");
    assert!(!head.contains("connection:"), "{head}");
}

#[tokio::test]
async fn a_trusted_forwarder_is_believed() {
    let (address, seen) = fixed(OK).await;
    let gateway = behind_a_trusted_forwarder(&app(upstream(&[address]))).await;
    talk(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\nx-forwarded-for: 198.51.100.7\r\n\r\n",
    )
    .await;
    let head = seen.last();
    assert!(
        head.contains("x-forwarded-for: 198.51.100.7, 127.0.0.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn the_prefix_is_rewritten_and_the_host_replaced_where_configured() {
    let (address, seen) = fixed(OK).await;
    let mut configured = app(Upstream {
        rewrite_prefix: Some("/inner".to_owned()),
        host_header: HostHeader::Upstream,
        ..upstream(&[address])
    });
    configured.path_prefix = "/outer".to_owned();
    let gateway = gateway(&configured).await;
    get(&gateway, "/outer/x?y").await;
    let head = seen.last();
    assert!(head.starts_with("GET /inner/x?y HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    assert!(head.contains("x-forwarded-host: app.example\r\n"), "{head}");
}

#[tokio::test]
async fn configured_edits_are_made_both_ways() {
    let (address, seen) =
        fixed("HTTP/1.1 200 OK\r\nserver: secret\r\ncontent-length: 0\r\n\r\n").await;
    let mut configured = app(upstream(&[address]));
    let name = |text| HeaderName::from_static(text);
    configured.request_headers = HeaderEdits {
        set: vec![(name("x-tenant"), HeaderValue::from_static("t1"))],
        remove: vec![name("accept-language")],
    };
    configured.response_headers = HeaderEdits {
        set: vec![(
            name("strict-transport-security"),
            HeaderValue::from_static("max-age=1"),
        )],
        remove: vec![name("server")],
    };
    let gateway = gateway(&configured).await;
    let answer = talk(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\naccept-language: ja\r\nx-tenant: forged\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(seen.last().contains("x-tenant: t1\r\n"));
    assert!(!seen.last().contains("accept-language"));
    assert!(!seen.last().contains("forged"));
    assert!(answer.contains("strict-transport-security: max-age=1\r\n"));
    assert!(!answer.contains("secret"));
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_free_the_connection() {
    for (method, answer, expected) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
            "content-length: 1234",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
            "etag: \"a\"",
        ),
    ] {
        let (address, seen) = fixed(answer).await;
        let gateway = gateway(&app(upstream(&[address]))).await;
        for _ in 0..2 {
            let got = talk(
                &gateway,
                &format!("{method} / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n\r\n"),
            )
            .await;
            assert!(got.contains(expected), "{got}");
            assert!(got.ends_with("\r\n\r\n"), "{got}");
        }
        assert_eq!(seen.connections(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    let (address, _) = fixed(
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.contains("transfer-encoding: chunked\r\n"));
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_repeated_length_becomes_one() {
    let (address, _) =
        fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert_eq!(
        answer.matches("content-length: 2\r\n").count(),
        1,
        "{answer}"
    );
}

#[tokio::test]
async fn conflicting_lengths_are_a_bad_gateway_and_the_connection_is_gone() {
    let (address, seen) =
        fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok").await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    assert!(get(&gateway, "/").await.starts_with("HTTP/1.1 502"));
    assert!(get(&gateway, "/").await.starts_with("HTTP/1.1 502"));
    assert_eq!(seen.connections(), 2);
    assert_eq!(*gateway.errors.lock().unwrap(), ["upstream-protocol"; 2]);
}

// RFC 9112 §6.3, §7
#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_a_bad_gateway() {
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked\r\ntransfer-encoding: chunked",
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        let (address, _) = fixed(Box::leak(answer.into_boxed_str())).await;
        let gateway = gateway(&app(upstream(&[address]))).await;
        assert!(
            get(&gateway, "/").await.starts_with("HTTP/1.1 502"),
            "{coding}"
        );
    }
}

#[tokio::test]
async fn an_upstreams_folded_or_garbled_head_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ] {
        let (address, _) = fixed(answer).await;
        let gateway = gateway(&app(upstream(&[address]))).await;
        let got = get(&gateway, "/").await;
        assert!(got.starts_with("HTTP/1.1 502"), "{answer:?} gave {got}");
    }
}

#[tokio::test]
async fn options_with_no_hops_left_ends_here_and_others_are_counted_down() {
    let (address, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let options = |hops: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nhost: app.example\r\nmax-forwards: {hops}\r\nconnection: close\r\n\r\n"
        )
    };
    assert!(
        talk(&gateway, &options("0"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(seen.heads().is_empty());
    talk(&gateway, &options("3")).await;
    assert!(seen.last().contains("max-forwards: 2\r\n"));
    assert!(
        talk(&gateway, &options("-1"))
            .await
            .starts_with("HTTP/1.1 400")
    );
}

#[tokio::test]
async fn http2_to_http1_joins_cookies_and_names_the_host() {
    let (address, seen) = fixed(OK).await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = http2_client(&gateway).await;
    let mut asked = request("GET", "/x", Empty::<Bytes>::new());
    for crumb in ["a=1", "b=2; __Host-masugata-session=secret", "c=3"] {
        asked
            .headers_mut()
            .append("cookie", HeaderValue::from_static(crumb));
    }
    let (_, body) = collected(client.send_request(asked).await.unwrap()).await;
    assert_eq!(body, "ok");
    let head = seen.last();
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: app.example\r\n"), "{head}");
    assert!(head.contains("cookie: a=1; b=2; c=3\r\n"), "{head}");
    assert!(head.contains("via: 2.0 masugata-"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn http1_to_http2_keeps_the_authority_and_drops_what_is_of_the_connection() {
    let address = h2c(|request| async move {
        let mut answer = Response::new(Full::new(Bytes::from(format!(
            "{} {:?} te={:?} host={:?} connection={:?} via={:?}",
            request.uri(),
            request.method(),
            request.headers().get("te"),
            request.headers().get("host"),
            request.headers().get("connection"),
            request.headers().get("via").is_some(),
        ))));
        answer
            .headers_mut()
            .insert("alt-svc", HeaderValue::from_static("h3=\":443\""));
        answer
    })
    .await;
    let gateway = gateway(&app(http2_only(address))).await;
    for _ in 0..3 {
        let answer = talk(
            &gateway,
            "GET /p?q HTTP/1.1\r\nhost: app.example\r\nte: trailers, gzip\r\nconnection: te, close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("http://app.example/p?q GET te=Some(\"trailers\") host=None connection=None via=true"),
            "{answer}"
        );
        assert!(!answer.contains("alt-svc"), "{answer}");
        assert!(answer.contains("via: 2.0 masugata-"), "{answer}");
    }
}

#[tokio::test]
async fn requests_to_an_http2_upstream_share_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = raw(move |_, stream| {
        let connections = Arc::clone(&counted);
        async move {
            connections.fetch_add(1, Ordering::SeqCst);
            let service = hyper::service::service_fn(|_| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("ok"))))
            });
            let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let gateway = gateway(&app(http2_only(address))).await;
    let gateway = Arc::new(gateway);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let gateway = Arc::clone(&gateway);
        all.spawn(async move { get(&gateway, "/").await });
    }
    for answer in all.join_all().await {
        assert!(answer.ends_with("ok"), "{answer}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lost_http2_connection_is_replaced() {
    let address = raw(|number, stream| async move {
        let service = hyper::service::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("ok"))))
        });
        let serving =
            hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        if number == 0 {
            let _ = tokio::time::timeout(Duration::from_millis(200), serving).await;
        } else {
            let _ = serving.await;
        }
    })
    .await;
    let gateway = gateway(&app(http2_only(address))).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn a_group_that_did_not_change_keeps_its_connections_over_a_reload() {
    let (address, _) = fixed(OK).await;
    let configured = app(upstream(&[address]));
    let gateway = gateway(&configured).await;
    get(&gateway, "/").await;
    let Backend::Proxy(same) = &configured.backend else {
        panic!()
    };
    let rebuilt =
        super::super::AppForward::build(&configured, same, &instance(), Some(gateway.app.group()))
            .unwrap();
    assert!(Arc::ptr_eq(rebuilt.group(), gateway.app.group()));
    assert_eq!(rebuilt.group().servers()[0].idle_connections(), 1);
    let other = Upstream {
        max_idle: 3,
        ..same.clone()
    };
    let rebuilt = super::super::AppForward::build(
        &configured,
        &other,
        &instance(),
        Some(gateway.app.group()),
    )
    .unwrap();
    assert!(!Arc::ptr_eq(rebuilt.group(), gateway.app.group()));
}

#[tokio::test]
async fn the_exchange_future_stays_small() {
    // It is moved into the connection for every request.
    let (address, _) = fixed(OK).await;
    let configured = app(upstream(&[address]));
    let prepared = prepared(&configured);
    drop(prepared);
    fn size_of_future<F, T>(_: F) -> usize
    where
        F: Fn(super::super::Outbound) -> T,
    {
        std::mem::size_of::<T>()
    }
    let size = size_of_future(super::super::forward);
    assert!(size < 4096, "{size}");
    assert!(std::mem::size_of::<super::super::Body>() <= 320);
}

#[tokio::test]
async fn an_http2_client_and_upstream_pass_bodies_through() {
    let address = h2c(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let gateway = http2_gateway(&app(http2_only(address))).await;
    let mut client = http2_client(&gateway).await;
    let big = Bytes::from(vec![7; 3_000_000]);
    let answer = client
        .send_request(request("POST", "/", Full::new(big.clone())))
        .await
        .unwrap();
    let (_, body) = collected(answer).await;
    assert_eq!(body, big);
}
