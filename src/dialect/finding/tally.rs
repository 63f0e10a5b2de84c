//! Collecting what the frames of one response say.

use serde::Deserialize;

use super::{Finding, Flags, ModelUsage, Reading, UsageDetails, usage};
use crate::dialect::error::UpstreamError;
use crate::dialect::finish::Finish;
use crate::dialect::json_scan::{Captured, Choices, JsonScan, Progress};
use crate::dialect::written::Written;
use crate::dialect::{Api, Dialect, Kind, Watch};
use crate::ledger::Usage;

/// What the frames said so far.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Tally {
    watch: Watch,
    usage: Option<Usage>,
    details: UsageDetails,
    models: Vec<ModelUsage>,
    error: Option<UpstreamError>,
    flags: Flags,
    /// The usage came in a frame that is the last one by its form, so that it is final even if the end is cut off.
    last: bool,
    /// There was a frame other than an error.
    other: bool,
    /// The end mark was seen, or the object was closed.
    marked: bool,
    /// The stream came to its proper end.
    clean: bool,
    task: Option<String>,
    made: Option<String>,
    /// The frames are events of a stream, which may end too early.
    stream: bool,
    /// Whether the DashScope dialect said that the reply is finished.
    pub(in crate::dialect) finish: Finish,
    /// The text that came.
    pub(in crate::dialect) written: Written,
    /// Whether the last usage tells apart what was written.
    apart: bool,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dialect) enum FrameKind {
    /// The usage chunk of a chat stream: no choices, and a usage.
    UsageChunk,
    /// The event that ends the stream.
    Last,
    /// Any other.
    Other,
}

/// The members of an error that matter.
#[derive(Deserialize, Default)]
struct Envelope {
    code: Option<serde_json::Value>,
    r#type: Option<String>,
    message: Option<String>,
}

impl Tally {
    pub(in crate::dialect) fn new(watch: Watch) -> Self {
        Self { watch, written: Written::new(watch), ..Self::default() }
    }

    /// The frames are events of a stream.
    pub(in crate::dialect) fn streams(&mut self) {
        self.stream = true;
    }

    /// Whether the usage so far is that of a whole reply. A stream that shows usage before its end has to say that it ended: one
    /// that was cut off may still end in the proper way of its connection.
    fn is_whole(&self) -> bool {
        let ended = match self.watch.api.dialect() {
            _ if !self.stream => self.marked || self.clean,
            Dialect::OpenAi if self.watch.api != Api::Responses => self.marked || self.clean,
            Dialect::OpenAi | Dialect::Anthropic => self.marked,
            Dialect::DashScope => self.finish.seen && (self.marked || self.clean),
        };
        self.last || (ended && self.error.is_none())
    }

    /// A scanner for the objects of this call's replies.
    pub(in crate::dialect) fn scan(&self) -> JsonScan {
        JsonScan::within(self.watch.api.wrapper())
    }

    /// Takes what a frame said.
    pub(in crate::dialect) fn frame(&mut self, scan: &JsonScan) -> FrameKind {
        let kind = text(&scan.kind);
        self.written.end(kind.as_deref());
        if scan.progress != Progress::Closed {
            self.other = true;
            return FrameKind::Other;
        }
        let chat = matches!(self.watch.api, Api::Chat | Api::Completions);
        let chunk =
            chat && scan.choices == Choices::Empty && scan.usage.value().is_some_and(|raw| raw.starts_with(b"{"));
        let ends = kind.is_some_and(|kind| self.watch.api.ends_with(&kind));
        if let Some(raw) = scan.usage.value() {
            self.usage(raw, chunk);
        }
        let native = self.watch.api.dialect() != Dialect::OpenAi || self.watch.api == Api::Responses;
        match envelope(scan).or_else(|| bare_envelope(scan).filter(|_| native)) {
            Some(error) => self.error = Some(error),
            None => self.other = true,
        }
        self.ids(scan);
        if ends {
            self.marked = true;
        }
        match () {
            () if chunk => FrameKind::UsageChunk,
            () if ends => FrameKind::Last,
            () => FrameKind::Other,
        }
    }

    /// Takes a whole reply that is one object. It may be an envelope of the other form as well, with a `code` beside no
    /// choices (W 1.3).
    pub(in crate::dialect) fn reply(&mut self, scan: &JsonScan) {
        let plain = self.other;
        self.frame(scan);
        if let Some(error) = bare_envelope(scan).filter(|_| self.error.is_none()) {
            self.error = Some(error);
            self.other = plain;
        }
        self.marked = true;
    }

    /// Takes the ids of what was made.
    fn ids(&mut self, scan: &JsonScan) {
        // What is no id as a path may carry it is not asked about.
        let id = |captured: &Captured| text(captured).filter(|id| Kind::is_id(id));
        if self.watch.api.may_be_task() && scan.usage.value().is_none() {
            // What is over already needs no one to ask again.
            let over = text(&scan.task_status).is_some_and(|status| matches!(&*status, "FAILED" | "CANCELED"));
            self.task = id(&scan.task_id).filter(|_| !over).or_else(|| self.task.take());
        }
        if let Some(kind) = self.watch.api.makes() {
            let from = if kind == Kind::Conversation { &scan.session } else { &scan.id };
            self.made = id(from).or_else(|| self.made.take());
        }
    }

    /// Takes a usage that stands in a body which was cut off behind it: it counts, as a part.
    pub(in crate::dialect) fn cut(&mut self, scan: &JsonScan) {
        self.other = true;
        self.written.end(text(&scan.kind).as_deref());
        if let Some(raw) = scan.usage.value() {
            self.usage(raw, false);
        }
    }

    /// Takes an event that is known to be neither a usage nor an error.
    pub(in crate::dialect) fn plain(&mut self, event: &[u8]) {
        self.other = true;
        self.written.whole(event);
    }

    /// Notes the end mark.
    pub(in crate::dialect) fn mark(&mut self) {
        self.marked = true;
    }

    /// Notes that the stream came to its proper end.
    pub(in crate::dialect) fn ended(&mut self) {
        self.clean = true;
    }

    /// The encoding could not be read: how much of it came out before that is chance, so nothing of it counts.
    pub(in crate::dialect) fn undecodable(&mut self) {
        let flags = Flags { undecodable: true, ..Flags::default() };
        *self = Self { watch: self.watch, stream: self.stream, other: true, flags, ..Self::default() };
    }

    /// Notes that the usage chunk was taken out.
    pub(in crate::dialect) fn stripped(&mut self) {
        self.flags.usage_stripped = true;
    }

    fn usage(&mut self, raw: &[u8], last: bool) {
        // Until its last event an app's reply has an empty one.
        if self.watch.api == Api::App && raw == b"{}" {
            return;
        }
        let Some(read) = usage::read(raw, self.watch.api.counting(self.watch.unit)) else {
            self.flags.usage_malformed = true;
            return;
        };
        let seen = self.usage.unwrap_or_default();
        if read.usage.input < seen.input || read.usage.output < seen.output {
            self.flags.usage_decreased = true;
        }
        self.flags.total_mismatch |= read.mismatch;
        self.by_model(&read.models);
        self.last |= last;
        self.apart = read.apart;
        self.details = read.details;
        self.usage =
            Some(Usage { input: read.usage.input.max(seen.input), output: read.usage.output.max(seen.output) });
    }

    /// Takes what each model used so far; the figures grow.
    fn by_model(&mut self, read: &[ModelUsage]) {
        for one in read {
            match self.models.iter_mut().find(|known| known.model == one.model) {
                Some(known) => {
                    let (before, now) = (known.usage, one.usage);
                    self.flags.usage_decreased |= now.input < before.input || now.output < before.output;
                    known.usage = Usage { input: now.input.max(before.input), output: now.output.max(before.output) };
                }
                None => self.models.push(one.clone()),
            }
        }
    }

    /// What is known so far.
    pub(in crate::dialect) fn finding(&self) -> Finding {
        let complete = self.marked || self.clean;
        let doubtful = self.flags.usage_malformed || self.flags.usage_decreased;
        let whole = self.is_whole();
        let reading = match self.usage {
            None => Reading::None,
            Some(usage) if whole && !doubtful => Reading::Exact(usage),
            Some(usage) => Reading::AtLeast(usage),
        };
        let floor = if self.apart { self.written.tokens() } else { 0 };
        let mut flags = self.flags;
        // What was cut off before its end said too little without a lie.
        flags.usage_low = matches!(reading, Reading::Exact(usage) if usage.output < floor);
        Finding {
            reading,
            floor,
            details: self.details,
            models: self.models.clone(),
            error: self.error.clone(),
            only_error: self.error.is_some() && !self.other && self.usage.is_none() && complete,
            task: self.task.clone().filter(|_| complete),
            made: self.made.clone(),
            complete,
            flags,
        }
    }
}

/// The error that a frame holds under `error` (W 1.2), or that its `type` says it is (W 1.4).
fn envelope(scan: &JsonScan) -> Option<UpstreamError> {
    let raw = scan.error.value()?;
    let error: Envelope =
        if raw.starts_with(b"{") { serde_json::from_slice(raw).unwrap_or_default() } else { Envelope::default() };
    let code = match &error.code {
        Some(serde_json::Value::String(code)) => code.clone(),
        Some(other) => other.to_string(),
        None => error.r#type.unwrap_or_default(),
    };
    Some(UpstreamError::new(&code, &error.message.unwrap_or_default()))
}

/// The error that an object is as a whole: a top-level `code`, and neither choices nor an output.
fn bare_envelope(scan: &JsonScan) -> Option<UpstreamError> {
    let code = text(&scan.code).filter(|code| scan.choices == Choices::Unseen && !scan.wrapped && !code.is_empty())?;
    Some(UpstreamError::new(&code, &text(&scan.message).unwrap_or_default()))
}

/// A captured string.
fn text(captured: &Captured) -> Option<String> {
    captured.value().and_then(|raw| serde_json::from_slice(raw).ok())
}
