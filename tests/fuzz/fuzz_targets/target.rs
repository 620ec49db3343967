//! Request targets: what passes has one reading. The first line is the host, the second the target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masugata::framing::{check_path, parse};

fuzz_target!(|data: &str| {
    let Some((host, uri)) = data.split_once('\n') else {
        return;
    };
    let Ok(request) = http::Request::get(uri).header("host", host).body(()) else {
        return;
    };
    let (head, ()) = request.into_parts();
    if let Ok(target) = parse(&head) {
        assert!(check_path(target.path).is_ok());
        assert!(!target.path.contains("..%") && !target.path.contains("//"));
    }
});
