//! A replica's journal: what this replica did to the shared store, on its own disk (LEDGER 4).
//!
//! From the journals of all replicas together the counters of the store can be made again ([`rebuild`]). It also holds the
//! settlements that the store has not acknowledged, and what the replica remembers of the store.
//!
//! **The request path does not wait.** Entries go to a writer thread that commits them in groups; a commit is a handful of writes to
//! the page cache. A settled call costs one appended row, and the row of its grant once a group. The entry of a reservation is not
//! written: it is in the sum of its grant, and the promise covers it.
//!
//! **Why nothing is lost that counts.** For each grant the journal keeps what this replica moved in all, and a promise W
//! (see `watermark`): *held + spent + presumed, as this replica moved them, is never above W, and W is durable before the call that
//! passed the old one is answered*. So is it for a call that comes while a higher W is on its way. What a kill takes are the last
//! milliseconds, what a power loss takes is the last second; both are above the sums on the disk and below W. A journal that was
//! not stopped cleanly therefore counts with W: the difference to its sums is *in doubt*, and counts as presumed. What gives back
//! (a settlement, an expiry) may be lost without harm: then more counts as taken.
//!
//! **All replicas together.** An entry may belong to a hold of another replica (an expiry, a late settlement), so the sums of one
//! journal may be negative; they add up to the store's counters over all of them. A lost entry of one replica is never made good by
//! another's: each journal counts with at least what its replica took.
//!
//! **What it does not cover.** The store carries out a call before the journal hears of it. A process that dies in between has
//! not answered: for a reservation nothing was sent, for a settlement the hold counts in full. What a settlement used beyond its
//! hold, and the usage of a hold that the store did not know, is then in the store alone; so is what an operator did. An answer
//! that was lost moved something too: whoever asks again and hears that a reservation stands has to append its entry. A file
//! from which the lock file is missing cannot be told from an older copy of itself.
//!
//! **Failures.** After an error of a write or an fsync nothing is written any more, and every call is refused with the reason.

mod books;
mod fund;
mod keeping;
mod kept;
mod load;
mod opening;
mod queue;
pub mod rebuild;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use kept::{Kept, KeptKey, KeptPool, Parked, Remembered};

use super::OpenError;
use crate::clock::Clock;
use crate::ledger::{AccountId, Amount, Entry, GrantId, PoolId};
use crate::store::StoreError;
use crate::store::embedded::queue::Group;
use crate::store::embedded::reader::{Reader, entry};
use queue::{End, Shared};

/// What was found when a journal was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// There was none: this one is new.
    pub made: bool,
    /// The replica whose journal was here before and is gone.
    pub lost: Option<String>,
    /// Why the last entries may be missing; `None` = nothing is.
    pub unclean: Option<&'static str>,
    /// What is in doubt because of that.
    pub raised: Vec<Raised>,
    /// How many settlements wait for the store.
    pub parked: usize,
}

/// A grant of which more may have been taken than the journal's entries say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raised {
    /// Whose grant.
    pub account: AccountId,
    /// Its pool.
    pub pool: PoolId,
    /// Its number.
    pub grant: GrantId,
    /// How much at most.
    pub amount: Amount,
}

/// What has to be waited for before a call is answered.
#[derive(Clone, Debug)]
#[must_use]
pub struct Wait(Arc<Group>);

impl Wait {
    /// Until it is on the disk.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn done(&self) -> Result<(), StoreError> {
        self.0.wait().await
    }
}

/// An open journal. Dropping it without [`close`](Self::close) is like the death of the process.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    reader: Reader,
    writer: Mutex<Option<JoinHandle<()>>>,
    replica: String,
    opening: Opening,
    clock: Clock,
}

impl Journal {
    /// Opens the replica's journal in its state folder; makes what is missing. A promise is at most `block_max` ahead.
    ///
    /// # Errors
    /// When it is in use, on a file system that is not local, foreign, newer, older than it was, or contradicts itself.
    pub fn open(dir: &Path, block_max: Amount, clock: Clock) -> Result<Self, OpenError> {
        let ready = opening::open(dir, clock.now()).map_err(|error| OpenError(opening::explain(&error)))?;
        let reader = Reader::start(&ready.file).map_err(|error| OpenError(opening::explain(&error)))?;
        let mut books = ready.books;
        books.block_max = block_max;
        let shared = Arc::new(Shared::new(books));
        let (theirs, pen) = (shared.clone(), ready.pen);
        let thread = std::thread::Builder::new()
            .name("journal-write".to_owned())
            .spawn(move || writer::run(theirs, pen))
            .map_err(|error| OpenError(format!("cannot start a thread for {}: {error}", ready.file.display())))?;
        let writer = Mutex::new(Some(thread));
        Ok(Self { shared, reader, writer, replica: ready.replica, opening: ready.opening, clock })
    }

    /// This replica's id: eight hexadecimal digits, made with the file.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// What was found at the start.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Whether writes still reach the disk.
    ///
    /// # Errors
    /// The failure after which nothing is written any more.
    pub fn check(&self) -> Result<(), StoreError> {
        self.shared.check()
    }

    /// Says what a call of this replica moved in the store: the entries in order, each with what is then available of its grant, and
    /// the sequence number of the answer (see [`note_seen`](Self::note_seen)).
    ///
    /// Answers what to wait for before the call is answered: where a promise has to become durable first, where an operator's entry
    /// is among them, and where the writer is far behind. Otherwise nothing.
    ///
    /// # Errors
    /// When nothing is written any more. The entries are then lost; what they took of existing holds is covered by the promise.
    pub fn append(
        &self,
        account: &AccountId,
        entries: Vec<(Entry, i64)>,
        seq: u64,
    ) -> Result<Option<Wait>, StoreError> {
        let waits = self.shared.change(|books, batch| {
            books.note_seen(account, seq, batch);
            books.append(account, entries, batch)
        })?;
        Ok(waits.map(Wait))
    }

    /// The newest entries that this replica wrote of an account, newest first, at most `limit`; reservations are left out.
    ///
    /// # Errors
    /// When they cannot be read, or what was said before could not be written.
    pub async fn entries(
        &self,
        account: &AccountId,
        pool: Option<&PoolId>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.written(|_, _| ()).await?;
        let (account, pool) = (account.clone(), pool.cloned());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.reader
            .ask(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT at, kind, pool, grant_id, hold, entry.granted, entry.held, entry.spent, entry.presumed,
                           entry.billed_input, entry.billed_output
                         FROM entry CROSS JOIN fund ON fund.number = entry.fund
                         WHERE account = ?1 AND (?2 IS NULL OR pool = ?2) ORDER BY seq DESC LIMIT ?3",
                    )?
                    .query_map((account.as_str(), pool.as_ref().map(PoolId::as_str), limit), entry)?
                    .collect()
            })
            .await
    }

    /// Makes durable what was said so far.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.written(|_, batch| batch.full = true).await
    }

    /// Changes something and waits until it is written, with everything before it.
    async fn written(&self, change: impl FnOnce(&mut books::Books, &mut queue::Batch)) -> Result<(), StoreError> {
        let group = self.shared.change(|books, batch| {
            change(books, batch);
            Some(batch.group.clone())
        })?;
        match group {
            Some(group) => group.wait().await,
            None => Ok(()),
        }
    }

    /// Stops cleanly: writes what is waiting, makes it durable, and notes that nothing is missing. Calls that come later are
    /// refused.
    ///
    /// # Errors
    /// When something could not be written; it is then as after the death of the process.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.shared.stop(End::Clean);
        let ended = self.shared.ended.wait().await;
        self.join();
        ended
    }

    fn join(&self) {
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has told whoever waits.
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stop(End::Abandoned);
        self.join();
    }
}
