//! Files that change while the gateway runs, and nobody tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use masugata::config::Config;
use masugata::gateway::{Capabilities, Gateway};
use masugata_tests::{TestGateway, Upstream, assert_denied, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reported_lost_is_out_although_its_directory_never_rests() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .watching()
        .start()
        .await;
    let ada = gateway.ada();
    assert_eq!(ada.get("wiki", "/").await.status, 200);
    // As a busy record in the same directory does, or any other program.
    let stop = Arc::new(AtomicBool::new(false));
    let noise = std::thread::spawn({
        let (stop, path) = (Arc::clone(&stop), gateway.path("noise.log"));
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&path, "noise").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    });
    let inventory = gateway.read("devices.toml");
    gateway.write("devices.toml", &format!("{inventory}state = \"lost\"\n"));
    eventually("the lost device is refused", || async {
        ada.get("wiki", "/").await.status == 403
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    noise.join().unwrap();
    assert_denied(&ada.get("wiki", "/").await, "device-suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_until_it_is_repaired() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .watching()
        .start()
        .await;
    let ada = gateway.ada();
    let policy = gateway.read("policies/test.cedar");
    gateway.write("policies/test.cedar", "permit (principal");
    eventually("the broken policy is on record", || async {
        gateway.read("audit.jsonl").contains("reload-refused")
    })
    .await;
    assert_eq!(ada.get("wiki", "/").await.status, 200);
    gateway.write("policies/test.cedar", &policy.replace("permit", "forbid"));
    eventually("the repaired policy is in force", || async {
        ada.get("wiki", "/").await.status == 403
    })
    .await;
}

/// Nobody would tell of it later: the watch begins after the files were read.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_reported_lost_while_the_gateway_starts_is_out() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new().app("wiki", upstream.address);
    let prepared = builder.watching().prepare();
    let loaded = Config::load(&prepared.config()).unwrap();
    let inventory = prepared.read("devices.toml");
    prepared.write("devices.toml", &format!("{inventory}state = \"lost\"\n"));
    let capabilities = Capabilities {
        clock: prepared.clock.clone(),
        ..Capabilities::default()
    };
    let gateway = Gateway::start_with(loaded, capabilities).await.unwrap();
    let ada = prepared.ada(gateway.ingress_addresses()[0]);
    assert_denied(&ada.get("wiki", "/").await, "device-suspended");
    gateway.shutdown().await;
}
