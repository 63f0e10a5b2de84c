//! The operator's way out of a ledger that cannot be trusted.

use gratis::ledger::{Entry, EntryKind, GrantId, HoldState, Operation, Outcome, Resolution};
use gratis::store::LedgerStore;
use gratis::store::embedded::{OpenError, recover};
use rusqlite::Connection;

use crate::store_support::*;

#[tokio::test]
async fn a_ledger_that_fails_the_recount_is_refused_with_both_figures_and_can_be_recovered() {
    let damages = [
        ("DELETE FROM page WHERE seq > 1", "its entries say"),
        ("UPDATE page SET body = zeroblob(length(body)) WHERE seq > 1", "page 2 of the entries is damaged"),
        ("UPDATE finals SET body = x'01ff'", "written here"),
        ("UPDATE balance SET spent = 1", "damaged"),
        ("DELETE FROM balance", "no balance"),
        ("DELETE FROM grants", "0 grants are there, but 1 balances"),
        ("UPDATE grants SET body = replace(body, '100000', '900000')", "damaged"),
        ("DELETE FROM hold", "0 open and presumed holds are there, 1 were written"),
        ("UPDATE hold SET lines = '1:1'", "damaged"),
        ("DELETE FROM pool", "missing"),
        ("DELETE FROM account", "missing"),
        ("UPDATE key SET body = replace(body, 'active', 'deleted')", "damaged"),
        ("UPDATE meta SET value = '1' WHERE name = 'clean'", "damaged"),
        ("UPDATE pulse SET commits = commits + 1", "damaged"),
    ];
    for (sql, said) in damages {
        let dir = tempfile::tempdir().unwrap();
        let store = funded(dir.path(), &clock(), 100_000).await;
        admit(&store, 1, 500).await;
        resolve(&store, 1, used(300)).await;
        admit(&store, 2, 700).await;
        drop(store);
        // Opened and left once more: what is in the journal is folded then, and the hold is presumed.
        drop(open(dir.path()).unwrap());
        Connection::open(dir.path().join("ledger.db")).unwrap().execute_batch(sql).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{sql}: {error}");
        assert!(error.to_string().contains(said), "{sql}: {error}");

        let recovery = recover(&slow(dir.path()), &clock()).unwrap();
        println!("{sql}: {recovery:?}");
        assert_eq!(recovery.recovered.len(), 1, "{sql}: {recovery:?}");
        let store = open(dir.path()).unwrap();
        assert_eq!(store.opening().recovery, None, "{sql}");
        for id in store.accounts().await.unwrap() {
            let book = store.book(&id).await.unwrap();
            let left: Vec<i64> =
                book.pools.values().flat_map(|pool| &pool.grants).map(|fund| fund.balance.available()).collect();
            assert_eq!(left, [0], "{sql}");
            assert!(!store.entries(&id, None, 10).await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_damaged_journal_is_refused_and_what_is_sound_of_it_is_recovered() {
    let damages = [
        ("UPDATE journal SET sum = sum + 1 WHERE number = $", "of the journal is damaged"),
        ("UPDATE journal SET body = substr(body, 1, length(body) - 1) WHERE number = $", "of the journal is damaged"),
        ("UPDATE journal SET body = 7 WHERE number = $", "of the journal is damaged"),
        ("DELETE FROM journal WHERE number = $", "of the journal is missing"),
        ("UPDATE grants SET body = replace(body, '100000', '900000')", "damaged"),
        ("DELETE FROM pulse", "no rows"),
    ];
    for (sql, said) in damages {
        let dir = tempfile::tempdir().unwrap();
        funded(dir.path(), &clock(), 100_000).await.close().await.unwrap();
        let store = open(dir.path()).unwrap();
        for hold in 1..=8 {
            admit(&store, hold, 500).await;
            resolve(&store, hold, used(300)).await;
        }
        drop(store);
        let sql = sql.replace('$', "(SELECT max(number) - 3 FROM journal)");
        Connection::open(dir.path().join("ledger.db")).unwrap().execute_batch(&sql).unwrap();
        let before = copy(dir.path());
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }) && error.to_string().contains(said), "{sql}: {error}");
        assert!(copy(dir.path())["ledger.db"] == before["ledger.db"], "{sql}: what is refused stays as it is");

        let recovery = recover(&slow(dir.path()), &clock()).unwrap();
        assert_eq!(recovery.recovered.len(), 1, "{sql}: {recovery:?}");
        let store = open(dir.path()).unwrap();
        assert_eq!(balance(&store).await.available(), 0, "{sql}");
        let settled = store.entries(&account(), None, 100).await.unwrap();
        let settled = settled.iter().filter(|entry| entry.kind == EntryKind::Settle).count();
        assert!(settled >= 7, "{sql}: {settled} entries of 8 settlements are left");
    }
}

/// Takes a closed ledger back to format 1, where each entry and each final had a row of its own.
fn to_format_1(dir: &std::path::Path, newest_first: &[Entry]) {
    let ledger = Connection::open(dir.join("ledger.db")).unwrap();
    ledger
        .execute_batch(
            "CREATE TABLE final (account INTEGER NOT NULL, id BLOB NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL,
               PRIMARY KEY (account, id)) WITHOUT ROWID;
             CREATE TABLE entry (seq INTEGER PRIMARY KEY, account INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
               pool TEXT NOT NULL, grant_id INTEGER, hold BLOB, granted INTEGER NOT NULL, held INTEGER NOT NULL,
               spent INTEGER NOT NULL, presumed INTEGER NOT NULL, billed_input INTEGER NOT NULL,
               billed_output INTEGER NOT NULL);
             DROP TABLE journal; DROP TABLE page; DROP TABLE finals; PRAGMA user_version = 1;",
        )
        .unwrap();
    for entry in newest_first.iter().rev() {
        let kind = serde_json::to_value(entry.kind).unwrap();
        let (id, grant) = (entry.hold.map(|hold| hold.0.to_be_bytes()), entry.grant.map(|grant| grant.0));
        let sql = "INSERT INTO entry VALUES (NULL, 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0)";
        let figures = (entry.granted, entry.held, entry.spent, entry.presumed);
        let at = i64::try_from(entry.at.0).unwrap();
        let names = (kind.as_str(), entry.pool.as_str());
        let row = rusqlite::params![at, names.0, names.1, grant, id, figures.0, figures.1, figures.2, figures.3];
        ledger.execute(sql, row).unwrap();
        if entry.kind == EntryKind::Settle {
            ledger.execute("INSERT INTO final VALUES (1, ?1, 'settled', ?2)", rusqlite::params![id, at]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_ledger_of_format_1_is_taken_over_with_its_entries_and_finals() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    for hold in 1..=5 {
        admit(&store, hold, 500).await;
        resolve(&store, hold, used(300)).await;
    }
    admit(&store, 6, 700).await;
    resolve(&store, 6, Resolution::Presume(None)).await;
    let (sound, entries) = (without_finals(book(&store).await), store.entries(&account(), None, 100).await.unwrap());
    store.close().await.unwrap();
    drop(store);
    to_format_1(dir.path(), &entries);

    let store = open(dir.path()).unwrap();
    assert_eq!(store.opening().recovery, None);
    assert_eq!(book(&store).await, sound);
    assert_eq!(store.entries(&account(), None, 100).await.unwrap(), entries);
    let again = resolve(&store, 3, used(9)).await;
    assert!(matches!(again, Outcome::NotOpen(HoldState::Settled)), "{again:?}");
    resolve(&store, 6, used(10)).await;
    store.close().await.unwrap();
    drop(store);
    assert_eq!(balance(&open(dir.path()).unwrap()).await, figures(100_000, 0, 1_510, 0));
}

#[tokio::test]
async fn a_recovered_ledger_takes_the_console_s_figure_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    admit(&store, 1, 500).await;
    store.close().await.unwrap();
    let busy = recover(&slow(dir.path()), &clock());
    assert!(busy.is_ok(), "a closed store has let go of its file: {busy:?}");
    drop(store);
    let store = open(dir.path()).unwrap();
    assert!(matches!(recover(&slow(dir.path()), &clock()), Err(OpenError::Locked { .. })));
    let refused = store.reserve(&account(), ask(2, 500)).await.unwrap();
    assert!(matches!(refused, Outcome::Refused(..)), "{refused:?}");
    let figure = Operation::Sync { pool: pool(), grant: GrantId(1), remaining: 40_000, raise: true };
    assert!(matches!(store.operate(&account(), figure).await.unwrap(), Outcome::Done(_)));
    admit(&store, 3, 500).await;
    drop(store);
    assert_eq!(used_of(balance(&open(dir.path()).unwrap()).await), 60_500);
}
