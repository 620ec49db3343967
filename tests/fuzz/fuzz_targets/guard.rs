//! The HTTP/1.1 guard: the same verdict however the stream is cut. The first byte says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masugata::framing::{Inspector, Limits, Stop};

const LIMITS: Limits = Limits {
    head_bytes: 4096,
    fields: 32,
};

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = Inspector::new(LIMITS).advance(stream);
    let mut inspector = Inspector::new(LIMITS);
    let (first, stop) = inspector.advance(&stream[..stream.len().min(usize::from(*cut))]);
    if stop == Stop::More {
        let (second, stop) = inspector.advance(&stream[first..]);
        assert_eq!(whole, (first + second, stop));
    } else {
        assert_eq!(whole, (first, stop));
    }
});
