//! What is written down of one request: a log line when it is over, whoever ended it.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{Clock, Stopwatch};
use crate::dialect::{Finding, Reading};
use crate::ledger::{AccountId, HoldId, KeyId, ModelCode, Resolution, Usage};
use crate::telemetry::{Ended, Metrics, ModelMetrics, Span};

use super::crowd::KeyPlace;
use super::headers::request_id;
use super::room::Kept;
use super::trace::{Decision, Trace, Traces};

/// What the line says of a client that left before there was a response; nobody is sent it.
const CLIENT_GONE: u16 = 499;

/// One request's facts. Dropping it writes the line.
pub(super) struct Record {
    pub(super) id: HoldId,
    pub(super) operation: &'static str,
    pub(super) status: u16,
    /// The code of an answer of ours, or of the upstream's error.
    pub(super) code: Option<String>,
    pub(super) model: Option<ModelCode>,
    pub(super) account: Option<AccountId>,
    pub(super) key: Option<KeyId>,
    pub(super) stream: bool,
    /// Whether a part of the request's body was left unread, so that nothing can follow it on an HTTP/1 connection.
    pub(super) body_left: bool,
    /// The key's place among its calls.
    pub(super) place: Option<KeyPlace>,
    /// What is set aside for the request's body, until the body goes up.
    pub(super) kept: Option<Kept>,
    pub(super) held: u64,
    pub(super) usage: Option<Usage>,
    pub(super) resolution: Option<Resolution>,
    /// The call goes on as a task.
    pub(super) task: bool,
    /// Bytes of the upstream's reply that were seen.
    pub(super) bytes: u64,
    pub(super) metrics: Arc<ModelMetrics>,
    /// Whether it tries an upstream that is closed.
    pub(super) tries: bool,
    /// What was decided, for whoever asks why.
    pub(super) decision: Decision,
    /// Where the trace goes; `None` = it is not kept.
    pub(super) traces: Option<Traces>,
    pub(super) span: Span,
    since: Stopwatch,
    log: bool,
    all: Arc<Metrics>,
}

impl Record {
    pub(super) fn new(id: HoldId, all: &Arc<Metrics>, log: bool) -> Self {
        all.in_flight.inc();
        Self {
            id,
            operation: "",
            status: 0,
            code: None,
            model: None,
            account: None,
            key: None,
            stream: false,
            body_left: false,
            place: None,
            kept: None,
            held: 0,
            usage: None,
            resolution: None,
            task: false,
            bytes: 0,
            metrics: Arc::clone(all.model("")),
            tries: false,
            decision: Decision::default(),
            traces: None,
            span: Span::request(|| request_id(id)),
            since: Clock::stopwatch(),
            log,
            all: Arc::clone(all),
        }
    }

    pub(super) fn elapsed(&self) -> std::time::Duration {
        self.since.elapsed()
    }

    /// The body as it goes up: with what is set aside for it, where it is large.
    pub(super) fn carry(&mut self, body: Bytes) -> Bytes {
        match self.kept.take() {
            Some(kept) => kept.with(body),
            None => body,
        }
    }

    pub(super) fn finding(&mut self, finding: &Finding) {
        self.usage = match finding.counted() {
            Reading::Exact(usage) | Reading::AtLeast(usage) => Some(usage),
            Reading::None => None,
        };
        self.decision.reading = Some(match finding.reading {
            Reading::Exact(_) | Reading::AtLeast(_) if finding.flags.usage_low => "text",
            Reading::Exact(_) => "exact",
            Reading::AtLeast(_) => "at_least",
            Reading::None => "none",
        });
        if let Some(error) = &finding.error {
            self.code = Some(error.code.clone());
        }
        let flags = &finding.flags;
        if flags.usage_low {
            self.metrics.usage_low.inc();
        }
        if flags.usage_malformed
            || flags.usage_low
            || flags.usage_decreased
            || flags.total_mismatch
            || flags.undecodable
        {
            tracing::warn!(request_id = request_id(self.id), model = self.model.as_ref().map(ModelCode::as_str), flags = ?flags, "the upstream's usage is odd");
        }
    }

    /// Hands over what explains the call. One that names no model was decided by nothing.
    fn trace(&mut self) {
        let Some(traces) = self.traces.take().filter(|_| self.model.is_some()) else { return };
        traces.send(Trace {
            id: self.id,
            operation: self.operation,
            account: self.account.clone(),
            key: self.key.clone(),
            model: self.model.clone(),
            stream: self.stream,
            status: self.status,
            code: self.code.clone(),
            decision: std::mem::take(&mut self.decision),
            usage: self.usage,
            ending: self.ending(),
            ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }

    fn ending(&self) -> &'static str {
        match self.resolution {
            Some(Resolution::Settle(_)) => "settled",
            Some(Resolution::Release) => "released",
            Some(Resolution::Presume(_)) => "presumed",
            None if self.task => "task",
            None if self.held > 0 => "presumed",
            None => "none",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.all.in_flight.dec();
        if self.status == 0 {
            self.status = CLIENT_GONE;
        }
        self.all.response(self.status);
        let shortfall = self.decision.shortfall;
        let usage = self.usage.unwrap_or_default();
        self.span.ended(Ended {
            operation: self.operation,
            status: self.status,
            code: self.code.as_deref(),
            model: self.model.as_ref().map(ModelCode::as_str),
            stream: self.stream,
            held: self.held,
            used: (usage.input, usage.output),
            ending: self.ending(),
        });
        self.trace();
        if !self.log {
            return;
        }
        tracing::info!(
            target: "gratis::request",
            request_id = request_id(self.id),
            operation = self.operation,
            status = self.status,
            code = self.code.as_deref(),
            model = self.model.as_ref().map(ModelCode::as_str),
            account = self.account.as_ref().map(AccountId::as_str),
            key = self.key.as_ref().map(KeyId::as_str),
            stream = self.stream,
            held = self.held,
            needed = shortfall.map(|shortfall| shortfall.needed),
            available = shortfall.map(|shortfall| shortfall.available),
            input = usage.input,
            output = usage.output,
            ending = self.ending(),
            bytes = self.bytes,
            ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}
