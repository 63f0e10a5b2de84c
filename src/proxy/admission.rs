//! Admit: one store call before a byte goes upstream, and the duty to resolve the hold exactly once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::OwnedPermit;

use crate::clock::Clock;
use crate::ledger::{AccountId, Admitted, HoldId, Origin, PoolId, Refusal, Reserve, Resolution, Shortfall};
use crate::store::Store;
use crate::telemetry::Span;

use super::rejection::Rejection;
use super::rules::{Answered, asks_again};
use super::settlement::{Settled, Settlement, SettlementQueue};

/// Proof that a request was admitted. Dropped without a word, it is presumed at its hold.
pub(super) struct Admission {
    /// What the ledger answered.
    pub(super) admitted: Admitted,
    /// The hold's id: also the request's.
    pub(super) hold: HoldId,
    open: Option<Open>,
}

struct Open {
    account: AccountId,
    origin: Origin,
    permit: OwnedPermit<Settlement>,
    queue: Arc<SettlementQueue>,
    /// The span of the request.
    span: Span,
}

impl Admission {
    /// Says what became of the hold. The answer tells whether the counters show it already.
    pub(super) fn resolve(mut self, resolution: Resolution) -> Settled {
        self.finish(resolution)
    }

    /// On which model's account the hold is, while it is open.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.open.as_ref().map(|open| &open.origin)
    }

    /// Leaves the hold open: something that was remembered resolves it. Gives whose it is.
    pub(super) fn leave_open(mut self) -> Option<(AccountId, Origin)> {
        self.open.take().map(|open| (open.account, open.origin))
    }

    fn finish(&mut self, resolution: Resolution) -> Settled {
        let Some(open) = self.open.take() else { return Settled::Now };
        open.queue.settle(open.permit, open.account, self.hold, resolution, open.origin, open.span.settle())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.finish(Resolution::Presume(None));
    }
}

/// A reservation of which the answer is not known yet. Dropped then, because the client left or the store fell silent, the hold
/// is voided: nothing was sent, so nothing can be owed.
struct Attempt {
    hold: HoldId,
    open: Option<Open>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let span = open.span.settle();
        open.queue.settle(open.permit, open.account, self.hold, Resolution::Release, open.origin, span);
    }
}

/// What the store said to a reservation in the end, and whether an answer before that was lost.
struct Asked {
    answer: Answered,
    lost: bool,
}

/// Asks the store, and waits in line where only the holds of other calls are in the way.
pub(super) struct Gate {
    store: Arc<dyn Store>,
    queue: Arc<SettlementQueue>,
    lines: Arc<Lines>,
}

/// Calls that wait, by account and pool, first come first served.
#[derive(Default)]
pub(super) struct Lines {
    by_pool: Mutex<HashMap<(AccountId, PoolId), Arc<Line>>>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Line {
    turn: tokio::sync::Mutex<()>,
    settled: Notify,
    members: AtomicUsize,
}

/// How long a call waits at the head of its line before it looks again by itself: a settlement elsewhere tells nobody here.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Lines {
    /// Tells the head of a line that something was given back.
    pub(super) fn settled(&self, account: &AccountId, pool: &PoolId) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let lines = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&(account.clone(), pool.clone())) {
            line.settled.notify_one();
        }
    }

    fn join(self: &Arc<Self>, account: &AccountId, pool: &PoolId, most: usize) -> Option<Place> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= most {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let key = (account.clone(), pool.clone());
        let mut lines = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Arc::clone(lines.entry(key.clone()).or_default());
        line.members.fetch_add(1, Ordering::AcqRel);
        Some(Place { lines: Arc::clone(self), line, key })
    }
}

/// A place in a line; leaves it when dropped.
struct Place {
    lines: Arc<Lines>,
    line: Arc<Line>,
    key: (AccountId, PoolId),
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        if self.line.members.fetch_sub(1, Ordering::AcqRel) == 1 {
            lines.remove(&self.key);
        }
        self.lines.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a call waits, and how many may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) wait: Duration,
    pub(super) most: usize,
}

impl Gate {
    pub(super) fn new(store: Arc<dyn Store>, queue: Arc<SettlementQueue>) -> Self {
        Self { store, lines: queue.lines(), queue }
    }

    /// The way to settle what is resolved outside of its call.
    pub(super) fn queue(&self) -> &Arc<SettlementQueue> {
        &self.queue
    }

    /// Reserves for the call. The settlement's place in the queue is taken first, so that nothing admitted can fail to settle.
    pub(super) async fn admit(
        &self,
        account: &AccountId,
        reserve: Reserve,
        patience: Patience,
        request: &Span,
    ) -> Result<Admission, Rejection> {
        let _reserve = request.reserve();
        let permit = self.queue.permit()?;
        let origin = Origin { key: reserve.key.clone(), model: reserve.model.clone(), pool: reserve.pool.clone() };
        let (queue, span) = (Arc::clone(&self.queue), request.clone());
        let open = Open { account: account.clone(), origin, permit, queue, span };
        let mut attempt = Attempt { hold: reserve.hold, open: Some(open) };
        let mut asked = self.ask(account, &reserve).await;
        if let Answered::Refused(Refusal::Busy, shortfall) = asked.answer {
            let lost = asked.lost;
            asked = Box::pin(self.wait_in_line(account, &reserve, patience, shortfall)).await;
            asked.lost |= lost;
        }
        let Asked { answer, lost } = asked;
        match answer {
            Answered::Admitted(admitted) => Ok(Admission { admitted, hold: reserve.hold, open: attempt.open.take() }),
            Answered::Refused(refusal, shortfall) => {
                // A question that was lost on its way may still arrive, and is answered by then.
                attempt.open = attempt.open.take().filter(|_| lost);
                Err(Rejection::Refused(refusal, shortfall))
            }
            Answered::Unknown(error) => Err(Rejection::Store(error)),
            Answered::Failed(error) => {
                attempt.open = attempt.open.take().filter(|_| lost);
                Err(Rejection::Store(error))
            }
        }
    }

    /// An admission without a hold, for a call that goes on although the ledger refused it (E6): what it used is booked as that
    /// of a hold that nobody made.
    pub(super) fn in_shadow(
        &self,
        account: &AccountId,
        (hold, origin): (HoldId, Origin),
        admitted: Admitted,
        request: &Span,
    ) -> Result<Admission, Rejection> {
        let permit = self.queue.permit()?;
        let (queue, span) = (Arc::clone(&self.queue), request.clone());
        let open = Open { account: account.clone(), origin, permit, queue, span };
        Ok(Admission { admitted, hold, open: Some(open) })
    }

    async fn wait_in_line(
        &self,
        account: &AccountId,
        reserve: &Reserve,
        patience: Patience,
        mut shortfall: Option<Shortfall>,
    ) -> Asked {
        let busy = |lost, shortfall| Asked { answer: Answered::Refused(Refusal::Busy, shortfall), lost };
        let Some(place) = self.lines.join(account, &reserve.pool, patience.most) else {
            return busy(false, shortfall);
        };
        self.queue.metrics().waited.inc();
        let since = Clock::stopwatch();
        let left = || patience.wait.saturating_sub(since.elapsed());
        let Ok(_turn) = tokio::time::timeout(left(), place.line.turn.lock()).await else {
            return busy(false, shortfall);
        };
        let mut lost = false;
        loop {
            let settled = place.line.settled.notified();
            let asked = self.ask(account, reserve).await;
            lost |= asked.lost;
            match asked.answer {
                Answered::Refused(Refusal::Busy, figures) => shortfall = figures,
                answer @ (Answered::Admitted(_)
                | Answered::Refused(_, _)
                | Answered::Unknown(_)
                | Answered::Failed(_)) => {
                    return Asked { answer, lost };
                }
            }
            if left().is_zero() {
                return busy(lost, shortfall);
            }
            // A time-out here is the look-again, not a failure.
            let _ = tokio::time::timeout(left().min(LOOK_AGAIN), settled).await;
        }
    }

    /// One reservation. Where its answer was lost on the way it is asked about once more with the same id.
    async fn ask(&self, account: &AccountId, reserve: &Reserve) -> Asked {
        let since = Clock::stopwatch();
        let first = self.store.reserve(account, reserve.clone()).await;
        let lost = matches!(&first, Err(error) if asks_again(error.kind, since.elapsed()));
        let answer = if lost { self.store.reserve(account, reserve.clone()).await } else { first };
        Asked { answer: Answered::of(answer), lost }
    }
}
