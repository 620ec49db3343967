use masugata_tests::{TestGateway, Upstream, assert_denied};

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_day_gets_through() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "hello"),
        "{}",
        answer.text()
    );
    let answer = gateway.ada().h2().get("wiki", "/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "hello")
    );
    let stranger = gateway.client().device(&gateway.device("laptop"));
    assert_denied(&stranger.get("wiki", "/").await, "credential-missing");
    let records = gateway.records().await;
    assert_eq!(
        records
            .iter()
            .filter(|record| record["type"] == "decision")
            .count(),
        3
    );
    assert_eq!(
        records
            .iter()
            .filter(|record| record["type"] == "completion")
            .count(),
        3
    );
}
