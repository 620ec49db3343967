//! Bodies larger than memory should be, and readers slower than writers: what is not taken is not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use masugata_tests::{
    Client, Process, TestGateway, Upstream, UpstreamAnswer, eventually, fed, within_reason,
};
use tokio::sync::Notify;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
const CHUNKS: u64 = 1600;
const HUNDRED_MIB: u64 = CHUNKS * 64 * 1024;
/// What may be under way between two ends: buffers of four sockets and two programs.
const UNDER_WAY: u64 = 32 << 20;

fn chunk() -> Bytes {
    Bytes::from_static(&ZEROS)
}

/// Counts uploads; downloads 100 MiB.
async fn warehouse(request: Request<Incoming>) -> UpstreamAnswer {
    if request.method() == Method::GET {
        let (feed, body) = fed();
        tokio::spawn(async move {
            for _ in 0..CHUNKS {
                if !feed.data(chunk()).await {
                    return;
                }
            }
        });
        return Response::new(body.boxed());
    }
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Upstream::text(&bytes.to_string())
}

async fn download(client: &Client, app: &str) -> u64 {
    let mut session = client.session(app).await;
    let request = session
        .build(Method::GET, "/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut body = session.open_any(request).await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame
            .unwrap()
            .data_ref()
            .map_or(0, |data| data.len() as u64);
    }
    bytes
}

async fn upload(client: &Client, app: &str) -> String {
    let mut session = client.session(app).await;
    let (feed, body) = fed();
    let request = session.build(Method::PUT, "/").body(body).unwrap();
    tokio::spawn(async move {
        for _ in 0..CHUNKS {
            if !feed.data(chunk()).await {
                return;
            }
        }
    });
    session.send_any(request).await.unwrap().text()
}

/// A process of its own, whose memory is its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_each_way_need_no_memory_to_speak_of() {
    let (one, two) = (
        Upstream::new(warehouse).await,
        Upstream::h2c(warehouse).await,
    );
    let prepared = TestGateway::new()
        .app("h1", one.address)
        .app_with(
            "h2",
            "internal",
            two.address,
            "upstream.protocol = \"http2\"",
        )
        .prepare();
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    // What serving costs at all.
    for app in ["h1", "h2"] {
        assert_eq!(ada.post(app, "/", "12345").await.text(), "5");
        assert_eq!(ada.clone().h2().post(app, "/", "12345").await.text(), "5");
    }
    let before = process.peak_memory();
    for app in ["h1", "h2"] {
        for client in [ada.clone(), ada.clone().h2()] {
            assert_eq!(download(&client, app).await, HUNDRED_MIB, "{app}");
            assert_eq!(upload(&client, app).await, HUNDRED_MIB.to_string(), "{app}");
        }
    }
    let grown = process.peak_memory() - before;
    assert!(grown < 24 * 1024, "{grown} KiB more than before");
}

/// Does not change for a while.
async fn settled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    let mut same = 0;
    loop {
        let now = count.load(Ordering::SeqCst);
        same = if now == last { same + 1 } else { 0 };
        if same >= 15 && now > 0 {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_rests_stops_the_app_from_sending() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let endless = move |_request: Request<Incoming>| {
        let counter = Arc::clone(&counter);
        async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                while feed.data(chunk()).await {
                    counter.fetch_add(ZEROS.len() as u64, Ordering::SeqCst);
                }
            });
            UpstreamAnswer::new(body.boxed())
        }
    };
    let (one, two) = (
        Upstream::new(endless.clone()).await,
        Upstream::h2c(endless).await,
    );
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
    for app in ["h1", "h2"] {
        for client in [gateway.ada(), gateway.ada().h2()] {
            sent.store(0, Ordering::SeqCst);
            let mut session = client.session(app).await;
            let request = session
                .build(Method::GET, "/")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let mut body = session.open_any(request).await.unwrap().into_body();
            let rested = within_reason("the app rests", settled(&sent)).await;
            assert!(
                rested < UNDER_WAY,
                "{app}: {rested} bytes were sent to nobody"
            );
            // And goes on when the reader does.
            let mut read = 0;
            while read < 2 * UNDER_WAY {
                let frame = within_reason("more", body.frame()).await.unwrap().unwrap();
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            drop((body, session));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_rests_stops_the_client_from_sending() {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let lazy = move |request: Request<Incoming>| {
        let told = Arc::clone(&told);
        async move {
            told.notified().await;
            warehouse(request).await
        }
    };
    let (one, two) = (Upstream::new(lazy.clone()).await, Upstream::h2c(lazy).await);
    let more = "max_body = \"unlimited\"";
    let gateway = TestGateway::new()
        .app_with("h1", "internal", one.address, more)
        .app_with(
            "h2",
            "internal",
            two.address,
            &format!("{more}\nupstream.protocol = \"http2\""),
        )
        .start()
        .await;
    for app in ["h1", "h2"] {
        for client in [gateway.ada(), gateway.ada().h2()] {
            let taken = Arc::new(AtomicU64::new(0));
            let enough = Arc::new(AtomicBool::new(false));
            let mut session = client.session(app).await;
            let (feed, body) = fed();
            let request = session.build(Method::PUT, "/").body(body).unwrap();
            let (counter, stop) = (Arc::clone(&taken), Arc::clone(&enough));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) && feed.data(chunk()).await {
                    counter.fetch_add(ZEROS.len() as u64, Ordering::SeqCst);
                }
            });
            let answer = tokio::spawn(session.start(request));
            let rested = within_reason("the client rests", settled(&taken)).await;
            assert!(
                rested < UNDER_WAY,
                "{app}: {rested} bytes were taken for nobody"
            );
            go_on.notify_one();
            eventually("it goes on", async || {
                taken.load(Ordering::SeqCst) > 2 * UNDER_WAY
            })
            .await;
            enough.store(true, Ordering::SeqCst);
            let answer = within_reason("an answer", answer).await.unwrap().unwrap();
            let total = answer.into_body().collect().await.unwrap().to_bytes();
            let total: u64 = String::from_utf8_lossy(&total).parse().unwrap();
            assert!(total > 2 * UNDER_WAY);
        }
    }
}
