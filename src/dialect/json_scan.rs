//! Finding a few members of a JSON object in bytes that arrive in any pieces, in constant memory: those of its top level, and
//! those inside of one member, the wrapper.

mod captured;

use memchr::memchr2;

pub(super) use captured::Captured;

/// The longest value that is kept; a usage or an error envelope is far below it.
const MAX_VALUE: usize = 64 * 1024;

/// The longest key that is looked at. Keys are compared as they are written: a service that escapes the letters of its
/// own member names is not known, and what is missed is presumed, never forgotten.
const MAX_KEY: usize = 16;

/// A member whose value matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Usage,
    Error,
    Choices,
    Code,
    Message,
    Type,
    Id,
    TaskId,
    TaskStatus,
    Session,
    Wrapper,
    Other,
}

/// How far the object has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Progress {
    /// Nothing but white space so far.
    #[default]
    Before,
    /// Inside the object.
    Inside,
    /// Behind its closing brace.
    Closed,
    /// It is not an object.
    NotObject,
}

/// What stands in `choices`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Choices {
    /// It has not come yet.
    #[default]
    Unseen,
    /// A list was opened.
    Open,
    /// An empty list.
    Empty,
    /// Anything else; it stays so.
    Filled,
}

/// The scanner. It trusts the form of what is between the members that it looks for: whether a captured value is sound
/// is up to whoever parses it.
#[derive(Debug, Default)]
pub(super) struct JsonScan {
    pub(super) progress: Progress,
    pub(super) choices: Choices,
    /// The last `usage` that was not `null`.
    pub(super) usage: Captured,
    /// The last `error` that was not `null`.
    pub(super) error: Captured,
    /// The last top-level `code`, which an envelope of another form has (W 1.3).
    pub(super) code: Captured,
    /// The last top-level `message`.
    pub(super) message: Captured,
    /// The last top-level `type`.
    pub(super) kind: Captured,
    /// The last `id`, at the top level or in the wrapper.
    pub(super) id: Captured,
    /// The wrapper's last `task_id`.
    pub(super) task_id: Captured,
    /// The wrapper's last `task_status`.
    pub(super) task_status: Captured,
    /// The wrapper's last `session_id`.
    pub(super) session: Captured,
    /// Whether the wrapper came.
    pub(super) wrapped: bool,
    /// The name of the member inside of which members are looked for as well; empty = none.
    wrapper: &'static str,
    /// The depth at which members are looked for: 1, or 2 inside of the wrapper.
    floor: u32,
    depth: u32,
    string: bool,
    escaped: bool,
    /// Whether the next string at the top level is a key.
    at_key: bool,
    key: Captured,
    field: Option<Field>,
    value: Captured,
}

impl JsonScan {
    /// A scanner that looks inside of the member called `wrapper` as well, where it is an object.
    pub(super) fn within(wrapper: &'static str) -> Self {
        Self { wrapper, ..Self::default() }
    }

    /// Makes it ready for another object, keeping its memory.
    pub(super) fn reset(&mut self) {
        for captured in [&mut self.usage, &mut self.error, &mut self.code, &mut self.message, &mut self.kind] {
            captured.clear();
        }
        for captured in [&mut self.id, &mut self.task_id, &mut self.task_status, &mut self.session] {
            captured.clear();
        }
        (self.wrapped, self.floor) = (false, 0);
        self.key.clear();
        self.value.clear();
        self.progress = Progress::Before;
        self.choices = Choices::Unseen;
        (self.depth, self.string, self.escaped, self.at_key, self.field) = (0, false, false, false, None);
    }

    /// Reads on; gives how many bytes belong to the object.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if matches!(self.progress, Progress::Closed | Progress::NotObject) {
                break;
            }
            rest = if self.string { self.in_string(rest) } else { self.structure(rest) };
        }
        bytes.len() - rest.len()
    }

    /// Reads on inside a string, to its end at most.
    fn in_string<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let from = usize::from(std::mem::take(&mut self.escaped));
        match closing_quote(bytes, from) {
            Ok(end) => {
                self.keep(bytes.get(..end).unwrap_or_default());
                self.string = false;
                self.end_of_string();
                bytes.get(end + 1..).unwrap_or_default()
            }
            Err(escaped) => {
                self.escaped = escaped;
                self.keep(bytes);
                &[]
            }
        }
    }

    /// Keeps a part of a key or of a value that matters.
    fn keep(&mut self, bytes: &[u8]) {
        if self.at_key && self.depth == self.floor {
            self.key.push(bytes, MAX_KEY);
        } else if self.captures() {
            self.value.push(bytes, MAX_VALUE);
        }
    }

    /// Whether the value that is being read is kept.
    fn captures(&self) -> bool {
        self.field.is_some_and(|field| !matches!(field, Field::Choices | Field::Wrapper | Field::Other))
    }

    fn end_of_string(&mut self) {
        if !(self.at_key && self.depth == self.floor) {
            self.keep(b"\"");
        }
    }

    /// Reads on outside of strings, to the next string or the end of the object at most.
    fn structure<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            let rest = bytes.get(at..).unwrap_or_default();
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ if self.progress == Progress::Before => {
                    if byte != b'{' {
                        self.progress = Progress::NotObject;
                        return rest;
                    }
                    (self.progress, self.depth, self.floor, self.at_key) = (Progress::Inside, 1, 1, true);
                }
                _ if self.depth == self.floor => {
                    self.top_level(byte);
                    if self.string || self.progress != Progress::Inside {
                        return rest;
                    }
                }
                _ => {
                    self.nested(byte);
                    if self.string {
                        return rest;
                    }
                    if self.depth > self.floor && self.passes_over() {
                        at += self.pass_over(rest);
                        if self.string {
                            return bytes.get(at..).unwrap_or_default();
                        }
                    }
                }
            }
        }
        &[]
    }

    /// Whether nothing of the value that is being read matters any more.
    fn passes_over(&self) -> bool {
        !(self.captures() || self.field == Some(Field::Choices) && self.choices == Choices::Open)
    }

    /// Passes over what is deeper inside, to the end of the value at most. The answer is how far it came.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => match closing_quote(bytes, at) {
                    Ok(end) => at = end + 1,
                    Err(_) => {
                        // It goes on in the next piece.
                        self.string = true;
                        break;
                    }
                },
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == self.floor {
                        break;
                    }
                }
                _ => {}
            }
        }
        at
    }

    /// A byte between the members of the object, or one that begins a value of it.
    fn top_level(&mut self, byte: u8) {
        match byte {
            b'"' if self.at_key => {
                self.key.clear();
                self.string = true;
            }
            b':' if self.at_key => {
                self.at_key = false;
                self.field = Some(self.name());
                self.value.clear();
            }
            b',' => {
                self.end_of_value();
                self.at_key = true;
            }
            b'}' => {
                self.end_of_value();
                self.depth -= 1;
                if self.floor == 1 {
                    self.progress = Progress::Closed;
                }
                // Behind the wrapper, its own value has ended.
                self.floor = 1;
                self.at_key = false;
            }
            // Nothing but a string is a key, and nothing but a colon follows it.
            _ if self.at_key => self.progress = Progress::NotObject,
            b'{' if self.field == Some(Field::Wrapper) => {
                (self.depth, self.floor, self.at_key, self.field) = (2, 2, true, None);
                self.wrapped = true;
            }
            _ => {
                if self.field == Some(Field::Wrapper) && self.wrapper == "message" {
                    self.field = Some(Field::Message);
                }
                if self.field == Some(Field::Choices) && self.choices != Choices::Filled {
                    self.choices = if byte == b'[' { Choices::Open } else { Choices::Filled };
                }
                self.keep(&[byte]);
                self.string = byte == b'"';
                self.depth += u32::from(matches!(byte, b'{' | b'['));
            }
        }
    }

    /// A byte deeper inside.
    fn nested(&mut self, byte: u8) {
        self.keep(&[byte]);
        if self.field == Some(Field::Choices) && self.choices == Choices::Open && self.depth == 2 {
            self.choices = if byte == b']' { Choices::Empty } else { Choices::Filled };
        }
        match byte {
            b'"' => self.string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
    }

    /// Which member the key names that was just read.
    fn name(&self) -> Field {
        if self.key.overflown {
            return Field::Other;
        }
        let inside = self.floor == 2;
        match self.key.bytes.as_slice() {
            b"usage" => Field::Usage,
            b"error" => Field::Error,
            b"id" => Field::Id,
            b"voice" | b"voice_id" | b"vocabulary_id" if inside => Field::Id,
            b"task_id" if inside => Field::TaskId,
            b"task_status" if inside => Field::TaskStatus,
            b"session_id" if inside => Field::Session,
            name if !inside && !self.wrapper.is_empty() && name == self.wrapper.as_bytes() => Field::Wrapper,
            _ if inside => Field::Other,
            b"choices" => Field::Choices,
            b"code" => Field::Code,
            b"message" => Field::Message,
            b"type" => Field::Type,
            _ => Field::Other,
        }
    }

    /// The value of a member is complete: it counts unless it is `null`.
    fn end_of_value(&mut self) {
        let place = match self.field.take() {
            Some(Field::Usage) => &mut self.usage,
            Some(Field::Error) => &mut self.error,
            Some(Field::Code) => &mut self.code,
            Some(Field::Message) => &mut self.message,
            Some(Field::Type) => &mut self.kind,
            Some(Field::Id) => &mut self.id,
            Some(Field::TaskId) => &mut self.task_id,
            Some(Field::TaskStatus) => &mut self.task_status,
            Some(Field::Session) => &mut self.session,
            Some(Field::Choices | Field::Wrapper | Field::Other) | None => return,
        };
        self.value.complete = true;
        if self.value.value() != Some(b"null") {
            std::mem::swap(place, &mut self.value);
        }
        self.value.clear();
    }
}

/// Where the string ends that `bytes` are inside of, looked for from `from` on; otherwise whether they end within an escape.
fn closing_quote(bytes: &[u8], from: usize) -> Result<usize, bool> {
    let mut end = from;
    while let Some(at) = bytes.get(end..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        end += at;
        if bytes.get(end) == Some(&b'"') {
            return Ok(end);
        }
        end += 2;
    }
    Err(end > bytes.len())
}
