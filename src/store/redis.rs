//! The shared store: the books of all replicas in one Redis or Valkey (LEDGER 4).
//!
//! Redis holds live state only. What this replica wrote is in its own journal on its own disk, from which the live state can be
//! made again under the operator's eyes.

mod args;
mod books;
mod callers;
mod crowd;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod journal;
mod keys;
mod link;
mod notes;
mod reading;
pub mod rebuild;
mod reply;
mod resources;
mod scripts;
mod settings;
mod status;
mod url;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use settings::{Credentials, Password, Settings};
pub use status::{LedgerState, Replica, Standing, Status};
pub use url::{Topology, Url};

use books::Places;
use callers::Callers;
use crowd::Sender;
use journal::{Journal, Parked};
use keys::Keys;
use link::Link;
use link::visit::Visit;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ledger::{AccountId, Timestamp};
use crate::store::{LedgerStore as _, StoreError, StoreErrorKind};

/// Why the shared store could not be opened: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The shared store as this replica sees it.
pub struct Redis {
    settings: Settings,
    sender: Arc<Sender>,
    journal: Arc<Journal>,
    keys: Keys,
    places: Places,
    callers: Callers,
    clock: Clock,
    /// The server's clock less ours, in ms, as of the last answer.
    ahead: AtomicI64,
    /// Ends with the store's being closed.
    upkeep: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects to the books of a ledger. Never makes one: without one it answers [`StoreErrorKind::NotInitialised`] until there is.
    ///
    /// # Errors
    /// When it cannot be reached, when what it promises is less than what is asked for, or when the journal cannot be opened.
    ///
    /// Settlements that an earlier process left in the journal are carried out as soon as the store answers.
    pub async fn open_and_replay(settings: Settings, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let store = Arc::new(Self::open(settings, clock).await?);
        let replaying = Arc::clone(&store);
        let mut upkeep = store.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.spawn(async move { replaying.replay_what_was_left().await });
        drop(upkeep);
        Ok(store)
    }

    /// The same, without a look at what was left.
    ///
    /// # Errors
    /// As [`open_and_replay`](Self::open_and_replay).
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let journal = Arc::new(Journal::open(&settings.dir, settings.block_max, clock.clone())?);
        let link = Link::open(&settings, &scripts::ALL, Arc::clone(&journal), clock.clone()).await?;
        let keys = Keys::new(&settings.prefix);
        let places = Places::known(journal.seen(), &keys, journal.remembered().epoch);
        Ok(Self {
            sender: Arc::new(Sender {
                link,
                count_field: keys::count_field(journal.replica()),
                given: settings.given_clock.then(|| clock.clone()),
                tasks: TaskTracker::new(),
            }),
            settings,
            keys,
            places,
            callers: Callers::default(),
            journal,
            clock,
            ahead: AtomicI64::new(0),
            upkeep: Mutex::default(),
        })
    }

    /// Begins a ledger in an empty store and opens it. Only an operator's command does this. Until [`complete`](Self::complete) no
    /// other replica takes it for one: an `init` that died on the way leaves an incomplete ledger, on which nothing was admitted.
    ///
    /// # Errors
    /// When there is one already, complete or not, or as [`open`](Self::open).
    pub async fn create(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        // First what may refuse: a journal that is in use, a class that is too weak. Nothing is left behind then.
        let store = Self::open(settings, clock).await?;
        let visit = Visit::to(&store.settings).await?;
        visit.begin(&uuid::Uuid::now_v7().to_string(), store.settings.pepper_mark.as_deref()).await?;
        store.sender.link.begin();
        store.sender.link.refresh().await;
        store.sender.link.check().map_err(|error| OpenError(error.to_string()))?;
        Ok(store)
    }

    /// Says that the ledger which this handle began holds all that it should: from now on every replica sees it.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn complete(&self) -> Result<(), StoreError> {
        let key = self.keys.meta();
        let mut cmd = redis::cmd("HSET");
        cmd.arg(&key).arg("complete").arg(1);
        self.ask(&key, &cmd, true).await.map(drop)
    }

    /// What this store promises, as lines for the operator: the durability class and its bound first.
    #[must_use]
    pub fn promise(&self) -> Vec<String> {
        match self.sender.link.class() {
            Some(class) => vec![format!("{}: {}", class.name(), class.bound())],
            None => vec!["the class of the store is not known yet".to_owned()],
        }
    }

    /// How this replica stands with the store. Asks nobody.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            suspended: self.sender.link.suspended(),
            breaker_open: self.sender.link.breaker_open(),
            parked: u64::try_from(self.journal.parked().len()).unwrap_or(u64::MAX),
        }
    }

    /// Says that the operator has looked at what the store holds now and goes on from it (after a changed run id, a lower beat, a
    /// rebuild). Every replica goes on by itself within a second.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn resume(&self) -> Result<(), StoreError> {
        resume(&self.settings)
            .await
            .map_err(|OpenError(detail)| StoreError { kind: StoreErrorKind::Unavailable, detail })?;
        self.sender.link.refresh().await;
        self.sender.link.check().map_err(|error| self.failure(&AccountId::from(""), error))
    }

    /// Carries out parked settlements in order; answers those that still cannot be stored. They stay in the journal.
    async fn replay(&self, parked: Vec<Parked>) -> Vec<Parked> {
        let mut parked = parked.into_iter();
        while let Some(next) = parked.next() {
            let (hold, account) = (next.hold, &next.account);
            match self.resolve(account, hold, next.resolution, next.origin.clone()).await {
                Ok(_) => {
                    tracing::info!(hold = %hold, account = %account, "a settlement that an earlier process left was carried out");
                }
                Err(error) => {
                    tracing::warn!(hold = %hold, account = %account, error = %error, "a parked settlement still waits");
                    return std::iter::once(next).chain(parked).collect();
                }
            }
        }
        Vec::new()
    }

    /// Carries out what an earlier process left in the journal, as soon as the store answers. Ends when nothing is left of it.
    async fn replay_what_was_left(&self) {
        let mut left: Vec<Parked> = self.journal.parked();
        left.retain(|parked| !parked.needs_operator);
        while !left.is_empty() {
            if self.sender.link.check().is_ok() {
                left = self.replay(left).await;
            }
            tokio::time::sleep(REPLAY_EVERY).await;
        }
    }

    /// Stops: what is waiting for the journal is written and made durable.
    ///
    /// # Errors
    /// When something could not be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.journal.close().await
    }

    async fn ask(&self, key: &str, cmd: &redis::Cmd, write: bool) -> Result<redis::Value, StoreError> {
        self.sender.link.ask(key, cmd, write).await.map_err(|error| self.failure(&AccountId::from(""), error))
    }

    /// Notes the server's clock.
    fn set_clock(&self, now: Timestamp) {
        let signed = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.ahead.store(signed(now).saturating_sub(signed(self.clock.now())), Ordering::Relaxed);
    }

    fn store_now(&self) -> Timestamp {
        match &self.sender.given {
            Some(clock) => clock.now(),
            None => Timestamp(self.clock.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed))),
        }
    }
}

/// How long between two tries to carry out what waits in the journal.
const REPLAY_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// What an operator sees of the store, also where nothing is admitted and where there is no ledger. Opens no journal, so that it can
/// be asked beside a running replica.
///
/// # Errors
/// When the store cannot be reached.
pub async fn status(settings: &Settings) -> Result<Status, OpenError> {
    let visit = Visit::to(settings).await?;
    let found = visit.found().await?;
    let class = visit.class();
    let replicas = visit.replicas().await?;
    Ok(Status {
        server: visit.server(),
        class: class.map(|class| class.name().to_owned()).unwrap_or_default(),
        promise: class.map(|class| class.bound()).into_iter().collect(),
        ledger: match (&found.ledger, found.complete) {
            (None, _) => LedgerState::Absent,
            (Some(_), false) => LedgerState::Incomplete,
            (Some(_), true) => LedgerState::Ready,
        },
        run_id: visit.run_id(),
        epoch: found.epoch,
        suspended: found.alarm.or_else(|| status::suspended(&replicas)),
        replicas,
    })
}

/// The same as [`Redis::resume`] without a replica: opens no journal.
///
/// # Errors
/// When the store cannot be reached, or has no ledger.
pub async fn resume(settings: &Settings) -> Result<(), OpenError> {
    let visit = Visit::to(settings).await?;
    visit.raise_epoch().await
}

/// Removes everything under the prefix: an incomplete ledger, or that of a demo. Answers how many keys that were.
///
/// # Errors
/// When the store cannot be reached.
pub async fn erase(settings: &Settings) -> Result<u64, OpenError> {
    Visit::to(settings).await?.erase().await
}
