//! Faults of one server: gone, silent, forgetful, older, another.

use super::*;
use crate::support::redis::{ALWAYS, Server};

async fn always(dir: &Path) -> (Server, Redis) {
    let server = Server::always();
    let store = funded(settings(&server.url(), dir)).await;
    (server, store)
}

#[tokio::test]
async fn a_killed_server_refuses_at_once_and_goes_on_when_an_operator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, store) = always(dir.path()).await;
    spend(&store, 1).await;
    server.kill();
    stops(&store, 100, "").await;
    assert!(store.standing().breaker_open && store.check().await.is_err());
    server.restart();
    stops(&store, 200, "gratis store resume").await;
    assert!(store.standing().suspended.unwrap().contains("restarted or replaced"));
    // Neither time nor a restart of this replica makes it go on.
    end(store).await;
    let store = open(settings(&server.url(), dir.path())).await.unwrap();
    stops(&store, 300, "gratis store resume").await;
    store.resume().await.unwrap();
    spend(&store, 400).await;
    assert_eq!(spent(&store).await, 2);
}

#[tokio::test]
async fn one_operator_lets_every_replica_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, store) = always(&dir.path().join("one")).await;
    let other = open(settings(&server.url(), &dir.path().join("two"))).await.unwrap();
    spend(&other, 1).await;
    server.kill();
    server.restart();
    stops(&store, 100, "gratis store resume").await;
    stops(&other, 200, "gratis store resume").await;
    store.resume().await.unwrap();
    comes_back(&other, 300).await;
}

#[tokio::test]
async fn a_silent_server_is_asked_no_more_and_is_used_again_when_it_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let (server, store) = always(dir.path()).await;
    server.freeze();
    let first = reserve(&store, 1).await.unwrap_err();
    assert_eq!(first.kind, StoreErrorKind::TimedOut, "{first}");
    stops(&store, 100, "").await;
    // Many calls at once wait for nothing.
    let calls = (0..1_000).map(|hold| reserve(&store, 200 + hold));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap_err().kind, StoreErrorKind::Unavailable);
    }
    server.thaw();
    comes_back(&store, 2_000).await;
    assert!(!store.standing().breaker_open);
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again_within_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let (server, store) = always(dir.path()).await;
    for hold in 1..=10 {
        server.must(&["SCRIPT", "FLUSH"]);
        spend(&store, hold).await;
    }
    assert_eq!(spent(&store).await, 10);
}

#[tokio::test]
async fn a_flushed_store_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let (server, store) = always(dir.path()).await;
    spend(&store, 1).await;
    server.must(&["FLUSHALL"]);
    let error = reserve(&store, 2).await.unwrap_err();
    assert!(!matches!(error.kind, StoreErrorKind::TimedOut), "{error}");
    stops(&store, 100, "no longer in the store").await;
    assert!(store.resume().await.is_err(), "there is nothing to go on from");
    end(store).await;
    let store = open(settings(&server.url(), dir.path())).await.unwrap();
    stops(&store, 200, "gratis store rebuild").await;
}

#[tokio::test]
async fn an_empty_restart_and_another_database_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, store) = always(dir.path()).await;
    end(store).await;
    let elsewhere = open(settings(&format!("{}/1", server.url()), dir.path())).await.unwrap();
    stops(&elsewhere, 1, "no longer in the store").await;
    end(elsewhere).await;
    server.restart_from(None);
    let store = open(settings(&server.url(), dir.path())).await.unwrap();
    stops(&store, 100, "no longer in the store").await;
}

#[tokio::test]
async fn another_ledger_is_not_taken_for_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (server, store) = always(&dir.path().join("one")).await;
    end(store).await;
    server.must(&["FLUSHALL"]);
    end(funded(settings(&server.url(), &dir.path().join("two"))).await).await;
    let store = open(settings(&server.url(), &dir.path().join("one"))).await.unwrap();
    stops(&store, 1, "belongs to").await;
}

#[tokio::test]
async fn a_restored_snapshot_is_an_older_state() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, store) = always(dir.path()).await;
    spend(&store, 1).await;
    let snapshot = server.snapshot();
    let beat = || server.cli(&["HVALS", "gratis:{0}:beat"]).trim().parse::<u64>().unwrap();
    let then = beat();
    crate::support::redis::until("two more beats", || beat() >= then + 2).await;
    spend(&store, 2).await;
    server.restart_from(Some(&snapshot));
    stops(&store, 100, "gratis store resume").await;
    end(store).await;
    // What stands in the store after it was put back by hand, without a restart, is seen by the beat.
    let store = open(settings(&server.url(), dir.path())).await.unwrap();
    stops(&store, 200, "gratis store").await;
}

#[tokio::test]
async fn a_store_that_goes_back_while_it_runs_is_seen_by_its_beat() {
    let dir = tempfile::tempdir().unwrap();
    let (server, store) = always(dir.path()).await;
    let beat = || server.cli(&["HVALS", "gratis:{0}:beat"]).trim().parse::<u64>().unwrap();
    let then = beat();
    crate::support::redis::until("two more beats", || beat() >= then + 2).await;
    let replica = server.cli(&["HKEYS", "gratis:{0}:beat"]);
    server.cli(&["HSET", "gratis:{0}:beat", replica.trim(), &then.to_string()]);
    stops(&store, 1, "older state").await;
    assert!(store.standing().suspended.is_some());
    // The evidence is left alone.
    assert_eq!(beat(), then);
    store.resume().await.unwrap();
    comes_back(&store, 100).await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&["save 3600 1", "stop-writes-on-bgsave-error yes"]);
    let store = funded(lossy(&server.url(), dir.path())).await;
    // A snapshot cannot take the place of a folder.
    std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
    server.cli(&["BGSAVE"]);
    stops(&store, 1, "MISCONF").await;
    std::fs::remove_dir(server.dir().join("dump.rdb")).unwrap();
    server.must(&["SAVE"]);
    comes_back(&store, 100).await;
}

#[tokio::test]
async fn a_server_that_is_loading_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    // Each key takes a while to load, so that a call meets the loading.
    let mut server = Server::start(&[ALWAYS[0], ALWAYS[1], "key-load-delay 200"]);
    let store = funded(settings(&server.url(), dir.path())).await;
    server.cli(&["EVAL", "for i = 1, 20000 do redis.call('SET', 'k' .. i, 'v') end", "0"]);
    server.kill();
    server.restart_loading();
    stops(&store, 1, "loading").await;
    stops(&store, 100, "gratis store resume").await;
    store.resume().await.unwrap();
    comes_back(&store, 200).await;
}
