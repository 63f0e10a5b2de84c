//! The least that a reply can have cost: its text, in the longest tokens that there are (FAULTS F-UP-14). A usage below it is too low.
//!
//! Only strings under the names that the dialect has for written text count, as bytes after the JSON escapes, and never more than
//! there are: what is in doubt (an escaped character, an argument of a tool, a repeated text) counts as less or not at all. Pieces may be
//! cut anywhere.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

use super::{Api, Watch};
use crate::ledger::Unit;

/// The longest token of the Qwen vocabularies, in bytes; no reply of another model is made of longer ones on the average.
const LONGEST_TOKEN: u64 = 128;

/// Made once: what looks for a name costs more to make than to use on a reply.
type Name = LazyLock<Finder<'static>>;

/// What names a text in a chat's chunks and replies: `content` and `reasoning_content` (W 3.1).
static CONTENT: Name = LazyLock::new(|| Finder::new(b"content\":"));
/// What names a text elsewhere (W 3.2, 3.4).
static TEXT: Name = LazyLock::new(|| Finder::new(b"\"text\":"));
/// What names a piece of text in events of a response (W 3.3).
static DELTA: Name = LazyLock::new(|| Finder::new(b"\"delta\":"));

/// How the texts of several objects add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sum {
    /// Each says what is new.
    #[default]
    Added,
    /// Each may say everything so far: the longest counts.
    Longest,
}

/// Counts the text of a reply.
#[derive(Debug, Default)]
pub(super) struct Written {
    texts: [Option<Texts>; 2],
    sum: Sum,
    /// The types of the objects that have text; empty = all have.
    kinds: &'static [&'static str],
    bytes: u64,
}

impl Written {
    /// A counter for the replies of a call; it counts nothing where nothing is known to be written, or not in tokens. A completion
    /// may repeat its prompt.
    pub(super) fn new(watch: Watch) -> Self {
        let (first, second, sum, kinds): (&'static Name, Option<&'static Name>, _, &[&str]) = match watch.api {
            _ if watch.unit != Unit::Tokens => return Self::default(),
            Api::Chat => (&CONTENT, None, Sum::Added, &[]),
            Api::Messages => (&TEXT, None, Sum::Added, &["content_block_delta", "message"]),
            Api::Responses => (&DELTA, None, Sum::Added, &["response.output_text.delta"]),
            Api::Generation => (&CONTENT, Some(&TEXT), Sum::Longest, &[]),
            Api::Completions
            | Api::Embeddings
            | Api::Reranks
            | Api::TextEmbedding
            | Api::MultimodalEmbedding
            | Api::TextRerank
            | Api::Image
            | Api::Video
            | Api::Speech
            | Api::Transcription
            | Api::Voice
            | Api::App => return Self::default(),
        };
        Self { texts: [Some(Texts::named(first)), second.map(Texts::named)], sum, kinds, bytes: 0 }
    }

    /// Reads a piece of an object.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for texts in self.texts.iter_mut().flatten() {
            texts.feed(bytes);
        }
    }

    /// Reads an object that is all there, and of which nothing was read before.
    pub(super) fn whole(&mut self, object: &[u8]) {
        self.add(self.texts.iter().flatten().map(|texts| texts.whole(object)).sum());
    }

    /// The object ends that says of itself that it is of this type.
    pub(super) fn end(&mut self, kind: Option<&str>) {
        let bytes = self.texts.iter_mut().flatten().map(Texts::take).sum();
        if self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)) {
            self.add(bytes);
        }
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = match self.sum {
            Sum::Added => self.bytes.saturating_add(bytes),
            Sum::Longest => self.bytes.max(bytes),
        };
    }

    /// The fewest tokens that the text can have.
    pub(super) fn tokens(&self) -> u64 {
        self.bytes.div_ceil(LONGEST_TOKEN)
    }
}

/// Where in an object the reading is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// So many bytes of the name came.
    Name(usize),
    /// Behind the name: a text follows, or something else.
    Value,
    /// In a text; whether its last byte begins an escape.
    Text { escaped: bool },
}

/// The texts under one name in one object.
#[derive(Debug)]
struct Texts {
    finder: &'static Finder<'static>,
    at: At,
    /// Below zero only in the middle of an escape.
    bytes: i64,
}

impl Texts {
    fn named(name: &'static Name) -> Self {
        Self { finder: name, at: At::Name(0), bytes: 0 }
    }

    fn name(&self) -> &'static [u8] {
        self.finder.needle()
    }

    fn take(&mut self) -> u64 {
        self.at = At::Name(0);
        u64::try_from(std::mem::take(&mut self.bytes)).unwrap_or(0)
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            let read = match self.at {
                At::Name(0) => self.search(rest),
                At::Name(came) => {
                    self.at = self.step(came, byte);
                    1
                }
                At::Value if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => 1,
                At::Value if byte == b'"' => {
                    self.at = At::Text { escaped: false };
                    1
                }
                // It may begin the name itself.
                At::Value => {
                    self.at = At::Name(0);
                    0
                }
                At::Text { escaped } => self.text(escaped, rest),
            };
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Looks for the name; gives how much was read.
    fn search(&mut self, bytes: &[u8]) -> usize {
        if let Some(at) = self.finder.find(bytes) {
            self.at = At::Value;
            return at + self.name().len();
        }
        // The end may be the start of the name.
        let tail = (1..self.name().len()).rev().find(|came| {
            let start = self.name().get(..*came).unwrap_or_default();
            bytes.ends_with(start)
        });
        self.at = At::Name(tail.unwrap_or(0));
        bytes.len()
    }

    /// What the next byte makes of a name of which `came` bytes came.
    fn step(&self, came: usize, byte: u8) -> At {
        let begun = self.name().get(..came).unwrap_or_default();
        let longest = (1..=came + 1).rev().find(|length| {
            let (before, last) = (self.name().get(..length - 1).unwrap_or_default(), self.name().get(length - 1));
            last == Some(&byte) && begun.ends_with(before)
        });
        match longest {
            Some(length) if length == self.name().len() => At::Value,
            Some(length) => At::Name(length),
            None => At::Name(0),
        }
    }

    /// Reads a text to its end at most; gives how much was read.
    fn text(&mut self, escaped: bool, bytes: &[u8]) -> usize {
        let (counted, read, open) = text(escaped, bytes);
        self.bytes += counted;
        self.at = open.map_or(At::Name(0), |escaped| At::Text { escaped });
        read
    }

    /// What [`feed`](Self::feed) and [`take`](Self::take) give of an object that is all there, at once.
    fn whole(&self, bytes: &[u8]) -> u64 {
        let (mut at, mut sum) = (0, 0);
        while let Some(found) = bytes.get(at..).and_then(|rest| self.finder.find(rest)) {
            at += found + self.name().len();
            while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                at += 1;
            }
            if bytes.get(at) == Some(&b'"') {
                let (counted, read, _) = text(false, bytes.get(at + 1..).unwrap_or_default());
                sum += counted;
                at += 1 + read;
            }
        }
        u64::try_from(sum).unwrap_or(0)
    }
}

/// Reads a text to its end at most, where it was left within an escape or not: what it counts, how much was read, and where it goes on
/// in the next piece, whether within an escape.
fn text(escaped: bool, bytes: &[u8]) -> (i64, usize, Option<bool>) {
    let (mut at, mut open) = (0, false);
    let mut counted = 0;
    if let (true, Some(byte)) = (escaped, bytes.first()) {
        counted -= lost(*byte);
        at = 1;
    }
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return (counted + signed(at), at + 1, None);
        }
        match bytes.get(at + 1) {
            Some(byte) => counted -= lost(*byte),
            None => open = true,
        }
        at += 2;
    }
    (counted + signed(bytes.len()), bytes.len(), Some(open))
}

/// How many bytes an escape has more than what it stands for, by the byte behind its backslash. A code point counts as one byte,
/// the least that it can have.
fn lost(byte: u8) -> i64 {
    if byte == b'u' { 5 } else { 1 }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of text in an object, which no cut may change.
    fn bytes(api: Api, object: &str, kind: Option<&str>) -> u64 {
        let watch = Watch { api, unit: Unit::Tokens };
        let read = |pieces: &[&[u8]]| {
            let mut written = Written::new(watch);
            pieces.iter().for_each(|piece| written.feed(piece));
            written.end(kind);
            written.bytes
        };
        let whole = read(&[object.as_bytes()]);
        for cut in 0..=object.len() {
            let (first, second) = object.as_bytes().split_at(cut);
            assert_eq!(read(&[first, second]), whole, "{object} cut at {cut}");
        }
        let each: Vec<&[u8]> = object.as_bytes().chunks(1).collect();
        assert_eq!(read(&each), whole, "{object} byte by byte");
        let mut written = Written::new(watch);
        written.whole(object.as_bytes());
        assert!(written.bytes == whole || !written.kinds.is_empty(), "{object} at once");
        whole
    }

    #[test]
    fn only_text_counts_and_never_more_of_it_than_there_is() {
        let chat = |object: &str| bytes(Api::Chat, object, None);
        assert_eq!(chat(r#"{"choices":[{"delta":{"content":"four"}}]}"#), 4);
        assert_eq!(chat(r#"{"delta":{"content":null,"reasoning_content" : "x","reasoning_content": "three"}}"#), 5);
        assert_eq!(chat(r#"{"content":"a\n\"b\"\\","content":"\u00e9\ud83d\ude00"}"#), 6 + 3);
        assert_eq!(
            chat(r#"{"content":["not"],"content":{"a":"not"},"content":7,"contents":"not","contention":"not"}"#),
            0
        );
        assert_eq!(chat(r#"{"content":"not \"content\":\"twice\""}"#), 21);
        assert_eq!(chat("{\"content\":\"\u{e9}\u{4e00}\"}"), 5);
        assert_eq!(chat(r#"{"content":"cut"#), 3);
        assert_eq!(chat(r#"{"contcontent":"xx","content":content":"yyy"}"#), 5, "no JSON, and read alike all the same");
        let text = |object: &str| bytes(Api::Messages, object, Some("message"));
        assert_eq!(
            text(r#"{"content":[{"type":"text","text":"four"},{"type":"text"text":"two"}],"cited_text":"not"}"#),
            7
        );
        assert_eq!(bytes(Api::Messages, r#"{"text":"not"}"#, Some("message_start")), 0);
        assert_eq!(bytes(Api::Responses, r#"{"delta":"four"}"#, Some("response.output_text.delta")), 4);
        assert_eq!(bytes(Api::Responses, r#"{"delta":"not"}"#, Some("response.audio.delta")), 0);
        assert_eq!(
            bytes(Api::Generation, r#"{"output":{"choices":[{"message":{"content":[{"text":"four"}]}}]}}"#, None),
            4
        );
        assert_eq!(bytes(Api::Completions, r#"{"choices":[{"text":"not"}]}"#, None), 0);
    }

    #[test]
    fn pieces_add_up_and_repeated_texts_do_not() {
        let sum = |api, times: u64| {
            let mut written = Written::new(Watch { api, unit: Unit::Tokens });
            for _ in 0..times {
                written.feed(format!("{{\"content\":\"{}\"}}", "x".repeat(100)).as_bytes());
                written.end(None);
            }
            written.tokens()
        };
        assert_eq!((sum(Api::Chat, 0), sum(Api::Chat, 1), sum(Api::Chat, 64)), (0, 1, 50));
        assert_eq!(sum(Api::Generation, 64), 1);
        let mut seconds = Written::new(Watch { api: Api::Generation, unit: Unit::Seconds });
        seconds.feed(b"{\"text\":\"x\"}");
        seconds.end(None);
        assert_eq!(seconds.tokens(), 0);
    }
}
