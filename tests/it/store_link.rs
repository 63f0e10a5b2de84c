//! The link to the shared store, with real servers: what it opens, what it refuses and why, and how it comes back.

mod classes;
mod entry;
mod one_server;
mod several;

use std::path::Path;
use std::time::{Duration, Instant};

use gratis::clock::Clock;
use gratis::ledger::{Outcome, Resolution, Usage};
use gratis::store::redis::{OpenError, Redis, Settings, Url};
use gratis::store::{KeyStore as _, LedgerStore as _, StoreError, StoreErrorKind};

use crate::store_support::{account, ask, balance_of, digest, grant, key, new_account};
use crate::support::PATIENCE;

/// What the account is given.
const GRANTED: u64 = 1_000_000;

fn settings(url: &str, dir: &Path) -> Settings {
    let (url, credentials) = Url::read(url).unwrap();
    Settings { credentials, ..Settings::new(url, dir) }
}

/// The same, where the class can lose what was acknowledged.
fn lossy(url: &str, dir: &Path) -> Settings {
    Settings { accept_loss: true, ..settings(url, dir) }
}

async fn open(settings: Settings) -> Result<Redis, OpenError> {
    Redis::open(settings, Clock::system()).await
}

/// What is said where it does not open.
async fn refusal(settings: Settings) -> String {
    open(settings).await.expect_err("it must not open").0
}

/// A new ledger with one account, one key and one grant.
async fn funded(settings: Settings) -> Redis {
    let store = Redis::create(settings, Clock::system()).await.unwrap();
    assert!(store.open_account(new_account(&account())).await.unwrap());
    store.add_key(&account(), key("key-1"), digest(1)).await.unwrap();
    assert!(matches!(store.operate(&account(), grant(GRANTED)).await.unwrap(), Outcome::Done(_)));
    store.complete().await.unwrap();
    store
}

/// Ends a replica in good order, so that its folder can be opened again.
async fn end(store: Redis) {
    store.close().await.unwrap();
}

/// Whether a reservation of one token is admitted; the error where the store does not answer.
async fn reserve(store: &Redis, hold: u128) -> Result<(), StoreError> {
    match store.reserve(&account(), ask(hold, 1)).await {
        Ok(Outcome::Admitted(_)) => Ok(()),
        Ok(other) => panic!("not admitted: {other:?}"),
        Err(error) => Err(error),
    }
}

/// One token more is spent.
async fn spend(store: &Redis, hold: u128) {
    reserve(store, hold).await.unwrap();
    let settled = store.resolve(&account(), gratis::ledger::HoldId(hold), Resolution::Settle(usage(1)), None).await;
    assert!(matches!(settled, Ok(Outcome::Resolved(_))), "{settled:?}");
}

fn usage(output: u64) -> Usage {
    Usage { input: 0, output }
}

async fn spent(store: &Redis) -> u64 {
    balance_of(&store.book(&account()).await.unwrap()).spent
}

/// Reserves until it is admitted; none of the errors on the way may be of another kind than those that pass.
async fn comes_back(store: &Redis, hold: u128) {
    let begun = Instant::now();
    for hold in hold.. {
        let Err(error) = reserve(store, hold).await else { return };
        assert!(matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::TimedOut), "{error}");
        assert!(begun.elapsed() < PATIENCE, "it never came back: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reserves until it is refused with an error that says this.
async fn stops(store: &Redis, hold: u128, what: &str) {
    let begun = Instant::now();
    let mut said = String::new();
    for hold in hold.. {
        if let Err(error) = reserve(store, hold).await {
            said = error.to_string();
            if error.kind == StoreErrorKind::Unavailable && said.contains(what) {
                return;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "it never said {what:?}: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
