//! Authorities: reading the result again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masugata::framing::parse_authority;

fuzz_target!(|data: &str| {
    if let Ok(first) = parse_authority(data) {
        let second = parse_authority(&first.host).expect("what was parsed parses");
        assert_eq!(
            (first.host, first.is_address),
            (second.host, second.is_address)
        );
    }
});
