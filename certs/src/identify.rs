//! From a verified certificate to the one device it names. Anything doubtful is an error and so without rights: a
//! certificate with two candidates for a name must never get to choose.

use rustls::ServerConnection;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::der;
use crate::error::IdentityError;
use crate::identity::{DeviceIdentity, Peer, VerifiedPeer};
use crate::inspect::{parse, thumbprint};
use crate::name::{distinguished_name, hex, significant};
use crate::revocation;
use crate::spiffe::SpiffeId;
use crate::verify::seconds;

const PERMANENT_IDENTIFIER: &str = "1.3.6.1.5.5.7.8.3";
const HARDWARE_MODULE_NAME: &str = "1.3.6.1.5.5.7.8.4";
const SERIAL_NUMBER: &str = "2.5.4.5";
/// Longest value taken for a name, in octets; X.520 allows 64 for serialNumber.
const MAX_VALUE: usize = 256;

/// Who is on the other side of a finished handshake. Costs some microseconds: call it once per connection.
///
/// Also for resumed sessions, where TLS verifies nothing again: validity is checked here, revocation by the caller.
///
/// # Errors
/// When the certificate is no longer valid, or does not name exactly one device. Its holder has no rights then.
pub fn peer_of(connection: &ServerConnection, now: UnixTime) -> Result<Peer, IdentityError> {
    // Before its Finished message the client may not have proved that it has the key.
    if connection.is_handshaking() {
        return Err(IdentityError::HandshakeUnfinished);
    }
    match connection.peer_certificates() {
        None | Some([]) => Ok(Peer::Anonymous),
        Some(chain) => peer_from_chain(chain, seconds(now)).map(Peer::Verified),
    }
}

pub(crate) fn peer_from_chain(
    chain: &[CertificateDer<'_>],
    now_seconds: i64,
) -> Result<VerifiedPeer, IdentityError> {
    let (leaf_der, others) = chain.split_first().ok_or(IdentityError::Malformed)?;
    let leaf = parse(leaf_der, 1).map_err(|_| IdentityError::Malformed)?;
    let mut traces = vec![revocation::trace_leaf(&leaf)];
    for other in others {
        traces.push(revocation::trace_authority(
            &parse(other, 1).map_err(|_| IdentityError::Malformed)?,
        ));
    }
    let thumbprint = thumbprint(leaf_der);
    let peer = VerifiedPeer {
        identity: identity(&leaf, &thumbprint)?,
        thumbprint,
        serial: hex(significant(leaf.raw_serial())).into(),
        issuer: distinguished_name(leaf.issuer()).into(),
        not_before_seconds: leaf.validity().not_before.timestamp(),
        not_after_seconds: leaf.validity().not_after.timestamp(),
        traces: traces.into(),
        chain: chain
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect(),
    };
    if peer.is_valid_at(now_seconds) {
        Ok(peer)
    } else {
        Err(IdentityError::NotValidNow)
    }
}

/// Whom a certificate names, and its SHA-256, without believing a word of it: for those who hold the file, not for those
/// who present it.
///
/// # Errors
/// When it cannot be read, or does not name exactly one device.
pub fn claim_of(leaf: &CertificateDer<'_>) -> Result<(DeviceIdentity, [u8; 32]), IdentityError> {
    let thumbprint = thumbprint(leaf);
    let leaf = parse(leaf, 1).map_err(|_| IdentityError::Malformed)?;
    Ok((identity(&leaf, &thumbprint)?, thumbprint))
}

/// The first kind of name that is present, in the order of the enum.
pub(crate) fn identity(
    leaf: &X509Certificate<'_>,
    thumbprint: &[u8; 32],
) -> Result<DeviceIdentity, IdentityError> {
    let extension = leaf
        .subject_alternative_name()
        .map_err(|_| IdentityError::Malformed)?;
    let names = extension
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(IdentityError::Malformed);
    }
    if let Some(id) = spiffe(names)? {
        return Ok(DeviceIdentity::Spiffe(id));
    }
    if let Some(id) = sole(names.iter().filter_map(uuid), "urn:uuid")? {
        return Ok(DeviceIdentity::Uuid(id));
    }
    if let Some(id) = sole(
        other_names(names, PERMANENT_IDENTIFIER).map(permanent_identifier),
        "permanentIdentifier",
    )? {
        return Ok(DeviceIdentity::PermanentIdentifier(id));
    }
    if let Some(id) = sole(
        other_names(names, HARDWARE_MODULE_NAME).map(hardware_module),
        "hardwareModuleName",
    )? {
        return Ok(DeviceIdentity::HardwareModule(id));
    }
    if let Some(id) = sole(serial_numbers(leaf), "serialNumber")? {
        return Ok(DeviceIdentity::SerialNumber(id));
    }
    Ok(DeviceIdentity::Thumbprint(
        format!("sha256:{}", hex(thumbprint)).into(),
    ))
}

/// The one value among candidates, if there are any. `None` in the iterator is a candidate that breaks its format.
fn sole(
    candidates: impl Iterator<Item = Option<Box<str>>>,
    kind: &'static str,
) -> Result<Option<Box<str>>, IdentityError> {
    let mut found: Option<Box<str>> = None;
    for candidate in candidates {
        let candidate = candidate.ok_or(IdentityError::Value { kind })?;
        if found.as_ref().is_some_and(|found| *found != candidate) {
            return Err(IdentityError::Conflict { kind });
        }
        found = Some(candidate);
    }
    Ok(found)
}

/// X509-SVID §2: a certificate with a SPIFFE ID has that URI and no other.
fn spiffe(names: &[GeneralName<'_>]) -> Result<Option<Box<str>>, IdentityError> {
    let uris = || {
        names.iter().filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        })
    };
    let Some(claim) = uris().find(|uri| SpiffeId::is_claimed_by(uri)) else {
        return Ok(None);
    };
    if uris().count() > 1 {
        return Err(IdentityError::SeveralUris);
    }
    let id = SpiffeId::parse(claim)?;
    if id.path().is_empty() {
        return Err(IdentityError::SpiffeWithoutPath);
    }
    Ok(Some(id.as_str().into()))
}

/// RFC 9562 §4; `None` for other URIs, `Some(None)` for a URN that is no UUID.
fn uuid(name: &GeneralName<'_>) -> Option<Option<Box<str>>> {
    const PREFIX: &str = "urn:uuid:";
    let GeneralName::URI(uri) = name else {
        return None;
    };
    let lower = uri.to_ascii_lowercase();
    let digits = lower.strip_prefix(PREFIX)?;
    let fits = digits.len() == 36
        && digits.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    Some(fits.then(|| lower.into()))
}

fn other_names<'a>(
    names: &'a [GeneralName<'_>],
    kind: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    names.iter().filter_map(move |name| {
        let GeneralName::OtherName(found, value) = name else {
            return None;
        };
        (found.to_id_string() == kind).then_some(*value)
    })
}

/// RFC 4043 §2: `SEQUENCE { identifierValue UTF8String OPTIONAL, assigner OBJECT IDENTIFIER OPTIONAL }`. Without a
/// value it would mean the subject's serialNumber; nobody is known to issue that, so it is refused.
fn permanent_identifier(value: &[u8]) -> Option<Box<str>> {
    let mut fields = der::Reader::new(tagged_sequence(value)?);
    let text = std::str::from_utf8(fields.expect(der::UTF8_STRING)?.content)
        .ok()
        .and_then(plain)?;
    let assigner = fields.expect(der::OBJECT_IDENTIFIER);
    if !fields.is_empty() {
        return None;
    }
    match assigner {
        Some(oid) => Some(format!("permanent-id:{}/{text}", dotted(oid.content)?).into()),
        // Must not be mistaken for a value with an assigner.
        None if text.split_once('/').is_some_and(|(start, _)| {
            start
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        }) =>
        {
            None
        }
        None => Some(format!("permanent-id:{text}").into()),
    }
}

/// RFC 4108 §5: `SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }`.
fn hardware_module(value: &[u8]) -> Option<Box<str>> {
    let mut fields = der::Reader::new(tagged_sequence(value)?);
    let kind = dotted(fields.expect(der::OBJECT_IDENTIFIER)?.content)?;
    let serial = fields.expect(der::OCTET_STRING)?.content;
    let fits = fields.is_empty() && !serial.is_empty() && serial.len() <= MAX_VALUE;
    fits.then(|| format!("hardware:{kind}/{}", hex(serial)).into())
}

fn serial_numbers<'a>(
    leaf: &'a X509Certificate<'_>,
) -> impl Iterator<Item = Option<Box<str>>> + 'a {
    let attributes = leaf
        .subject()
        .iter_attributes()
        .filter(|attribute| attribute.attr_type().to_id_string() == SERIAL_NUMBER);
    attributes.map(|attribute| {
        Some(format!("serial:{}", attribute.as_str().ok().and_then(plain)?).into())
    })
}

/// The SEQUENCE within the explicit tag of an otherName value (RFC 5280 §4.2.1.6).
fn tagged_sequence(value: &[u8]) -> Option<&[u8]> {
    let tagged = der::sole(value, der::CONTEXT_0)?;
    der::sole(tagged.content, der::SEQUENCE).map(|sequence| sequence.content)
}

fn dotted(oid: &[u8]) -> Option<String> {
    // Base 128 numbers (X.690 §8.19): no padding in front, and the last octet ends one.
    let mut starts = true;
    for octet in oid {
        if starts && *octet == 0x80 {
            return None;
        }
        starts = octet & 0x80 == 0;
    }
    let fits = starts && !oid.is_empty() && oid.len() <= MAX_VALUE;
    fits.then(|| Oid::new(oid.into()).to_id_string())
        .filter(|text| text.contains('.'))
}

/// Visible ASCII, inner spaces allowed: what can be typed into an inventory and printed into a log, in one way only.
fn plain(text: &str) -> Option<&str> {
    let visible = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let fits = visible && !text.is_empty() && text.len() <= MAX_VALUE && text.trim() == text;
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, Pki, days, element, names_extension, other_name, uri};

    const UUID: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

    fn identity_of(names: &[Vec<u8>], serials: &[&str]) -> Result<String, IdentityError> {
        let der = Pki::new("Device CA")
            .custom_leaf(serials, (!names.is_empty()).then(|| names_extension(names)));
        peer_from_chain(&[der], NOW).map(|peer| peer.identity().to_string())
    }

    fn permanent(value: &str, assigner: Option<&[u8]>) -> Vec<u8> {
        let mut fields = element(der::UTF8_STRING, value.as_bytes());
        fields.extend(
            assigner
                .map(|oid| element(der::OBJECT_IDENTIFIER, oid))
                .unwrap_or_default(),
        );
        other_name(
            &[0x2b, 6, 1, 5, 5, 7, 8, 3],
            &element(der::SEQUENCE, &fields),
        )
    }

    fn hardware(serial: &[u8]) -> Vec<u8> {
        let fields = [
            element(der::OBJECT_IDENTIFIER, &[0x2b, 6, 1, 4, 1, 0x2a]),
            element(der::OCTET_STRING, serial),
        ]
        .concat();
        other_name(
            &[0x2b, 6, 1, 5, 5, 7, 8, 4],
            &element(der::SEQUENCE, &fields),
        )
    }

    #[test]
    fn the_first_kind_in_the_documented_order_names_the_device() {
        let spiffe = uri("spiffe://corp.example/device/7");
        let all = [permanent("PC-7", None), hardware(&[1, 0xab])];
        assert_eq!(
            identity_of(&[&all[..], &[spiffe]].concat(), &["S7"]).unwrap(),
            "spiffe://corp.example/device/7"
        );
        assert_eq!(
            identity_of(&[&all[..], &[uri(&UUID.to_uppercase())]].concat(), &["S7"]).unwrap(),
            UUID
        );
        assert_eq!(identity_of(&all, &["S7"]).unwrap(), "permanent-id:PC-7");
        assert_eq!(
            identity_of(&all[1..], &["S7"]).unwrap(),
            "hardware:1.3.6.1.4.1.42/01ab"
        );
        assert_eq!(identity_of(&[], &["S7"]).unwrap(), "serial:S7");
        assert!(identity_of(&[], &[]).unwrap().starts_with("sha256:"));
    }

    #[test]
    fn a_spiffe_id_tolerates_no_second_uri() {
        let id = uri("spiffe://corp.example/device/7");
        for other in [
            "spiffe://corp.example/device/8",
            "spiffe://corp.example/device/7",
            "https://corp.example/",
            UUID,
        ] {
            assert_eq!(
                identity_of(&[id.clone(), uri(other)], &[]),
                Err(IdentityError::SeveralUris),
                "{other}"
            );
            assert_eq!(
                identity_of(&[uri(other), id.clone()], &[]),
                Err(IdentityError::SeveralUris),
                "{other}"
            );
        }
    }

    #[test]
    fn a_malformed_spiffe_id_never_falls_back_to_another_name() {
        for text in [
            "spiffe://corp.example/a/../admin",
            "SPIFFE://corp.example/a",
            "spiffe:corp.example",
            "spiffe://corp.example:1/a",
        ] {
            assert!(
                matches!(
                    identity_of(&[uri(text)], &["S7"]),
                    Err(IdentityError::Spiffe(_))
                ),
                "{text}"
            );
        }
        assert_eq!(
            identity_of(&[uri("spiffe://corp.example")], &["S7"]),
            Err(IdentityError::SpiffeWithoutPath)
        );
    }

    #[test]
    fn conflicting_values_of_one_kind_name_nobody() {
        let other = UUID.replace("f81d", "0000");
        assert_eq!(
            identity_of(&[uri(UUID), uri(&other)], &[]),
            Err(IdentityError::Conflict { kind: "urn:uuid" })
        );
        assert_eq!(
            identity_of(&[uri(UUID), uri(&UUID.to_uppercase())], &[]).unwrap(),
            UUID
        );
        assert_eq!(
            identity_of(&[permanent("a", None), permanent("b", None)], &[]),
            Err(IdentityError::Conflict {
                kind: "permanentIdentifier"
            })
        );
        assert_eq!(
            identity_of(&[hardware(&[1]), hardware(&[2])], &[]),
            Err(IdentityError::Conflict {
                kind: "hardwareModuleName"
            })
        );
        assert_eq!(
            identity_of(&[], &["S7", "S8"]),
            Err(IdentityError::Conflict {
                kind: "serialNumber"
            })
        );
    }

    #[test]
    fn malformed_values_name_nobody() {
        for text in [
            "urn:uuid:",
            "urn:uuid:f81d4fae",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bfg",
            "urn:uuid:f81d4fae07dec011d00a765000a0c91e6bf6",
        ] {
            assert_eq!(
                identity_of(&[uri(text)], &["S7"]),
                Err(IdentityError::Value { kind: "urn:uuid" }),
                "{text}"
            );
        }
        for value in ["", " a", "a ", "a\nb", "a\0", "端末", "1.2.3/x", "/x"] {
            assert_eq!(
                identity_of(&[permanent(value, None)], &[]),
                Err(IdentityError::Value {
                    kind: "permanentIdentifier"
                }),
                "{value:?}"
            );
        }
        assert_eq!(
            identity_of(&[hardware(&[])], &[]),
            Err(IdentityError::Value {
                kind: "hardwareModuleName"
            })
        );
        assert_eq!(
            identity_of(&[], &["a\nb"]),
            Err(IdentityError::Value {
                kind: "serialNumber"
            })
        );
        let bare = other_name(
            &[0x2b, 6, 1, 5, 5, 7, 8, 3],
            &element(der::UTF8_STRING, b"PC-7"),
        );
        assert_eq!(
            identity_of(&[bare], &[]),
            Err(IdentityError::Value {
                kind: "permanentIdentifier"
            })
        );
    }

    #[test]
    fn an_assigner_is_part_of_a_permanent_identifier() {
        assert_eq!(
            identity_of(&[permanent("PC-7", Some(&[0x2a, 3]))], &[]).unwrap(),
            "permanent-id:1.2.3/PC-7"
        );
        assert!(identity_of(&[permanent("PC-7", Some(&[0x2a, 0x80, 3]))], &[]).is_err());
    }

    #[test]
    fn validity_is_checked_again_although_tls_resumes() {
        let der = Pki::new("Device CA").custom_leaf(&["S7"], None);
        assert_eq!(
            peer_from_chain(std::slice::from_ref(&der), NOW + days(400)).unwrap_err(),
            IdentityError::NotValidNow
        );
        assert_eq!(
            peer_from_chain(std::slice::from_ref(&der), NOW - days(400)).unwrap_err(),
            IdentityError::NotValidNow
        );
    }

    proptest! {
        #[test]
        fn other_names_of_any_bytes_never_panic(value: Vec<u8>) {
            let _ = (permanent_identifier(&value), hardware_module(&value), dotted(&value));
        }

        #[test]
        fn uuids_are_taken_in_one_spelling(text in "[uU][rR]n:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}") {
            let found = uuid(&GeneralName::URI(&text)).unwrap().unwrap();
            prop_assert_eq!(&*found, text.to_lowercase());
        }
    }
}
