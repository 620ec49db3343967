//! The guard under a real hyper server, and by itself.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::denial::DenialReason;
use crate::framing::corpus::{REFUSED, VALID};

const LIMITS: Limits = Limits {
    head_bytes: 16 * 1024,
    fields: 32,
};

/// Answers with what arrived; refuses what the guard refuses; speaks back what it hears after an upgrade.
async fn answer(
    handle: Handle,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let switching = handle.switching(&head);
    let reply = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        Ok(response)
    };
    if let Some(violation) = handle.refusal(&head) {
        let accept = head.headers.get("accept").map(|it| it.to_str().unwrap());
        return reply(
            StatusCode::BAD_REQUEST,
            format!("[{} {}]", violation.reason.code(), accept.unwrap_or("-")),
        );
    }
    if head.headers.get("upgrade").is_some_and(|it| it == "echo") {
        switching.unwrap().release();
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut heard = [0; 64];
            while let Ok(count @ 1..) = io.read(&mut heard).await {
                io.write_all(&heard[..count]).await.unwrap();
            }
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert("upgrade", "echo".parse().unwrap());
        response
            .headers_mut()
            .insert("connection", "upgrade".parse().unwrap());
        return Ok(response);
    }
    match body.collect().await {
        Ok(body) => reply(
            StatusCode::OK,
            format!("[{} {} {}]", head.method, head.uri, body.to_bytes().len()),
        ),
        Err(_) => reply(
            StatusCode::BAD_REQUEST,
            format!("[cut {}]", handle.violation().unwrap().reason.code()),
        ),
    }
}

fn serve() -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (guarded, handle) = Guarded::new(server, LIMITS);
    tokio::spawn(async move {
        let service = service_fn(move |request| answer(handle.clone(), request));
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(guarded), service)
            .with_upgrades()
            .await;
    });
    client
}

/// The bracketed parts of all answers to `stream`.
async fn answers(stream: &[u8]) -> Vec<String> {
    let mut client = serve();
    client.write_all(stream).await.unwrap();
    let mut all = Vec::new();
    let patience = std::time::Duration::from_millis(300);
    while let Ok(Ok(1..)) = tokio::time::timeout(patience, client.read_buf(&mut all)).await {}
    let text = String::from_utf8(all).unwrap();
    text.split('[')
        .skip(1)
        .filter_map(|part| part.split(']').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn pipelined_requests_of_all_framings_are_all_answered() {
    assert_eq!(
        answers(
            b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\
              POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
              POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
              \r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        .await,
        ["GET /1 0", "POST /2 3", "POST /3 2", "GET /4 0"]
    );
}

#[tokio::test]
async fn a_refused_head_is_answered_after_those_before_it_and_ends_the_connection() {
    assert_eq!(
        answers(
            b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\
              GET /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nAccept: text/html\r\n\r\n\
              GET /3 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        .await,
        ["GET /1 0", "request-malformed text/html"]
    );
}

#[tokio::test]
async fn every_payload_meets_one_refusal_and_reaches_nobody() {
    let rounds = REFUSED.iter().map(|payload| async move {
        let got = answers(payload).await;
        let text = String::from_utf8_lossy(payload).into_owned();
        assert_eq!(got.len(), 1, "{text:?}: {got:?}");
        assert!(
            got[0].starts_with("request-") || got[0].starts_with("cut "),
            "{text:?}: {got:?}"
        );
    });
    let mut all = tokio::task::JoinSet::new();
    for round in rounds {
        all.spawn(round);
    }
    all.join_all().await;
}

#[tokio::test]
async fn a_refusal_is_answered_even_when_the_client_has_stopped_sending() {
    let mut client = serve();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 400 "), "{all}");
    assert!(all.contains("connection: close"), "{all}");
}

#[tokio::test]
async fn half_a_head_is_never_a_request() {
    let mut client = serve();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "");
}

#[tokio::test]
async fn a_client_cannot_pass_for_the_guard() {
    assert_eq!(
        answers(b"REFUSED / HTTP/1.1\r\nHost: h\r\n\r\n").await,
        ["request-malformed -"]
    );
}

#[tokio::test]
async fn heads_that_are_too_large_have_their_code() {
    let large = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: {}",
        "x".repeat(17 * 1024)
    );
    assert_eq!(answers(large.as_bytes()).await, ["header-too-large -"]);
}

#[tokio::test]
async fn an_upgrade_passes_early_bytes_and_all_that_follow() {
    let mut client = serve();
    client
        .write_all(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\0early\n",
        )
        .await
        .unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"\0early\n") {
        assert_ne!(client.read_buf(&mut all).await.unwrap(), 0);
    }
    client.write_all(b"\x81\x00later").await.unwrap();
    while !all.ends_with(b"\x81\x00later") {
        assert_ne!(client.read_buf(&mut all).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn after_a_declined_upgrade_the_next_request_is_examined() {
    let declined = b"GET /1 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let good = [&declined[..], b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    assert_eq!(answers(&good).await, ["GET /1 0", "GET /2 0"]);
    let bad = [&declined[..], b"GET /2 HTTP/1.1\nHost: h\n\n"].concat();
    assert_eq!(answers(&bad).await, ["GET /1 0", "request-malformed -"]);
    let twice = [
        &declined[..],
        &declined[..],
        b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
    .concat();
    assert_eq!(answers(&twice).await, ["GET /1 0", "GET /1 0", "GET /2 0"]);
}

/// Everything that comes out of a guard over a client that sends `pieces`, read into buffers of `space` bytes.
fn read_through(pieces: Vec<Vec<u8>>, space: usize) -> (Vec<u8>, Option<DenialReason>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut guarded, handle) = Guarded::new(server, LIMITS);
        let reader = async {
            let (mut all, mut buffer) = (Vec::new(), vec![0; space]);
            while let Ok(count @ 1..) = guarded.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
                if handle.violation().is_some()
                    && all.ends_with(b".invalid\r\nconnection: close\r\n\r\n")
                {
                    break;
                }
            }
            all
        };
        let writer = async {
            for piece in pieces {
                let _ = client.write_all(&piece).await;
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (all, ()) = tokio::join!(reader, writer);
        (all, handle.violation().map(|it| it.reason))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_come_out_as_they_went_in_however_they_are_cut(
        requests in proptest::collection::vec(proptest::sample::select(&VALID[..]), 1..5),
        piece in 1usize..200,
        space in 1usize..300,
    ) {
        let stream = requests.concat();
        let pieces = stream.chunks(piece).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(read_through(pieces, space), (stream, None));
    }

    #[test]
    fn nothing_of_a_refused_head_comes_out(
        before in proptest::collection::vec(proptest::sample::select(&VALID[..]), 0..3),
        piece in 1usize..200,
        space in 1usize..300,
    ) {
        let mut stream = before.concat();
        let valid = stream.len();
        stream.extend_from_slice(b"GET /secret HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\nGET /next HTTP/1.1\r\n");
        let pieces = stream.chunks(piece).map(<[u8]>::to_vec).collect();
        let (all, reason) = read_through(pieces, space);
        prop_assert_eq!(reason, Some(DenialReason::RequestMalformed));
        prop_assert_eq!(&all[..valid], &stream[..valid]);
        prop_assert_eq!(
            &all[valid..],
            b"REFUSED / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n"
        );
    }
}
