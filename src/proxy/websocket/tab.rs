//! What is held for one task or one response, and how that ends.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::{Clock, Stopwatch};
use crate::dialect::{UpstreamError, UpstreamSignal};
use crate::ledger::{Amount, BillingMode, Resolution, Usage};
use crate::proxy::admission::Admission;
use crate::proxy::record::Record;
use crate::proxy::settlement::Settled;
use crate::proxy::truth;

use super::line::{Granted, Line};

/// The holds of one call, in the order in which they were taken. Dropped without a word, each is presumed.
pub(super) struct Tab {
    line: Arc<Line>,
    granted: Granted,
    more: Vec<Admission>,
    record: Box<Record>,
    since: Stopwatch,
    /// What a refusal of the upstream's closes.
    closing: Settling,
}

/// What an ending waits for, so that the counters show it before the client sees the end.
pub(super) type Settling = Vec<oneshot::Receiver<()>>;

impl Tab {
    pub(super) fn new(line: &Arc<Line>, mut granted: Granted, operation: &'static str) -> Self {
        let metrics = &line.parts.metrics;
        let mut record = Box::new(Record::new(granted.admission.hold, metrics, granted.shared.settings.log_requests));
        record.operation = operation;
        record.model = Some(granted.model.code.clone());
        record.account = Some(line.caller.account.clone());
        record.key = Some(line.caller.key.id.clone());
        record.stream = true;
        record.metrics = Arc::clone(metrics.model(granted.model.code.as_str()));
        record.held = held(&granted.admission);
        record.place = granted.place.take();
        record.status = DONE;
        Self {
            line: Arc::clone(line),
            granted,
            more: Vec::new(),
            record,
            since: Clock::stopwatch(),
            closing: Vec::new(),
        }
    }

    /// Takes a further hold for the same call.
    pub(super) fn add(&mut self, admission: Admission) {
        self.record.held = self.record.held.saturating_add(held(&admission));
        self.more.push(admission);
    }

    /// Everything that is held for it.
    pub(super) fn held(&self) -> Amount {
        self.record.held
    }

    pub(super) fn mode(&self) -> BillingMode {
        self.granted.admission.admitted.mode
    }

    pub(super) fn since(&self) -> Stopwatch {
        self.since
    }

    /// Begins to measure its time anew: it was taken ahead of its call.
    pub(super) fn begin(&mut self) {
        self.since = Clock::stopwatch();
    }

    /// It used this much, for certain.
    pub(super) fn settle(mut self, usage: Usage) -> Settling {
        self.granted.upstream.breaker.readable();
        self.record.usage = Some(usage);
        self.record.resolution = Some(Resolution::Settle(usage));
        let mut left = usage;
        let holds = self.more.len();
        let mut settling = self.closing;
        for (index, admission) in std::iter::once(self.granted.admission).chain(self.more).enumerate() {
            // The last one takes what is left, also where that is more than it holds.
            let part = if index == holds { left } else { within(left, &admission) };
            left = Usage { input: left.input - part.input, output: left.output - part.output };
            wait_for(admission.resolve(Resolution::Settle(part)), &mut settling);
        }
        settling
    }

    /// It used nothing, provably.
    pub(super) fn release(mut self) -> Settling {
        self.granted.upstream.breaker.not_sent();
        self.record.resolution = Some(Resolution::Release);
        let mut settling = self.closing;
        for admission in std::iter::once(self.granted.admission).chain(self.more) {
            wait_for(admission.resolve(Resolution::Release), &mut settling);
        }
        settling
    }

    /// Nobody knows what it used; `seen` is a part of it. `blame`: the upstream is why.
    pub(super) fn presume(mut self, seen: Option<Usage>, blame: bool) -> Settling {
        let (parts, quota) = (&self.line.parts, &self.granted.shared.settings.quota);
        let upstream = &self.granted.upstream;
        if blame && upstream.breaker.unreadable(parts.clock.now(), quota.presumed_breaker, quota.breaker_pause) {
            tracing::error!(
                upstream = upstream.name(),
                "calls are paused: too many replies in a row could not be read"
            );
        }
        parts.metrics.presumed.inc();
        self.record.metrics.usage_missing.inc();
        self.record.usage = seen;
        self.record.resolution = Some(Resolution::Presume(seen));
        let mut settling = self.closing;
        let mut left = seen.unwrap_or_default();
        let holds = self.more.len();
        for (index, admission) in std::iter::once(self.granted.admission).chain(self.more).enumerate() {
            let part = if index == holds { left } else { within(left, &admission) };
            left = Usage { input: left.input - part.input, output: left.output - part.output };
            wait_for(admission.resolve(Resolution::Presume(seen.map(|_| part))), &mut settling);
        }
        settling
    }

    /// Notes an error of the upstream's.
    pub(super) fn signal(&mut self, error: &UpstreamError) {
        self.record.code = Some(error.code.clone());
        self.closing.extend(signal(&self.line, &self.granted, &error.code, error.signal));
    }
}

/// The status that a call's log line has: the connection's own is another line.
const DONE: u16 = 200;

/// What an upstream's refusal means for the calls after this one (C10); fires when it is so.
pub(super) fn signal(
    line: &Line,
    granted: &Granted,
    code: &str,
    signal: UpstreamSignal,
) -> Option<oneshot::Receiver<()>> {
    let refused = truth::Refused {
        request: granted.admission.hold,
        account: line.caller.account.clone(),
        tried: false,
        code: code.to_owned(),
    };
    let said = (signal, refused, Some(granted.model.pool.clone()));
    truth::heed(&line.parts, &granted.shared, &granted.upstream, said)
}

fn held(admission: &Admission) -> Amount {
    admission.admitted.input.saturating_add(admission.admitted.output)
}

/// The part of a usage that a hold covers.
fn within(usage: Usage, admission: &Admission) -> Usage {
    let admitted = &admission.admitted;
    Usage { input: usage.input.min(admitted.input), output: usage.output.min(admitted.output) }
}

fn wait_for(settled: Settled, settling: &mut Settling) {
    if let Settled::Later(receiver) = settled {
        settling.push(receiver);
    }
}
