//! Finding out whether a reply of the DashScope dialect says that it is finished, at whatever depth, in bytes that arrive in any
//! pieces: `finish_reason` is the string `"null"` until the end (W 3.2).

/// The member's name as it is written. In a text its quotes would be escaped, so it cannot stand there.
const NAME: &[u8] = b"\"finish_reason\"";

/// What it says before the end.
const NOT_YET: &[u8] = b"null\"";

/// How far the member has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// So many bytes of its name.
    Name(usize),
    /// Behind its name.
    Colon,
    /// In front of its value.
    Value,
    /// So many bytes of a text that may still say that it is not finished.
    Text(usize),
}

/// Looks for the member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Finish {
    at: At,
    /// Whether one said that the reply is finished.
    pub(super) seen: bool,
}

impl Default for Finish {
    fn default() -> Self {
        Self { at: At::Name(0), seen: false }
    }
}

impl Finish {
    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.seen {
            return;
        }
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at = match self.at {
            At::Name(count) if NAME.get(count) == Some(&byte) && count + 1 == NAME.len() => At::Colon,
            At::Name(count) if NAME.get(count) == Some(&byte) => At::Name(count + 1),
            At::Colon if byte == b':' => At::Value,
            At::Value if byte == b'"' => At::Text(0),
            At::Colon | At::Value if blank => self.at,
            At::Text(count) if NOT_YET.get(count) == Some(&byte) && count + 1 < NOT_YET.len() => At::Text(count + 1),
            At::Text(count) => {
                self.seen |= NOT_YET.get(count) != Some(&byte);
                At::Name(0)
            }
            // What breaks a name off may begin the next one.
            At::Name(_) | At::Colon | At::Value => At::Name(usize::from(byte == b'"')),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(text: &str) -> bool {
        let mut whole = Finish::default();
        whole.feed(text.as_bytes());
        for cut in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            let mut parts = Finish::default();
            parts.feed(first);
            parts.feed(second);
            assert_eq!(parts.seen, whole.seen, "{text} cut at {cut}");
        }
        whole.seen
    }

    #[test]
    fn only_a_reason_that_is_one_counts() {
        assert!(finished(r#"{"output":{"choices":[{"finish_reason":"stop"}]}}"#));
        assert!(finished(r#"{"finish_reason" : "nul"}"#));
        assert!(finished(r#"{"a":"finish_reason","finish_reason":"length"}"#));
        assert!(!finished(r#"{"finish_reason":"null"}"#));
        assert!(!finished(r#"{"finish_reason":null,"x":"stop"}"#));
        assert!(!finished(r#"{"content":"\"finish_reason\":\"stop\""}"#));
        assert!(!finished(r#"{"finish_reasons":"stop"}"#));
        assert!(!finished(r#"{"finish_reason":"nul"#));
    }
}
