//! The first bytes of a tunnel: the TLS ClientHello, read and not touched.
//!
//! A parser of our own, because all that is wanted is the name, and because it must be *stricter* than any server behind
//! it: whatever could be read in two ways is not TLS to us. It does not allocate, and looks at each byte of a record once
//! however the bytes arrive. `rustls` is its oracle in the tests.

use std::fmt;

use crate::config::egress::Ech;
use crate::denial::DenialReason;

/// A hello with its record headers may be this long, bytes. Hybrid key exchange makes them about 2 KiB.
pub const LONGEST: usize = 16 * 1024;

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
/// Largest payload of a plaintext record (RFC 8446 §5.1).
const RECORD: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// `encrypted_client_hello` (RFC 9849), and the numbers of its drafts, ESNI included.
const ENCRYPTED: [u16; 6] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xffce];
/// Extensions that one hello may have; real ones have about twenty.
const EXTENSIONS: usize = 64;
/// Longest DNS name in text.
const NAME: usize = 255;

/// What is known of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per tunnel, and on the stack"
)]
pub enum Seen {
    /// The beginning of a hello, perhaps.
    More,
    Hello(Hello),
    /// Nothing that follows can make it a hello that we understand in one way only.
    NotTls,
}

/// What a ClientHello shows to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lower case, without a final dot.
    pub server_name: Option<ServerName>,
    /// It has an ECH extension, which may be grease.
    pub encrypted: bool,
    /// It offers `h2`.
    pub offers_http2: bool,
}

/// A name of at most 255 bytes, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServerName {
    bytes: [u8; NAME],
    length: u8,
}

impl ServerName {
    fn new(name: &[u8]) -> Option<Self> {
        // RFC 6066 §3: ASCII, no final dot; the dot is forgiven, because servers do.
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; NAME];
        for (to, from) in bytes.get_mut(..name.len())?.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        Some(Self {
            bytes,
            length: u8::try_from(name.len()).ok()?,
        })
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

/// What a tunnel to `host` may begin with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// As the CONNECT request named it: lower case, without a final dot.
    pub host: &'a str,
    /// `host` is an address, for which clients send no name (RFC 6066 §3).
    pub is_address: bool,
    pub ech: Ech,
}

/// How a hello was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its name is the host.
    Matches,
    /// Its outer name is another, the inner one is encrypted, and the configuration lets that be.
    Encrypted,
}

impl Hello {
    /// Whether this hello is for the host that was asked for. A greased ECH extension makes no difference, because the
    /// outer name is the host's then.
    ///
    /// # Errors
    /// [`DenialReason::SniMismatch`].
    pub fn judge(&self, expected: Expected<'_>) -> Result<Verdict, DenialReason> {
        let matches = match &self.server_name {
            None => expected.is_address,
            Some(name) => name.as_str() == expected.host,
        };
        match (matches, self.encrypted, expected.ech) {
            (true, _, _) => Ok(Verdict::Matches),
            (false, true, Ech::Allow) => Ok(Verdict::Encrypted),
            (false, _, Ech::Refuse) | (false, false, Ech::Allow) => Err(DenialReason::SniMismatch),
        }
    }
}

/// Reads a hello that arrives in pieces.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// Where the next record begins; all before it are whole handshake records.
    records: usize,
    /// Handshake bytes in them.
    length: usize,
}

impl Peek {
    /// Says what `bytes`, everything that has come so far, is. They must begin with what earlier calls were given.
    pub fn look(&mut self, bytes: &[u8]) -> Seen {
        loop {
            let rest = bytes.get(self.records..).unwrap_or_default();
            let Some(payload) = (match record(rest) {
                Record::Whole(payload) => Some(payload),
                Record::Part => None,
                Record::Other => return Seen::NotTls,
            }) else {
                // Also ends a hello in more pieces than anybody needs.
                return if bytes.len() >= LONGEST {
                    Seen::NotTls
                } else {
                    Seen::More
                };
            };
            if self.records == 0 && payload.first() != Some(&CLIENT_HELLO) {
                return Seen::NotTls;
            }
            self.records = self.records.saturating_add(RECORD_HEADER + payload.len());
            self.length = self.length.saturating_add(payload.len());
            let mut cursor = Handshake::new(bytes.get(..self.records).unwrap_or_default());
            let Some(body) = cursor.header() else {
                continue;
            };
            let whole = body.saturating_add(HANDSHAKE_HEADER);
            if whole > LONGEST - RECORD_HEADER || whole < self.length {
                // Longer than we hold, or something behind it in the same record.
                return Seen::NotTls;
            }
            if whole == self.length {
                return cursor.client_hello(body).map_or(Seen::NotTls, Seen::Hello);
            }
        }
    }
}

enum Record<'a> {
    Whole(&'a [u8]),
    Part,
    Other,
}

fn record(bytes: &[u8]) -> Record<'_> {
    let at = |index: usize| bytes.get(index).copied();
    if at(0).is_some_and(|kind| kind != HANDSHAKE)
        || at(1).is_some_and(|major| major != 3)
        || at(2).is_some_and(|minor| minor > 4)
    {
        return Record::Other;
    }
    let (Some(high), Some(low)) = (at(3), at(4)) else {
        return Record::Part;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446 §5.1: no empty fragments of handshake messages.
    if length == 0 || length > RECORD {
        return Record::Other;
    }
    match bytes.get(RECORD_HEADER..RECORD_HEADER.saturating_add(length)) {
        Some(payload) => Record::Whole(payload),
        None => Record::Part,
    }
}

/// The handshake bytes of whole records, without the headers between them.
#[derive(Clone, Copy)]
struct Handshake<'a> {
    /// Of the current record.
    payload: &'a [u8],
    /// Records behind it.
    records: &'a [u8],
}

impl<'a> Handshake<'a> {
    fn new(records: &'a [u8]) -> Self {
        Self {
            payload: &[],
            records,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        while self.payload.is_empty() {
            let Record::Whole(payload) = record(self.records) else {
                return None;
            };
            self.payload = payload;
            self.records = self
                .records
                .get(RECORD_HEADER.checked_add(payload.len())?..)?;
        }
        let (first, rest) = self.payload.split_first()?;
        self.payload = rest;
        Some(*first)
    }

    /// The type and length of the message: how long its body is.
    fn header(&mut self) -> Option<usize> {
        if self.byte()? != CLIENT_HELLO {
            // Seen before; a second look changes nothing.
            return Some(usize::MAX);
        }
        let [high, middle, low] = [self.byte()?, self.byte()?, self.byte()?];
        usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()
    }

    fn client_hello(self, length: usize) -> Option<Hello> {
        let mut body = Part {
            bytes: self,
            left: length,
        };
        let version = body.number()?;
        if !(0x0300..=0x0303).contains(&version) {
            return None;
        }
        body.skip(32)?;
        let session = usize::from(body.byte()?);
        if session > 32 {
            return None;
        }
        body.skip(session)?;
        let suites = usize::from(body.number()?);
        if suites == 0 || !suites.is_multiple_of(2) {
            return None;
        }
        body.skip(suites)?;
        let methods = usize::from(body.byte()?);
        if methods == 0 {
            return None;
        }
        body.skip(methods)?;
        let mut hello = Hello {
            server_name: None,
            encrypted: false,
            offers_http2: false,
        };
        if body.left == 0 {
            return Some(hello);
        }
        let length = usize::from(body.number()?);
        if length != body.left {
            return None;
        }
        extensions(&mut body, &mut hello)?;
        Some(hello)
    }
}

/// A stretch of the message with a known length.
struct Part<'a> {
    bytes: Handshake<'a>,
    left: usize,
}

impl Part<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        self.bytes.byte()
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.byte()?;
        }
        Some(())
    }
}

fn extensions(body: &mut Part<'_>, hello: &mut Hello) -> Option<()> {
    let mut kinds = [0; EXTENSIONS];
    let mut count: usize = 0;
    while body.left > 0 {
        let kind = body.number()?;
        // A server might read either of two.
        if kinds.get(..count)?.contains(&kind) {
            return None;
        }
        *kinds.get_mut(count)? = kind;
        count = count.checked_add(1)?;
        let length = usize::from(body.number()?);
        let after = body.left.checked_sub(length)?;
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(body, length)?),
            ALPN => hello.offers_http2 = alpn(body, length)?,
            encrypted if ENCRYPTED.contains(&encrypted) => hello.encrypted = true,
            _ => {}
        }
        // Each has read no further than its own end.
        body.skip(body.left.checked_sub(after)?)?;
    }
    Some(())
}

/// Exactly one name, of the one type there is, and nothing behind it.
fn server_name(body: &mut Part<'_>, length: usize) -> Option<ServerName> {
    let list = usize::from(body.number()?);
    let kind = body.byte()?;
    let name = usize::from(body.number()?);
    if list.checked_add(2)? != length || kind != 0 || name.checked_add(5)? != length {
        return None;
    }
    let mut text = [0; NAME];
    let text = text.get_mut(..name)?;
    for byte in text.iter_mut() {
        *byte = body.byte()?;
    }
    ServerName::new(text)
}

fn alpn(body: &mut Part<'_>, length: usize) -> Option<bool> {
    let end = body.left.checked_sub(length)?;
    if usize::from(body.number()?).checked_add(2)? != length {
        return None;
    }
    let mut http2 = false;
    while body.left > end {
        let name = usize::from(body.byte()?);
        if name == 0 || body.left.checked_sub(end)? < name {
            return None;
        }
        if name == 2 {
            http2 |= [body.byte()?, body.byte()?] == *b"h2";
        } else {
            body.skip(name)?;
        }
    }
    Some(http2)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
