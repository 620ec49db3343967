//! Proxy passwords: nothing that was not sealed is opened, and nothing makes trouble.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use masugata::egress::password::PasswordKey;
use masugata_policy::Timestamp;

static KEY: LazyLock<PasswordKey> = LazyLock::new(|| {
    let path = std::env::temp_dir().join("masugata-fuzz-password.key");
    std::fs::write(&path, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a place for the key");
    PasswordKey::read(&path).expect("a key")
});

fuzz_target!(|data: &str| {
    let now = Timestamp::from_seconds(1_800_000_000);
    assert!(KEY.open(data, &[7; 32], now).is_err());
    assert!(KEY.open(&format!("mgp1.{data}"), &[7; 32], now).is_err());
});
