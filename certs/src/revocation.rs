//! Certificate revocation lists: verified once when loaded, afterwards a set that every request can afford to ask.
//!
//! A list is keyed by the issuer's distinguished name, as RFC 5280 §5 does, so it also covers what the CA issued under
//! an earlier key.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::BorrowedCertRevocationList;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::bundle::{DeviceAuthorities, DeviceAuthority};
use crate::error::{CrlError, InFile};
use crate::identity::{RevocationTrace, VerifiedPeer};
use crate::name::{distinguished_name, significant};
use crate::signed::{SignatureProblem, Signed};

/// What all loaded lists say.
#[derive(Debug, Default)]
pub struct Revocations {
    revoked: HashSet<Digest, ahash::RandomState>,
    /// Configured CAs that another configured CA has revoked, by name. Nearly always empty.
    revoked_issuers: HashSet<Digest, ahash::RandomState>,
    /// `nextUpdate` of each scope, in seconds since the epoch.
    covered: HashMap<Digest, i64, ahash::RandomState>,
    lists: Vec<ListSummary>,
}

/// What the lists say about one device certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStatus {
    /// A list of its CA that is not overdue does not name it.
    Good,
    /// It, or a CA on its path, is named by a list.
    Revoked,
    /// Not named, but the list of its CA is past its `nextUpdate`.
    ListOverdue {
        /// Seconds since the epoch.
        next_update_seconds: i64,
    },
    /// No list of its CA is loaded.
    NoList,
}

/// The facts of one list in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSummary {
    /// RFC 4514 text.
    pub issuer: String,
    /// How many certificates it names.
    pub entries: usize,
    /// Seconds since the epoch.
    pub this_update_seconds: i64,
    /// Seconds since the epoch.
    pub next_update_seconds: i64,
}

/// Truncated SHA-256. A collision could only revoke too much, and no one finds one for 128 bit.
type Digest = [u8; 16];

struct List {
    scope: Digest,
    covers: Vec<Digest>,
    entries: Vec<Digest>,
    summary: ListSummary,
}

impl Revocations {
    /// Takes files with one list in DER, or one or more in PEM. Of several lists of the same scope the newest counts.
    /// Overdue lists are loaded: old revocations are better than none, and `status` tells.
    ///
    /// # Errors
    /// The first problem and the index of its file. Nothing is loaded in part.
    pub fn load(
        files: &[&[u8]],
        authorities: &DeviceAuthorities,
    ) -> Result<Self, InFile<CrlError>> {
        let mut newest: HashMap<Digest, List> = HashMap::new();
        for (file, bytes) in files.iter().enumerate() {
            for list in read_file(bytes, authorities).map_err(|problem| InFile { file, problem })? {
                let is_newest = newest.get(&list.scope).is_none_or(|known| {
                    known.summary.this_update_seconds <= list.summary.this_update_seconds
                });
                if is_newest {
                    newest.insert(list.scope, list);
                }
            }
        }
        let mut all = Self::default();
        for list in newest.into_values() {
            all.add(list);
        }
        all.lists
            .sort_by(|one, other| one.issuer.cmp(&other.issuer));
        all.revoke_authorities(authorities);
        Ok(all)
    }

    /// What is known about a device now. Costs two hash look-ups; ask on every connection and every request.
    pub fn status(&self, peer: &VerifiedPeer, now_seconds: i64) -> RevocationStatus {
        if peer.traces.iter().any(|trace| {
            self.revoked.contains(&trace.certificate)
                || self.revoked_issuers.contains(&trace.issuer)
        }) {
            return RevocationStatus::Revoked;
        }
        let mut traces = peer.traces.iter();
        let leaf = traces.next().and_then(|trace| self.next_update(trace));
        // A list that a CA above does not publish is not missed; one that it stopped publishing is.
        let earliest = leaf
            .into_iter()
            .chain(traces.filter_map(|trace| self.next_update(trace)))
            .min();
        match (leaf, earliest) {
            (_, Some(next_update_seconds)) if next_update_seconds < now_seconds => {
                RevocationStatus::ListOverdue {
                    next_update_seconds,
                }
            }
            (Some(_), _) => RevocationStatus::Good,
            (None, _) => RevocationStatus::NoList,
        }
    }

    /// The lists in use, by issuer.
    pub fn summaries(&self) -> &[ListSummary] {
        &self.lists
    }

    /// How many certificates are revoked.
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether nothing is revoked; also when no list is loaded.
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    fn next_update(&self, trace: &RevocationTrace) -> Option<i64> {
        trace
            .scopes
            .iter()
            .filter_map(|scope| self.covered.get(scope))
            .copied()
            .max()
    }

    fn add(&mut self, list: List) {
        self.revoked.extend(list.entries);
        for scope in list.covers {
            // Where parts of a divided list meet, the part due first decides.
            let next = self
                .covered
                .entry(scope)
                .or_insert(list.summary.next_update_seconds);
            *next = (*next).min(list.summary.next_update_seconds);
        }
        self.lists.push(list.summary);
    }

    /// A configured CA that another one has revoked issues nothing valid any more. It stays an error of nobody: the
    /// file is loaded, and everything under that name is revoked.
    fn revoke_authorities(&mut self, authorities: &DeviceAuthorities) {
        loop {
            let before = self.revoked_issuers.len();
            for authority in authorities.authorities() {
                let name = digest_of(ISSUER, &[&authority.name]);
                let is_revoked = self
                    .revoked
                    .contains(&certificate_key(&authority.issuer, &authority.serial))
                    || self
                        .revoked_issuers
                        .contains(&digest_of(ISSUER, &[&authority.issuer]));
                if is_revoked {
                    self.revoked_issuers.insert(name);
                }
            }
            // Once more for what those had issued in turn.
            if self.revoked_issuers.len() == before {
                break;
            }
        }
    }
}

// What a digest is of; keeps kinds of keys from ever being equal.
const CERTIFICATE: u8 = 1;
const ISSUER: u8 = 2;
const LEAF_SCOPE: u8 = 3;
const AUTHORITY_SCOPE: u8 = 4;
const LIST: u8 = 5;

/// For lists without a distribution point, which cover the whole CA.
const WHOLE: &[u8] = b"whole";
/// For lists with one, as seen by certificates without one (RFC 5280 §6.3.3 b 2).
const PART: &[u8] = b"part";
const POINT: &[u8] = b"point";

pub(crate) fn trace_leaf(certificate: &X509Certificate<'_>) -> RevocationTrace {
    trace(certificate, LEAF_SCOPE)
}

pub(crate) fn trace_authority(certificate: &X509Certificate<'_>) -> RevocationTrace {
    trace(certificate, AUTHORITY_SCOPE)
}

fn trace(certificate: &X509Certificate<'_>, kind: u8) -> RevocationTrace {
    let issuer = certificate.issuer().as_raw();
    let points = distribution_points(certificate);
    let mut scopes = vec![digest_of(kind, &[issuer, WHOLE])];
    if points.is_empty() {
        scopes.push(digest_of(kind, &[issuer, PART]));
    }
    scopes.extend(
        points
            .iter()
            .map(|point| digest_of(kind, &[issuer, POINT, point.as_bytes()])),
    );
    RevocationTrace {
        certificate: certificate_key(issuer, certificate.raw_serial()),
        issuer: digest_of(ISSUER, &[issuer]),
        scopes: scopes.into(),
    }
}

fn certificate_key(issuer: &[u8], serial: &[u8]) -> Digest {
    digest_of(CERTIFICATE, &[issuer, significant(serial)])
}

fn digest_of(kind: u8, parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[kind]);
    for part in parts {
        // Lengths keep the parts apart.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut short = Digest::default();
    for (to, from) in short.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    short
}

fn distribution_points<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() {
            found.extend(
                points
                    .points
                    .iter()
                    .filter_map(|point| point.distribution_point.as_ref())
                    .flat_map(uris),
            );
        }
    }
    found
}

fn uris<'a>(point: &'a DistributionPointName<'_>) -> Vec<&'a str> {
    let DistributionPointName::FullName(names) = point else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        })
        .collect()
}

fn read_file(bytes: &[u8], authorities: &DeviceAuthorities) -> Result<Vec<List>, CrlError> {
    if bytes.first() == Some(&crate::der::SEQUENCE) {
        return read_list(bytes, authorities).map(|list| vec![list]);
    }
    let blocks = CertificateRevocationListDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CrlError::Malformed)?;
    if blocks.is_empty() {
        return Err(CrlError::NoList);
    }
    blocks
        .iter()
        .map(|der| read_list(der, authorities))
        .collect()
}

fn read_list(der: &[u8], authorities: &DeviceAuthorities) -> Result<List, CrlError> {
    let Ok(([], parsed)) = CertificateRevocationList::from_der(der) else {
        return Err(CrlError::Malformed);
    };
    let issuer = distinguished_name(parsed.issuer());
    let next_update = parsed.next_update().ok_or_else(|| CrlError::NoNextUpdate {
        issuer: issuer.clone(),
    })?;
    verify_signature(der, &parsed, &issuer, authorities)?;
    // webpki is the strict reader: it refuses delta and indirect lists and unknown critical extensions.
    let strict = BorrowedCertRevocationList::from_der(der).map_err(unsupported)?;
    let name = parsed.issuer().as_raw();
    let mut entries = Vec::new();
    for entry in &strict {
        entries.push(certificate_key(
            name,
            entry.map_err(unsupported)?.serial_number,
        ));
    }
    let (point, covers) = scopes(&parsed, name)?;
    let summary = ListSummary {
        issuer,
        entries: entries.len(),
        this_update_seconds: parsed.last_update().timestamp(),
        next_update_seconds: next_update.timestamp(),
    };
    Ok(List {
        scope: digest_of(LIST, &[name, point]),
        covers,
        entries,
        summary,
    })
}

fn verify_signature(
    der: &[u8],
    parsed: &CertificateRevocationList<'_>,
    issuer: &str,
    authorities: &DeviceAuthorities,
) -> Result<(), CrlError> {
    let issuer = || issuer.to_owned();
    let named: Vec<&DeviceAuthority> = authorities
        .authorities()
        .iter()
        .filter(|authority| *authority.name == *parsed.issuer().as_raw())
        .collect();
    if named.is_empty() {
        return Err(CrlError::UnknownIssuer { issuer: issuer() });
    }
    let signed = Signed::split(der).ok_or(CrlError::Malformed)?;
    let algorithms = authorities.profile().algorithms();
    if !signed.is_accepted(algorithms.all) {
        return Err(CrlError::WeakSignature { issuer: issuer() });
    }
    let mut problem = CrlError::BadSignature { issuer: issuer() };
    for authority in named {
        match signed.verify(&authority.key, algorithms.all) {
            Ok(()) if authority.may_sign_lists => return Ok(()),
            Ok(()) => problem = CrlError::NotASigner { issuer: issuer() },
            Err(SignatureProblem::Algorithm | SignatureProblem::Wrong) => {}
        }
    }
    Err(problem)
}

/// The issuingDistributionPoint extension as it stands, and the scopes the list covers (RFC 5280 §5.2.5).
fn scopes<'a>(
    parsed: &'a CertificateRevocationList<'_>,
    issuer: &[u8],
) -> Result<(&'a [u8], Vec<Digest>), CrlError> {
    for extension in parsed.extensions() {
        if extension.oid.to_id_string() != "2.5.29.28" {
            continue;
        }
        let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
            return Err(CrlError::Scope {
                scope: "issuingDistributionPoint",
            });
        };
        let kinds: &[u8] = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
            (false, false) => &[LEAF_SCOPE, AUTHORITY_SCOPE],
            (true, false) => &[LEAF_SCOPE],
            (false, true) => &[AUTHORITY_SCOPE],
            (true, true) => {
                return Err(CrlError::Scope {
                    scope: "onlyContainsUserCerts and onlyContainsCACerts",
                });
            }
        };
        let uris = point.distribution_point.as_ref().map(uris);
        let covers = kinds.iter().flat_map(|kind| match &uris {
            None => vec![digest_of(*kind, &[issuer, WHOLE])],
            Some(uris) => {
                let points = uris
                    .iter()
                    .map(|uri| digest_of(*kind, &[issuer, POINT, uri.as_bytes()]));
                points.chain([digest_of(*kind, &[issuer, PART])]).collect()
            }
        });
        return Ok((extension.value, covers.collect()));
    }
    Ok((
        &[],
        [LEAF_SCOPE, AUTHORITY_SCOPE]
            .map(|kind| digest_of(kind, &[issuer, WHOLE]))
            .to_vec(),
    ))
}

fn unsupported(problem: webpki::Error) -> CrlError {
    use webpki::Error as Problem;
    if matches!(problem, Problem::UnsupportedDeltaCrl) {
        CrlError::Delta
    } else if matches!(problem, Problem::UnsupportedIndirectCrl) {
        CrlError::Scope {
            scope: "indirectCRL",
        }
    } else if matches!(problem, Problem::UnsupportedRevocationReasonsPartitioning) {
        CrlError::Scope {
            scope: "onlySomeReasons",
        }
    } else if matches!(problem, Problem::UnsupportedCrlIssuingDistributionPoint) {
        CrlError::Scope {
            scope: "issuingDistributionPoint",
        }
    } else if matches!(problem, Problem::UnsupportedCriticalExtension) {
        CrlError::CriticalExtension
    } else {
        CrlError::Malformed
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};

    use super::*;
    use crate::identify::peer_from_chain;
    use crate::profile::Profile;
    use crate::testing::{NOW, Pki, days, element};

    fn bundle(pkis: &[&Pki]) -> DeviceAuthorities {
        let pem: String = pkis.iter().map(|pki| pki.pem()).collect();
        DeviceAuthorities::load(&[pem.as_bytes()], Profile::CryptrecRecommended).unwrap()
    }

    fn peer(chain: &str) -> VerifiedPeer {
        peer_from_chain(&crate::pem::certificates(chain.as_bytes()).unwrap(), NOW).unwrap()
    }

    fn load(pkis: &[&Pki], lists: &[&[u8]]) -> Result<Revocations, CrlError> {
        Revocations::load(lists, &bundle(pkis)).map_err(|problem| problem.problem)
    }

    #[test]
    fn a_listed_device_is_revoked_and_its_neighbour_is_not() {
        let pki = Pki::new("CA");
        let (one, other) = (
            peer(&pki.device("spiffe://a/1").0),
            peer(&pki.device("spiffe://a/2").0),
        );
        let list = pki.list(&[one.serial()], NOW + days(1));
        let loaded = load(&[&pki], &[list.as_bytes()]).unwrap();
        assert_eq!(loaded.status(&one, NOW), RevocationStatus::Revoked);
        assert_eq!(loaded.status(&other, NOW), RevocationStatus::Good);
        assert_eq!(
            loaded.status(&other, NOW + days(1) + 1),
            RevocationStatus::ListOverdue {
                next_update_seconds: NOW + days(1)
            }
        );
        assert_eq!(
            loaded.status(&one, NOW + days(9)),
            RevocationStatus::Revoked,
            "an overdue list still revokes"
        );
        assert_eq!((loaded.len(), loaded.summaries()[0].entries), (1, 1));
    }

    #[test]
    fn a_list_of_another_authority_says_nothing() {
        let (ours, theirs) = (Pki::new("CA 1"), Pki::new("CA 2"));
        let device = peer(&ours.device("spiffe://a/1").0);
        let list = theirs.list(&[device.serial()], NOW + days(1));
        assert_eq!(
            load(&[&ours, &theirs], &[list.as_bytes()])
                .unwrap()
                .status(&device, NOW),
            RevocationStatus::NoList
        );
        assert!(matches!(
            load(&[&ours], &[list.as_bytes()]),
            Err(CrlError::UnknownIssuer { .. })
        ));
        assert_eq!(
            load(&[&ours], &[]).unwrap().status(&device, NOW),
            RevocationStatus::NoList
        );
    }

    #[test]
    fn a_list_signed_by_another_key_or_changed_is_refused() {
        let (ours, impostor) = (Pki::new("CA"), Pki::new("CA"));
        let list = impostor.list(&["01"], NOW + days(1));
        assert!(matches!(
            load(&[&ours], &[list.as_bytes()]),
            Err(CrlError::BadSignature { .. })
        ));
        let der = ours.list_der(&["0123456789"], NOW + days(1), None);
        assert!(load(&[&ours], &[&der]).is_ok(), "DER is taken as well");
        for index in 0..der.len() {
            let mut changed = der.clone();
            changed[index] ^= 1;
            assert!(load(&[&ours], &[&changed]).is_err(), "octet {index}");
        }
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        let pki = Pki::new("CA");
        assert_eq!(load(&[&pki], &[b"<html>"]).err(), Some(CrlError::NoList));
        assert_eq!(
            load(&[&pki], &[pki.pem().as_bytes()]).err(),
            Some(CrlError::NoList)
        );
        assert_eq!(
            load(&[&pki], &[&[0x30, 0]]).err(),
            Some(CrlError::Malformed)
        );
        let mut trailing = pki.list_der(&["01"], NOW + days(1), None);
        trailing.push(0);
        assert_eq!(load(&[&pki], &[&trailing]).err(), Some(CrlError::Malformed));
    }

    #[test]
    fn several_lists_in_one_file_count_and_of_one_scope_the_newest() {
        let (one, two) = (Pki::new("CA 1"), Pki::new("CA 2"));
        let (a, b) = (
            peer(&one.device("spiffe://a/1").0),
            peer(&two.device("spiffe://a/2").0),
        );
        let both = format!(
            "{}{}",
            one.list(&[a.serial()], NOW + days(1)),
            two.list(&[b.serial()], NOW + days(1))
        );
        let loaded = load(&[&one, &two], &[both.as_bytes()]).unwrap();
        assert_eq!(
            (loaded.status(&a, NOW), loaded.status(&b, NOW)),
            (RevocationStatus::Revoked, RevocationStatus::Revoked)
        );
        // A hold that was released: the older list, lying beside the newer, must not bring it back.
        let (old, new) = (
            one.list_of(&[a.serial()], NOW - days(2), NOW + days(1)),
            one.list_of(&[], NOW - days(1), NOW + days(2)),
        );
        for files in [
            [old.as_bytes(), new.as_bytes()],
            [new.as_bytes(), old.as_bytes()],
        ] {
            assert_eq!(
                load(&[&one], &files).unwrap().status(&a, NOW),
                RevocationStatus::Good
            );
        }
    }

    #[test]
    fn a_divided_list_covers_its_own_part_only() {
        let pki = Pki::new("CA");
        let part = |name: &str, scope| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec![name.to_owned()],
            },
            scope,
        };
        let device = peer(&pki.device_with_point("http://ca.example/1.crl"));
        let plain = peer(&pki.device("spiffe://a/1").0);
        let status =
            |list: Vec<u8>, peer: &VerifiedPeer| load(&[&pki], &[&list]).unwrap().status(peer, NOW);
        let list = |point| pki.list_der(&["01"], NOW + days(1), point);
        assert_eq!(
            status(list(Some(part("http://ca.example/1.crl", None))), &device),
            RevocationStatus::Good
        );
        assert_eq!(
            status(list(Some(part("http://ca.example/2.crl", None))), &device),
            RevocationStatus::NoList
        );
        assert_eq!(
            status(
                list(Some(part(
                    "http://ca.example/1.crl",
                    Some(CrlScope::CaCertsOnly)
                ))),
                &device
            ),
            RevocationStatus::NoList
        );
        assert_eq!(
            status(
                list(Some(part(
                    "http://ca.example/2.crl",
                    Some(CrlScope::UserCertsOnly)
                ))),
                &plain
            ),
            RevocationStatus::Good
        );
        assert_eq!(status(list(None), &device), RevocationStatus::Good);
    }

    #[test]
    fn delta_lists_indirect_lists_and_unknown_critical_extensions_are_refused_by_name() {
        let pki = Pki::new("CA");
        let with = |oid: &[u8], critical: bool, value: &[u8]| {
            let list = pki.list_with_extension(oid, critical, value);
            load(&[&pki], &[&list]).err()
        };
        assert_eq!(
            with(&[0x55, 0x1d, 27], true, &[2, 1, 1]),
            Some(CrlError::Delta)
        );
        let indirect = element(crate::der::SEQUENCE, &[0x84, 1, 0xff]);
        assert_eq!(
            with(&[0x55, 0x1d, 28], true, &indirect),
            Some(CrlError::Scope {
                scope: "indirectCRL"
            })
        );
        let reasons = element(crate::der::SEQUENCE, &[0x83, 2, 1, 0x40]);
        assert_eq!(
            with(&[0x55, 0x1d, 28], true, &reasons),
            Some(CrlError::Scope {
                scope: "onlySomeReasons"
            })
        );
        assert_eq!(
            with(&[0x2a, 3, 4], true, &[5, 0]),
            Some(CrlError::CriticalExtension)
        );
        assert_eq!(with(&[0x2a, 3, 4], false, &[5, 0]), None);
    }

    #[test]
    fn a_revoked_intermediate_takes_its_devices_along() {
        let root = Pki::new("Root");
        let (intermediate, serial) = root.intermediate("Intermediate");
        let (leaf, _) = intermediate.device("spiffe://a/1");
        let list = root.list(&[&serial], NOW + days(1));
        let sent = peer(&format!("{leaf}{}", intermediate.pem()));
        assert_eq!(
            load(&[&root], &[list.as_bytes()])
                .unwrap()
                .status(&sent, NOW),
            RevocationStatus::Revoked
        );
        // The client leaves the intermediate out, because the gateway lists it itself.
        let both = load(&[&root, &intermediate], &[list.as_bytes()]).unwrap();
        assert_eq!(both.status(&peer(&leaf), NOW), RevocationStatus::Revoked);
        assert_eq!(
            both.status(&peer(&root.device("spiffe://a/2").0), NOW),
            RevocationStatus::Good
        );
    }

    #[test]
    fn serials_compare_without_leading_zeros() {
        assert_eq!(
            certificate_key(b"CN", &[0, 0x80]),
            certificate_key(b"CN", &[0x80])
        );
        assert_ne!(
            certificate_key(b"CN", &[1, 0x80]),
            certificate_key(b"CN", &[0x80])
        );
        assert_ne!(
            certificate_key(b"CN1", &[2]),
            certificate_key(b"CN", &[0x31, 2])
        );
    }

    #[test]
    fn a_look_up_is_cheap_in_a_large_list() {
        let pki = Pki::new("CA");
        let serials: Vec<String> = (0..20_000u32)
            .map(|number| format!("{number:08x}"))
            .collect();
        let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
        let loaded = load(&[&pki], &[&pki.list_der(&serials, NOW + days(1), None)]).unwrap();
        assert_eq!(loaded.len(), 20_000);
        let device = peer(&pki.device("spiffe://a/1").0);
        for _ in 0..100_000 {
            assert_eq!(loaded.status(&device, NOW), RevocationStatus::Good);
        }
    }
}
