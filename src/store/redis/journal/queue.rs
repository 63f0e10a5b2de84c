//! Between the callers and the writer: the books, and the batch that is written next.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::books::Books;
use super::fund::FundRow;
use super::kept::Parked;
use crate::clock::{Clock, Stopwatch};
use crate::ledger::{AccountId, Entry, HoldId};
use crate::store::StoreError;
use crate::store::embedded::pen::Failure;
use crate::store::embedded::queue::{Group, unavailable};

/// How long what nobody waits for may wait for company: the most that a kill can take, and the wake-ups a second that it costs.
const LINGER: Duration = Duration::from_millis(50);

/// How often promises are looked after and commits become durable, while there are calls.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long the writer sleeps when there is nothing to do.
const ASLEEP: Duration = Duration::from_secs(60);

/// How many changes may wait for the disk; whoever brings more waits for them.
const WAITING_AT_MOST: usize = 16_384;

/// A change on its way to the disk.
#[derive(Debug)]
pub(super) enum Write {
    /// A line of the ledger.
    Entry { fund: i64, entry: Entry },
    /// An account's configuration at a revision.
    Kept { account: AccountId, revision: u64, body: String },
    /// A settlement waits for the store.
    Park(Parked),
    /// The store has it.
    Unpark(HoldId),
    /// A fact about the file itself.
    Fact { name: &'static str, value: String },
}

/// Changes that are committed together, and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// The places of funds whose rows are written.
    pub(super) funds: Vec<usize>,
    /// Accounts whose sequence number is written.
    pub(super) seen: Vec<AccountId>,
    /// Whether it has to survive a power loss before anyone is told.
    pub(super) full: bool,
    /// Whether somebody waits.
    urgent: bool,
    pub(super) group: Arc<Group>,
}

/// A batch with its rows, taken out to be written.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) writes: Vec<Write>,
    pub(super) funds: Vec<FundRow>,
    pub(super) seen: Vec<(AccountId, u64)>,
    pub(super) full: bool,
    pub(super) group: Arc<Group>,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.funds.is_empty() && self.seen.is_empty() && !self.full
    }
}

impl Drop for Taken {
    /// Whatever happens to a batch, nobody waits for it in vain.
    fn drop(&mut self) {
        self.group.finish(Err("the commit was given up".to_owned()));
    }
}

/// How the journal ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Everything is written, and noted as complete.
    Clean,
    /// As if the process had died.
    Abandoned,
}

/// What the writer has to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Commit this.
    Commit(Taken),
    /// Commit this and end; `true` = cleanly.
    Stop(Taken, bool),
}

/// What the writer does; decides whether a change has to wake it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// There was nothing to do for a while: any call wakes it.
    Asleep,
    /// It waits for its next look, and until then for something to write.
    Idle,
    /// It works, lingers, or was woken already.
    Busy,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) books: Books,
    batch: Batch,
    mode: Mode,
    end: Option<End>,
}

/// What callers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    poison: OnceLock<String>,
    /// The writer has ended.
    pub(super) ended: Group,
}

impl Shared {
    pub(super) fn new(books: Books) -> Self {
        Self {
            state: Mutex::new(State { books, batch: Batch::default(), mode: Mode::Busy, end: None }),
            wake: Condvar::new(),
            poison: OnceLock::new(),
            ended: Group::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A state that a panic left half changed is neither changed nor written any more: see `change` and `next`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writes still reach the disk.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(detail) => Err(unavailable(detail)),
            None => Ok(()),
        }
    }

    /// Changes the books and the batch together. Where the caller waits for the batch, it is committed at once; so is one that is
    /// full, whose group is then answered, so that the queue has a bound.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Books, &mut Batch) -> Option<Arc<Group>>,
    ) -> Result<Option<Arc<Group>>, StoreError> {
        let mut state = self.state.lock().map_err(|_| unavailable("a panic left the journal half changed"))?;
        self.check()?;
        if state.end.is_some() {
            return Err(unavailable("the journal is closed"));
        }
        let State { books, batch, .. } = &mut *state;
        let mut waits = change(books, batch);
        if batch.writes.len() >= WAITING_AT_MOST {
            waits = waits.or_else(|| Some(batch.group.clone()));
        }
        let was_urgent = batch.urgent;
        batch.urgent |= batch.full || waits.as_ref().is_some_and(|group| Arc::ptr_eq(group, &batch.group));
        let awakes = match state.mode {
            Mode::Asleep => state.has_work() || state.books.is_restless(),
            Mode::Idle => state.has_work(),
            Mode::Busy => false,
        };
        let wakes = awakes || (state.batch.urgent && !was_urgent);
        if wakes {
            state.mode = Mode::Busy;
        }
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        Ok(waits)
    }

    /// No more calls.
    pub(super) fn stop(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.wake.notify_one();
    }

    /// Nothing is written any more: whoever waits or comes is told why. An fsync is never tried again (LEDGER 3).
    pub(super) fn poison(&self, detail: &str) {
        let state = self.lock();
        // Only the first reason counts.
        let _ = self.poison.set(detail.to_owned());
        state.batch.group.finish(Err(detail.to_owned()));
    }

    /// The writer's end: waits for work. `behind` = there are commits that are not durable yet.
    pub(super) fn next(&self, since_flush: &mut Stopwatch, behind: bool) -> Result<Work, Failure> {
        let mut state = self.state.lock().map_err(|_| Failure::Panic)?;
        let mut begun: Option<Stopwatch> = None;
        loop {
            state.mode = Mode::Busy;
            match state.end {
                Some(End::Abandoned) => {
                    state.batch = Batch::default();
                    return Ok(Work::Stop(state.take(), false));
                }
                Some(End::Clean) => {
                    let State { books, batch, .. } = &mut *state;
                    books.look_after(batch);
                    batch.full = true;
                    return Ok(Work::Stop(state.take(), true));
                }
                None => {}
            }
            if since_flush.elapsed() >= FLUSH_EVERY {
                *since_flush = Clock::stopwatch();
                let State { books, batch, .. } = &mut *state;
                books.look_after(batch);
                batch.full |= behind;
                let taken = state.take();
                if !taken.is_empty() {
                    return Ok(Work::Commit(taken));
                }
            }
            if state.batch.urgent {
                return Ok(Work::Commit(state.take()));
            }
            let patience = if state.has_work() {
                let left = LINGER.saturating_sub(begun.get_or_insert_with(Clock::stopwatch).elapsed());
                if left.is_zero() {
                    return Ok(Work::Commit(state.take()));
                }
                left
            } else if behind || state.books.is_restless() {
                state.mode = Mode::Idle;
                FLUSH_EVERY.saturating_sub(since_flush.elapsed())
            } else {
                state.mode = Mode::Asleep;
                ASLEEP
            };
            state = self.wake.wait_timeout(state, patience).map_err(|_| Failure::Panic)?.0;
        }
    }
}

impl State {
    fn has_work(&self) -> bool {
        !self.batch.writes.is_empty() || !self.batch.funds.is_empty()
    }

    fn take(&mut self) -> Taken {
        let mut batch = std::mem::take(&mut self.batch);
        let (funds, seen) = self.books.rows(&mut batch);
        Taken { writes: batch.writes, funds, seen, full: batch.full, group: batch.group }
    }
}
