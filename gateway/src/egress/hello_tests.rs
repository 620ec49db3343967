//! The ClientHello parser: against `rustls`, against ambiguity, against odd arrivals.

use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// A real hello, as rustls makes it.
fn real(host: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(RootCertStore::empty())
    .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = host.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn look(bytes: &[u8]) -> Seen {
    Peek::default().look(bytes)
}

fn hello(bytes: &[u8]) -> Hello {
    match look(bytes) {
        Seen::Hello(hello) => hello,
        other @ (Seen::More | Seen::NotTls) => panic!("{other:?}"),
    }
}

/// The same handshake bytes in records of these lengths, over and over.
fn fragmented(bytes: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut rest = &bytes[5..];
    let mut out = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*length).min(rest.len()));
        out.extend([22, 3, 1]);
        out.extend(u16::try_from(now.len()).unwrap().to_be_bytes());
        out.extend(now);
        rest = later;
    }
    out
}

/// What rustls reads: `None` for more, `Some(Err(()))` for no hello.
fn oracle(bytes: &[u8]) -> Option<Result<Option<String>, ()>> {
    let mut acceptor = Acceptor::default();
    let mut cursor = Cursor::new(bytes);
    while acceptor.read_tls(&mut cursor).is_ok_and(|read| read > 0) {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return Some(Ok(name));
            }
            Ok(None) => {}
            Err(_) => return Some(Err(())),
        }
    }
    None
}

/// A hello by hand: extensions as given.
fn made(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    wrapped(&body)
}

fn wrapped(body: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    let mut bytes = vec![22, 3, 1];
    bytes.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

fn named(name: &[u8]) -> Vec<u8> {
    let mut content = u16::try_from(name.len() + 3)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    content.push(0);
    content.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    content.extend(name);
    extension(0, &content)
}

fn expected(host: &str) -> Expected<'_> {
    Expected {
        host,
        is_address: false,
        ech: Ech::Refuse,
    }
}

#[test]
fn the_name_and_the_protocols_of_a_real_hello_are_read() {
    let plain = hello(&real("Box.Example", &[b"http/1.1"]));
    assert_eq!(plain.server_name.unwrap().as_str(), "box.example");
    assert!(!plain.offers_http2 && !plain.encrypted);
    assert!(hello(&real("box.example", &[b"h2", b"http/1.1"])).offers_http2);
    assert_eq!(hello(&real("192.0.2.1", &[])).server_name, None);
}

#[test]
fn a_hello_may_come_byte_by_byte_in_records_of_one_byte() {
    let bytes = fragmented(&real("box.example", &[b"h2"])[..], &[1, 3, 700]);
    let mut peek = Peek::default();
    for end in 0..bytes.len() {
        assert_eq!(peek.look(&bytes[..end]), Seen::More, "{end}");
    }
    let Seen::Hello(hello) = peek.look(&bytes) else {
        panic!();
    };
    assert_eq!(hello.server_name.unwrap().as_str(), "box.example");
}

#[test]
fn early_data_behind_the_hello_is_none_of_its_business() {
    let mut bytes = real("box.example", &[]);
    bytes.extend([23, 3, 3, 0, 3, 1, 2, 3]);
    assert!(matches!(look(&bytes), Seen::Hello(_)));
}

#[test]
fn other_protocols_are_known_by_their_first_byte() {
    for bytes in [
        b"G".as_slice(),
        b"SSH-2.0-x\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x01\x02",
    ] {
        assert_eq!(look(bytes), Seen::NotTls, "{bytes:x?}");
    }
    for bytes in [b"".as_slice(), b"\x16", b"\x16\x03", b"\x16\x03\x01\x00"] {
        assert_eq!(look(bytes), Seen::More, "{bytes:x?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let twice = [named(b"a.example"), named(b"b.example")].concat();
    let mut two_names = vec![0, 24];
    for name in [b"a.example", b"b.example"] {
        two_names.extend([0, 0, 9]);
        two_names.extend(name);
    }
    let other_type = {
        let mut content = vec![0, 12, 7, 0, 9];
        content.extend(b"a.example");
        extension(0, &content)
    };
    for (what, extensions) in [
        ("the extension twice", twice),
        ("two names", extension(0, &two_names)),
        ("another type of name", other_type),
        ("no name", extension(0, &[])),
        ("an empty list", extension(0, &[0, 0])),
        ("an empty name", named(b"")),
        ("a dot", named(b".")),
        ("a zero byte", named(b"a.example\0.b.example")),
        ("not ASCII", named("a\u{e4}.example".as_bytes())),
        ("a space", named(b"a.example ")),
        ("too long", named(&[b'a'; 256])),
        ("something behind", [named(b"a.example"), vec![0]].concat()),
        ("a length beyond the end", vec![0, 1, 0, 9, 0]),
    ] {
        assert_eq!(look(&made(&extensions)), Seen::NotTls, "{what}");
    }
    assert!(matches!(look(&made(&named(b"a.example"))), Seen::Hello(_)));
}

#[test]
fn something_behind_the_hello_in_its_record_is_refused() {
    let mut bytes = made(&named(b"a.example"));
    bytes.extend([1, 0, 0, 0]);
    let length = u16::try_from(bytes.len() - 5).unwrap().to_be_bytes();
    bytes[3..5].copy_from_slice(&length);
    assert_eq!(look(&bytes), Seen::NotTls);
}

#[test]
fn a_record_of_another_kind_between_two_pieces_is_refused() {
    let bytes = fragmented(&made(&named(b"a.example")), &[20]);
    let mut cut = bytes[..25].to_vec();
    cut.extend([20, 3, 3, 0, 1, 1]);
    cut.extend(&bytes[25..]);
    assert_eq!(look(&cut), Seen::NotTls);
}

#[test]
fn a_hello_is_never_longer_than_we_hold() {
    let padding = extension(21, &vec![0; 15_000]);
    let long = made(&[named(b"a.example"), padding].concat());
    assert!(long.len() < LONGEST);
    assert!(matches!(look(&long), Seen::Hello(_)));
    let longer = made(&extension(21, &vec![0; 16_330]));
    assert_eq!(look(&longer), Seen::NotTls);
    // In single bytes, a hello of 3,000 is 18,000 long.
    let pieces = fragmented(&made(&extension(21, &[0; 3000])), &[1]);
    assert_eq!(look(&pieces), Seen::NotTls);
    assert_eq!(look(&pieces[..LONGEST]), Seen::NotTls);
    // The promised length alone is enough.
    assert_eq!(look(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Seen::NotTls);
}

#[test]
fn a_hello_without_extensions_has_no_name() {
    let mut body = vec![3, 1];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 10, 1, 0]);
    assert_eq!(hello(&wrapped(&body)).server_name, None);
}

#[test]
fn the_name_must_be_the_host() {
    let hello = hello(&made(&named(b"Box.Example.")));
    assert_eq!(hello.judge(expected("box.example")), Ok(Verdict::Matches));
    for host in [
        "example",
        "ox.example",
        "box.example.evil.test",
        "box.examplf",
    ] {
        assert_eq!(
            hello.judge(expected(host)),
            Err(DenialReason::SniMismatch),
            "{host}"
        );
    }
}

#[test]
fn no_name_is_right_for_addresses_only() {
    let nameless = hello(&made(&extension(23, &[])));
    assert_eq!(
        nameless.judge(expected("box.example")),
        Err(DenialReason::SniMismatch)
    );
    let address = |host| Expected {
        is_address: true,
        ..expected(host)
    };
    assert_eq!(nameless.judge(address("192.0.2.1")), Ok(Verdict::Matches));
    let named = hello(&made(&named(b"box.example")));
    assert_eq!(
        named.judge(address("192.0.2.1")),
        Err(DenialReason::SniMismatch)
    );
}

#[test]
fn grease_passes_and_another_outer_name_only_where_it_is_allowed() {
    let ech = extension(0xfe0d, &[0; 40]);
    let greased = hello(&made(&[named(b"box.example"), ech.clone()].concat()));
    assert!(greased.encrypted);
    assert_eq!(greased.judge(expected("box.example")), Ok(Verdict::Matches));
    let outer = hello(&made(&[named(b"public.example"), ech].concat()));
    assert_eq!(
        outer.judge(expected("box.example")),
        Err(DenialReason::SniMismatch)
    );
    let allowed = Expected {
        ech: Ech::Allow,
        ..expected("box.example")
    };
    assert_eq!(outer.judge(allowed), Ok(Verdict::Encrypted));
    let fronted = hello(&made(&named(b"public.example")));
    assert_eq!(fronted.judge(allowed), Err(DenialReason::SniMismatch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rustls_reads_the_same_name_however_it_is_cut(
        host in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?){1,4}",
        lengths in prop::collection::vec(1_usize..600, 1..6),
        http2 in any::<bool>(),
    ) {
        let alpn: &[&[u8]] = if http2 { &[b"http/1.1", b"h2"] } else { &[] };
        let whole = real(&host, alpn);
        // A few dozen records is what rustls accepts.
        let least = whole.len() / 30;
        let lengths: Vec<_> = lengths.into_iter().map(|length| length.max(least)).collect();
        for bytes in [whole.clone(), fragmented(&whole, &lengths)] {
            let Seen::Hello(hello) = look(&bytes) else {
                return Err(TestCaseError::fail("no hello"));
            };
            prop_assert_eq!(hello.offers_http2, http2);
            let ours = hello.server_name.map(|name| name.as_str().to_owned());
            prop_assert_eq!(Some(Ok(ours)), oracle(&bytes));
        }
    }

    #[test]
    fn where_rustls_accepts_a_damaged_hello_we_read_the_same_name_or_refuse(
        at in 0_usize..400,
        with in any::<u8>(),
        more in prop::option::of((0_usize..400, any::<u8>())),
    ) {
        let mut bytes = real("box.example", &[b"h2"]);
        for (at, with) in std::iter::once((at, with)).chain(more) {
            let at = at % bytes.len();
            bytes[at] = with;
        }
        if let (Seen::Hello(hello), Some(Ok(theirs))) = (look(&bytes), oracle(&bytes)) {
            let ours = hello.server_name.map(|name| name.as_str().to_owned());
            // rustls drops a name that is an address, and keeps letters as they came.
            if theirs.is_some() {
                prop_assert_eq!(ours, theirs.map(|name| name.to_ascii_lowercase()));
            }
        }
    }

    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_arrive(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        start in any::<bool>(),
        cuts in prop::collection::vec(0_usize..200, 0..8),
    ) {
        if start {
            bytes.splice(0..0, [22, 3, 1, 0, 40, 1, 0, 0, 36]);
        }
        let whole = look(&bytes);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut peek = Peek::default();
        let mut last = Seen::More;
        for cut in cuts {
            last = peek.look(&bytes[..cut]);
            if last != Seen::More {
                break;
            }
        }
        prop_assert_eq!(last, whole);
    }
}
