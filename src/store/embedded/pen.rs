//! The pen: what is needed to write. Whoever commits holds it, so commits follow one another.
//!
//! A commit that survives the death of the process is a handful of writes to the page cache, cheaper than waking a thread for it
//! and being woken again. So the first caller who waits for a batch commits it for all, after it has let the others go first.
//! What waits for an fsync, and what nobody waits for, is left to the writer.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::Connection;

use super::Inner;
use super::account::FLUSHES_AFTER;
use super::fold::Folding;
use super::queue::{Batch, Group};
use super::statements::Statements;
use super::witness::{Testimony, Witness};
use crate::clock::Stopwatch;
use crate::store::StoreError;

/// How many commits pass between two looks at the log's length.
const LOOK_EVERY: u64 = 512;

/// The journal is folded beyond so many records.
pub(super) const FOLD_BEYOND: usize = 4_096;

/// The journal is folded beyond so many rows, whatever is in them.
const ROWS_AT_MOST: u64 = 4_096;

/// How long the writer sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// What is needed to write, and how far it is.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) connection: Connection,
    pub(super) witness: Witness,
    pub(super) testimony: Testimony,
    /// Open and presumed holds in their table.
    pub(super) live: u64,
    /// The records in the journal.
    pub(super) records: usize,
    /// How many of them were left when it was last folded.
    pub(super) carried: usize,
    /// The commit that folded it.
    pub(super) folded: u64,
    /// Whether the connection is set to wait for an fsync.
    pub(super) full: bool,
    pub(super) file: PathBuf,
    pub(super) since_flush: Stopwatch,
    pub(super) flushes_left: u8,
    /// The log's length and the journal's are to be looked at.
    pub(super) look: bool,
    /// Why nothing is written any more.
    pub(super) failed: Option<String>,
    pub(super) spare: Option<Batch>,
}

/// Why nothing can be written any more.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Failure {
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    #[error("the lock file: {0}")]
    Witness(#[from] std::io::Error),
    #[error("{0}")]
    Earlier(String),
    #[error("a commit ended in a panic")]
    Panic,
}

impl Pen {
    /// How long the writer may sleep.
    pub(super) fn patience(&self, flush_every: Duration) -> Duration {
        let patience = if self.flushes_left > 0 { flush_every } else { IDLE };
        patience.saturating_sub(self.since_flush.elapsed())
    }

    /// Whether the journal has more than `many` new records, or very many rows without any. What an earlier fold left in it has to
    /// be outnumbered: so a hold is carried over a few times at most, however many are open.
    pub(super) fn is_thick(&self, many: usize) -> bool {
        self.records.saturating_sub(self.carried) > many.max(self.carried)
            || self.testimony.commits.saturating_sub(self.folded) > ROWS_AT_MOST
    }

    /// Commits a batch and tells those who wait. After a failure nothing is written any more.
    pub(super) fn commit(&mut self, inner: &Inner, batch: &Batch, folding: Folding) -> Result<(), Failure> {
        if let Some(earlier) = &self.failed {
            return Err(Failure::Earlier(earlier.clone()));
        }
        let written = self.write(batch, folding);
        if let Err(error) = &written {
            // First the store, then those who wait: whoever was told finds that nothing is written any more.
            self.fail(inner, error);
            batch.group.finish(Err(format!("the commit failed: {error}")));
            return written;
        }
        self.look |= self.testimony.commits.is_multiple_of(LOOK_EVERY) || self.is_thick(FOLD_BEYOND);
        if batch.calls > 0 {
            self.flushes_left = FLUSHES_AFTER;
        }
        inner.figures.count(batch.full);
        inner.queue.done(batch, folding);
        Ok(())
    }

    fn write(&mut self, batch: &Batch, folding: Folding) -> Result<(), Failure> {
        let number = self.testimony.commits + 1;
        let mut statements = Statements::resume(&self.connection, (self.live, self.full, self.records));
        statements.commit_batch(batch, number, folding)?;
        (self.live, self.full, self.records) = (statements.live, statements.full, statements.records);
        if folding != Folding::None {
            (self.carried, self.folded) = (self.records, number);
        }
        self.testimony.commits = number;
        if batch.full {
            self.testimony.durable = number;
        }
        Ok(self.witness.note(&self.testimony)?)
    }

    /// Ends all writing.
    pub(super) fn fail(&mut self, inner: &Inner, error: &Failure) {
        if self.failed.is_some() {
            return;
        }
        let file = self.file.display();
        inner.queue.poison(&format!("writing {file} failed: {error}; nothing is written until a restart"));
        tracing::error!(%file, %error, "ledger: a write failed");
        self.failed = Some(error.to_string());
        self.testimony.poisoned = true;
        // The next start is careful if this note gets through; it is not needed for safety.
        let _ = self.witness.note(&self.testimony);
    }
}

/// The duty to commit a batch. Dropped undone, it falls to the writer.
struct Lead<'i> {
    inner: &'i Inner,
    number: u64,
    done: bool,
}

impl Lead<'_> {
    fn commit(mut self) {
        // A pen that is in use is with the writer, who may be waiting for an fsync.
        let Ok(mut held) = self.inner.pen.try_lock() else { return };
        let Some(pen) = held.as_mut() else { return };
        let Some(batch) = self.inner.queue.take_led(self.number, &mut pen.spare) else { return };
        self.done = true;
        let slept = pen.flushes_left == 0;
        let written = pen.commit(self.inner, &batch, Folding::None);
        pen.spare = Some(batch);
        let calls = slept || pen.look;
        drop(held);
        match written {
            Ok(()) if calls => self.inner.queue.nudge(),
            Ok(()) => {}
            // Whoever waits was told; the writer ends.
            Err(_) => self.inner.queue.stop(),
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.inner.queue.hand_over(self.number);
        }
    }
}

impl Inner {
    /// Until a group is on the disk; the first who waits brings it there.
    pub(super) async fn wait(&self, group: &Group) -> Result<(), StoreError> {
        if let Some(number) = group.take_lead() {
            let lead = Lead { inner: self, number, done: false };
            // Whoever else is ready now comes along.
            tokio::task::yield_now().await;
            lead.commit();
        }
        group.wait().await
    }

    /// Does something with the pen in hand; waits for it.
    pub(super) fn with_pen<T>(&self, work: impl FnOnce(&mut Pen) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.pen.lock().map_err(|_| Failure::Panic)?.as_mut() {
            Some(pen) => work(pen),
            None => Err(Failure::Earlier("the store is closed".to_owned())),
        }
    }

    /// Lays the pen down for good: nobody writes any more, and the lock is let go.
    pub(super) fn lay_down(&self) {
        let pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pen);
    }
}
