//! Bodies: streamed both ways, bounded, with trailers, and never taken for whole when they are not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::world::*;

type Frames = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// A body that a test feeds.
fn fed() -> (
    Frames,
    http_body_util::combinators::BoxBody<Bytes, Infallible>,
) {
    struct Fed(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);
    impl hyper::body::Body for Fed {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx)
        }
    }
    let (sender, receiver) = mpsc::channel(4);
    (sender, Fed(receiver).boxed())
}

/// Reads a request with a body of either framing and answers with what it read.
async fn echo() -> std::net::SocketAddr {
    raw(|_, stream| async move {
        let service =
            hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                let collected = request.into_body().collect().await.unwrap();
                let trailer = collected
                    .trailers()
                    .and_then(|trailers| trailers.get("x-sum"))
                    .cloned();
                let mut response = Response::new(Full::new(collected.to_bytes()));
                if let Some(trailer) = trailer {
                    response.headers_mut().insert("x-got-trailer", trailer);
                }
                Ok::<_, Infallible>(response)
            });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            .await;
    })
    .await
}

#[tokio::test]
async fn chunks_pass_both_ways() {
    let address = raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let body = read_until(&mut stream, "0\r\n\r\n").await;
        assert!(body.contains("hello"), "{body}");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.contains("abc"), "{answer}");
    assert!(answer.ends_with("de\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let address = echo().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn request_trailers_pass_and_cannot_forge_our_headers() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let body = read_until(&mut stream, "\r\n\r\n").await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ntrailer: x-sum, masugata-assertion, x-forwarded-for\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\nmasugata-assertion: forged\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
    )
    .await;
    assert!(answer.contains("x-sum: 7"), "{answer}");
    assert!(!answer.contains("forged"), "{answer}");
    assert!(!answer.contains("6.6.6.6"), "{answer}");
}

#[tokio::test]
async fn response_trailers_reach_a_client_that_takes_them() {
    let (address, seen) = fixed(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 9\r\n\r\n",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nte: trailers\r\nconnection: te, close\r\n\r\n",
    )
    .await;
    assert!(seen.last().contains("te: trailers\r\n"));
    assert!(answer.ends_with("0\r\nx-sum: 9\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_seen_to_be_broken() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ] {
        let address = raw(move |_, mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        })
        .await;
        let gateway = gateway(&app(upstream(&[address]))).await;
        let got = get(&gateway, "/").await;
        assert!(got.contains("only this"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
        assert!(got.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_broken_response_resets_an_http2_stream() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            .await
            .unwrap();
    })
    .await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = http2_client(&gateway).await;
    // The reset may overtake the head; either way the client knows.
    if let Ok(answer) = client
        .send_request(request("GET", "/", Full::new(Bytes::new())))
        .await
    {
        assert!(answer.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_never_goes_upstream() {
    let (address, seen) = fixed("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut configured = app(upstream(&[address]));
    configured.max_body_bytes = Some(4);
    let gateway = gateway(&configured).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(seen.connections(), 0);
}

#[tokio::test]
async fn a_streamed_body_that_grows_too_large_is_stopped() {
    let address = raw(|_, mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    let mut configured = app(upstream(&[address]));
    configured.max_body_bytes = Some(4);
    let gateway = gateway(&configured).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(*gateway.errors.lock().unwrap(), ["body-too-large"]);
}

#[tokio::test]
async fn a_slow_reader_holds_back_the_upstream() {
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let address = raw(move |_, mut stream| {
        let written = Arc::clone(&counted);
        async move {
            read_head(&mut stream).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
                .await
                .unwrap();
            let chunk = vec![1; 64 * 1024];
            while stream.write_all(&chunk).await.is_ok() {
                written.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let first = written.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = written.load(Ordering::SeqCst);
    assert_eq!(first, second, "the upstream is still being read");
    // What the kernel's socket buffers take, and little more.
    assert!(second < 32 * 1024 * 1024, "{second}");
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).await.unwrap();
            // The next is sent only after the client has had this one.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    for number in 0..3 {
        let started = tokio::time::Instant::now();
        let event = read_until(&mut client, &format!("data: {number}\n\n\r\n")).await;
        assert!(event.contains(&number.to_string()));
        assert!(started.elapsed() < Duration::from_millis(400));
    }
    assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn grpc_streams_both_ways_at_once_and_ends_with_trailers() {
    let address = h2c(|request| async move {
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        let (frames, body) = fed();
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                if let Ok(data) = frame.into_data() {
                    frames.send(Ok(Frame::data(data))).await.unwrap();
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    })
    .await;
    let gateway = http2_gateway(&app(http2_only(address))).await;
    let mut client = http2_client(&gateway).await;
    let (frames, body) = fed();
    let mut asked = request("POST", "/pkg.Service/Method", body);
    asked
        .headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let answer = client.send_request(asked).await.unwrap();
    let mut incoming = answer.into_body();
    for message in ["one", "two", "three"] {
        frames
            .send(Ok(Frame::data(Bytes::from(message))))
            .await
            .unwrap();
        let frame = incoming.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    drop(frames);
    let trailers = incoming
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}

#[tokio::test]
async fn an_http1_upstream_may_answer_while_it_still_reads() {
    // Neither direction may wait for the other: the upstream echoes as it reads.
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..3 {
            let chunk = read_until(&mut stream, "!\r\n").await;
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
        read_until(&mut stream, "0\r\n\r\n").await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: app.example\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut client).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for word in ["a!", "b!", "c!"] {
        client
            .write_all(format!("2\r\n{word}\r\n").as_bytes())
            .await
            .unwrap();
        let echoed = read_until(&mut client, "!\r\n").await;
        assert!(echoed.contains(word), "{echoed}");
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_body_waits_until_the_upstream_asks_for_it() {
    let address = raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await;
        assert!(early.is_err(), "the body came unasked");
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read_until(&mut stream, "hello").await, "hello");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: app.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        read_head(&mut client).await.unwrap(),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"hello").await.unwrap();
    assert!(
        read_until(&mut client, "ok")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_refusal_comes_without_the_body_being_asked_for() {
    let (address, _) = fixed("HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nnope").await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.ends_with("nope"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_ignores_the_question_gets_the_body_after_a_second() {
    let silent = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        assert_eq!(read_until(&mut stream, "hello").await, "hello");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[silent]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: app.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await
        .unwrap();
    assert!(
        read_head(&mut client)
            .await
            .unwrap()
            .contains("100 Continue")
    );
    client.write_all(b"hello").await.unwrap();
    assert!(
        read_until(&mut client, "ok")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn an_expectation_of_http_1_0_means_nothing() {
    let address = raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(!head.contains("expect"), "{head}");
        assert_eq!(read_until(&mut stream, "hello").await, "hello");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.0\r\nhost: app.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_upstream() {
    let (closed, mut was_closed) = mpsc::channel(1);
    let address = raw(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = closed.send(()).await;
        }
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), was_closed.recv())
        .await
        .expect("the upstream's connection is closed");
    assert_eq!(gateway.app.group().servers()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_large_upload_passes_whole() {
    let address = echo().await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = http2_client(&gateway).await;
    let (frames, body) = fed();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            frames
                .send(Ok(Frame::data(Bytes::from(vec![3; 64 * 1024]))))
                .await
                .unwrap();
        }
    });
    let answer = client
        .send_request(request("POST", "/", body))
        .await
        .unwrap();
    let (_, body) = collected(answer).await;
    sending.await.unwrap();
    assert_eq!(body.len(), 64 * 64 * 1024);
}

#[test]
fn our_own_pages_know_their_length() {
    use hyper::body::Body as _;
    let page = super::super::Body::full("page");
    assert_eq!(page.size_hint().exact(), Some(4));
    assert!(!page.is_end_stream());
    assert!(super::super::Body::empty().is_end_stream());
}

/// Answers `GET /N` with N bytes, chunked when N is odd, in pieces when it is large.
async fn sized() -> std::net::SocketAddr {
    raw(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let size: usize = path.trim_start_matches('/').parse().unwrap();
            let body = vec![b'x'; size];
            if size.is_multiple_of(2) {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                for piece in body.chunks(10_000) {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            } else {
                let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                for piece in body.chunks(7_000) {
                    answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    answer.extend_from_slice(piece);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\n\r\n");
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await
}

const SIZES: [usize; 8] = [0, 1, 2, 999, 1000, 40_001, 120_000, 300_001];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_at_once_all_get_what_they_asked_for() {
    // Connections are driven by whoever uses them, on any thread: a wake-up that goes astray would hang here.
    let address = sized().await;
    let gateway = Arc::new(gateway(&app(upstream(&[address]))).await);
    let mut all = tokio::task::JoinSet::new();
    for client in 0..24_usize {
        let gateway = Arc::clone(&gateway);
        all.spawn(async move {
            let stream = TcpStream::connect(gateway.address).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            for turn in 0..40_usize {
                let size = SIZES[(client + turn) % SIZES.len()];
                let asked = http::Request::builder()
                    .uri(format!("/{size}"))
                    .header("host", "app.example")
                    .body(Full::new(Bytes::new()))
                    .unwrap();
                sender.ready().await.unwrap();
                let (_, body) = collected(sender.send_request(asked).await.unwrap()).await;
                assert_eq!(body.len(), size);
            }
        });
    }
    let done = tokio::time::timeout(Duration::from_secs(60), all.join_all()).await;
    assert!(done.is_ok(), "somebody hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_streams_at_once_all_get_what_they_asked_for() {
    let address = sized().await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let client = http2_client(&gateway).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..400_usize {
        let mut client = client.clone();
        all.spawn(async move {
            let size = SIZES[number % SIZES.len()];
            let asked = request("GET", &format!("/{size}"), Full::new(Bytes::new()));
            let (_, body) = collected(client.send_request(asked).await.unwrap()).await;
            assert_eq!(body.len(), size);
        });
    }
    let done = tokio::time::timeout(Duration::from_secs(60), all.join_all()).await;
    assert!(done.is_ok(), "somebody hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_uploads_at_once_come_back_whole() {
    let address = echo().await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let client = http2_client(&gateway).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..100_usize {
        let mut client = client.clone();
        all.spawn(async move {
            let sent = Bytes::from(vec![b'u'; SIZES[number % SIZES.len()]]);
            let asked = request("POST", "/", Full::new(sent.clone()));
            let (_, body) = collected(client.send_request(asked).await.unwrap()).await;
            assert_eq!(body, sent);
        });
    }
    let done = tokio::time::timeout(Duration::from_secs(60), all.join_all()).await;
    assert!(done.is_ok(), "somebody hangs");
}
