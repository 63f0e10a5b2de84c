//! Settle: after the response, off the client's path, exactly once, also when nobody waits for it any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::ledger::{AccountId, HoldId, Origin, Outcome, Resolution, Resolved};
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::telemetry::{Metrics, Span};

use super::admission::Lines;
use super::parts::ProxyParts;
use super::rejection::Rejection;
use super::rules::tries_again_after;

/// A resolution that the store has begun. It is not begun anew elsewhere: the second answer would only be that the hold is no
/// longer open, and what the first one came to would be counted nowhere.
type Begun = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send>>;

/// One resolution that the store has not answered yet.
pub(super) struct Settlement {
    account: AccountId,
    hold: HoldId,
    resolution: Resolution,
    origin: Origin,
    begun: Option<Begun>,
    done: oneshot::Sender<()>,
    /// Ends when the store has it.
    span: Span,
}

/// Whether the counters show a resolution.
pub(super) enum Settled {
    /// They do, or they never will.
    Now,
    /// They will when this fires.
    Later(oneshot::Receiver<()>),
}

/// When the last of several is settled; for one alone nothing is begun.
pub(super) fn when_all(parts: &ProxyParts, settled: impl IntoIterator<Item = Settled>) -> Settled {
    let mut open = settled.into_iter().filter_map(|one| match one {
        Settled::Later(wait) => Some(wait),
        Settled::Now => None,
    });
    let Some(first) = open.next() else { return Settled::Now };
    let others: Vec<_> = open.collect();
    if others.is_empty() {
        return Settled::Later(first);
    }
    let (done, all) = oneshot::channel();
    parts.drainer.tasks().spawn(async move {
        // Whatever became of the one, the others are waited for.
        for wait in std::iter::once(first).chain(others) {
            let _ = wait.await;
        }
        // Whoever waited may have gone on.
        let _ = done.send(());
    });
    Settled::Later(all)
}

/// The way to the worker that resolves holds.
pub(super) struct SettlementQueue {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    lines: Arc<Lines>,
    sender: mpsc::Sender<Settlement>,
}

impl SettlementQueue {
    /// A queue with `capacity` places, and its worker, which ends when the queue is dropped and everything is resolved.
    pub(super) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        capacity: usize,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(capacity);
        let lines = Arc::new(Lines::default());
        let queue = Self { store, metrics, lines, sender };
        let worker = work(Arc::clone(&queue.store), Arc::clone(&queue.metrics), Arc::clone(&queue.lines), receiver);
        (Arc::new(queue), worker)
    }

    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A place in the queue, taken before reserving: sending on it is synchronous and cannot fail.
    pub(super) fn permit(&self) -> Result<OwnedPermit<Settlement>, Rejection> {
        self.sender.clone().try_reserve_owned().map_err(|error| match error {
            TrySendError::Full(_) => Rejection::Overloaded,
            TrySendError::Closed(_) => Rejection::ShuttingDown,
        })
    }

    /// Resolves at once where the store answers without waiting, else hands it to the worker.
    pub(super) fn settle(
        &self,
        permit: OwnedPermit<Settlement>,
        account: AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Origin,
        span: Span,
    ) -> Settled {
        let store = Arc::clone(&self.store);
        let (to, whose) = (account.clone(), origin.clone());
        let mut attempt: Begun = Box::pin(async move { store.resolve(&to, hold, resolution, Some(whose)).await });
        let begun = match attempt.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(outcome)) => {
                note(&self.metrics, &origin, hold, &outcome);
                self.lines.settled(&account, &origin.pool);
                return Settled::Now;
            }
            Poll::Ready(Err(_)) => None,
            Poll::Pending => Some(attempt),
        };
        let (done, wait) = oneshot::channel();
        permit.send(Settlement { account, hold, resolution, origin, begun, done, span });
        Settled::Later(wait)
    }
}

async fn work(
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    lines: Arc<Lines>,
    mut receiver: mpsc::Receiver<Settlement>,
) {
    let closed = CancellationToken::new();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = receiver.recv() => match next {
                Some(settlement) => running.push(carry_out(&store, &metrics, &lines, &closed, settlement)),
                None => break,
            },
            Some(()) = running.next() => {}
        }
    }
    closed.cancel();
    while running.next().await.is_some() {}
}

async fn carry_out(
    store: &Arc<dyn Store>,
    metrics: &Metrics,
    lines: &Lines,
    closed: &CancellationToken,
    settlement: Settlement,
) {
    let Settlement { account, hold, resolution, origin, mut begun, done, span: _span } = settlement;
    let mut failures = 0;
    loop {
        let answer = match begun.take() {
            Some(begun) => begun.await,
            None => store.resolve(&account, hold, resolution, Some(origin.clone())).await,
        };
        let failure = match answer {
            Ok(outcome) => {
                note(metrics, &origin, hold, &outcome);
                lines.settled(&account, &origin.pool);
                break;
            }
            Err(failure) => failure,
        };
        match tries_again_after(failure.kind, failures) {
            // What is on the disk is carried out by this process or, once it stops, by the next one.
            Some(pause) if failure.kind == StoreErrorKind::Deferred => {
                if closed.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    break;
                }
            }
            Some(pause) => tokio::time::sleep(pause).await,
            None => {
                metrics.settle_failed.inc();
                tracing::error!(hold = %hold, account = %account, error = %failure, "a settlement could not be stored; its hold will be presumed");
                break;
            }
        }
        failures += 1;
    }
    // Whoever waited may have sent its end mark already.
    let _ = done.send(());
}

/// Counts what a resolution came to; an overrun is an incident and gets a line.
fn note(metrics: &Metrics, origin: &Origin, hold: HoldId, outcome: &Outcome) {
    let (Outcome::Resolved(resolved) | Outcome::Unknown(resolved)) = outcome else { return };
    let Resolved { covered, billed, over_hold, overspent, .. } = *resolved;
    let model = metrics.model(origin.model.as_str());
    model.units_free.inc_by(covered.total());
    model.units_paid.inc_by(billed.total());
    if over_hold > 0 {
        metrics.over_hold.inc_by(over_hold);
        tracing::warn!(hold = %hold, model = %origin.model, over_hold, overspent, "a call used more than was held for it");
    }
    if overspent > 0 && over_hold > 0 {
        metrics.overspent.inc_by(overspent.min(over_hold));
    }
}
