//! The PROXY protocol (HAProxy, versions 1 and 2), read from peers that are configured to speak it and from nobody else.
//!
//! The header comes before TLS, so it is read byte by byte up to its own length: not one byte of the handshake may be
//! taken with it. Malformed or absent, the connection ends: a peer that should name the client and does not could
//! otherwise hide behind its own, trusted address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// "PROXY UNKNOWN" with the longest addresses, CRLF included (specification, section 2.1).
const V1_LONGEST: usize = 107;
/// A version 2 header with more than this is somebody's experiment.
const V2_LONGEST: usize = 4096;

/// Reads the header; the client it names, or `None` when the peer speaks for itself (health checks).
pub(crate) async fn read(mut stream: TcpStream) -> io::Result<(TcpStream, Option<SocketAddr>)> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let source = if head == V2_SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > V2_LONGEST {
            return Err(invalid("a version 2 header that is too long"));
        }
        let mut addresses = vec![0; length];
        stream.read_exact(&mut addresses).await?;
        parse_v2(command, family, &addresses)?
    } else if head.starts_with(b"PROXY ") {
        let mut line = head.to_vec();
        while !line.ends_with(b"\r\n") {
            if line.len() >= V1_LONGEST {
                return Err(invalid("a version 1 line that is too long"));
            }
            line.push(stream.read_u8().await?);
        }
        parse_v1(&line)?
    } else {
        return Err(invalid("no PROXY protocol header"));
    };
    Ok((stream, source))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One line: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.
fn parse_v1(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let malformed = || invalid("a malformed version 1 line");
    let text = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.strip_suffix("\r\n"))
        .ok_or_else(malformed)?;
    let fields: Vec<&str> = text.split(' ').collect();
    match fields.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            target,
            source_port,
            target_port,
        ] => {
            let source: IpAddr = source.parse().map_err(|_error| malformed())?;
            let target: IpAddr = target.parse().map_err(|_error| malformed())?;
            if source.is_ipv4() != (*family == "TCP4") || source.is_ipv4() != target.is_ipv4() {
                return Err(malformed());
            }
            port(target_port).ok_or_else(malformed)?;
            Ok(Some(SocketAddr::new(
                source,
                port(source_port).ok_or_else(malformed)?,
            )))
        }
        _ => Err(malformed()),
    }
}

/// A decimal port without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn parse_v2(command: u8, family: u8, addresses: &[u8]) -> io::Result<Option<SocketAddr>> {
    let short = || invalid("a version 2 header without its addresses");
    match command {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(invalid("an unknown version 2 command")),
    }
    match family {
        0x11 => {
            let (source, rest) = addresses.split_first_chunk::<4>().ok_or_else(short)?;
            let (_target, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            let (port, _) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            Ok(Some(SocketAddr::new(
                Ipv4Addr::from(*source).into(),
                u16::from_be_bytes(*port),
            )))
        }
        0x21 => {
            let (source, rest) = addresses.split_first_chunk::<16>().ok_or_else(short)?;
            let (_target, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let (port, _) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            Ok(Some(SocketAddr::new(
                Ipv6Addr::from(*source).into(),
                u16::from_be_bytes(*port),
            )))
        }
        _ => Err(invalid("a version 2 address family other than TCP over IP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_versions_name_the_client() {
        let client = Some("192.0.2.1:56324".parse().unwrap());
        assert_eq!(
            parse_v1(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n").unwrap(),
            client
        );
        assert_eq!(parse_v1(b"PROXY UNKNOWN\r\n").unwrap(), None);
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 1, 187];
        assert_eq!(parse_v2(0x21, 0x11, &v4).unwrap(), client);
        assert_eq!(parse_v2(0x20, 0, &[]).unwrap(), None);
    }

    #[test]
    fn what_is_not_exactly_right_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +5 443\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 443",
        ] {
            assert!(parse_v1(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(parse_v2(0x21, 0x11, &[1, 2, 3]).is_err());
        assert!(parse_v2(0x21, 0x31, &[0; 216]).is_err());
        assert!(parse_v2(0x31, 0x11, &[0; 12]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), command: u8, family: u8) {
            let _ = parse_v1(&bytes);
            let _ = parse_v2(command, family, &bytes);
        }
    }
}
