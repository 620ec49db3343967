//! Lines of lists: whatever a line says is in the one spelling of names. The first byte is the format, lines follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masugata::config::egress::FeedFormat;
use masugata::destination::formats::{Entry, Line, Parser};
use masugata::destination::name;

fuzz_target!(|data: &[u8]| {
    let Some((format, lines)) = data.split_first() else {
        return;
    };
    let mut parser = Parser::new(match format % 4 {
        0 => FeedFormat::Hosts,
        1 => FeedFormat::Plain,
        2 => FeedFormat::Adguard,
        _ => FeedFormat::Rpz,
    });
    for line in lines.split(|byte| *byte == b'\n') {
        let mut said = false;
        let became = parser.line(line, &mut |entry| {
            said = true;
            match entry {
                Entry::Name { name, .. } | Entry::Withdrawn { name, .. } => {
                    assert_eq!(name::ascii(name).as_deref(), Some(name));
                }
                Entry::Range { range, .. } => assert!(range.prefix_len() > 0),
            }
        });
        assert_eq!(said, became == Line::Entries);
    }
});
