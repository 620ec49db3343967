//! Where a WebSocket's frames end (RFC 6455 §5.2), so that a tunnel that must be cut can say goodbye between two of them.
//! Looks at headers as they pass and keeps none of what they head.

/// Follows what goes to the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    part: Part,
    /// The app has said goodbye, or its frames make no sense: nothing may be added.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Before the first byte of a header.
    #[default]
    Between,
    /// Before the byte that tells length and masking.
    Length { is_close: bool },
    /// In a longer length: bytes that are missing of it, its value so far, and what follows it.
    Extended {
        missing: u8,
        value: u64,
        masked: bool,
        is_close: bool,
    },
    /// What is left of the payload, masking key included.
    Payload { left: u64, is_close: bool },
}

impl Frames {
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.closed {
                return;
            }
            if let Part::Payload { left, is_close } = self.part {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
                let (_, behind) = bytes.split_at(usize::try_from(here).unwrap_or(bytes.len()));
                self.payload(left - here, is_close);
                bytes = behind;
            } else {
                self.header(*first);
                bytes = rest;
            }
        }
    }

    /// A frame of ours may go here. Control frames may also stand between the parts of a message (§5.4).
    pub(super) fn is_between(&self) -> bool {
        self.part == Part::Between && !self.closed
    }

    fn header(&mut self, byte: u8) {
        match self.part {
            Part::Between => {
                let is_close = byte & 0x0f == 0x8;
                self.part = Part::Length { is_close };
            }
            Part::Length { is_close } => {
                let masked = byte & 0x80 != 0;
                let missing = match byte & 0x7f {
                    126 => 2,
                    127 => 8,
                    length => return self.payload(with_key(length.into(), masked), is_close),
                };
                self.part = Part::Extended {
                    missing,
                    value: 0,
                    masked,
                    is_close,
                };
            }
            Part::Extended {
                missing,
                value,
                masked,
                is_close,
            } => {
                let value = (value << 8) | u64::from(byte);
                if missing > 1 {
                    self.part = Part::Extended {
                        missing: missing - 1,
                        value,
                        masked,
                        is_close,
                    };
                } else {
                    // The highest bit must be zero; who sets it does not speak of lengths.
                    self.closed |= value > u64::MAX >> 1;
                    self.payload(with_key(value, masked), is_close);
                }
            }
            Part::Payload { .. } => {}
        }
    }

    fn payload(&mut self, left: u64, is_close: bool) {
        if left > 0 {
            self.part = Part::Payload { left, is_close };
        } else {
            self.part = Part::Between;
            self.closed |= is_close;
        }
    }
}

fn with_key(length: u64, masked: bool) -> u64 {
    length.saturating_add(if masked { 4 } else { 0 })
}

/// Why a WebSocket ends (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// The gateway stops.
    GoingAway,
    /// Its decision no longer holds.
    PolicyViolation,
}

impl Goodbye {
    /// A whole Close frame from a server: final, not masked, with a code and no text.
    pub(super) fn frame(self) -> [u8; 4] {
        let [high, low] = match self {
            Self::GoingAway => 1001_u16,
            Self::PolicyViolation => 1008,
        }
        .to_be_bytes();
        [0x88, 2, high, low]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a slow and obvious writer writes it.
    fn written(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![opcode];
        match length {
            0..=125 => frame.push(mask | length as u8),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let key = if masked { 4 } else { 0 };
        // Payloads that look like headers of Close frames.
        frame.resize(frame.len() + key + length, 0x88);
        frame
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![
            0..130_usize,
            Just(125),
            Just(126),
            Just(127),
            65_530..65_540_usize
        ]
    }

    proptest! {
        #[test]
        fn ends_of_frames_are_known_however_they_are_cut(
            frames in prop::collection::vec((prop_oneof![Just(0x81_u8), Just(0x02), Just(0x80), Just(0xc1), Just(0x89)], lengths(), any::<bool>()), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            ends_with_close in any::<bool>(),
        ) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for (opcode, length, masked) in frames {
                stream.extend(written(opcode, length, masked));
                ends.push(stream.len());
            }
            if ends_with_close {
                stream.extend(written(0x88, 2, false));
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            // Also where it is likely to go wrong.
            cuts.extend(ends.iter().flat_map(|end| [*end, (end + 1).min(stream.len()), (end + 3).min(stream.len())]));
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut tracked = Frames::default();
            let mut at = 0;
            for cut in cuts {
                tracked.follow(&stream[at..cut]);
                at = cut;
                prop_assert_eq!(tracked.is_between(), ends.contains(&at), "at {}", at);
            }
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut tracked = Frames::default();
            for chunk in &chunks {
                tracked.follow(chunk);
            }
            let mut whole = Frames::default();
            whole.follow(&chunks.concat());
            prop_assert_eq!(tracked.is_between(), whole.is_between());
        }
    }

    #[test]
    fn a_length_beyond_all_lengths_is_never_followed_by_a_goodbye() {
        let mut tracked = Frames::default();
        tracked.follow(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert!(!tracked.is_between());
    }
}
