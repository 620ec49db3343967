//! A whole HTTP/1.1 connection's worth of requests, one after the other, without any socket.

use super::chunked::Chunked;
use super::head::{Body, Head, HeadScan};
use super::{Limits, Violation};

/// Follows the client's half of a connection and says which bytes may be believed.
#[derive(Debug)]
pub struct Inspector {
    limits: Limits,
    phase: Phase,
    scan: HeadScan,
    /// What comes after the body that is under way.
    switch: bool,
}

#[derive(Debug)]
enum Phase {
    Head,
    Sized(u64),
    Chunked(Chunked),
    /// Another protocol was asked for; nobody has decided.
    Switching,
    /// Another protocol is spoken.
    Transparent,
    Ended,
}

/// Why the inspector stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There must be more bytes; those that did not pass are given again, in front of them.
    More,
    /// The last request asked for another protocol; see [`Inspector::release`] and [`Inspector::decline`].
    Switch,
    /// A head that will not pass.
    Refused(Violation),
    /// A body that will not pass.
    Broken(Violation),
}

impl Inspector {
    /// For a connection that begins with a request.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Head,
            scan: HeadScan::default(),
            switch: false,
        }
    }

    /// How many of `bytes` may pass, and what then. A head passes whole or not at all; so do a chunk's size line and a
    /// trailer field.
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Stop) {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            match &mut self.phase {
                Phase::Head => match self.scan.advance(rest, &self.limits) {
                    Ok(Some(head)) => {
                        passed += head.len;
                        self.enter(head);
                    }
                    Ok(None) => return (passed, Stop::More),
                    Err(violation) => {
                        self.phase = Phase::Ended;
                        return (passed, Stop::Refused(violation));
                    }
                },
                Phase::Sized(left) => {
                    let taken = (*left).min(rest.len() as u64);
                    passed += usize::try_from(taken).unwrap_or(rest.len());
                    *left -= taken;
                    if *left > 0 {
                        return (passed, Stop::More);
                    }
                    self.finish();
                }
                Phase::Chunked(chunked) => {
                    let (taken, end) = chunked.advance(rest, &self.limits);
                    passed += taken;
                    match end {
                        Ok(true) => self.finish(),
                        Ok(false) => return (passed, Stop::More),
                        Err(violation) => {
                            self.phase = Phase::Ended;
                            return (passed, Stop::Broken(violation));
                        }
                    }
                }
                Phase::Switching => return (passed, Stop::Switch),
                Phase::Transparent => return (bytes.len(), Stop::More),
                Phase::Ended => return (passed, Stop::More),
            }
        }
    }

    /// The other protocol is spoken from here on: everything passes.
    pub fn release(&mut self) {
        if matches!(self.phase, Phase::Switching) {
            self.phase = Phase::Transparent;
        }
    }

    /// The other protocol was not wanted: requests go on.
    pub fn decline(&mut self) {
        if matches!(self.phase, Phase::Switching) {
            self.phase = Phase::Head;
        }
    }

    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Sized(_) | Phase::Chunked(_))
    }

    pub(super) fn is_switching(&self) -> bool {
        matches!(self.phase, Phase::Switching)
    }

    pub(super) fn is_transparent(&self) -> bool {
        matches!(self.phase, Phase::Transparent)
    }

    fn enter(&mut self, head: Head) {
        self.scan = HeadScan::default();
        self.switch = head.switch;
        match head.body {
            Body::None => self.finish(),
            Body::Sized(length) => self.phase = Phase::Sized(length),
            Body::Chunked => self.phase = Phase::Chunked(Chunked::default()),
        }
    }

    fn finish(&mut self) {
        self.phase = if self.switch {
            Phase::Switching
        } else {
            Phase::Head
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framing::corpus::{REFUSED, VALID};

    const LIMITS: Limits = Limits {
        head_bytes: 1024,
        fields: 12,
    };

    /// What passes of a stream given in pieces, and the last word on it.
    fn run(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Stop) {
        let mut inspector = Inspector::new(LIMITS);
        let (mut passed, mut held, mut stop) = (Vec::new(), Vec::new(), Stop::More);
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            let to = to.min(stream.len()).max(from);
            held.extend_from_slice(&stream[from..to]);
            from = to;
            let taken;
            (taken, stop) = inspector.advance(&held);
            passed.extend(held.drain(..taken));
            if stop != Stop::More {
                break;
            }
        }
        (passed, stop)
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let valid = proptest::sample::select(&VALID[..]);
        let any = prop_oneof![valid.clone(), proptest::sample::select(&REFUSED[..])];
        (proptest::collection::vec(valid, 0..4), any)
            .prop_map(|(before, last)| [before.concat(), last.to_vec()].concat())
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_stream_is_cut(
            stream in streams(), mut cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            cuts.sort_unstable();
            prop_assert_eq!(run(&stream, &[]), run(&stream, &cuts));
        }

        #[test]
        fn valid_requests_pass_unchanged_however_many_there_are(
            requests in proptest::collection::vec(proptest::sample::select(&VALID[..]), 0..6),
        ) {
            let stream = requests.concat();
            prop_assert_eq!(run(&stream, &[]), (stream.clone(), Stop::More));
        }

        #[test]
        fn no_bytes_at_all_can_upset_it(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (passed, _) = run(&stream, &[]);
            prop_assert!(stream.starts_with(&passed));
        }
    }

    #[test]
    fn one_byte_at_a_time_is_enough() {
        let stream = VALID.concat();
        let cuts: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(run(&stream, &cuts), (stream, Stop::More));
    }

    #[test]
    fn every_smuggling_payload_is_stopped() {
        for payload in REFUSED {
            let (passed, stop) = run(payload, &[]);
            let text = String::from_utf8_lossy(payload);
            match stop {
                Stop::Refused(_) => assert!(passed.is_empty(), "{text:?}"),
                Stop::Broken(_) => assert!(passed.len() < payload.len(), "{text:?}"),
                Stop::More | Stop::Switch => panic!("passed: {text:?}"),
            }
        }
    }

    #[test]
    fn bytes_after_an_upgrade_wait_for_the_decision() {
        let head: &[u8] =
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let stream = [head, b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let mut inspector = Inspector::new(LIMITS);
        assert_eq!(inspector.advance(&stream), (head.len(), Stop::Switch));
        let rest = &stream[head.len()..];
        assert_eq!(inspector.advance(rest), (0, Stop::Switch));
        inspector.decline();
        assert_eq!(inspector.advance(rest), (rest.len(), Stop::More));

        let mut inspector = Inspector::new(LIMITS);
        inspector.advance(&stream);
        inspector.release();
        assert_eq!(inspector.advance(b"\x00\xff"), (2, Stop::More));
    }

    #[test]
    fn nobody_releases_a_connection_that_did_not_ask() {
        let mut inspector = Inspector::new(LIMITS);
        inspector.release();
        assert!(matches!(inspector.advance(b"\x00"), (0, Stop::Refused(_))));
    }

    /// As `tests/fuzz/fuzz_targets/guard.rs` does.
    #[test]
    fn the_fuzz_corpus_replays() {
        for input in crate::framing::corpus::fuzz("guard") {
            let (cut, stream) = input.split_first().unwrap();
            assert_eq!(
                run(stream, &[]),
                run(stream, &[usize::from(*cut)]),
                "{input:?}"
            );
        }
    }
}
