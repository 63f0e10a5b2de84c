//! One call upstream and what its reply says: the observer's finding becomes the hold's resolution (LEDGER 8).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::oneshot;

use crate::dialect::{Api, Encoding, Finding, Kind, ModelUsage, Observer, Seen, Watch};
use crate::ledger::{AccountId, HoldId, Origin, PoolId, Resolution, Unit, Usage};
use crate::store::{Resource, TaskHold};
use crate::telemetry::Span;

use super::admission::Admission;
use super::drain::DrainCaps;
use super::parts::ProxyParts;
use super::record::Record;
use super::rules::Verdict;
use super::settings::Shared;
use super::settlement::{Settled, when_all};
use super::upstream::{SendError, Sent, Upstream, UpstreamBody, UpstreamFailure};
use super::{tasks, truth, uncovered};

/// An admitted call: the duty to resolve its hold, with everything that this needs. Dropped, it is presumed at its hold.
pub(super) struct Call {
    pub(super) parts: Arc<ProxyParts>,
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) watch: Watch,
    pub(super) strip_usage: bool,
    pub(super) admission: Option<Admission>,
    /// The holds of an app's other models.
    pub(super) further: Vec<Admission>,
    pub(super) record: Box<Record>,
    /// The exchange with the upstream; ends when its hold is resolved.
    pub(super) span: Span,
}

impl Call {
    pub(super) fn drain_caps(&self) -> DrainCaps {
        let quota = &self.shared.settings.quota;
        DrainCaps { on_disconnect: quota.on_disconnect, bytes: quota.drain_bytes, time: quota.drain_time }
    }

    /// How long it may take in all (LEDGER 2).
    pub(super) fn max_call(&self) -> Duration {
        let quota = &self.shared.settings.quota;
        if self.record.stream { quota.max_call_stream } else { quota.max_call_plain }
    }

    /// Begins to read a reply.
    pub(super) fn meter(mut self: Box<Self>, status: StatusCode, headers: &HeaderMap) -> Meter {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let encoding = Encoding::of(text(CONTENT_ENCODING));
        self.record.status = status.as_u16();
        self.span.status(self.record.status);
        let strip = self.strip_usage && status.is_success();
        Meter {
            observer: Observer::new(self.watch, text(CONTENT_TYPE), encoding, strip),
            status,
            closing: false,
            call: self,
        }
    }

    /// The call did not come to a reply.
    pub(super) fn failed(self: Box<Self>, error: &SendError) -> Box<Record> {
        match UpstreamFailure::of(error) {
            UpstreamFailure::NotSent => self.not_sent(),
            UpstreamFailure::Broken => self.unreadable(),
        }
    }

    /// Nothing went out: nothing was used.
    pub(super) fn not_sent(mut self: Box<Self>) -> Box<Record> {
        self.upstream.breaker.not_sent();
        self.resolve(Resolution::Release);
        self.record
    }

    /// What came, if anything, does not tell the usage.
    pub(super) fn unreadable(mut self: Box<Self>) -> Box<Record> {
        self.presume(None);
        self.record
    }

    /// The call, as one that the provider refused.
    fn refused(&self, code: &str) -> Option<truth::Refused> {
        let account = self.record.account.clone()?;
        Some(truth::Refused { request: self.record.id, account, tried: self.record.tries, code: code.to_owned() })
    }

    /// The pool that it draws on.
    fn pool(&self) -> Option<PoolId> {
        let model = self.record.model.as_ref()?;
        self.shared.catalogue.model(model.as_str()).map(|model| model.pool.clone())
    }

    fn presume(&mut self, seen: Option<Usage>) -> Settled {
        self.blame();
        self.resolve(Resolution::Presume(seen))
    }

    /// Counts a reply that does not tell what it cost: too many in a row pause the upstream's calls.
    fn blame(&self) {
        let quota = &self.shared.settings.quota;
        let now = self.parts.clock.now();
        let upstream = &self.upstream;
        if upstream.breaker.unreadable(now, quota.presumed_breaker, quota.breaker_pause) {
            tracing::error!(
                upstream = upstream.name(),
                "calls are paused: too many replies in a row could not be read"
            );
        }
        self.parts.metrics.presumed.inc();
        self.record.metrics.usage_missing.inc();
    }

    /// The call goes on as a task: its hold stays open for whoever sees the task's end. A task that cannot be remembered is presumed.
    fn leave_to_task(&mut self, id: String) -> Settled {
        let Some(admission) = self.admission.take() else { return Settled::Now };
        let hold = admission.hold;
        let Some((account, origin)) = admission.leave_open() else { return Settled::Now };
        self.record.task = true;
        let made = self.made(Kind::Task, id, &account, Some((hold, origin.clone())));
        let (parts, unit) = (Arc::clone(&self.parts), made.task.as_ref().map(|task| task.unit));
        let kept = tasks::remember(&self.parts, made, move || {
            let Ok(permit) = parts.queue().permit() else { return };
            tracing::warn!(hold = %hold, unit = ?unit, "a task's hold is presumed");
            drop(parts.queue().settle(permit, account, hold, Resolution::Presume(None), origin, Span::default()));
        });
        Settled::Later(kept)
    }

    fn made(&self, kind: Kind, id: String, account: &AccountId, hold: Option<(HoldId, Origin)>) -> Resource {
        let unit = self.watch.unit;
        let task = hold.map(|(hold, origin)| TaskHold { open: true, hold, origin, unit });
        Resource { kind, id, account: account.clone(), created: self.parts.clock.now(), task }
    }

    /// What the call made belongs to its account; the end mark waits until that is kept as well.
    fn remember(&self, finding: &Finding, settled: Settled) -> Settled {
        let (Some(kind), Some(id)) = (self.watch.api.makes(), &finding.made) else { return settled };
        let Some(account) = &self.record.account else { return settled };
        let kept = tasks::remember(&self.parts, self.made(kind, id.clone(), account, None), || {});
        when_all(&self.parts, [settled, Settled::Later(kept)])
    }

    fn resolve(&mut self, resolution: Resolution) -> Settled {
        self.record.resolution = Some(resolution);
        self.span = Span::default();
        let further = match resolution {
            Resolution::Release => Resolution::Release,
            Resolution::Settle(_) | Resolution::Presume(_) => Resolution::Presume(None),
        };
        let first = self.admission.take().map(|admission| admission.resolve(resolution));
        let others = self.further.drain(..).map(|admission| admission.resolve(further));
        when_all(&self.parts, first.into_iter().chain(others))
    }

    /// Resolves the hold of each of an app's models by what the reply says of it; where it says nothing, that one is presumed. A model
    /// that is not among them is written down all the same.
    fn resolve_each(&mut self, total: Usage, models: &[ModelUsage], certain: bool) -> Settled {
        self.record.resolution =
            Some(if certain { Resolution::Settle(total) } else { Resolution::Presume(Some(total)) });
        self.span = Span::default();
        let mut undeclared: Vec<&ModelUsage> = models.iter().collect();
        let mut resolved = Vec::with_capacity(self.further.len() + 1);
        for hold in self.admission.take().into_iter().chain(self.further.drain(..)) {
            let used = hold.origin().and_then(|origin| {
                let place = undeclared.iter().position(|used| used.model == origin.model.as_str())?;
                let used = undeclared.swap_remove(place);
                let model = self.shared.catalogue.model(origin.model.as_str())?;
                // The reply tells tokens alone.
                (model.unit == Unit::Tokens).then_some(used.usage)
            });
            resolved.push(hold.resolve(match used {
                Some(usage) if certain => Resolution::Settle(usage),
                seen => Resolution::Presume(seen),
            }));
        }
        for one in undeclared {
            uncovered::of_app(&self.parts, &self.shared, &self.record, one);
        }
        when_all(&self.parts, resolved)
    }
}

/// A call that is under way until its head comes. Dropped before, it goes on in the background: it may have been charged.
pub(super) struct AwaitingHead {
    state: Option<(Sent, Box<Call>)>,
}

impl AwaitingHead {
    pub(super) fn new(head: Sent, call: Box<Call>) -> Self {
        Self { state: Some((head, call)) }
    }
}

impl Future for AwaitingHead {
    type Output = (Result<Response<UpstreamBody>, SendError>, Box<Call>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((head, _)) = &mut self.state else { return Poll::Pending };
        let answer = std::task::ready!(Pin::new(head).poll(cx));
        match self.state.take() {
            Some((_, call)) => Poll::Ready((answer, call)),
            None => Poll::Pending,
        }
    }
}

impl Drop for AwaitingHead {
    fn drop(&mut self) {
        if let Some((head, call)) = self.state.take() {
            let parts = Arc::clone(&call.parts);
            parts.drainer.adopt_head(head, call);
        }
    }
}

/// Watches a reply pass and resolves the hold, once.
pub(super) struct Meter {
    observer: Observer,
    status: StatusCode,
    /// Whether the reply closes something: its end then waits longer.
    closing: bool,
    call: Box<Call>,
}

impl Meter {
    pub(super) fn drain_caps(&self) -> DrainCaps {
        self.call.drain_caps()
    }

    pub(super) fn parts(&self) -> &Arc<ProxyParts> {
        &self.call.parts
    }

    /// How long the call may still take.
    pub(super) fn time_left(&self) -> Duration {
        self.call.max_call().saturating_sub(self.call.record.elapsed())
    }

    pub(super) fn settle_wait(&self) -> Duration {
        if self.closing { truth::CLOSING_WAIT } else { self.call.shared.settings.quota.settle_wait }
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.call.admission.is_none()
    }

    /// Looks at a chunk. With its end mark the hold is resolved.
    pub(super) fn observe(&mut self, chunk: Bytes) -> (Seen, Settled) {
        self.call.record.bytes += chunk.len() as u64;
        let seen = self.observer.observe(chunk);
        let settled = if seen.end_at.is_some() { self.conclude() } else { Settled::Now };
        (seen, settled)
    }

    /// The reply is over. The bytes are what was carried over and still has to be passed on.
    pub(super) fn end(&mut self, clean: bool) -> (Bytes, Settled) {
        let rest = self.observer.end(clean);
        (rest, self.conclude())
    }

    fn conclude(&mut self) -> Settled {
        if self.is_resolved() {
            return Settled::Now;
        }
        let finding = self.observer.finding();
        let closing = self.signal(&finding);
        self.closing = closing.is_some();
        let settled = self.resolve(&finding);
        match closing {
            Some(closing) => when_all(&self.call.parts, [settled, Settled::Later(closing)]),
            None => settled,
        }
    }

    fn resolve(&mut self, finding: &Finding) -> Settled {
        self.call.record.finding(finding);
        let app = self.call.watch.api == Api::App;
        let settled = match Verdict::of(finding, self.status.is_success()) {
            Verdict::Task(task) => {
                self.call.upstream.breaker.readable();
                return self.call.leave_to_task(task);
            }
            Verdict::Refused => {
                self.call.upstream.breaker.readable();
                return self.call.resolve(Resolution::Release);
            }
            Verdict::Used(usage) => {
                self.call.upstream.breaker.readable();
                if self.call.record.tries {
                    truth::serves_again(&self.call.parts, &self.call.shared, &self.call.upstream);
                }
                if app {
                    self.call.resolve_each(usage, &finding.models, true)
                } else {
                    self.call.resolve(Resolution::Settle(usage))
                }
            }
            Verdict::Unknown(Some(usage)) if app => {
                self.call.blame();
                self.call.resolve_each(usage, &finding.models, false)
            }
            Verdict::Unknown(seen) => self.call.presume(seen),
        };
        self.call.remember(finding, settled)
    }

    /// What the upstream's refusal means for the calls after this one (C10); fires when it is so.
    fn signal(&self, finding: &Finding) -> Option<oneshot::Receiver<()>> {
        let (call, error) = (&self.call, finding.error.as_ref()?);
        let said = (error.signal, call.refused(&error.code)?, call.pool());
        truth::heed(&call.parts, &call.shared, &call.upstream, said)
    }
}
