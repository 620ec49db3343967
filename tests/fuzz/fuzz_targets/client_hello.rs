//! The ClientHello parser: the same verdict however the bytes arrive, and never another name than rustls reads. The first
//! byte says where they are cut.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use masugata::egress::hello::{Peek, Seen};
use rustls::server::Acceptor;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let whole = Peek::default().look(bytes);
    let mut peek = Peek::default();
    match peek.look(&bytes[..bytes.len().min(usize::from(*cut))]) {
        Seen::More => assert_eq!(peek.look(bytes), whole),
        early => assert_eq!(early, whole),
    }
    let Seen::Hello(hello) = whole else { return };
    let mut acceptor = Acceptor::default();
    let mut cursor = Cursor::new(bytes);
    while acceptor.read_tls(&mut cursor).is_ok_and(|read| read > 0) {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                if let Some(theirs) = accepted.client_hello().server_name() {
                    let ours = hello.server_name.expect("rustls reads a name");
                    assert_eq!(ours.as_str(), theirs.to_ascii_lowercase().trim_end_matches('.'));
                }
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
});
