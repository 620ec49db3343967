//! Header fields at the border. First everything is taken off that ends here or that only we may say; then ours is put
//! on, so that no `Connection: masugata-assertion` can take it off again.

use std::fmt::{self, Write};
use std::net::IpAddr;

use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, SET_COOKIE, TE, TRANSFER_ENCODING, VIA,
};
use http::{Version, header};

use crate::exchange::RequestId;

/// The signed assertion about the caller.
pub static ASSERTION: HeaderName = HeaderName::from_static("masugata-assertion");
/// The request id, as in both records.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Cookies of ours start so, in any case.
const COOKIE_PREFIXES: [&[u8]; 2] = [b"__host-masugata", b"__secure-masugata"];

/// Edits from the configuration, ready to be applied.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    pub(super) set: Vec<(HeaderName, HeaderValue)>,
    pub(super) remove: Vec<HeaderName>,
}

impl Edits {
    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// What a request's fields are made from.
pub(super) struct RequestFacts<'a> {
    /// As the client addressed us.
    pub(super) host: &'a HeaderValue,
    /// The next hop before us.
    pub(super) peer: IpAddr,
    pub(super) client: IpAddr,
    pub(super) trusted: bool,
    pub(super) request_id: RequestId,
    pub(super) assertion: Option<HeaderValue>,
    pub(super) forward_authorization: bool,
    /// The next hop is an app of ours: it is told who asks, and may believe it. Otherwise it is somebody on the Internet,
    /// who is told nothing about the client.
    pub(super) disclose: bool,
    pub(super) via: &'a HeaderValue,
    pub(super) edits: &'a Edits,
}

/// What the strip leaves to be decided by whoever knows the next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The client takes trailers (`TE: trailers`).
    pub(super) trailers: bool,
}

/// What becomes of a field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Remove,
    Connection,
    Te,
    Cookie,
}

/// Makes the fields of a request those of the next request. `Host`, `TE` and `Connection` are left to be set when the
/// next hop is known.
pub(super) fn prepare_request(headers: &mut HeaderMap, facts: RequestFacts<'_>) -> Taken {
    let taken = strip_request(headers, |name| {
        if facts.disclose {
            fate(name, facts.trusted, facts.forward_authorization)
        } else {
            fate_abroad(name)
        }
    });
    facts.edits.apply(headers);
    headers.reserve(8);
    if !facts.disclose {
        append_via(headers, facts.via);
        return taken;
    }
    set_forwarding(headers, &facts);
    append_via(headers, facts.via);
    headers.insert(REQUEST_ID.clone(), request_id_value(facts.request_id));
    if let Some(assertion) = facts.assertion {
        headers.insert(ASSERTION.clone(), assertion);
    }
    taken
}

/// Takes off what is for this hop only, what only we may say, and what the app is not to see.
fn strip_request(headers: &mut HeaderMap, fate: impl Fn(&str) -> Fate) -> Taken {
    let mut taken = Taken::default();
    let mut remove: Vec<HeaderName> = Vec::new();
    let (mut connection, mut te, mut cookie) = (false, false, false);
    for name in headers.keys() {
        match fate(name.as_str()) {
            Fate::Keep => {}
            Fate::Remove => remove.push(name.clone()),
            Fate::Connection => connection = true,
            Fate::Te => te = true,
            Fate::Cookie => cookie = true,
        }
    }
    if te {
        taken.trailers = headers.get_all(TE).iter().any(|value| {
            tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"trailers"))
        });
        headers.remove(TE);
    }
    if connection {
        collect_named(headers, &mut remove);
        headers.remove(CONNECTION);
    }
    for name in &remove {
        headers.remove(name);
    }
    if cookie {
        clean_cookies(headers);
    }
    taken
}

/// Names in `Connection` (RFC 9110 §7.6.1), except those that no sender may take away from us.
fn collect_named(headers: &HeaderMap, remove: &mut Vec<HeaderName>) {
    for value in headers.get_all(CONNECTION) {
        for token in tokens(value.as_bytes()) {
            if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            let Ok(name) = HeaderName::from_bytes(token) else {
                continue;
            };
            // Without these the message would mean something else to the next hop than it did to us.
            if name != HOST && name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
                remove.push(name);
            }
        }
    }
}

/// Elements of a comma-separated list of tokens.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Names are lower case already. One look at the first letter settles most.
fn fate(name: &str, trusted: bool, forward_authorization: bool) -> Fate {
    let Some(first) = name.as_bytes().first() else {
        return Fate::Remove;
    };
    let removed = match first {
        b'a' => {
            name == "authorization" && !forward_authorization
                || same(name, "authorization") && name != "authorization"
        }
        b'c' => {
            return match name {
                "cookie" => Fate::Cookie,
                "connection" => Fate::Connection,
                _ if same(name, "client-cert")
                    || same(name, "client-cert-chain")
                    || begins(name, "cf-access-")
                    || same(name, "cf-connecting-ip") =>
                {
                    Fate::Remove
                }
                _ => Fate::Keep,
            };
        }
        b'f' => same(name, "forwarded") && !(trusted && name == "forwarded"),
        b'h' => name == "http2-settings",
        b'k' => name == "keep-alive",
        b'm' => begins(name, "masugata"),
        b'p' => matches!(
            name,
            "proxy-connection" | "proxy-authorization" | "proxy-authenticate" | "proxy"
        ),
        b'r' => IDENTITY_R.iter().any(|known| same(name, known)),
        b's' => begins(name, "ssl-client-"),
        b't' => {
            return match name {
                "te" => Fate::Te,
                "transfer-encoding" => Fate::Remove,
                _ if same(name, "true-client-ip") => Fate::Remove,
                _ => Fate::Keep,
            };
        }
        b'u' => name == "upgrade",
        b'x' => is_claim(name, trusted),
        _ => false,
    };
    if removed { Fate::Remove } else { Fate::Keep }
}

/// What becomes of a field on its way to the Internet: what ends here is taken off, and what tells of the network behind
/// us. Everything else is between client and origin, `Authorization` included.
fn fate_abroad(name: &str) -> Fate {
    match name {
        "connection" => Fate::Connection,
        "te" => Fate::Te,
        // HTTP/2 clients send it in pieces.
        "cookie" => Fate::Cookie,
        "transfer-encoding" | "keep-alive" | "upgrade" | "http2-settings" | "forwarded" => {
            Fate::Remove
        }
        "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "proxy"
        | "x-real-ip"
        | "x-client-ip" => Fate::Remove,
        _ if begins(name, "masugata") || begins(name, "x-forwarded") => Fate::Remove,
        _ => Fate::Keep,
    }
}

/// Names by which applications are told who the user is, when somebody in front of them has found out, and names that
/// turn a method that was permitted into one that was not.
const IDENTITY_R: [&str; 4] = [
    "remote-user",
    "remote-groups",
    "remote-name",
    "remote-email",
];
const CLAIMS: [&str; 12] = [
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-remote-user",
    "x-remote-group",
    "x-remote-groups",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-arr-clientcert",
];
const CLAIM_PREFIXES: [&str; 14] = [
    "x-masugata",
    "x-forwarded",
    "x-original-",
    "x-client-cert",
    "x-ssl-",
    "x-auth-request-",
    "x-webauth-",
    "x-pomerium-",
    "x-authentik-",
    "x-goog-iap-",
    "x-goog-authenticated-",
    "x-amzn-oidc-",
    "x-amzn-mtls-",
    "x-ms-client-principal",
];

fn is_claim(name: &str, trusted: bool) -> bool {
    // What a trusted forwarder may say; anything else about a user or a certificate it may not.
    if trusted
        && matches!(
            name,
            "x-forwarded-for"
                | "x-forwarded-host"
                | "x-forwarded-proto"
                | "x-forwarded-port"
                | "x-real-ip"
        )
    {
        return false;
    }
    CLAIM_PREFIXES.iter().any(|prefix| begins(name, prefix))
        || CLAIMS.iter().any(|known| same(name, known))
}

/// Equal, where CGI and its children make no difference between `_` and `-`.
fn same(name: &str, known: &str) -> bool {
    name.len() == known.len() && begins(name, known)
}

fn begins(name: &str, known: &str) -> bool {
    let (name, known) = (name.as_bytes(), known.as_bytes());
    name.len() >= known.len()
        && name
            .iter()
            .zip(known)
            .all(|(ours, theirs)| ours == theirs || (*theirs == b'-' && *ours == b'_'))
}

/// Our cookies are for us. What is left is one field, joined by `; ` (RFC 9113 §8.2.3).
fn clean_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(COOKIE).iter();
    let single = values.next().is_some() && values.next().is_none();
    let ours = headers
        .get_all(COOKIE)
        .iter()
        .any(|value| pairs(value).any(is_our_cookie));
    if single && !ours {
        return;
    }
    let mut joined = Vec::new();
    for pair in headers
        .get_all(COOKIE)
        .iter()
        .flat_map(pairs)
        .filter(|pair| !is_our_cookie(pair))
    {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(pair);
    }
    headers.remove(COOKIE);
    if !joined.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined))
    {
        headers.insert(COOKIE, value);
    }
}

fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn is_our_cookie(pair: &[u8]) -> bool {
    COOKIE_PREFIXES.iter().any(|prefix| {
        pair.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

fn set_forwarding(headers: &mut HeaderMap, facts: &RequestFacts<'_>) {
    let address = if facts.trusted {
        facts.peer
    } else {
        facts.client
    };
    let mut text = Text::<64>::default();
    let _ = text.push_address(address.to_canonical());
    if facts.trusted {
        append_to_list(headers, &FORWARDED_FOR, text.as_bytes());
        keep_or_set(headers, &FORWARDED_PROTO, || {
            HeaderValue::from_static("https")
        });
        keep_or_set(headers, &FORWARDED_HOST, || facts.host.clone());
    } else {
        if let Some(value) = text.value() {
            headers.insert(FORWARDED_FOR.clone(), value);
        }
        headers.insert(FORWARDED_PROTO.clone(), HeaderValue::from_static("https"));
        headers.insert(FORWARDED_HOST.clone(), facts.host.clone());
    }
    let mut element = Text::<512>::default();
    if write_forwarded(&mut element, address, facts.host).is_ok() {
        append_to_list(headers, &FORWARDED, element.as_bytes());
    }
}

/// One element of `Forwarded` (RFC 7239 §4). An odd host is left out rather than escaped.
fn write_forwarded<const N: usize>(
    text: &mut Text<N>,
    address: IpAddr,
    host: &HeaderValue,
) -> fmt::Result {
    let address = address.to_canonical();
    let (before, after) = match address {
        IpAddr::V4(_) => ("for=", ""),
        IpAddr::V6(_) => ("for=\"[", "]\""),
    };
    text.write_str(before)?;
    text.push_address(address)?;
    text.write_str(after)?;
    if let Ok(host) = host.to_str()
        && !host.contains(['"', '\\'])
    {
        text.write_str(";host=\"")?;
        text.write_str(host)?;
        text.write_str("\"")?;
    }
    text.write_str(";proto=https")
}

fn keep_or_set(headers: &mut HeaderMap, name: &HeaderName, value: impl FnOnce() -> HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name.clone(), value());
    }
}

/// Adds an element at the end of a list field, whose lines become one.
fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, element: &[u8]) {
    let value = if headers.contains_key(name) {
        let mut joined = Vec::new();
        for value in headers.get_all(name) {
            joined.extend_from_slice(value.as_bytes());
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(element);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(joined))
    } else {
        HeaderValue::from_bytes(element)
    };
    if let Ok(value) = value {
        headers.insert(name.clone(), value);
    }
}

fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    if headers.contains_key(VIA) {
        append_to_list(headers, &VIA, via.as_bytes());
    } else {
        headers.insert(VIA, via.clone());
    }
}

fn request_id_value(id: RequestId) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 32];
    for (byte, pair) in id.0.to_be_bytes().iter().zip(text.chunks_exact_mut(2)) {
        if let [high, low] = pair {
            *high = DIGITS.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
            *low = DIGITS.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Makes the fields of a response those of ours.
pub(super) fn prepare_response(headers: &mut HeaderMap, via: &HeaderValue, edits: &Edits) {
    strip_response(headers);
    append_via(headers, via);
    edits.apply(headers);
}

/// Whether a response has no transfer coding, or the one that is taken off here. We offer no other (`TE`), and what is
/// coded otherwise must not be passed on as if it were not (RFC 9112 §7).
pub(super) fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings
        .next()
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

fn strip_response(headers: &mut HeaderMap) {
    let mut remove: Vec<HeaderName> = Vec::new();
    let (mut connection, mut chunked, mut length, mut cookie) = (false, false, false, false);
    for name in headers.keys() {
        match response_fate(name) {
            ResponseFate::Keep => {}
            ResponseFate::Remove => remove.push(name.clone()),
            ResponseFate::Connection => connection = true,
            ResponseFate::Chunked => chunked = true,
            ResponseFate::Length => length = true,
            ResponseFate::Cookie => cookie = true,
        }
    }
    if chunked {
        headers.remove(TRANSFER_ENCODING);
        // `Transfer-Encoding` wins, and both together must not be passed on (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    } else if length {
        single_length(headers);
    }
    if connection {
        collect_named(headers, &mut remove);
        headers.remove(CONNECTION);
    }
    for name in &remove {
        headers.remove(name);
    }
    if cookie {
        keep_foreign_cookies(headers);
    }
}

/// An app must not plant a cookie that we, or another app of the same host, take for ours.
fn keep_foreign_cookies(headers: &mut HeaderMap) {
    let is_ours = |value: &HeaderValue| is_our_cookie(value.as_bytes().trim_ascii_start());
    if !headers.get_all(SET_COOKIE).iter().any(is_ours) {
        return;
    }
    let all = headers.get_all(SET_COOKIE).iter();
    let foreign: Vec<HeaderValue> = all.filter(|value| !is_ours(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in foreign {
        headers.append(SET_COOKIE, value);
    }
}

#[derive(Clone, Copy)]
enum ResponseFate {
    Keep,
    Remove,
    Connection,
    Chunked,
    Length,
    Cookie,
}

fn response_fate(name: &HeaderName) -> ResponseFate {
    let text = name.as_str();
    match text.as_bytes().first() {
        Some(b'a') if *name == ALT_SVC => ResponseFate::Remove,
        Some(b'c') if *name == CONNECTION => ResponseFate::Connection,
        Some(b'c') if *name == CONTENT_LENGTH => ResponseFate::Length,
        Some(b't') if *name == TRANSFER_ENCODING => ResponseFate::Chunked,
        Some(b'k') if text == "keep-alive" => ResponseFate::Remove,
        Some(b'm') if begins(text, "masugata") => ResponseFate::Remove,
        Some(b'p')
            if matches!(
                text,
                "proxy-connection" | "proxy-authenticate" | "proxy-authentication-info"
            ) =>
        {
            ResponseFate::Remove
        }
        Some(b's') if *name == SET_COOKIE => ResponseFate::Cookie,
        Some(b't') if *name == TE => ResponseFate::Remove,
        Some(b'u') if *name == header::UPGRADE => ResponseFate::Remove,
        Some(b'x') if begins(text, "x-masugata") => ResponseFate::Remove,
        _ => ResponseFate::Keep,
    }
}

/// Repeated lengths, which hyper has found to be equal, become one (RFC 9110 §8.6).
fn single_length(headers: &mut HeaderMap) {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return };
    if values.next().is_none() && !first.as_bytes().contains(&b',') {
        return;
    }
    let one = tokens(first.as_bytes())
        .next()
        .and_then(|length| HeaderValue::from_bytes(length).ok());
    match one {
        Some(length) => headers.insert(CONTENT_LENGTH, length),
        None => headers.remove(CONTENT_LENGTH),
    };
}

/// Nothing in trailers may pass for a header field that we have judged or set (RFC 9110 §6.5.1).
pub(super) fn cleanse_request_trailers(trailers: &mut HeaderMap) {
    let remove: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            fate(name.as_str(), false, false) != Fate::Keep
                || [HOST, CONTENT_LENGTH, AUTHORIZATION, VIA, header::EXPECT].contains(*name)
        })
        .cloned()
        .collect();
    for name in &remove {
        trailers.remove(name);
    }
}

pub(super) fn cleanse_response_trailers(trailers: &mut HeaderMap) {
    let remove: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !matches!(response_fate(name), ResponseFate::Keep))
        .cloned()
        .collect();
    for name in &remove {
        trailers.remove(name);
    }
}

/// Whether a request has been here before: our own pseudonym is in its `Via` (RFC 9110 §7.6.3).
pub fn is_loop(headers: &HeaderMap, pseudonym: &str) -> bool {
    headers.get_all(VIA).iter().any(|value| {
        tokens(value.as_bytes()).any(|hop| {
            hop.split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .nth(1)
                .is_some_and(|by| by.eq_ignore_ascii_case(pseudonym.as_bytes()))
        })
    })
}

/// Fields that edits may not touch: framing, the hop's own, and ours.
pub(super) fn is_editable(name: &HeaderName) -> bool {
    let text = name.as_str();
    let reserved = [
        HOST,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
        TE,
        VIA,
        header::UPGRADE,
        header::TRAILER,
        header::EXPECT,
    ];
    !reserved.contains(name)
        && !begins(text, "masugata")
        && *name != REQUEST_ID
        && text != "keep-alive"
        && text != "proxy-connection"
}

/// The protocol's version in `Via`.
pub(super) fn via_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    }
}

/// Short text without an allocation.
struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }
}

impl<const N: usize> Text<N> {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// As it is displayed; IPv4, which most are, without the formatter's machinery.
    fn push_address(&mut self, address: IpAddr) -> fmt::Result {
        let IpAddr::V4(v4) = address else {
            return write!(self, "{address}");
        };
        let mut separator = "";
        for octet in v4.octets() {
            self.write_str(separator)?;
            separator = ".";
            let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
            let leading = usize::from(octet < 100) + usize::from(octet < 10);
            let digits = digits.get(leading..).unwrap_or_default();
            self.write_str(std::str::from_utf8(digits).unwrap_or_default())?;
        }
        Ok(())
    }

    fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.as_bytes()).ok()
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        self.bytes
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
