//! Pages of others in the browser of a device that may go out, and our own page, which shows what others wrote.

use super::*;

fn laptop(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}

/// A door where sites ask for a reason, and the page that takes them.
async fn with_reasons() -> (TestGateway, Origin) {
    let policy = "@id(\"everywhere\")\n\
         permit (principal, action, resource is Masugata::Destination);\n\
         @id(\"reason\") @challenge(\"reason\")\n\
         forbid (principal, action, resource is Masugata::Destination)\n\
         unless { context.request.reason_given };";
    let site = Origins::plain(Behaviour::Silent).await;
    let gateway = TestGateway::new()
        .device("tablet", "")
        .egress("why_host = \"why.corp.test\"")
        .policy(policy)
        .origin("files.example", site.address)
        .start()
        .await;
    (gateway, site)
}

async fn token_of(client: &Client) -> String {
    let page = client
        .clone()
        .header("accept", "text/html")
        .get("why", "/")
        .await;
    let page = page.text();
    let token = page.split("name=\"token\" value=\"").nth(1);
    let token = token.and_then(|rest| rest.split('"').next());
    token
        .unwrap_or_else(|| panic!("no form:\n{page}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_is_given_on_our_page_by_the_device_that_was_asked_for_it() {
    let (gateway, _site) = with_reasons().await;
    let form = "application/x-www-form-urlencoded";
    gateway.proxy().refused("files.example:80").await;
    let tablet = gateway.client().device(&gateway.device("tablet"));
    of(&gateway, "tablet").refused("files.example:80").await;
    let (ours, theirs) = (token_of(&laptop(&gateway)).await, token_of(&tablet).await);
    assert_ne!(ours, theirs);
    let body =
        |domain: &str, token: &str| format!("domain={domain}&text=quarterly+figures&token={token}");
    let same = [
        ("origin", "https://why.corp.test"),
        ("sec-fetch-site", "same-origin"),
    ];
    for (name, fields, body) in [
        (
            "another site",
            vec![("content-type", form), ("origin", "https://evil.example")],
            body("files.example", &ours),
        ),
        (
            "a frame without origin",
            vec![("content-type", form), ("origin", "null")],
            body("files.example", &ours),
        ),
        (
            "a neighbour",
            vec![
                ("content-type", form),
                ("origin", "https://wiki.corp.test"),
                ("sec-fetch-site", "same-site"),
            ],
            body("files.example", &ours),
        ),
        (
            "plain text",
            vec![("content-type", "text/plain"), same[0], same[1]],
            body("files.example", &ours),
        ),
        (
            "no type",
            vec![same[0], same[1]],
            body("files.example", &ours),
        ),
        (
            "the token of another device",
            vec![("content-type", form), same[0], same[1]],
            body("files.example", &theirs),
        ),
        (
            "no token",
            vec![("content-type", form), same[0], same[1]],
            body("files.example", ""),
        ),
        (
            "a site that nobody was refused",
            vec![("content-type", form), same[0], same[1]],
            body("bank.example", &ours),
        ),
        (
            "too long",
            vec![("content-type", form), same[0], same[1]],
            format!("{}{}", body("files.example", &ours), "x".repeat(100_000)),
        ),
    ] {
        let client = fields
            .iter()
            .fold(laptop(&gateway), |client, (field, value)| {
                client.header(field, value)
            });
        let answer = client.request("why", Method::POST, "/reason", &body).await;
        assert_ne!(
            answer.status,
            StatusCode::SEE_OTHER,
            "{name}: {}",
            answer.text()
        );
        assert!(answer.status.is_client_error(), "{name}: {}", answer.status);
    }
    // A link or a picture in a foreign page gives no reason either.
    let url = format!("/reason?{}", body("files.example", &ours));
    assert_denied(
        &laptop(&gateway).get("why", &url).await,
        "method-not-allowed",
    );
    assert_denied(
        &gateway.proxy().refused("files.example:80").await,
        "reason-needed",
    );
    // So that they failed for what was wrong with them.
    let client = laptop(&gateway)
        .header("content-type", form)
        .header(same[0].0, same[0].1)
        .header(same[1].0, same[1].1);
    let answer = client
        .request(
            "why",
            Method::POST,
            "/reason",
            &body("files.example", &ours),
        )
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    gateway.proxy().connect("files.example:80").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_asked_for_becomes_markup_on_the_page() {
    let (gateway, _site) = with_reasons().await;
    let evil = [
        "<script>alert(1)</script>.example:443",
        "\"><img/src=x>.example:443",
        "a'onmouseover='b.example:443",
        "a&lt;b.example:443",
    ];
    for host in evil {
        let head = format!(
            "CONNECT {host} HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n"
        );
        let answer = gateway.proxy().raw(head.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{host}");
        assert!(!answer.text().contains("script>alert"), "{}", answer.text());
    }
    let path = "http://files.example/<script>alert(1)</script>?\"><img src=x>";
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n");
    let answer = gateway.proxy().raw(head.as_bytes()).await;
    assert!(
        !answer.text().contains("<script>alert"),
        "{}",
        answer.text()
    );
    gateway.proxy().refused("xn--80ak6aa92e.example:443").await;
    // What somebody wrote comes back as text.
    let browser = laptop(&gateway).header("accept", "text/html");
    gateway.proxy().refused("files.example:80").await;
    let token = token_of(&browser).await;
    let text = "%3C%2Ftextarea%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E".repeat(20);
    let answer = browser
        .clone()
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", "https://why.corp.test")
        .request(
            "why",
            Method::POST,
            "/reason",
            &format!("domain=files.example&text={text}&token={token}"),
        )
        .await;
    assert!(
        answer.status.is_client_error(),
        "too long: {}",
        answer.status
    );
    for page in [answer, browser.get("why", "/").await] {
        assert!(!page.text().contains("<script"), "{}", page.text());
        assert!(!page.text().contains("<img"), "{}", page.text());
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert!(page.header("cache-control").unwrap().contains("no-store"));
        assert_eq!(page.header("access-control-allow-origin"), None);
    }
}

/// Every program of the machine can reach the port of `masugata connect`, and so can every page in its browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_gets_nothing_from_the_local_port() {
    let site = Upstream::hello().await;
    let gateway = door("").origin("site.example", site.address).start().await;
    let device = gateway.device("laptop");
    gateway.write("laptop.pem", &device.certificate_pem);
    gateway.write("laptop.key", &device.key_pem);
    let path = |name: &str| gateway.path(name).to_str().unwrap().to_owned();
    let to = format!("localhost:{}", gateway.egress_address().port());
    let mut process = Process::start([
        "connect",
        "--gateway",
        &to,
        "--ca",
        &path("ca.pem"),
        "--cert",
        &path("laptop.pem"),
        "--key",
        &path("laptop.key"),
        "--listen",
        "127.0.0.1:0",
    ]);
    process.until_out("ready: http://").await;
    let out = process.out();
    let address = out.split("http://").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap().to_owned();
    let say = async |text: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within_reason("the end", stream.read_to_string(&mut answer))
            .await
            .unwrap();
        answer
    };
    for page in [
        "GET / HTTP/1.1\r\nhost: evil.example\r\norigin: https://evil.example\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: site.example\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: evil.example\r\ncontent-type: text/plain\r\ncontent-length: 62\r\n\r\n\
         GET http://site.example/ HTTP/1.1\r\nhost: site.example\r\n\r\n",
    ] {
        let answer = say(page).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 400"), "{answer}");
        assert!(!answer.contains("access-control-allow"), "{answer}");
        assert_eq!(answer.matches("http/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(site.count(), 0);
    let program =
        "GET http://site.example/ HTTP/1.1\r\nhost: site.example\r\nconnection: close\r\n\r\n";
    let answer = say(program).await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(site.count(), 1);
}
