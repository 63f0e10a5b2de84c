//! The start of a line, byte by byte: is it data, the end mark, or something else?

/// The end mark as the service writes it, and without the space that the format leaves open.
const SPACED: &[u8] = b"data: [DONE]";
const TIGHT: &[u8] = b"data:[DONE]";

/// The length of `data:`.
const FIELD: usize = 5;

/// The bytes of a line so far, which are the start of an end mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    length: usize,
    spaced: bool,
}

/// What the next byte makes of a line's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It may still become the end mark.
    Undecided(Head),
    /// It is the end mark.
    Done,
    /// It is data; the byte belongs to its payload.
    Data,
    /// It is a comment or another field.
    Other,
}

impl Head {
    /// Whether the line has no byte yet.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// What the bytes so far are of the line's payload.
    pub(super) fn payload(self) -> &'static [u8] {
        self.form().get(FIELD + usize::from(self.spaced)..self.length).unwrap_or_default()
    }

    /// Reads a byte that is not a line end.
    pub(super) fn step(self, byte: u8) -> Step {
        let spaced = self.spaced || (self.length == FIELD && byte == b' ');
        let head = Self { length: self.length + 1, spaced };
        let form = head.form();
        match form.get(self.length) {
            Some(expected) if *expected == byte && head.length == form.len() => Step::Done,
            Some(expected) if *expected == byte => Step::Undecided(head),
            _ if self.length >= FIELD => Step::Data,
            _ => Step::Other,
        }
    }

    fn form(self) -> &'static [u8] {
        if self.spaced { SPACED } else { TIGHT }
    }
}
