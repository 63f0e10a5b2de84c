//! The ledger of a process: which store keeps it, what that promises, and how it is closed.

use std::sync::Arc;

use crate::admin::{Resume, StoreState};
use crate::clock::Clock;
use crate::config::{Config, StoreKind};
use crate::store::embedded::{self, Absent, Embedded, Notes};
use crate::store::redis::{Redis, Standing};
use crate::store::{Measured, NoteStore, Store, StoreError};
use crate::telemetry::Metrics;

use super::settings;

/// Where the books of this process are.
#[derive(Clone)]
pub enum Ledger {
    /// Nowhere yet, where an embedded one should be; a restart takes it up.
    Absent(Absent),
    /// In the state folder, of this process alone.
    Embedded(Arc<Embedded>),
    /// In a store that all replicas share. It may hold no ledger yet: that is noticed.
    Shared(Arc<Redis>),
}

impl Ledger {
    /// Opens what the configuration names. Never makes a ledger. `pepper_mark` is that of the pepper with which this process
    /// hashes keys.
    ///
    /// # Errors
    /// Why it cannot be opened and what to do.
    pub async fn open(config: &Config, pepper_mark: Option<String>, clock: Clock) -> Result<Self, String> {
        let shared = match &config.store.kind {
            StoreKind::Embedded => return Self::open_embedded(config, clock),
            StoreKind::Shared(shared) => shared,
        };
        if let Some(file) = embedded::ledger_in(&config.store.state_dir) {
            return Err(format!(
                "{} is a ledger of the embedded store, and store.url names a shared one: what is counted in that file would be \
                 ignored. Move the file away if this is meant (and give its figures to the shared ledger, `gratis init --balance` \
                 or `gratis model sync`), or set store.url = \"embedded\".",
                file.display()
            ));
        }
        let settings = settings::shared_store(config, shared, pepper_mark);
        Redis::open_and_replay(settings, clock).await.map(Self::Shared).map_err(|error| error.to_string())
    }

    fn open_embedded(config: &Config, clock: Clock) -> Result<Self, String> {
        match Embedded::open(settings::embedded_store(config), clock.clone()) {
            Ok(embedded) => Ok(Self::Embedded(Arc::new(embedded))),
            Err(error @ embedded::OpenError::NotInitialised { .. }) => {
                Ok(Self::Absent(Absent::new(error.to_string(), clock)))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The store as the request path and the admin API hold it. Calls that go over a network are counted.
    #[must_use]
    pub fn store(&self, metrics: &Metrics) -> Arc<dyn Store> {
        match self {
            Self::Absent(absent) => Arc::new(absent.clone()),
            Self::Embedded(embedded) => Arc::clone(embedded) as _,
            Self::Shared(redis) => Arc::new(Measured::new(Arc::clone(redis) as _, &metrics.store)),
        }
    }

    /// What is kept beside the books: where the replicas share those, they share this too.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn notes(&self, config: &Config, clock: &Clock) -> Result<Arc<dyn NoteStore>, String> {
        if let Self::Shared(redis) = self {
            return Ok(Arc::clone(redis) as _);
        }
        let notes = Notes::open(&config.store.state_dir, clock.clone()).map_err(|error| error.to_string())?;
        Ok(Arc::new(notes))
    }

    /// What an operator sees of it. Asks nobody.
    #[must_use]
    pub fn state(&self) -> StoreState {
        let (kind, promise, standing) = match self {
            Self::Absent(_) => ("embedded", Vec::new(), Standing::default()),
            Self::Embedded(_) => ("embedded", vec![EMBEDDED_PROMISE.to_owned()], Standing::default()),
            Self::Shared(redis) => ("shared", redis.promise(), redis.standing()),
        };
        let Standing { suspended, breaker_open, parked } = standing;
        StoreState { kind, promise, suspended, breaker_open, parked_settlements: parked }
    }

    /// Puts its state into the metrics.
    pub fn measure(&self, metrics: &Metrics) {
        let StoreState { suspended, breaker_open, parked_settlements, .. } = self.state();
        metrics.store.suspended.set(i64::from(suspended.is_some()));
        metrics.store.breaker_open.set(i64::from(breaker_open));
        metrics.store.parked.set(i64::try_from(parked_settlements).unwrap_or(i64::MAX));
    }

    /// How an operator says to go on; `None` where nothing is ever suspended.
    #[must_use]
    pub fn resume(&self) -> Option<Resume> {
        match self {
            Self::Absent(_) | Self::Embedded(_) => None,
            Self::Shared(redis) => {
                let redis = Arc::clone(redis);
                Some(Arc::new(move || {
                    let redis = Arc::clone(&redis);
                    Box::pin(async move { redis.resume().await })
                }))
            }
        }
    }

    /// Stops it: what waits is written and made durable.
    ///
    /// # Errors
    /// When something could not be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Absent(_) => Ok(()),
            Self::Embedded(embedded) => embedded.close().await,
            Self::Shared(redis) => redis.close().await,
        }
    }
}

/// What the embedded store promises (LEDGER 3).
const EMBEDDED_PROMISE: &str =
    "embedded: nothing that was admitted is forgotten, neither when the process is killed nor at a power loss";
