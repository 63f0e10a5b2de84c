//! The way to the disk: what the books changed, in the order in which they changed, in groups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::fold::Folding;
use super::mix::MixMap;
use super::record::Body;
use super::rows::{BalanceRow, PoolRow, Write};
use crate::clock::{Clock, Stopwatch};
use crate::ledger::{GrantId, PoolId};
use crate::store::{StoreError, StoreErrorKind};

/// How many changes may wait for company before the writer starts without being asked.
const COMPANY: usize = 256;

/// Changes that are committed together, and those who wait for it.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its place in the order of commits.
    pub(super) number: u64,
    /// What calls changed, in order.
    pub(super) body: Body,
    /// What else changed, in order.
    pub(super) writes: Vec<Write>,
    /// The pools as they are after the last change; they follow in the writes.
    pub(super) pools: BTreeMap<(i64, PoolId), PoolRow>,
    /// The balances as they are after the last change; they follow in the body.
    pub(super) balances: MixMap<(i64, GrantId), BalanceRow>,
    /// Whether it has to survive a power loss before anyone is told.
    pub(super) full: bool,
    /// Who waits.
    pub(super) group: Arc<Group>,
    /// The writer is to commit it now.
    urgent: bool,
    /// One of those who wait is about to commit it.
    led: bool,
    pub(super) calls: usize,
}

impl Batch {
    fn new(number: u64, body: Body, writes: Vec<Write>, balances: MixMap<(i64, GrantId), BalanceRow>) -> Self {
        Self {
            number,
            body,
            writes,
            pools: BTreeMap::new(),
            balances,
            full: false,
            group: Arc::new(Group::default()),
            urgent: false,
            led: false,
            calls: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let unchanged = self.body.records() == 0 && self.balances.is_empty();
        unchanged && self.writes.is_empty() && self.pools.is_empty() && !self.urgent && !self.led
    }

    /// Whether the writer has to commit it without waiting for more.
    fn is_due(&self) -> bool {
        self.urgent || (!self.led && self.body.records() + self.writes.len() >= COMPANY)
    }
}

impl Drop for Batch {
    /// Whatever happens to a batch, nobody waits for it in vain.
    fn drop(&mut self) {
        if self.group.done.get().is_none() {
            self.group.finish(Err("the commit was given up".to_owned()));
        }
    }
}

/// Those who wait for one commit.
#[derive(Debug, Default)]
pub(in crate::store) struct Group {
    done: OnceLock<Result<(), String>>,
    notify: Notify,
    /// The batch that it waits for while nobody has taken it upon himself to commit it.
    lead: AtomicU64,
}

/// No batch has this number.
const NO_BATCH: u64 = 0;

impl Group {
    /// Until the commit is done.
    pub(in crate::store) async fn wait(&self) -> Result<(), StoreError> {
        if self.done.get().is_none() {
            let mut notified = std::pin::pin!(self.notify.notified());
            notified.as_mut().enable();
            if self.done.get().is_none() {
                notified.await;
            }
        }
        match self.done.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(detail)) => Err(unavailable(detail)),
            None => Err(unavailable("the commit was given up")),
        }
    }

    /// The number of the batch, for the first who asks where a waiter is to commit it.
    pub(super) fn take_lead(&self) -> Option<u64> {
        Some(self.lead.swap(NO_BATCH, Ordering::Relaxed)).filter(|number| *number != NO_BATCH)
    }

    /// Whether the commit is done and went well.
    pub(in crate::store) fn is_done(&self) -> bool {
        matches!(self.done.get(), Some(Ok(())))
    }

    pub(in crate::store) fn finish(&self, result: Result<(), String>) {
        // Only the first verdict counts.
        let _ = self.done.set(result);
        self.notify.notify_waiters();
    }
}

/// What the writer does; decides whether a push has to wake it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// It sleeps until there is work.
    Idle,
    /// It has work that nobody waits for, and waits a moment for more.
    Lingering,
    /// It works, or was woken already.
    Busy,
}

#[derive(Debug)]
struct Pending {
    batch: Batch,
    mode: Mode,
    nudged: bool,
    stop: bool,
}

/// What the writer has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Commit what there is.
    Commit,
    /// Time is over: look after the books.
    Tick,
    /// Somebody else committed: look how things are.
    Look,
    /// Commit what there is and end.
    Stop,
}

/// The queue between the callers and the writer.
///
/// A caller takes room before it locks a book and pushes while it holds the lock, so the disk sees changes in the order of the
/// book. The writer never takes a book's lock while it holds the queue's. A batch is taken out only by who holds the pen, so that
/// batches are committed in the order of their numbers.
#[derive(Debug)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    wake: Condvar,
    room: Semaphore,
    folded: AtomicU64,
    poison: OnceLock<String>,
    linger: Duration,
}

/// Room for one call.
pub(super) struct Room<'a>(SemaphorePermit<'a>);

impl Queue {
    pub(super) fn new(room: usize, linger: Duration) -> Self {
        let batch = Batch::new(1, Body::default(), Vec::new(), MixMap::default());
        Self {
            pending: Mutex::new(Pending { batch, mode: Mode::Busy, nudged: false, stop: false }),
            wake: Condvar::new(),
            room: Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS)),
            folded: AtomicU64::new(0),
            poison: OnceLock::new(),
            linger,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writes still reach the disk.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(detail) => Err(unavailable(detail)),
            None => Ok(()),
        }
    }

    /// Waits for room; answers at once where there is some.
    pub(super) async fn room(&self) -> Result<Room<'_>, StoreError> {
        self.check()?;
        match self.room.try_acquire() {
            Ok(permit) => Ok(Room(permit)),
            Err(_) => match self.room.acquire().await {
                Ok(permit) => Ok(Room(permit)),
                Err(_) => Err(self.check().err().unwrap_or_else(|| unavailable("the store is closed"))),
            },
        }
    }

    /// Adds a call's changes. `full`: the writer commits them durably and at once. Otherwise `urgent`: the caller waits for the
    /// group, and is ready to commit it himself (`Inner::wait`). Answers the group.
    pub(super) fn push(
        &self,
        room: Option<Room<'_>>,
        urgent: bool,
        full: bool,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<Arc<Group>, StoreError> {
        let mut pending = self.lock();
        self.check()?;
        if pending.stop {
            return Err(unavailable("the store is closed"));
        }
        fill(&mut pending.batch);
        let batch = &mut pending.batch;
        batch.full |= full;
        batch.urgent |= full;
        if urgent && !batch.urgent && !batch.led {
            batch.led = true;
            batch.group.lead.store(batch.number, Ordering::Relaxed);
        }
        if let Some(Room(permit)) = room {
            permit.forget();
            batch.calls += 1;
        }
        let wakes = match pending.mode {
            Mode::Idle => !pending.batch.led || pending.batch.urgent,
            Mode::Lingering => pending.batch.is_due(),
            Mode::Busy => false,
        };
        if wakes {
            pending.mode = Mode::Busy;
        }
        let group = pending.batch.group.clone();
        drop(pending);
        if wakes {
            self.wake.notify_one();
        }
        Ok(group)
    }

    /// The last batch whose finals can be looked up on the disk.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Acquire)
    }

    /// No more calls; the writer commits what there is and ends.
    pub(super) fn stop(&self) {
        let mut pending = self.lock();
        pending.stop = true;
        drop(pending);
        self.room.close();
        self.wake.notify_one();
    }

    /// The writer commits the batch of this number: who wanted to cannot.
    pub(super) fn hand_over(&self, number: u64) {
        let mut pending = self.lock();
        if pending.batch.number == number {
            pending.batch.urgent = true;
            drop(pending);
            self.wake.notify_one();
        }
    }

    /// Wakes the writer to look how things are.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.wake.notify_one();
    }

    /// The writer's end of the queue: waits for work, at most `patience`.
    pub(super) fn next(&self, patience: Duration) -> Work {
        let mut pending = self.lock();
        let begun = Clock::stopwatch();
        // The batch that the writer lingers over, and since when. While others commit, it goes on to the next one.
        let mut over: Option<(u64, Stopwatch)> = None;
        loop {
            pending.mode = Mode::Busy;
            if pending.stop {
                return Work::Stop;
            }
            if pending.batch.is_due() {
                return Work::Commit;
            }
            if std::mem::take(&mut pending.nudged) {
                return Work::Look;
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Work::Tick;
            }
            let number = pending.batch.number;
            let known = over.filter(|(known, _)| *known == number);
            let wait = if pending.batch.is_empty() && (over.is_none() || known.is_some()) {
                over = None;
                pending.mode = Mode::Idle;
                left
            } else {
                let (_, since) = known.unwrap_or_else(|| (number, Clock::stopwatch()));
                over = Some((number, since));
                let linger = self.linger.saturating_sub(since.elapsed());
                if linger.is_zero() {
                    return Work::Commit;
                }
                pending.mode = Mode::Lingering;
                linger.min(left)
            };
            pending = self.wake.wait_timeout(pending, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes out what is waiting; gives back the emptied batch for its buffers. Only for who holds the pen.
    pub(super) fn take(&self, spare: Option<Batch>) -> Batch {
        self.swap(&mut self.lock(), spare)
    }

    /// The batch of this number, if it is still there and for a waiter to commit. Only for who holds the pen.
    pub(super) fn take_led(&self, number: u64, spare: &mut Option<Batch>) -> Option<Batch> {
        let mut pending = self.lock();
        let batch = &pending.batch;
        (batch.number == number && !batch.urgent && !pending.stop).then(|| self.swap(&mut pending, spare.take()))
    }

    fn swap(&self, pending: &mut Pending, spare: Option<Batch>) -> Batch {
        use std::mem::take;
        let (mut body, mut writes, mut balances) = spare
            .map(|mut batch| (take(&mut batch.body), take(&mut batch.writes), take(&mut batch.balances)))
            .unwrap_or_default();
        body.clear();
        writes.clear();
        balances.clear();
        let next = Batch::new(pending.batch.number + 1, body, writes, balances);
        let mut batch = std::mem::replace(&mut pending.batch, next);
        let pools = take(&mut batch.pools).into_iter();
        batch.writes.extend(pools.map(|((account, _), row)| Write::Pool { account, row: Box::new(row) }));
        for ((account, grant), row) in batch.balances.drain() {
            batch.body.balance(account, grant, &row);
        }
        self.room.add_permits(batch.calls);
        batch
    }

    /// What was pushed before there is a writer.
    pub(super) fn opening(&self) -> Batch {
        let mut pending = self.lock();
        self.swap(&mut pending, None)
    }

    /// A batch is on disk: tells those who wait.
    pub(super) fn done(&self, batch: &Batch, folding: Folding) {
        if folding != Folding::None {
            self.folded.store(batch.number, Ordering::Release);
        }
        batch.group.finish(Ok(()));
    }

    /// Nothing is written any more: whoever waits or comes is told why. An fsync is never tried again (LEDGER 3).
    pub(super) fn poison(&self, detail: &str) {
        let pending = self.lock();
        // Only the first reason counts.
        let _ = self.poison.set(detail.to_owned());
        pending.batch.group.finish(Err(detail.to_owned()));
        drop(pending);
        self.room.close();
    }
}

pub(in crate::store) fn unavailable(detail: &str) -> StoreError {
    StoreError { kind: StoreErrorKind::Unavailable, detail: detail.to_owned() }
}
