//! Collecting what the frames of one response say.

use serde::Deserialize;

use super::{Finding, Flags, Reading, UsageDetails, usage};
use crate::dialect::error::UpstreamError;
use crate::dialect::json_scan::{Choices, JsonScan, Progress};
use crate::ledger::Usage;

/// What the frames said so far.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Tally {
    usage: Option<Usage>,
    details: UsageDetails,
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
}

/// The members of an error that matter.
#[derive(Deserialize, Default)]
struct Envelope {
    code: Option<serde_json::Value>,
    message: Option<String>,
}

impl Tally {
    /// Takes what a frame said. Gives whether it is the usage chunk of a stream: no choices, and a usage.
    pub(in crate::dialect) fn frame(&mut self, scan: &JsonScan) -> bool {
        if scan.progress != Progress::Closed {
            self.other = true;
            return false;
        }
        let chunk = scan.choices == Choices::Empty && scan.usage.value().is_some_and(|usage| usage.starts_with(b"{"));
        if let Some(raw) = scan.usage.value() {
            self.usage(raw, chunk);
        }
        match envelope(scan) {
            Some(error) => self.error = Some(error),
            None => self.other = true,
        }
        chunk
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

    /// Takes a usage that stands in a body which was cut off behind it: it counts, as a part.
    pub(in crate::dialect) fn cut(&mut self, scan: &JsonScan) {
        self.other = true;
        if let Some(raw) = scan.usage.value() {
            self.usage(raw, false);
        }
    }

    /// Notes a frame that is known to be neither a usage nor an error.
    pub(in crate::dialect) fn plain(&mut self) {
        self.other = true;
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
        *self = Self { other: true, flags: Flags { undecodable: true, ..Flags::default() }, ..Self::default() };
    }

    /// Notes that the usage chunk was taken out.
    pub(in crate::dialect) fn stripped(&mut self) {
        self.flags.usage_stripped = true;
    }

    fn usage(&mut self, raw: &[u8], last: bool) {
        let Some(read) = usage::read(raw) else {
            self.flags.usage_malformed = true;
            return;
        };
        let seen = self.usage.unwrap_or_default();
        if read.usage.input < seen.input || read.usage.output < seen.output {
            self.flags.usage_decreased = true;
        }
        self.flags.total_mismatch |= read.mismatch;
        self.last |= last;
        self.details = read.details;
        self.usage =
            Some(Usage { input: read.usage.input.max(seen.input), output: read.usage.output.max(seen.output) });
    }

    /// What is known so far.
    pub(in crate::dialect) fn finding(&self) -> Finding {
        let complete = self.marked || self.clean;
        let doubtful = self.flags.usage_malformed || self.flags.usage_decreased;
        let whole = self.last || (complete && self.error.is_none());
        let reading = match self.usage {
            None => Reading::None,
            Some(usage) if whole && !doubtful => Reading::Exact(usage),
            Some(usage) => Reading::AtLeast(usage),
        };
        Finding {
            reading,
            details: self.details,
            error: self.error.clone(),
            only_error: self.error.is_some() && !self.other && self.usage.is_none() && complete,
            complete,
            flags: self.flags,
        }
    }
}

/// The error that a frame holds under `error` (W 1.2).
fn envelope(scan: &JsonScan) -> Option<UpstreamError> {
    let raw = scan.error.value()?;
    let error: Envelope =
        if raw.starts_with(b"{") { serde_json::from_slice(raw).unwrap_or_default() } else { Envelope::default() };
    let code = match &error.code {
        Some(serde_json::Value::String(code)) => code.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    Some(UpstreamError::new(&code, &error.message.unwrap_or_default()))
}

/// The error that a reply is as a whole: a top-level `code`, and no choices.
fn bare_envelope(scan: &JsonScan) -> Option<UpstreamError> {
    let text = |raw: &[u8]| serde_json::from_slice::<String>(raw).ok();
    let code = scan.code.value().filter(|_| scan.choices == Choices::Unseen).and_then(text)?;
    Some(UpstreamError::new(&code, &scan.message.value().and_then(text).unwrap_or_default()))
}
