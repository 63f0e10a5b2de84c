//! One call upstream and what its reply says: the observer's finding becomes the hold's resolution (LEDGER 8).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Error, ResponseFuture};
use tokio::sync::oneshot;

use crate::dialect::{Api, Encoding, Finding, Kind, Observer, Seen, UpstreamSignal, Watch};
use crate::ledger::{AccountId, HoldId, Origin, PoolId, Resolution, Usage};
use crate::store::{Resource, TaskHold};

use super::admission::Admission;
use super::drain::DrainCaps;
use super::parts::ProxyParts;
use super::record::Record;
use super::rules::Verdict;
use super::settings::Shared;
use super::settlement::Settled;
use super::upstream::{Upstream, UpstreamFailure};
use super::{tasks, truth};

/// An admitted call: the duty to resolve its hold, with everything that this needs. Dropped, it is presumed at its hold.
pub(super) struct Call {
    pub(super) parts: Arc<ProxyParts>,
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) watch: Watch,
    pub(super) strip_usage: bool,
    pub(super) admission: Option<Admission>,
    pub(super) record: Record,
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
    pub(super) fn meter(mut self, status: StatusCode, headers: &HeaderMap) -> Meter {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let encoding = Encoding::of(text(CONTENT_ENCODING));
        self.record.status = status.as_u16();
        let strip = self.strip_usage && status.is_success();
        Meter { observer: Observer::new(self.watch, text(CONTENT_TYPE), encoding, strip), status, call: self }
    }

    /// The call did not come to a reply.
    pub(super) fn failed(self, error: &Error) -> Record {
        match UpstreamFailure::of(error) {
            UpstreamFailure::NotSent => self.not_sent(),
            UpstreamFailure::Broken => self.unreadable(),
        }
    }

    /// Nothing went out: nothing was used.
    pub(super) fn not_sent(mut self) -> Record {
        self.upstream.breaker.not_sent();
        self.resolve(Resolution::Release);
        self.record
    }

    /// What came, if anything, does not tell the usage.
    pub(super) fn unreadable(mut self) -> Record {
        self.presume(None);
        self.record
    }

    /// The provider says that the pool's free quota is used up: the next call is refused here (C10).
    fn close_pool(&self) {
        let (Some(account), Some(model)) = (self.record.account.clone(), self.record.model.as_ref()) else { return };
        let Some(pool) = self.shared.catalogue.model(model.as_str()).map(|model| model.pool.clone()) else { return };
        close_pool(&self.parts, &account, pool, self.record.id);
    }

    /// The provider says that the upstream's account is overdue: everything that it serves is refused here (C10).
    fn close_upstream(&self) {
        let (parts, shared, upstream) = (Arc::clone(&self.parts), Arc::clone(&self.shared), Arc::clone(&self.upstream));
        self.parts.drainer.tasks().spawn(async move {
            if let Err(error) = truth::overdue(&parts, &shared, &upstream).await {
                tracing::error!(upstream = upstream.name(), error = %error, "an overdue upstream could not be closed everywhere");
            }
        });
    }

    /// A call that tried a closed upstream came to a reply.
    fn reopen_upstream(&self) {
        let (parts, upstream) = (Arc::clone(&self.parts), Arc::clone(&self.upstream));
        self.parts.drainer.tasks().spawn(async move {
            match truth::well_again(&parts, upstream.name()).await {
                Ok(()) => tracing::info!(upstream = upstream.name(), "the upstream serves again; what was closed for it is open"),
                Err(error) => {
                    tracing::error!(upstream = upstream.name(), error = %error, "what was closed for an upstream could not be opened");
                }
            }
        });
    }

    fn presume(&mut self, seen: Option<Usage>) -> Settled {
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
        self.resolve(Resolution::Presume(seen))
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
            drop(parts.queue().settle(permit, account, hold, Resolution::Presume(None), origin));
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
        let kind = if self.watch.api == Api::Voice { Kind::Voice } else { Kind::Response };
        let (Some(id), Some(account)) = (&finding.made, &self.record.account) else { return settled };
        let kept = tasks::remember(&self.parts, self.made(kind, id.clone(), account, None), || {});
        let Settled::Later(resolved) = settled else { return Settled::Later(kept) };
        let (done, both) = oneshot::channel();
        self.parts.drainer.tasks().spawn(async move {
            // Whatever became of the one, the other is waited for.
            let _ = kept.await;
            let _ = resolved.await;
            let _ = done.send(());
        });
        Settled::Later(both)
    }

    fn resolve(&mut self, resolution: Resolution) -> Settled {
        self.record.resolution = Some(resolution);
        match self.admission.take() {
            Some(admission) => admission.resolve(resolution),
            None => Settled::Now,
        }
    }
}

/// Refuses a pool's next calls because the provider refused one (C10).
pub(super) fn close_pool(parts: &ProxyParts, account: &AccountId, pool: PoolId, id: HoldId) {
    tracing::error!(request_id = %id, pool = %pool, "the provider says that the free quota is used up: the counters here were too high");
    let (store, account) = (Arc::clone(&parts.store), account.clone());
    parts.drainer.tasks().spawn(async move {
        if let Err(error) = truth::used_up(&*store, &account, &pool).await {
            tracing::error!(pool = %pool, error = %error, "a pool that the provider closed could not be closed everywhere");
        }
    });
}

/// A call that is under way until its head comes. Dropped before, it goes on in the background: it may have been charged.
pub(super) struct AwaitingHead {
    state: Option<(ResponseFuture, Call)>,
}

impl AwaitingHead {
    pub(super) fn new(head: ResponseFuture, call: Call) -> Self {
        Self { state: Some((head, call)) }
    }
}

impl Future for AwaitingHead {
    type Output = (Result<Response<Incoming>, Error>, Call);

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
    call: Call,
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
        self.call.shared.settings.quota.settle_wait
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
        self.signal(&finding);
        self.call.record.finding(&finding);
        let settled = match Verdict::of(&finding, self.status.is_success()) {
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
                    self.call.reopen_upstream();
                }
                self.call.resolve(Resolution::Settle(usage))
            }
            Verdict::Unknown(seen) => self.call.presume(seen),
        };
        self.call.remember(&finding, settled)
    }

    /// What the upstream's refusal means for the calls after this one (C10).
    fn signal(&self, finding: &Finding) {
        let Some(error) = &finding.error else { return };
        match error.signal {
            UpstreamSignal::FreeTierOnly => self.call.close_pool(),
            UpstreamSignal::Arrearage => {
                let upstream = &self.call.upstream;
                tracing::error!(
                    upstream = upstream.name(),
                    code = error.code,
                    "the upstream says that its account is overdue"
                );
                let pause = self.call.shared.settings.quota.breaker_pause;
                upstream.breaker.overdue(self.call.parts.clock.now(), pause);
                self.call.close_upstream();
            }
            UpstreamSignal::RateLimited | UpstreamSignal::Other => {}
        }
    }
}
