//! What happens beside the calls: watermarks follow refunds down, old holds go, and a full queue makes callers wait.

use std::sync::Arc;
use std::time::Duration;

use gratis::clock::Clock;
use gratis::ledger::{HoldId, HoldState, Outcome, Resolution};
use gratis::store::LedgerStore;
use gratis::store::embedded::{Embedded, Settings};
use rusqlite::{Connection, OpenFlags};

use crate::store_support::*;
use crate::support::PATIENCE;

const DAY_MS: u64 = 86_400_000;

async fn quick(dir: &std::path::Path, clock: &Clock) -> Embedded {
    funded(dir, clock, 160_000).await.close().await.unwrap();
    let settings = Settings { flush_every: Duration::from_millis(5), ..settings(dir) };
    Embedded::open(settings, clock.clone()).unwrap()
}

fn number(dir: &std::path::Path, sql: &str) -> i64 {
    let file = dir.join("ledger.db");
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(sql, (), |row| row.get(0)).unwrap()
}

/// Keeps the store busy until the disk says so.
async fn until(store: &Embedded, dir: &std::path::Path, sql: &str, wanted: impl Fn(i64) -> bool) {
    let watch = Clock::stopwatch();
    while !wanted(number(dir, sql)) {
        assert!(watch.elapsed() < PATIENCE, "{sql} stays {}", number(dir, sql));
        store.entries(&account(), None, 1).await.unwrap();
    }
}

#[tokio::test]
async fn the_watermark_follows_refunds_down_but_not_below_the_sum() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = quick(dir.path(), &clock).await;
    admit(&store, 1, 100_000).await;
    let watermark = "SELECT watermark FROM balance";
    until(&store, dir.path(), watermark, |mark| mark >= 100_000).await;
    resolve(&store, 1, used(7)).await;
    until(&store, dir.path(), watermark, |mark| mark < 20_000).await;
    assert_eq!(number(dir.path(), watermark), 7 + 159_993 / 16);
}

#[tokio::test]
async fn finals_go_after_a_week_and_presumed_holds_after_a_month() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = quick(dir.path(), &clock).await;
    for hold in 1..=5 {
        admit(&store, hold, 100).await;
        resolve(&store, hold, used(1)).await;
    }
    admit(&store, 6, 100).await;
    resolve(&store, 6, Resolution::Presume(None)).await;
    let sheaves = "SELECT count(*) FROM finals";
    until(&store, dir.path(), sheaves, |sheaves| sheaves >= 1).await;
    until(&store, dir.path(), "SELECT count(*) FROM journal WHERE length(body) > 0", |rows| rows == 0).await;
    clock.advance(6 * DAY_MS);
    admit(&store, 7, 100).await;
    resolve(&store, 7, used(1)).await;
    clock.advance(2 * DAY_MS);
    until(&store, dir.path(), sheaves, |left| left == 1).await;
    let kept = resolve(&store, 7, used(2)).await;
    assert!(matches!(kept, Outcome::NotOpen(HoldState::Settled)), "{kept:?}");
    assert_eq!(state_of(&book(&store).await, 6), Some(HoldState::Presumed));
    clock.advance(23 * DAY_MS);
    until(&store, dir.path(), "SELECT count(*) FROM hold", |left| left == 0).await;
    let book = book(&store).await;
    assert_eq!(state_of(&book, 6), None);
    assert_eq!(balance_of(&book), figures(160_000, 0, 6, 100));
    drop(store);
    assert_eq!(balance(&open(dir.path()).unwrap()).await, figures(160_000, 0, 6, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_callers_wait_and_loses_nobody() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    funded(dir.path(), &clock, 1_000_000).await.close().await.unwrap();
    let settings = Settings { queue_max: 2, ..settings(dir.path()) };
    let store = Arc::new(Embedded::open(settings, clock.clone()).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for hold in 1..=64_u128 {
        let store = store.clone();
        tasks.spawn(async move {
            admit(&store, hold, 100).await;
            let settled = store.resolve(&account(), HoldId(hold), used(3), None).await.unwrap();
            assert!(matches!(settled, Outcome::Resolved(_)));
        });
    }
    tasks.join_all().await;
    assert_eq!(balance(&store).await, figures(1_000_000, 0, 192, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_the_edge_are_never_more_than_the_grant() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = Arc::new(funded(dir.path(), &clock, 10_000).await);
    let mut tasks = tokio::task::JoinSet::new();
    for hold in 1..=1_000_u128 {
        let store = store.clone();
        tasks.spawn(async move { store.reserve(&account(), ask(hold, 100)).await.unwrap() });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Admitted(_))).count(), 100);
    assert_eq!(balance(&store).await, figures(10_000, 10_000, 0, 0));
}
