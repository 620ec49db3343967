//! The program's own log, on standard error: text for people or JSON for machines, one line per event, whatever a
//! client has put into the values.
//!
//! The log is for operators; who did what is in the record. Levels: INFO is what one would tell a colleague, WARN worth
//! a look in the morning, ERROR means that we are not serving. Lines about single requests are DEBUG or below.

use std::io::{self, IsTerminal, Write};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, Runtime};

/// The log of this process; its level follows reloads.
#[derive(Clone, Debug)]
pub struct Logging(reload::Handle<Targets, Registry>);

impl Logging {
    /// Starts logging to standard error.
    ///
    /// # Errors
    /// When the process logs already.
    pub fn start(runtime: &Runtime) -> Result<Self, TryInitError> {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (subscriber, logging) =
            subscriber(runtime.log_format, runtime.log_level, colours, io::stderr);
        subscriber.try_init()?;
        Ok(logging)
    }

    /// Another level from now on. The format stays until a restart.
    pub fn set_level(&self, level: LevelFilter) {
        if self.0.reload(targets(level)).is_err() {
            tracing::warn!("the log level cannot be changed");
        }
    }
}

/// Our own lines at `level`. Those of libraries only when they warn: below, they know nothing of what must stay private.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("masugata", level)
        .with_default(level.min(LevelFilter::WARN))
}

fn subscriber<W>(
    format: LogFormat,
    level: LevelFilter,
    colours: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, Logging)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(OneLine { writer, colours });
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    (subscriber, Logging(handle))
}

/// Keeps each event on its line. The formatter hands over one event at a time and ends it with a line feed; any other
/// line feed, control or text-direction character came from a value and is written as an escape.
struct OneLine<W> {
    writer: W,
    colours: bool,
}

struct OneLineWriter<W> {
    inner: W,
    colours: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLineWriter {
            inner: self.writer.make_writer(),
            colours: self.colours,
        }
    }
}

impl<W: Write> Write for OneLineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let text = String::from_utf8_lossy(line);
        // The formatter's own escape sequences start with ESC; those from values it has made harmless already.
        let harmless =
            |character: char| !is_disruptive(character) || (self.colours && character == '\x1b');
        if text.chars().all(harmless) {
            self.inner.write_all(event)?;
            return Ok(event.len());
        }
        let mut escaped = String::with_capacity(text.len() + 16);
        for character in text.chars() {
            match character {
                character if harmless(character) => escaped.push(character),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                // Four digits: also a valid escape inside a JSON string.
                other => escaped.push_str(&format!("\\u{:04x}", u32::from(other))),
            }
        }
        escaped.push('\n');
        self.inner.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Control characters, line and paragraph separators, and what turns the direction of text around.
fn is_disruptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn one_event_is_one_line_of_text_or_json() {
        let event = || tracing::info!(app = "payroll", generation = 3, "policies reloaded");
        let text = logged(LogFormat::Text, LevelFilter::INFO, event);
        assert!(text.ends_with(
            "  INFO masugata::cli::logging::tests: policies reloaded app=\"payroll\" generation=3\n"
        ));
        let json = logged(LogFormat::Json, LevelFilter::INFO, event);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "INFO");
        assert_eq!(json["message"], "policies reloaded");
        assert_eq!(
            (&json["app"], &json["generation"]),
            (&"payroll".into(), &3.into())
        );
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    /// Log injection: a client chooses its path, host and user agent.
    #[test]
    fn a_value_cannot_forge_a_line() {
        let forged =
            "x\r\n2026-01-01T00:00:00Z  INFO masugata: all is well\x1b[2J\u{202e}\u{2028}\u{9b}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, LevelFilter::INFO, || {
                tracing::info!(host = %forged, path = ?forged, "{forged}");
            });
            assert_eq!(log.lines().count(), 1, "{log}");
            let body = log.strip_suffix('\n').unwrap();
            assert!(!body.chars().any(is_disruptive), "{log:?}");
            if format == LogFormat::Json {
                let json: serde_json::Value = serde_json::from_str(&log).unwrap();
                assert_eq!(json["host"], forged);
            }
        }
    }

    #[test]
    fn libraries_speak_only_to_warn() {
        let log = logged(LogFormat::Text, LevelFilter::TRACE, || {
            tracing::trace!("ours");
            tracing::info!(target: "h2::codec", "authorization: Bearer abc");
            tracing::warn!(target: "hyper", "theirs");
        });
        assert!(log.contains("ours") && log.contains("theirs") && !log.contains("Bearer"));
    }

    #[test]
    fn an_error_only_log_holds_for_libraries_too() {
        let log = logged(LogFormat::Text, LevelFilter::ERROR, || {
            tracing::warn!("ours");
            tracing::warn!(target: "hyper", "theirs");
        });
        assert_eq!(log, "");
    }

    #[test]
    fn the_level_follows_a_reload() {
        let sink = Sink::default();
        let (subscriber, logging) =
            subscriber(LogFormat::Text, LevelFilter::INFO, false, sink.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("before");
            logging.set_level(LevelFilter::DEBUG);
            tracing::debug!("after");
        });
        let log = sink.text();
        assert!(!log.contains("before") && log.contains("after"), "{log}");
    }

    fn logged(format: LogFormat, level: LevelFilter, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let (subscriber, _logging) = subscriber(format, level, false, sink.clone());
        tracing::subscriber::with_default(subscriber, events);
        sink.text()
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Sink {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
