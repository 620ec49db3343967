//! Refused handshakes: on record with who tried what, and never a way to fill the record.

use masugata_tests::{Client, Device, TestGateway, Upstream, days};
use rustls::AlertDescription;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_handshake_is_on_record_with_what_was_presented() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let (certificate_pem, key_pem) = gateway.pki().server(&["laptop.corp.test"], 30);
    let of_a_server = Device {
        certificate_pem,
        key_pem,
        serial: String::new(),
        thumbprint: [0; 32],
    };
    let forged = gateway.pki().forge("laptop");
    let short = gateway.pki().issue("laptop", 1);
    let with = |device: &Device| gateway.client().device(device);
    try_in_vain(&gateway.client()).await;
    try_in_vain(&gateway.client().tls12()).await;
    try_in_vain(&with(&forged)).await;
    try_in_vain(&with(&of_a_server)).await;
    gateway.clock.advance(days(2));
    try_in_vain(&with(&short)).await;
    let elsewhere = Client::of(gateway.address(), gateway.pki().root(), "elsewhere.test");
    try_in_vain(&elsewhere).await;

    let records = gateway.records().await;
    let refused = handshakes(&records);
    let causes: Vec<_> = refused.iter().map(|record| &record["cause"]).collect();
    assert_eq!(
        causes,
        [
            "certificate-missing",
            // Of a CA that has the name of ours and another key.
            "certificate-signature-wrong",
            "certificate-of-other-use",
            "certificate-expired",
            "name-unknown",
            // The second one without a certificate was only counted.
            "certificate-missing",
        ]
    );
    for record in &refused[..5] {
        assert_eq!(record["log"], "authentication");
        assert_eq!(record["count"], 1);
        assert_eq!(record["connection"]["client_address"], "127.0.0.1");
        assert!(record["connection"]["client_port"].is_u64(), "{record}");
    }
    assert_eq!(refused[0]["connection"]["server_name"], "wiki.corp.test");
    assert_eq!(
        refused[4]["connection"]["server_name"],
        "wiki.elsewhere.test"
    );
    assert_eq!(refused[0]["presented_certificate"], Value::Null);
    for (record, device) in [(refused[1], &forged), (refused[3], &short)] {
        let presented = &record["presented_certificate"];
        assert_eq!(presented["serial"], device.serial.as_str());
        assert_eq!(presented["subject"], "CN=laptop");
        assert_eq!(presented["issuer"], "CN=Test CA");
        let thumbprint = device.thumbprint.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(presented["thumbprint"], thumbprint.as_str());
        // A name that nobody vouches for is no device.
        assert_eq!(record["device"], Value::Null);
        assert_eq!(record["certificate"], Value::Null);
    }
    let rest = refused[5];
    assert_eq!(
        (&rest["count"], &rest["client_prefix"]),
        (&json!(1), &json!("127.0.0.1/32"))
    );
    assert!(rest["since"].is_string() && rest["connection"].is_null());
    assert!(upstream.seen().is_empty());
}

/// Whoever needs no credentials must not decide how long the record is, nor whether others find room in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_handshakes_is_counted_and_keeps_nobody_out() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("proxy_protocol_from = [\"127.0.0.1/32\"]")
        .audit("queue = 16")
        .start()
        .await;
    let from = |client: Client, address: &str| {
        client.preface(format!("PROXY TCP4 {address} 192.0.2.1 5000 443\r\n").as_bytes())
    };
    for round in 0..60 {
        let stranger = from(gateway.client(), &format!("198.51.100.{}", round % 6));
        try_in_vain(&stranger).await;
        if round % 10 == 0 {
            let ada = from(gateway.ada(), "203.0.113.9");
            assert_eq!(ada.get("wiki", "/").await.status, 200, "round {round}");
        }
    }
    let records = gateway.records().await;
    let refused = handshakes(&records);
    // One at once and one count for each address, whatever found room when.
    assert!(refused.len() <= 12, "{}", refused.len());
    let counts = refused
        .iter()
        .map(|record| record["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 60, "none is lost");
    let addresses: std::collections::BTreeSet<_> = refused
        .iter()
        .filter_map(|record| record["client_prefix"].as_str())
        .collect();
    assert_eq!(addresses.len(), 6);
}

/// RFC 6066 §3; RFC 8446 §9.2 for a client that names nobody where there is a choice.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_an_unknown_name_is_told_so() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let elsewhere = Client::of(gateway.address(), gateway.pki().root(), "elsewhere.test");
    for client in [elsewhere.clone(), elsewhere.tls12()] {
        let error = client.stream("wiki").await.unwrap_err();
        let told = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(
            told,
            Some(&rustls::Error::AlertReceived(
                AlertDescription::UnrecognisedName
            ))
        );
    }
    let (_, metrics) = gateway.admin("GET", "/metrics").await;
    assert!(
        metrics.contains("masugata_handshake_failures_total{cause=\"name-unknown\"} 2"),
        "{metrics}"
    );
}

/// Connects and asks: in TLS 1.3 a client learns of its refusal only after its own side of the handshake.
async fn try_in_vain(client: &Client) {
    if let Ok(mut session) = client.try_session("wiki").await {
        let request = session.build(http::Method::GET, "/");
        let request = request.body(Default::default()).unwrap();
        assert!(session.send(request).await.is_err());
    }
}

fn handshakes(records: &[Value]) -> Vec<&Value> {
    let of_type = |record: &&Value| record["type"] == "handshake";
    records.iter().filter(of_type).collect()
}
