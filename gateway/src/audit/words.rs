//! Values put into a line as a serialiser would, without one: the records of requests are written so, because they are
//! most of what a request costs. Each function begins with what stands before the value, `,"name":`, as it is.

use std::time::Duration;

use super::chain::hex;
use super::line::put;
use super::text::{Stamp, Texts};
use crate::exchange::RequestId;

/// A text in quotation marks. What needs no escape is copied; anything else goes the long way.
pub(super) fn text(buffer: &mut Vec<u8>, before: &[u8], value: &str) -> serde_json::Result<()> {
    if is_plain(value.as_bytes()) {
        quoted(buffer, before, value.as_bytes());
        return Ok(());
    }
    buffer.extend_from_slice(before);
    put(buffer, &value)
}

/// Printable ASCII without what JSON escapes.
fn is_plain(bytes: &[u8]) -> bool {
    // No way out within: the compiler makes vector instructions of it.
    !bytes.iter().fold(false, |found, byte| {
        found | (*byte < 0x20) | (*byte >= 0x7f) | (*byte == b'"') | (*byte == b'\\')
    })
}

/// A word of ours, which needs no escape.
pub(super) fn word(buffer: &mut Vec<u8>, before: &[u8], value: &'static str) {
    debug_assert!(is_plain(value.as_bytes()));
    quoted(buffer, before, value.as_bytes());
}

fn quoted(buffer: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    buffer.reserve(before.len() + value.len() + 2);
    buffer.extend_from_slice(before);
    buffer.push(b'"');
    buffer.extend_from_slice(value);
    buffer.push(b'"');
}

pub(super) fn stamp(buffer: &mut Vec<u8>, before: &[u8], value: Stamp) {
    quoted(buffer, before, value.as_str().as_bytes());
}

/// As [`word`], left out when it is absent.
pub(super) fn word_if(buffer: &mut Vec<u8>, before: &[u8], value: Option<&'static str>) {
    if let Some(value) = value {
        word(buffer, before, value);
    }
}

/// A member that is left out when it is absent.
pub(super) fn text_if(
    buffer: &mut Vec<u8>,
    before: &[u8],
    value: Option<&str>,
) -> serde_json::Result<()> {
    value.map_or(Ok(()), |value| text(buffer, before, value))
}

/// A list that is left out when it is empty.
pub(super) fn texts<T: AsRef<str>>(
    buffer: &mut Vec<u8>,
    before: &[u8],
    values: &Texts<'_, T>,
) -> serde_json::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    buffer.extend_from_slice(before);
    let mut between: &[u8] = b"[";
    for value in values.iter() {
        text(buffer, between, value)?;
        between = b",";
    }
    buffer.push(b']');
    Ok(())
}

pub(super) fn number(buffer: &mut Vec<u8>, before: &[u8], value: u64) -> serde_json::Result<()> {
    buffer.extend_from_slice(before);
    put(buffer, &value)
}

/// 32 hex digits.
pub(super) fn request_id(buffer: &mut Vec<u8>, before: &[u8], id: RequestId) {
    let mut digits = [0; 32];
    hex(&id.0.to_be_bytes(), &mut digits);
    quoted(buffer, before, &digits);
}

/// Milliseconds with up to three decimals, as a number.
pub(super) fn millis(
    buffer: &mut Vec<u8>,
    before: &[u8],
    value: Duration,
) -> serde_json::Result<()> {
    buffer.extend_from_slice(before);
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    let (whole, rest) = (micros / 1000, micros % 1000);
    // Beyond eleven days a floating-point number may look otherwise.
    let Some(thousandths) = u16::try_from(rest).ok().filter(|_| whole < 1_000_000_000) else {
        // Exact below 285 years.
        return put(buffer, &(micros as f64 / 1000.0));
    };
    put(buffer, &whole)?;
    let digit = |unit: u16| b'0' + u8::try_from(thousandths / unit % 10).unwrap_or(0);
    let decimals = [b'.', digit(100), digit(10), digit(1)];
    let length = match thousandths {
        _ if thousandths % 10 != 0 => 4,
        _ if thousandths % 100 != 0 => 3,
        _ => 2,
    };
    buffer.extend_from_slice(decimals.get(..length).unwrap_or(&decimals));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    fn serialised(value: &impl serde::Serialize) -> String {
        written(|buffer| put(buffer, value))
    }

    proptest! {
        #[test]
        fn texts_are_as_the_serialiser_writes_them(value in any::<String>(), plain in "[ -~]{0,40}") {
            for value in [value, plain] {
                prop_assert_eq!(written(|buffer| text(buffer, b"", &value)), serialised(&value));
            }
        }

        #[test]
        fn times_are_as_the_serialiser_writes_them(any in any::<u64>(), short in 0_u64..5_000_000) {
            for micros in [any, any >> 14, any >> 20, short, short * 10, short * 1000] {
                let duration = Duration::from_micros(micros);
                prop_assert_eq!(
                    written(|buffer| millis(buffer, b"", duration)),
                    serialised(&(micros as f64 / 1000.0))
                );
            }
        }

        #[test]
        fn ids_are_as_they_are_shown(id in any::<u128>()) {
            let id = RequestId(id);
            let written = written(|buffer| {
                request_id(buffer, b"", id);
                Ok(())
            });
            prop_assert_eq!(written, format!("\"{id}\""));
        }
    }
}
