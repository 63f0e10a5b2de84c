//! The operator's way out of a ledger that cannot be trusted.

use gratis::ledger::{GrantId, Operation, Outcome};
use gratis::store::LedgerStore;
use gratis::store::embedded::{OpenError, recover};
use rusqlite::Connection;

use crate::store_support::*;

#[tokio::test]
async fn a_ledger_that_fails_the_recount_is_refused_with_both_figures_and_can_be_recovered() {
    let damages = [
        ("DELETE FROM entry WHERE kind = 'settle'", "its entries say"),
        ("UPDATE entry SET spent = -900 WHERE kind = 'settle'", "its entries say"),
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
