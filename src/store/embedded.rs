//! The embedded store: the books in memory, SQLite beneath them (LEDGER 3).
//!
//! One process owns a ledger. While it lives its memory decides; what changed is written by one at a time, in the order in which
//! it changed, in groups. A commit survives the death of the process; only some of them are an fsync.
//!
//! **What is promised.** An admitted hold is committed before it is answered. Each balance has a watermark W on the disk, committed
//! durably before held + spent + presumed passes it. So after a power loss, when the last commits may be gone, `spent + presumed` is
//! raised to W, which is at least what was used.
//!
//! **What is written** of calls is one packed row a commit, in the journal. From time to time the journal is folded into the tables:
//! memory does without them, but old finals and entries are looked up there. A start first folds what the journal has, each row of
//! it checked, and then reads the tables as if there had never been one.
//!
//! **Opening** takes the lock, checks the file and recounts every balance from its entries; what differs is refused. Every open hold
//! is then posted as presumed. Whether more may be missing is judged by three facts: the boot id and the (device, inode) that the
//! ledger last ran with, a clean stop, and the lock file, which notes the number of the last commit and of the last durable one.
//!
//! | found | then |
//! |---|---|
//! | stopped cleanly; or same boot, same file, all commits of the lock file | exact |
//! | other boot, other file, lock file missing or torn, last commits missing, a failed write | presumed up to W |
//! | a commit that was durable is missing (an older copy, also one copied back in place) | refused |
//! | other application, newer format (format 1 is taken over), the lock file of another ledger, rows or sums that differ | refused |
//!
//! **What cannot be seen**: a directory that was put back as a whole, lock file included, in place within the same boot, or after a
//! clean stop; and an older copy after a clean stop whose lock file was removed. Nothing on this machine then remembers the newer
//! one. An older copy of an unclean ledger without its lock file is raised to its own, older W only.

mod absent;
mod account;
mod books;
mod desk;
mod error;
pub(super) mod file;
mod filesystem;
mod flush;
mod fold;
mod journal;
mod keys;
pub(super) mod load;
mod migrate;
mod mix;
mod notes;
mod opening;
pub(super) mod pen;
pub(super) mod queue;
pub(super) mod reader;
mod record;
mod recount;
mod recover;
mod resources;
pub(super) mod rows;
mod salvage;
mod schema;
pub(super) mod statements;
pub(super) mod sum;
mod unpack;
pub mod watermark;
pub(super) mod witness;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use absent::Absent;
pub use error::OpenError;
pub use notes::Notes;
pub use recover::{Recovery, recover};

use account::Account;
use keys::KeyRing;
use pen::Pen;
use queue::{Group, Queue};
use reader::Reader;
use resources::Shelf;
use schema::LEDGER;

use crate::clock::Clock;
use crate::ledger::{AccountId, Amount, GrantId, PoolId};
use crate::store::StoreError;

/// Where a ledger is kept, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The directory that holds the ledger and its lock file.
    pub dir: PathBuf,
    /// How often commits become durable while there are calls.
    pub flush_every: Duration,
    /// The most that a watermark is ahead of its balance.
    pub block_max: Amount,
    /// How many calls may wait for the disk; whoever comes then waits for room.
    pub queue_max: usize,
    /// How long a change that nobody waits for may wait for company.
    pub linger: Duration,
    /// Whether to open a ledger on a file system that is not known to be local.
    pub any_file_system: bool,
}

impl Settings {
    /// The defaults, for a directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            flush_every: Duration::from_secs(1),
            block_max: 50_000,
            queue_max: 16_384,
            linger: Duration::from_millis(20),
            any_file_system: false,
        }
    }
}

/// The ledger of a directory, where there is one. Nothing is opened or locked.
#[must_use]
pub fn ledger_in(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(LEDGER.name)).filter(|file| file.exists())
}

/// What was found and done when a ledger was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// Holds of calls that were in progress when the last process ended: posted as presumed.
    pub presumed_holds: usize,
    /// Why balances were raised to their watermarks; `None` = the figures are exact.
    pub recovery: Option<&'static str>,
    /// What was raised.
    pub recovered: Vec<Recovered>,
}

/// A grant of which more was posted as presumed, because it may have been used and forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Whose grant.
    pub account: AccountId,
    /// Its pool.
    pub pool: PoolId,
    /// Its number.
    pub grant: GrantId,
    /// How much was posted.
    pub amount: Amount,
}

/// How often something was written since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Commits.
    pub commits: u64,
    /// Commits that waited for an fsync.
    pub durable: u64,
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    durable: AtomicU64,
}

impl Counters {
    fn count(&self, durable: bool) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.durable.fetch_add(u64::from(durable), Ordering::Relaxed);
    }
}

/// What callers and the writer share.
#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    queue: Queue,
    /// `None` = nothing is written any more.
    pen: Mutex<Option<Pen>>,
    keys: KeyRing,
    accounts: ArcSwap<HashMap<AccountId, Arc<Account>>>,
    /// The number of the next account; held while accounts or digests are added.
    registry: Mutex<i64>,
    figures: Counters,
    closing: AtomicBool,
    ended: Group,
}

impl Inner {
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// An open ledger. Dropping it without [`close`](Self::close) is like the death of the process.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
    reader: Reader,
    shelf: Shelf,
    writer: Mutex<Option<JoinHandle<()>>>,
    opening: Opening,
}

impl Embedded {
    /// Opens the ledger in a directory. Never makes one.
    ///
    /// # Errors
    /// When there is none, when it is in use, foreign, newer, older than it was, or contradicts itself.
    pub fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let (dir, file) = file::place(&LEDGER, &settings.dir, settings.any_file_system)?;
        if !file.exists() {
            return Err(OpenError::NotInitialised { dir });
        }
        let witness = witness::Witness::lock(&LEDGER, &file)?;
        Self::start(settings, clock, file, witness)
    }

    /// Makes an empty ledger in a directory, which is made where it is missing, and opens it. Only an operator's command does this.
    ///
    /// # Errors
    /// When there is one already, or the directory cannot be written.
    pub fn create(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        std::fs::create_dir_all(&settings.dir).map_err(OpenError::io("make the directory", &settings.dir))?;
        let (_, file) = file::place(&LEDGER, &settings.dir, settings.any_file_system)?;
        let mut witness = witness::Witness::lock(&LEDGER, &file)?;
        let instance = uuid::Uuid::now_v7().simple().to_string();
        file::create(&LEDGER, &file, &instance, &mut witness, clock.now())?;
        Self::start(settings, clock, file, witness)
    }

    fn start(settings: Settings, clock: Clock, file: PathBuf, witness: witness::Witness) -> Result<Self, OpenError> {
        let ready = opening::open(&settings, &file, witness, clock.now())?;
        let reader = Reader::start(&file)?;
        let shelf = Shelf::open(file.parent().unwrap_or(&settings.dir))?;
        let next = ready.books.iter().map(|live| live.number).max().unwrap_or(0) + 1;
        let accounts = ready
            .books
            .into_iter()
            .map(|live| Arc::new(Account::new(live)))
            .map(|account| (account.id.clone(), account))
            .collect();
        let pen = Pen {
            connection: ready.connection,
            witness: ready.witness,
            folded: ready.testimony.commits,
            testimony: ready.testimony,
            live: ready.live,
            records: 0,
            carried: 0,
            full: true,
            file: file.clone(),
            since_flush: Clock::stopwatch(),
            flushes_left: account::FLUSHES_AFTER,
            look: false,
            failed: None,
            spare: None,
        };
        let inner = Arc::new(Inner {
            settings,
            clock,
            queue: ready.queue,
            pen: Mutex::new(Some(pen)),
            keys: ready.keys,
            accounts: ArcSwap::from_pointee(accounts),
            registry: Mutex::new(next),
            figures: Counters::default(),
            closing: AtomicBool::new(false),
            ended: Group::default(),
        });
        let theirs = inner.clone();
        let thread = std::thread::Builder::new()
            .name("ledger-write".to_owned())
            .spawn(move || writer::run(theirs))
            .map_err(OpenError::io("start a thread for", &file))?;
        Ok(Self { inner, reader, shelf, writer: Mutex::new(Some(thread)), opening: ready.opening })
    }

    /// What was found and done at the start.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// How often something was written since the start.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Counters { commits, durable } = &self.inner.figures;
        Figures { commits: commits.load(Ordering::Relaxed), durable: durable.load(Ordering::Relaxed) }
    }

    /// Stops cleanly: writes what is waiting, makes it durable, and notes that nothing is missing. Calls that come later are
    /// refused; holds that are still open are posted as presumed at the next start.
    ///
    /// # Errors
    /// When something could not be written; the next start is then as after the death of the process.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.closing.store(true, Ordering::Release);
        self.inner.queue.stop();
        let ended = self.inner.ended.wait().await;
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

impl Drop for Embedded {
    fn drop(&mut self) {
        self.inner.queue.stop();
        self.join();
    }
}
