//! A log line as one JSON object, written straight into a buffer: a request writes one, so it has to be cheap.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where lines go.
pub(super) trait Lines: Send + Sync + 'static {
    /// Takes one line with its line feed.
    fn line(&self, line: &[u8]);
}

/// The layer that makes a line of each event.
pub(super) struct JsonLines<L>(pub(super) L);

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { text: String::new(), second: 0, shown: String::new() }) };
}

#[derive(Default)]
struct Buffer {
    text: String,
    /// The second that `shown` stands for: most lines share it with the one before.
    second: i64,
    shown: String,
}

impl<S: Subscriber, L: Lines> Layer<S> for JsonLines<L> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => self.emit(event, &mut buffer),
            // A value that logs while it is being logged.
            Err(_) => self.emit(event, &mut Buffer::default()),
        });
    }
}

impl<L: Lines> JsonLines<L> {
    fn emit(&self, event: &Event<'_>, buffer: &mut Buffer) {
        let metadata = event.metadata();
        buffer.begin(jiff::Timestamp::now().as_millisecond());
        let text = &mut buffer.text;
        text.push_str(metadata.level().as_str());
        text.push('"');
        event.record(&mut Fields(text));
        text.push_str(",\"target\":\"");
        escape(text, metadata.target());
        text.push_str("\"}\n");
        self.0.line(text.as_bytes());
    }
}

impl Buffer {
    fn begin(&mut self, now: i64) {
        let second = now.div_euclid(1000);
        if second != self.second || self.shown.is_empty() {
            self.second = second;
            self.shown = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
        }
        self.text.clear();
        self.text.push_str("{\"timestamp\":\"");
        self.text.push_str(self.shown.trim_end_matches('Z'));
        // Writing to a String cannot fail.
        let _ = write!(self.text, ".{:03}Z\",\"level\":\"", now.rem_euclid(1000));
    }
}

struct Fields<'b>(&'b mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        // The name of a field is a word of this program.
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push('"');
        let _ = write!(Escaping(self.0), "{value:?}");
        self.0.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.0.push('"');
        escape(self.0, value);
        self.0.push('"');
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        // JSON knows no infinity.
        let _ = if value.is_finite() { write!(self.0, "{value}") } else { write!(self.0, "null") };
    }
}

/// Escapes what is formatted into it.
struct Escaping<'b>(&'b mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(to: &mut String, text: &str) {
    // Without an early end, so that many bytes are looked at in one step.
    let plain = text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        to.push_str(text);
        return;
    }
    for char in text.chars() {
        match char {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(to, "\\u{:04x}", u32::from(control));
            }
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Lines for Kept {
        fn line(&self, line: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(line);
        }
    }

    fn logged(event: impl FnOnce()) -> Vec<serde_json::Value> {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(JsonLines(kept.clone())), event);
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_an_object_with_the_values_in_their_types() {
        let lines = logged(|| {
            tracing::info!(target: "gratis::request", id = %"x", held = 7_u64, left = -1_i64, stream = true, share = 0.5,
                odd = f64::NAN, code = None::<&str>, model = Some("m"), "request");
        });
        let time = lines[0]["timestamp"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        let mut line = lines[0].clone();
        line.as_object_mut().unwrap().remove("timestamp");
        let expected = serde_json::json!({
            "level": "INFO", "message": "request", "target": "gratis::request", "id": "x", "held": 7, "left": -1,
            "stream": true, "share": 0.5, "odd": null, "model": "m"
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn whatever_a_value_holds_the_line_stays_one_object() {
        let nasty = "quote \" back \\ line\nfeed\r tab\t bell\u{7} del\u{7f} \u{2028} ✓";
        let lines = logged(|| {
            tracing::warn!(text = nasty, shown = %nasty, debug = ?Some("a\"b"), "{nasty}");
            tracing::warn!("next");
        });
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["text"], nasty);
        assert_eq!(lines[0]["shown"], nasty);
        assert_eq!(lines[0]["message"], nasty);
        assert_eq!(lines[0]["debug"], "Some(\"a\\\"b\")");
    }
}
