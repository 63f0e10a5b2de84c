//! Watching an event stream in any pieces.
//!
//! Every byte is looked at once. An event that is whole in its chunk and has neither a usage nor an error in it costs two
//! searches; only other events are read as JSON, incrementally, so that no event is too large. Bytes are held back in two
//! cases: the start of a line that may still become the end mark, and, where the usage chunk has to be taken out, an event
//! that may still become it.

mod line;
mod plain;

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;
use smallvec::SmallVec;

use self::line::{Head, Step};
use self::plain::plain_event;
use super::finding::{FrameKind, Tally};
use super::json_scan::{Choices, JsonScan, Progress};
use super::{Api, Dialect, Seen, Watch};

/// The longest event that may be taken out, and the most that is held back, in bytes.
const MAX_HELD: usize = 64 * 1024;

/// Where in its line the stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// Still undecided: all bytes so far are the start of `data: [DONE]`.
    Head(Head),
    /// In the payload of a data line.
    Data,
    /// In a line that does not matter.
    Other,
}

/// What one chunk does. Places are counted from the first byte that is held back.
#[derive(Debug, Default)]
struct Plan {
    /// How many bytes were held back before the chunk.
    held: usize,
    /// Where the current event begins, unless a part of it was passed on.
    event: usize,
    /// Where the current line begins.
    line: usize,
    /// What is taken out.
    cuts: SmallVec<[Range<usize>; 1]>,
    /// Where the end mark begins.
    mark: Option<usize>,
}

/// The observer of one event stream.
#[derive(Debug)]
pub(super) struct Sse {
    pub(super) tally: Tally,
    strip: bool,
    /// The events are those of a chat, so that most of them need not be read.
    chat: bool,
    /// The events are those of the DashScope dialect, whose last one is known by what it says alone.
    native: bool,
    scan: JsonScan,
    line: Line,
    /// The last byte was a carriage return: a line feed right behind it belongs to the same line end.
    cr: bool,
    /// That line feed ends an event that was taken out.
    cut_lf: bool,
    /// The event has no line yet.
    fresh: bool,
    /// The event has data that is being scanned.
    data: bool,
    /// A part of the event was passed on, so that it stays.
    passed: bool,
    /// The end mark was seen.
    marked: bool,
    /// What is held back: the end of what came.
    held: BytesMut,
    /// Where in `held` the current line begins.
    line_at: usize,
}

impl Sse {
    pub(super) fn new(watch: Watch, strip: bool) -> Self {
        let mut tally = Tally::new(watch);
        tally.streams();
        Self {
            scan: tally.scan(),
            tally,
            chat: watch.api == Api::Chat,
            native: watch.api.dialect() == Dialect::DashScope,
            strip,
            line: Line::Head(Head::default()),
            cr: false,
            cut_lf: false,
            fresh: true,
            data: false,
            passed: false,
            marked: false,
            held: BytesMut::new(),
            line_at: 0,
        }
    }

    /// Looks at a chunk; gives what may be passed on.
    pub(super) fn observe(&mut self, chunk: Bytes) -> Seen {
        let mut plan = Plan { held: self.held.len(), line: self.line_at, ..Plan::default() };
        self.read(&chunk, &mut plan);
        let length = plan.held + chunk.len();
        let hold = self.hold_from(&plan, length);
        self.line_at = plan.line.saturating_sub(hold);
        // Nearly always nothing was held back, is cut, or has to be held back.
        if plan.held == 0 && plan.cuts.is_empty() && hold == length {
            return Seen { bytes: chunk, end_at: plan.mark };
        }
        let seen = self.pass(&chunk, &plan, hold);
        if hold >= plan.held {
            self.held.clear();
            self.held.put_slice(chunk.get(hold - plan.held..).unwrap_or_default());
        } else {
            drop(self.held.split_to(hold));
            self.held.put_slice(&chunk);
        }
        seen
    }

    /// The stream ended; gives what was held back and is to be passed on.
    pub(super) fn end(&mut self, clean: bool) -> Bytes {
        if let Line::Head(head) = self.line {
            self.payload(head.payload());
        }
        // The last event counts without its blank line, too.
        let usage_chunk = std::mem::take(&mut self.data) && self.tally.frame(&self.scan) == FrameKind::UsageChunk;
        self.scan.reset();
        self.line = Line::Other;
        if clean {
            self.tally.ended();
        }
        let held = std::mem::take(&mut self.held);
        if usage_chunk && self.strip && !self.passed {
            self.tally.stripped();
            return Bytes::new();
        }
        held.freeze()
    }

    /// Reads a chunk to its end.
    fn read(&mut self, chunk: &[u8], plan: &mut Plan) {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.cr) {
                let cut = std::mem::take(&mut self.cut_lf);
                if rest.first() == Some(&b'\n') {
                    self.line_feed(plan, plan.held + at, cut);
                    at += 1;
                    continue;
                }
            }
            at += match self.line {
                Line::Head(head) if self.chat && self.fresh && head.is_empty() => match plain_event(rest) {
                    Some(length) => {
                        self.tally.plain(rest.get(..length).unwrap_or_default());
                        plan.line = plan.held + at + length;
                        plan.event = plan.line;
                        length
                    }
                    None => self.head(head, rest, plan, plan.held + at),
                },
                Line::Head(head) => self.head(head, rest, plan, plan.held + at),
                Line::Data => {
                    let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    self.payload(rest.get(..length).unwrap_or_default());
                    length + self.line_end(rest.get(length), plan, plan.held + at + length)
                }
                Line::Other => {
                    let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    length + self.line_end(rest.get(length), plan, plan.held + at + length)
                }
            };
        }
    }

    /// The second half of a line end, at `place`.
    fn line_feed(&self, plan: &mut Plan, place: usize, cut: bool) {
        if cut {
            plan.cuts.push(place..place + 1);
        }
        plan.line = place + 1;
        if self.fresh {
            plan.event = plan.line;
        }
    }

    /// One byte at the start of a line, where it is not clear yet what the line is; gives how many bytes were taken.
    fn head(&mut self, head: Head, rest: &[u8], plan: &mut Plan, place: usize) -> usize {
        let Some(&byte) = rest.first() else { return 0 };
        if matches!(byte, b'\n' | b'\r') {
            if head.is_empty() {
                return self.blank_line(byte, plan, place);
            }
            self.payload(head.payload());
            return self.line_end(Some(&byte), plan, place);
        }
        self.fresh = false;
        match head.step(byte) {
            Step::Undecided(head) => self.line = Line::Head(head),
            Step::Done => {
                if !std::mem::replace(&mut self.marked, true) {
                    plan.mark = Some(plan.line);
                    self.tally.mark();
                }
                self.passed = true;
                self.line = Line::Other;
            }
            Step::Data => {
                self.payload(head.payload());
                self.line = Line::Data;
                self.data = true;
                return 0;
            }
            Step::Other => self.line = Line::Other,
        }
        1
    }

    /// Reads a part of the event's data.
    fn payload(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            if self.native {
                self.tally.finish.feed(bytes);
            }
            self.data = true;
            self.tally.written.feed(bytes);
            self.scan.feed(bytes);
        }
    }

    /// The end of a line that is not blank, if there is one at `place`; gives its length.
    fn line_end(&mut self, byte: Option<&u8>, plan: &mut Plan, place: usize) -> usize {
        let Some(&byte) = byte else { return 0 };
        if self.data {
            self.scan.feed(b"\n");
        }
        self.cr = byte == b'\r';
        self.line = Line::Head(Head::default());
        plan.line = place + 1;
        1
    }

    /// A blank line at `place`: the event ends with it.
    fn blank_line(&mut self, byte: u8, plan: &mut Plan, place: usize) -> usize {
        self.cr = byte == b'\r';
        let end = place + 1;
        if std::mem::take(&mut self.data) {
            let kind = self.tally.frame(&self.scan);
            self.scan.reset();
            if kind == FrameKind::Last && !std::mem::replace(&mut self.marked, true) {
                // The event counts once its blank line is there: a client cannot act on it before.
                plan.mark = Some(place);
            }
            if kind == FrameKind::UsageChunk && self.strip && !self.passed && end - plan.event <= MAX_HELD {
                plan.cuts.push(plan.event..end);
                self.cut_lf = self.cr;
                self.tally.stripped();
            }
        }
        self.passed = false;
        self.fresh = true;
        plan.event = end;
        plan.line = end;
        1
    }

    /// From where on bytes are held back.
    fn hold_from(&mut self, plan: &Plan, length: usize) -> usize {
        if self.strip && !self.fresh && !self.passed {
            if self.may_be_usage_chunk() && length - plan.event <= MAX_HELD {
                return plan.event;
            }
            self.passed = true;
        }
        match self.line {
            Line::Head(head) if !self.marked && !head.is_empty() => plan.line,
            Line::Head(_) | Line::Data | Line::Other => length,
        }
    }

    /// Whether the event that is not complete yet can still turn out to be the usage chunk.
    fn may_be_usage_chunk(&self) -> bool {
        match self.scan.progress {
            Progress::NotObject => false,
            Progress::Closed => self.scan.choices == Choices::Empty && self.scan.usage.value().is_some(),
            Progress::Before | Progress::Inside => self.scan.choices != Choices::Filled,
        }
    }

    /// What was held back and the chunk, without what is cut, up to `hold`.
    fn pass(&self, chunk: &Bytes, plan: &Plan, hold: usize) -> Seen {
        let mut kept: SmallVec<[Range<usize>; 2]> = SmallVec::new();
        let mut from = 0;
        for cut in &plan.cuts {
            kept.push(from..cut.start);
            from = cut.end;
        }
        kept.push(from..hold);
        kept.retain(|range| range.start < range.end);
        let gone = |place: usize| plan.cuts.iter().filter(|cut| cut.end <= place).map(ExactSizeIterator::len).sum();
        let end_at = plan.mark.map(|mark| mark.saturating_sub(gone(mark)));
        let bytes = match kept.as_slice() {
            [] => Bytes::new(),
            [one] if one.start >= plan.held => chunk.slice(one.start - plan.held..one.end - plan.held),
            several => {
                let mut out = BytesMut::with_capacity(several.iter().map(ExactSizeIterator::len).sum());
                for range in several {
                    out.put_slice(slice(&self.held, range.start, range.end));
                    let start = range.start.saturating_sub(plan.held);
                    out.put_slice(slice(chunk, start, range.end.saturating_sub(plan.held)));
                }
                out.freeze()
            }
        };
        Seen { bytes, end_at }
    }
}

/// A part of a slice, as far as it has it.
fn slice(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end.min(bytes.len())).unwrap_or_default()
}
