//! Breached passwords, as 64-bit fingerprints in order: eight bytes each, so that millions fit. That one in 2⁶⁴ good
//! passwords is refused per entry is of no consequence.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::accounts::error::OpenError;
use crate::store;

const MAX_LINE: usize = 4_096;

/// A list of breached passwords.
#[derive(Default)]
pub(crate) struct Breached {
    // INVARIANT: sorted, without repetition; `contains` searches by halves.
    fingerprints: Vec<u64>,
}

impl Breached {
    /// Reads a file of plain passwords, or of `SHA1` or `SHA1:count` in hexadecimal as breach collections come; both may
    /// be mixed. Empty lines are left out.
    ///
    /// # Errors
    /// [`OpenError::Io`]; [`OpenError::Breached`] for a line that is no password.
    pub(crate) fn read(path: &Path) -> Result<Self, OpenError> {
        let fail = |error| store::io_at(path, error);
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(fail)?);
        let mut fingerprints = Vec::new();
        let mut line = Vec::with_capacity(128);
        for number in 1.. {
            line.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE as u64 + 1)
                .read_until(b'\n', &mut line)
                .map_err(fail)?;
            if read == 0 {
                break;
            }
            if read > MAX_LINE {
                return Err(OpenError::Breached {
                    path: store::shown(path),
                    line: number,
                    problem: "longer than 4096 bytes; is this a list of passwords?",
                });
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if !text.is_empty() {
                fingerprints.push(of_hash(text).unwrap_or_else(|| fingerprint(text)));
            }
        }
        fingerprints.sort_unstable();
        fingerprints.dedup();
        fingerprints.shrink_to_fit();
        Ok(Self { fingerprints })
    }

    pub(crate) fn contains(&self, password: &str) -> bool {
        let wanted = fingerprint(password.as_bytes());
        self.fingerprints.binary_search(&wanted).is_ok()
    }
}

/// The first 64 bits of the SHA-1, because that is what collections of breached passwords are made of.
fn fingerprint(password: &[u8]) -> u64 {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut first = [0; 8];
    first.copy_from_slice(digest.as_ref().get(..8).unwrap_or(&[0; 8]));
    u64::from_be_bytes(first)
}

/// The fingerprint in a line `SHA1` or `SHA1:count`.
fn of_hash(line: &[u8]) -> Option<u64> {
    let (hash, rest) = line.split_at_checked(40)?;
    let count = match rest {
        [] => &[],
        [b':', count @ ..] => count,
        [..] => return None,
    };
    if !hash.iter().all(u8::is_ascii_hexdigit) || !count.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let first = std::str::from_utf8(hash.get(..16)?).ok()?;
    u64::from_str_radix(first, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn list(text: &[u8]) -> Result<Breached, OpenError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        Breached::read(file.path())
    }

    #[test]
    fn plain_lines_and_hashes_are_both_understood() {
        // SHA-1 of `password` in both cases.
        let breached = list(
            b"plain text phrase\r\n\n5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3861493\nn\xe9e\nlast",
        )
        .unwrap();
        for known in ["plain text phrase", "password", "last"] {
            assert!(breached.contains(known), "{known}");
        }
        for unknown in ["", "Password", "plain text phrase\r"] {
            assert!(!breached.contains(unknown), "{unknown}");
        }
        let lower = list(b"5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8").unwrap();
        assert!(lower.contains("password"));
    }

    #[test]
    fn a_hash_with_something_else_behind_it_is_a_password() {
        let line = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:x";
        let breached = list(line.as_bytes()).unwrap();
        assert!(breached.contains(line));
        assert!(!breached.contains("password"));
    }

    #[test]
    fn a_file_that_is_no_list_is_refused() {
        let error = list(&[b'x'; 5_000]).err().unwrap();
        assert!(matches!(error, OpenError::Breached { line: 1, .. }));
        assert!(Breached::read(Path::new("/nonexistent/list")).is_err());
    }

    proptest! {
        #[test]
        fn it_knows_exactly_what_is_in_it(lines in proptest::collection::vec("[a-z ]{1,12}", 0..50), other in "[A-Z]{1,12}") {
            let breached = list(lines.join("\n").as_bytes()).unwrap();
            for line in &lines {
                prop_assert!(breached.contains(line));
            }
            prop_assert!(!breached.contains(&other));
        }
    }
}
