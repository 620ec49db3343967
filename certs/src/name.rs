//! Text forms of names and numbers found in certificates: exact (RFC 4514), and safe to print wherever they end up.

use std::fmt::Write as _;

use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// RFC 4514 text of a distinguished name. Control characters and characters that steer text direction are written as
/// `\` and two hexadecimal digits per octet (§2.4), so that a name can neither break a log line nor reorder it.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let sets: Vec<_> = name.iter_rdn().collect();
    for (index, set) in sets.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in set.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

/// How a certificate is signed, by name or object identifier.
pub(crate) fn signature_of(certificate: &X509Certificate<'_>) -> String {
    crate::strength::signature_name(&certificate.signature_algorithm.algorithm.to_id_string())
}

/// The same guard for any other text from outside.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            push_octets(&mut safe, character)
        } else {
            safe.push(character)
        }
    }
    safe
}

/// Octets of a serial number without the leading zeros DER may need.
pub(crate) fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|octet| **octet == 0).count();
    match serial.get(zeros..) {
        Some([]) | None => serial.get(..1).unwrap_or_default(),
        Some(octets) => octets,
    }
}

/// Lower-case hexadecimal without separators.
pub(crate) fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().saturating_mul(2));
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Octets of hexadecimal text of either case; colons between octets, as OpenSSL prints them, are skipped.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let padded = if digits.len().is_multiple_of(2) {
        digits
    } else {
        [vec![b'0'], digits].concat()
    };
    let octets = padded.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    octets
        .collect::<Option<Vec<u8>>>()
        .filter(|octets| !octets.is_empty())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    match short_name(attribute.attr_type()) {
        Some(name) => text.push_str(name),
        None => text.push_str(&attribute.attr_type().to_id_string()),
    }
    text.push('=');
    match attribute.as_str() {
        Ok(value) => push_value(text, value),
        Err(_) => {
            text.push('#');
            text.push_str(&hex(attribute.as_slice()));
        }
    }
}

fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    const NAMES: [(&str, &str); 10] = [
        ("2.5.4.3", "CN"),
        ("2.5.4.5", "serialNumber"),
        ("2.5.4.6", "C"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.9", "STREET"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("0.9.2342.19200300.100.1.25", "DC"),
        ("0.9.2342.19200300.100.1.1", "UID"),
    ];
    let dotted = kind.to_id_string();
    NAMES
        .iter()
        .find(|(number, _)| *number == dotted)
        .map(|(_, name)| *name)
}

fn push_value(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let at_edge =
            character == ' ' && (index == 0 || index == last) || character == '#' && index == 0;
        if is_unsafe(character) {
            push_octets(text, character);
        } else {
            if at_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn push_octets(text: &mut String, character: char) {
    for octet in character.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(text, "\\{octet:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_or_reorder_a_log_line() {
        assert_eq!(
            printable("a\nb\u{202e}c\u{1b}[0m端末"),
            "a\\0ab\\e2\\80\\aec\\1b[0m端末"
        );
    }

    #[test]
    fn values_are_escaped_as_rfc_4514_says() {
        let mut text = String::new();
        push_value(&mut text, " #a,b+c\\\"; ");
        assert_eq!(text, "\\ #a\\,b\\+c\\\\\\\"\\;\\ ");
        let mut text = String::new();
        push_value(&mut text, "#1");
        assert_eq!(text, "\\#1");
    }

    #[test]
    fn serials_lose_only_leading_zeros() {
        assert_eq!(significant(&[0, 0xab, 0]), [0xab, 0]);
        assert_eq!(significant(&[0]), [0]);
        assert_eq!(significant(&[]), [0u8; 0]);
    }

    #[test]
    fn hexadecimal_goes_there_and_back() {
        assert_eq!(unhex("0A:ff").unwrap(), [0x0a, 0xff]);
        assert_eq!(unhex("aff").unwrap(), [0x0a, 0xff]);
        assert_eq!(hex(&[0x0a, 0xff]), "0aff");
        assert!(unhex("").is_none() && unhex("0g").is_none() && unhex("é").is_none());
    }
}
