//! The socket side of the administrators' listener. One request per connection, so that a slow or silent client costs
//! one slot for a bounded time and a stop has nothing to negotiate.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AdminView;
use super::answer::answer;

/// Connections served at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// For the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For a whole connection: a scrape of a big page over a slow tunnel fits.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes and fields of a head; administrators send little.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;

/// How long connections may go on after a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// After the system could not give us a socket (out of descriptors): trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    head_timeout: Duration,
}

impl Admin {
    /// Binds `address`; nothing is answered before [`Admin::serve`].
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            head_timeout: HEAD_TIMEOUT,
        })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets answers under way finish for a few seconds.
    pub async fn serve(self, view: Arc<dyn AdminView>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&slots) => accepted,
            };
            let Some((stream, slot)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (view, head_timeout) = (Arc::clone(&view), self.head_timeout);
            open.spawn(async move {
                let _held = slot;
                serve_one(stream, view, head_timeout).await;
            });
            while open.try_join_next().is_some() {}
        }
        drop(self.listener);
        let finished = async { while open.join_next().await.is_some() {} };
        let _in_time = tokio::time::timeout(STOP_TIMEOUT, finished).await;
    }

    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                None
            }
        }
    }
}

async fn serve_one(stream: TcpStream, view: Arc<dyn AdminView>, head_timeout: Duration) {
    // The address the client reached, which is what it may name as host, even if we listen on all of them.
    let Ok(local) = stream.local_addr().map(|address| address.ip()) else {
        return;
    };
    let connection = connection(stream, local, view, head_timeout);
    let served = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
    if !matches!(served, Ok(Ok(()))) {
        tracing::debug!(?served, "admin connection ended early");
    }
}

async fn connection(
    stream: TcpStream,
    local: IpAddr,
    view: Arc<dyn AdminView>,
    head_timeout: Duration,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        // The body is never read; the connection closes behind the answer.
        let (head, _body) = request.into_parts();
        let answer = answer(&*view, &head, local);
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::admin::Check;
    use crate::limits::LockoutEntry;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn it_says_that_it_is_alive_and_ready() {
        let bench = Bench::start(Shown::ready()).await;
        insta::assert_snapshot!(bench.get("/livez").await, @r#"
        HTTP/1.1 200 OK
        content-type: application/json
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 14

        {"alive":true}
        "#);
        insta::assert_snapshot!(bench.get("/readyz").await, @r#"
        HTTP/1.1 200 OK
        content-type: application/json
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 62

        {"ready":true,"checks":{"configuration":"ok","draining":"ok"}}
        "#);
    }

    #[tokio::test]
    async fn it_is_not_ready_while_one_thing_is_wrong() {
        let mut shown = Shown::ready();
        shown
            .checks
            .push(Check::failed("audit", "no space left on device"));
        let bench = Bench::start(shown).await;
        insta::assert_snapshot!(bench.get("/readyz").await, @r#"
        HTTP/1.1 503 Service Unavailable
        content-type: application/json
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 97

        {"ready":false,"checks":{"configuration":"ok","draining":"ok","audit":"no space left on device"}}
        "#);
    }

    #[tokio::test]
    async fn nothing_checked_means_not_ready() {
        let bench = Bench::start(Shown::default()).await;
        assert!(bench.get("/readyz").await.starts_with("HTTP/1.1 503"));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let bench = Bench::start(Shown::ready()).await;
        let page = bench.get("/metrics").await;
        assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(page.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn the_configuration_is_shown() {
        let bench = Bench::start(Shown::ready()).await;
        assert!(
            bench
                .get("/config")
                .await
                .ends_with(r#"{"apps":["payroll"]}"#)
        );
    }

    #[tokio::test]
    async fn lockouts_are_listed_and_lifted_with_the_header() {
        let bench = Bench::start(Shown::ready()).await;
        insta::assert_snapshot!(bench.get("/lockouts").await, @r#"
        HTTP/1.1 200 OK
        content-type: application/json
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 107

        {"lockouts":[{"key":"7","source":"device serial:SN-1","failures":12,"locked":true,"retry_after_ms":42000}]}
        "#);
        let lift = "DELETE /lockouts/7 HTTP/1.1\r\nHost: localhost\r\nMasugata-Admin: 1\r\n\r\n";
        assert!(
            bench
                .send(lift)
                .await
                .starts_with("HTTP/1.1 204 No Content")
        );
        assert!(bench.send(lift).await.starts_with("HTTP/1.1 404"));
    }

    /// A form or a script in an administrator's browser cannot send the header without a preflight.
    #[tokio::test]
    async fn a_web_page_cannot_lift_a_lockout() {
        let bench = Bench::start(Shown::ready()).await;
        for head in [
            "DELETE /lockouts/7 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "DELETE /lockouts/7 HTTP/1.1\r\nHost: localhost\r\nMasugata-Admin: 0\r\n\r\n",
        ] {
            assert!(bench.send(head).await.starts_with("HTTP/1.1 403"), "{head}");
        }
        let preflight = "OPTIONS /lockouts/7 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
            Access-Control-Request-Method: DELETE\r\nAccess-Control-Request-Headers: masugata-admin\r\n\r\n";
        let answer = bench.send(preflight).await;
        assert!(answer.starts_with("HTTP/1.1 405"));
        assert!(!answer.to_lowercase().contains("access-control"));
        assert!(bench.get("/lockouts").await.contains("serial:SN-1"));
    }

    /// DNS rebinding: the page's own name points at loopback, so the browser thinks it is the same origin.
    #[tokio::test]
    async fn a_rebound_name_reads_nothing() {
        let bench = Bench::start(Shown::ready()).await;
        for path in ["/livez", "/readyz", "/metrics", "/config", "/lockouts"] {
            for head in [
                format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
                format!("GET http://evil.example{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                format!("GET http://localhost{path} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            ] {
                assert!(
                    bench.send(&head).await.starts_with("HTTP/1.1 421"),
                    "{head}"
                );
            }
            for head in [
                format!("GET {path} HTTP/1.1\r\n\r\n"),
                format!("GET {path} HTTP/1.0\r\n\r\n"),
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
            ] {
                assert!(
                    bench.send(&head).await.contains(" 400 Bad Request\r\n"),
                    "{head}"
                );
            }
        }
    }

    #[tokio::test]
    async fn wrong_methods_and_unknown_paths_are_told_what_would_be_right() {
        let bench = Bench::start(Shown::ready()).await;
        let posted = bench
            .send("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        insta::assert_snapshot!(posted, @r#"
        HTTP/1.1 405 Method Not Allowed
        content-type: application/problem+json
        allow: GET, HEAD
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 99

        {"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"allowed here: GET, HEAD"}
        "#);
        insta::assert_snapshot!(bench.get("/admin").await, @r#"
        HTTP/1.1 404 Not Found
        content-type: application/problem+json
        cache-control: no-store
        x-content-type-options: nosniff
        connection: close
        content-length: 143

        {"type":"about:blank","title":"Not Found","status":404,"detail":"there are /livez, /readyz, /metrics, /config, /lockouts, /tunnels and /lists"}
        "#);
    }

    #[tokio::test]
    async fn nothing_is_ever_cached() {
        let bench = Bench::start(Shown::ready()).await;
        for path in ["/livez", "/config", "/nowhere"] {
            assert!(
                bench
                    .get(path)
                    .await
                    .contains("cache-control: no-store\r\n"),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_off() {
        let bench = Bench::start(Shown::ready()).await;
        let long = format!(
            "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(64 * 1024)
        );
        assert!(bench.send(&long).await.starts_with("HTTP/1.1 431"));
        let many = format!(
            "GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            "X: y\r\n".repeat(100)
        );
        assert!(bench.send(&many).await.starts_with("HTTP/1.1 431"));
    }

    /// Slow and silent clients hold every slot, and lose them again.
    #[tokio::test]
    async fn who_says_nothing_is_sent_away() {
        let mut admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        admin.head_timeout = Duration::from_millis(50);
        let bench = Bench::serve(admin, Shown::ready());
        let mut silent = Vec::new();
        for index in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(bench.address).await.unwrap();
            if index % 2 == 0 {
                stream.write_all(b"GET /livez HT").await.unwrap();
            }
            silent.push(stream);
        }
        assert!(bench.get("/livez").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn it_stops_when_told_and_takes_no_more() {
        let bench = Bench::start(Shown::ready()).await;
        bench.stop.cancel();
        bench.serving.await.unwrap();
        assert!(TcpStream::connect(bench.address).await.is_err());
    }

    struct Bench {
        address: SocketAddr,
        stop: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Bench {
        async fn start(shown: Shown) -> Self {
            let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            Self::serve(admin, shown)
        }

        fn serve(admin: Admin, shown: Shown) -> Self {
            let (address, stop) = (admin.address(), CancellationToken::new());
            let serving = tokio::spawn(admin.serve(Arc::new(shown), stop.clone()));
            Self {
                address,
                stop,
                serving,
            }
        }

        async fn get(&self, path: &str) -> String {
            self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await
        }

        /// Sends `head` as it stands and returns all that comes back, without the date.
        async fn send(&self, head: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let _cut_short = stream.write_all(head.as_bytes()).await;
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8(answer).unwrap();
            answer
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("date:"))
                .collect()
        }
    }

    #[derive(Default)]
    struct Shown {
        checks: Vec<Check>,
        lockouts: Mutex<Vec<LockoutEntry>>,
    }

    impl Shown {
        fn ready() -> Self {
            let entry = LockoutEntry {
                key: "7".into(),
                source: "device serial:SN-1".into(),
                failures: 12,
                locked: true,
                retry_after_ms: 42_000,
            };
            Self {
                checks: vec![Check::passed("configuration"), Check::passed("draining")],
                lockouts: Mutex::new(vec![entry]),
            }
        }
    }

    impl AdminView for Shown {
        fn readiness(&self) -> Vec<Check> {
            self.checks.clone()
        }

        fn configuration(&self) -> Value {
            json!({ "apps": ["payroll"] })
        }

        fn metrics(&self) -> String {
            Metrics::new().encode().unwrap()
        }

        fn tunnels(&self, hosts: bool) -> Value {
            json!({ "open": 1, "hosts": if hosts { vec!["box.example"] } else { vec![] } })
        }
        fn lists(&self) -> Value {
            json!([])
        }
        fn lockouts(&self) -> Vec<LockoutEntry> {
            self.lockouts.lock().unwrap().clone()
        }

        fn lift_lockout(&self, key: &str) -> bool {
            let mut lockouts = self.lockouts.lock().unwrap();
            let before = lockouts.len();
            lockouts.retain(|entry| entry.key != key);
            lockouts.len() < before
        }
    }
}
