//! What origins do to us, who shares a connection to the proxy, and who shares one to an origin.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_beyond_us_is_told_with_proxy_status() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let garbage = RawUpstream::new(|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()).await;
    let both_lengths = RawUpstream::new(|_| {
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd".to_owned()
    })
    .await;
    let rude = Origins::plain(Behaviour::Reset).await;
    let silent = Origins::plain(Behaviour::Silent).await;
    let gateway = TestGateway::new()
        .egress("timeouts.response_header = \"300ms\"\nresolver.timeout = \"2s\"")
        .origin("closed.example", closed)
        .origin("garbage.example", garbage.address)
        .origin("lengths.example", both_lengths.address)
        .origin("rude.example", rude.address)
        .origin("silent.example", silent.address)
        .start()
        .await;
    for client in both(&gateway.proxy()) {
        for (host, status, error) in [
            ("closed.example", 502, "connection_refused"),
            ("garbage.example", 502, "http_protocol_error"),
            ("lengths.example", 502, "http_protocol_error"),
            ("rude.example", 502, "connection_terminated"),
            ("silent.example", 504, "http_response_timeout"),
        ] {
            let answer = client.get(&format!("http://{host}/")).await;
            assert_eq!(answer.status, status, "{host}: {}", answer.text());
            let told = answer.header("proxy-status").unwrap();
            assert!(told.contains(&format!("error={error}")), "{host}: {told}");
            assert!(told.starts_with("masugata; "), "{told}");
            assert!(answer.text().contains("The site "), "{}", answer.text());
        }
        let answer = client.refused("closed.example:80").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        let told = answer.header("proxy-status").unwrap();
        assert!(told.contains("error=connection_refused"), "{told}");
    }
    let ends = gateway.completions(12).await;
    assert!(
        ends.iter()
            .all(|end| ["upstream-failed", "timed-out"].contains(&end["outcome"].as_str().unwrap())),
        "{ends:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_ends_and_is_no_whole_answer() {
    let stuck = Upstream::connections(|mut stream: tokio::net::TcpStream| async move {
        let mut head = [0; 2048];
        let _ = stream.read(&mut head).await;
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
        let _ = stream.write_all(begun).await;
        let _ = stream.read(&mut head).await;
    })
    .await;
    let events = Upstream::events().await;
    let gateway = TestGateway::new()
        .egress("timeouts.idle = \"1s\"\ntimeouts.total = \"4s\"\ntimeouts.connect = \"1s\"")
        .origin("stuck.example", stuck.address)
        .origin("endless.example", events.address)
        .start()
        .await;
    for (number, client) in both(&gateway.proxy()).into_iter().enumerate() {
        for (at, (host, cause)) in [
            ("stuck.example", "idle-timeout"),
            ("endless.example", "total-timeout"),
        ]
        .into_iter()
        .enumerate()
        {
            let request = Request::get(format!("http://{host}/"))
                .body(Empty::new())
                .unwrap();
            let session = client.session().await;
            let response = session.ask(request).await.unwrap();
            let rest = within_reason("the end", response.into_body().collect()).await;
            assert!(rest.is_err(), "{host}");
            let end = gateway
                .completions(number * 2 + at + 1)
                .await
                .pop()
                .unwrap();
            assert_eq!(end["outcome"], "timed-out", "{end}");
            assert_eq!(end["cause"], cause, "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_share_a_connection_are_never_taken_for_each_other() {
    let site = mirror().await;
    let gateway = open(site.address).await;
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let tokens = ["ada", "bob", "eve"].map(|user| gateway.token(user).sign());
    let guest = gateway
        .token("guest")
        .claim("groups", serde_json::json!(["guests"]))
        .sign();
    for client in both(&kiosk) {
        let session = client.session().await;
        let mut asking = Vec::new();
        for round in 0..12 {
            let (user, token) = (["ada", "bob", "eve"][round % 3], tokens[round % 3].clone());
            let asked = session.clone().token(token);
            let url = format!("{URL}{user}");
            let ask = async move { asked.send(Method::GET, &url, "").await.status };
            if session.is_http2() {
                asking.push(tokio::spawn(ask));
            } else {
                assert_eq!(ask.await, StatusCode::OK);
                // In between, on the same connection: nobody, and somebody who may not.
                let nobody = session.send(Method::GET, URL, "").await;
                assert_denied(&nobody, "credential-missing");
                let guest = session.clone().token(&guest);
                assert_denied(&guest.send(Method::GET, URL, "").await, "no-permit");
            }
        }
        for ask in asking {
            assert_eq!(ask.await.unwrap(), StatusCode::OK);
        }
        assert_denied(
            &session.send(Method::GET, URL, "").await,
            "credential-missing",
        );
    }
    let records = gateway.records().await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for record in records.iter().filter(|it| it["decision"] == "permitted") {
        let user = record["principal"]["id"].as_str().unwrap();
        // The path says who meant to ask.
        let meant = record["path"].as_str().unwrap().trim_start_matches('/');
        assert_eq!(user, format!("corp/{meant}"), "{record}");
        *seen.entry(user.to_owned()).or_default() += 1;
    }
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [8, 8, 8]);
    assert_eq!(site.count(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_an_origin_is_used_again_but_not_once_somebody_signed_in_on_it() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    // Tells which of its connections it is asked on.
    let site = Upstream::connections(move |mut stream: tokio::net::TcpStream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let text = number.to_string();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                        text.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    let gateway = open(site.address).await;
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let (ada, bob) = (
        gateway.proxy(),
        kiosk.token(gateway.token("bob").sign()).h2(),
    );
    assert_eq!(ada.get(URL).await.text(), "1");
    assert_eq!(
        bob.get(URL).await.text(),
        "1",
        "between requests it is nobody's"
    );
    let mut signed_in = Vec::new();
    for scheme in ["NTLM TlRMTVNTUAAD", "negotiate YIIZ", "Negotiate"] {
        let ada = ada.clone().header("authorization", scheme);
        signed_in.push(ada.get(URL).await.text());
    }
    let next = bob.get(URL).await.text();
    assert!(
        !signed_in.contains(&next),
        "bob was given a connection on which ada had signed in: {next} of {signed_in:?}"
    );
    // What is said with every request does not change whose the connection is.
    let basic = ada.header("authorization", "Basic YWRhOng=");
    let used = basic.get(URL).await.text();
    assert_eq!(bob.get(URL).await.text(), used);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_origin_has_closed_is_not_an_error() {
    let site = RawUpstream::new(|_| {
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned()
    })
    .await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        for _ in 0..5 {
            assert_eq!(session.send(Method::GET, URL, "").await.text(), "ok");
        }
    }
    let seen = async || site.heads().len() == 10;
    eventually("each was asked once", seen).await;
}
