//! Which app a host and path belong to, and what is changed on the way: prefixes, headers, fixed answers, redirects.

use http::Method;
use masugata_tests::{TestGateway, Upstream, assert_denied};

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_prefix_wins_on_whole_segments() {
    let (root, api, admin) = (
        Upstream::hello().await,
        Upstream::hello().await,
        Upstream::hello().await,
    );
    let app = |name: &str, prefix: &str, upstream: &Upstream| {
        format!(
            "name = \"{name}\"\nlevel = \"internal\"\nhosts = [\"www.corp.test\"]\npath_prefix = \"{prefix}\"\nupstream.servers = [\"http://{}\"]",
            upstream.address
        )
    };
    let gateway = TestGateway::new()
        .raw_app(&app("root", "/", &root))
        .raw_app(&app("api", "/api", &api))
        .raw_app(&app("admin", "/api/admin", &admin))
        .start()
        .await;
    for (path, upstream) in [
        ("/", &root),
        ("/apis", &root),
        ("/api.txt", &root),
        ("/API", &root),
        ("/x/api", &root),
        ("/api", &api),
        ("/api/", &api),
        ("/api?x=/admin", &api),
        ("/api/administrator", &api),
        ("/api/admin", &admin),
        ("/api/admin/users/", &admin),
    ] {
        for client in [gateway.ada(), gateway.ada().h2()] {
            let before = upstream.count();
            assert_eq!(client.get("www", path).await.text(), "hello");
            assert_eq!(upstream.count(), before + 1, "{path}");
            assert_eq!(upstream.last().uri.path_and_query().unwrap().as_str(), path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_exact_or_one_label_below_and_nothing_else() {
    let (wide, exact) = (Upstream::hello().await, Upstream::hello().await);
    let gateway = TestGateway::new()
        .raw_app(&format!("name = \"wide\"\nlevel = \"internal\"\nhosts = [\"*.corp.test\"]\nupstream.servers = [\"http://{}\"]", wide.address))
        .raw_app(&format!("name = \"exact\"\nlevel = \"internal\"\nhosts = [\"wiki.corp.test\"]\npath_prefix = \"/wiki\"\nupstream.servers = [\"http://{}\"]", exact.address))
        .start()
        .await;
    gateway.ada().get("anything", "/").await;
    assert_eq!((wide.count(), exact.count()), (1, 0));
    gateway.ada().get("wiki", "/wiki/a").await;
    assert_eq!((wide.count(), exact.count()), (1, 1));
    // Where the exact host has no such path, the pattern has.
    gateway.ada().get("wiki", "/other").await;
    assert_eq!((wide.count(), exact.count()), (2, 1));
    // A trailing dot and upper case name the same host.
    let token = gateway.token("ada").sign();
    let raw = format!(
        "GET /wiki HTTP/1.1\r\nHost: WIKI.corp.test.\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let answer = gateway.ada().raw("wiki", raw.as_bytes()).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    assert_eq!(exact.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_or_path_is_no_route() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "path_prefix = \"/wiki\"",
        )
        .start()
        .await;
    for (app, path) in [("other", "/wiki"), ("wiki", "/"), ("wiki", "/wikis")] {
        let answer = gateway.ada().get(app, path).await;
        assert_denied(&answer, "route-not-found");
        assert_eq!(answer.status.as_u16(), 404);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_rewritten_where_configured_and_the_query_stays() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "path_prefix = \"/wiki\"\nupstream.rewrite_prefix = \"/internal/v2\"",
        )
        .app_with(
            "plain",
            "internal",
            upstream.address,
            "path_prefix = \"/a\"\nupstream.rewrite_prefix = \"/\"",
        )
        .start()
        .await;
    for (app, asked, forwarded) in [
        ("wiki", "/wiki", "/internal/v2"),
        ("wiki", "/wiki/", "/internal/v2/"),
        (
            "wiki",
            "/wiki/a%20b?q=/wiki&r=1",
            "/internal/v2/a%20b?q=/wiki&r=1",
        ),
        ("wiki", "/wiki?x", "/internal/v2?x"),
        ("plain", "/a", "/"),
        ("plain", "/a/b/a", "/b/a"),
    ] {
        for client in [gateway.ada(), gateway.ada().h2()] {
            assert_eq!(client.get(app, asked).await.status.as_u16(), 200);
            assert_eq!(upstream.last().uri.to_string(), forwarded, "{asked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_and_removed_as_configured() {
    let upstream = Upstream::new(|_request| async {
        let mut answer = Upstream::text("hello");
        answer
            .headers_mut()
            .insert("server", "secret/1.0".parse().unwrap());
        answer
            .headers_mut()
            .insert("x-frame-options", "ALLOW".parse().unwrap());
        answer
            .headers_mut()
            .insert("x-other", "stays".parse().unwrap());
        answer
    })
    .await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "request_headers = { set = { X-Api-Key = \"planted-secret\", X-Tier = \"gold\" }, remove = [\"X-Debug\", \"User-Agent\"] }\n\
             response_headers = { set = { X-Frame-Options = \"DENY\", Strict-Transport-Security = \"max-age=31536000\" }, remove = [\"Server\"] }",
        )
        .start()
        .await;
    let answer = gateway
        .ada()
        .header("x-api-key", "mine")
        .header("x-api-key", "another")
        .header("x-debug", "1")
        .header("user-agent", "test")
        .get("wiki", "/")
        .await;
    let seen = upstream.last();
    assert_eq!(seen.one("x-api-key").as_deref(), Some("planted-secret"));
    assert_eq!(seen.one("x-tier").as_deref(), Some("gold"));
    assert!(!seen.headers.contains_key("x-debug") && !seen.headers.contains_key("user-agent"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=31536000")
    );
    assert_eq!(answer.header("x-other"), Some("stays"));
    assert!(answer.header("server").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_request_together_cannot_be_configured_away() {
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Masugata-Assertion",
        "X-Request-Id",
        "Via",
    ] {
        let refused = TestGateway::new()
            .app_with(
                "wiki",
                "internal",
                "127.0.0.1:1".parse().unwrap(),
                &format!("request_headers.remove = [\"{name}\"]"),
            )
            .try_start()
            .await;
        assert!(refused.is_err(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_sees_the_host_that_is_configured() {
    let (one, two) = (Upstream::hello().await, Upstream::hello().await);
    let gateway = TestGateway::new()
        .app_with(
            "own",
            "internal",
            one.address,
            "upstream.host_header = \"upstream\"",
        )
        .app_with(
            "named",
            "internal",
            two.address,
            "upstream.host_header = \"intranet.example\"",
        )
        .start()
        .await;
    gateway.ada().get("own", "/").await;
    gateway.ada().h2().get("named", "/").await;
    assert_eq!(one.last().one("host").unwrap(), one.address.to_string());
    assert_eq!(
        one.last().one("x-forwarded-host").as_deref(),
        Some("own.corp.test")
    );
    assert_eq!(two.last().one("host").as_deref(), Some("intranet.example"));
    assert_eq!(
        two.last().one("x-forwarded-host").as_deref(),
        Some("named.corp.test")
    );
}

/// An app without a server is an app: who may not ask gets nothing, and everything is on record.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_fixed_answers_are_protected_like_any_app() {
    let gateway = TestGateway::new()
        .raw_app("name = \"old\"\nlevel = \"internal\"\nhosts = [\"old.corp.test\"]\nredirect.location = \"https://new.corp.test/start\"")
        .raw_app("name = \"moved\"\nlevel = \"internal\"\nhosts = [\"moved.corp.test\"]\nredirect = { location = \"/login\", status = 303 }")
        .raw_app("name = \"note\"\nlevel = \"internal\"\nhosts = [\"note.corp.test\"]\nresponse = { status = 503, content_type = \"text/html; charset=utf-8\", body = \"<p>後で</p>\" }")
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let answer = client.get("old", "/any/path").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (308, Some("https://new.corp.test/start"))
        );
        let answer = client.get("moved", "/").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (303, Some("/login"))
        );
        let answer = client.request("note", Method::POST, "/", "body").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (503, "<p>後で</p>")
        );
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let answer = client.request("note", Method::HEAD, "/", "").await;
        assert!(answer.body.is_empty());
    }
    let stranger = gateway.client().device(&gateway.device("laptop"));
    for app in ["old", "moved", "note"] {
        assert_denied(&stranger.get(app, "/").await, "credential-missing");
    }
    let records = gateway.records().await;
    let count = |kind: &str| {
        records
            .iter()
            .filter(|record| record["type"] == kind)
            .count()
    };
    assert_eq!((count("decision"), count("completion")), (11, 11));
}
