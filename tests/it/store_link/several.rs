//! Faults of servers that belong together: failover, split brain, slots on their way.

use super::*;
use crate::support::redis::{Cluster, Sentinels, WAIT, until};

fn patient(url: &str, dir: &Path) -> Settings {
    // The replicas of a busy machine may take their time.
    Settings { timeout: Duration::from_secs(1), ..settings(url, dir) }
}

#[tokio::test]
async fn after_a_failover_the_promoted_replica_is_used_without_an_operator() {
    let (dir, mut trio) = (tempfile::tempdir().unwrap(), Sentinels::start_with(2, &WAIT));
    let store = funded(patient(&trio.url(), dir.path())).await;
    for hold in 1..=20 {
        spend(&store, hold).await;
    }
    let old = trio.primary();
    trio.servers[old].kill();
    stops(&store, 100, "").await;
    comes_back(&store, 1_000_000).await;
    let new = trio.primary();
    assert_ne!(new, old);
    assert_eq!(spent(&store).await, 20);
    // The old primary comes back as a replica; its run id was never the store's.
    trio.restart_behind(old, new);
    until("all replicas in step", || trio.servers[new].fact("connected_slaves").as_deref() == Some("2")).await;
    comes_back(&store, 2_000_000).await;
}

#[tokio::test]
async fn a_promoted_primary_alone_refuses_until_it_has_a_replica() {
    let (dir, mut trio) = (tempfile::tempdir().unwrap(), Sentinels::start());
    let store = funded(patient(&trio.url(), dir.path())).await;
    spend(&store, 1).await;
    let old = trio.primary();
    trio.servers[old].kill();
    let new = trio.wait_for_another(old).await;
    stops(&store, 100, "redis-async").await;
    trio.restart_behind(old, new);
    until("a replica in step", || trio.servers[new].fact("connected_slaves").as_deref() == Some("1")).await;
    comes_back(&store, 1_000_000).await;
    assert_eq!(spent(&store).await, 1);
}

#[tokio::test]
async fn a_primary_that_is_restarted_in_its_place_may_have_lost_something() {
    let (dir, mut trio) = (tempfile::tempdir().unwrap(), Sentinels::start());
    let store = funded(patient(&trio.url(), dir.path())).await;
    let primary = trio.primary();
    trio.be_patient();
    trio.servers[primary].kill();
    trio.servers[primary].restart();
    stops(&store, 1, "gratis store resume").await;
    assert_eq!(trio.primary(), primary, "the sentinels were faster than the restart");
    until("a replica that counts", || trio.servers[primary].fact("min_slaves_good_slaves").as_deref() == Some("1"))
        .await;
    store.resume().await.unwrap();
    comes_back(&store, 1_000).await;
}

#[tokio::test]
async fn a_write_that_the_replica_does_not_acknowledge_is_not_done_for_us() {
    let (dir, trio) = (tempfile::tempdir().unwrap(), Sentinels::start());
    let store = funded(patient(&trio.url(), dir.path())).await;
    let replica = 1 - trio.primary();
    trio.servers[replica].freeze();
    let error = reserve(&store, 1).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::TimedOut, "{error}");
    stops(&store, 100, "").await;
    trio.servers[replica].thaw();
    comes_back(&store, 1_000).await;
}

#[tokio::test]
async fn a_deposed_primary_that_wakes_up_acknowledges_nothing() {
    let (dir, trio) = (tempfile::tempdir().unwrap(), Sentinels::start_with(2, &WAIT));
    let store = funded(patient(&trio.url(), dir.path())).await;
    spend(&store, 1).await;
    let old = trio.primary();
    trio.servers[old].freeze();
    trio.wait_for_another(old).await;
    trio.servers[old].thaw();
    comes_back(&store, 1_000).await;
    let now = spent(&store).await;
    for hold in 10_000..10_020 {
        spend(&store, hold).await;
    }
    assert_eq!(spent(&store).await, now + 20);
}

#[tokio::test]
async fn sentinels_that_do_not_answer_are_not_waited_for() {
    let (dir, mut trio) = (tempfile::tempdir().unwrap(), Sentinels::start_with(2, &WAIT));
    trio.sentinels[0].freeze();
    let store = funded(patient(&trio.url(), dir.path())).await;
    trio.sentinels[0].thaw();
    until("the sentinel is back", || trio.sentinels[0].cli(&["PING"]) == "PONG").await;
    let old = trio.primary();
    trio.servers[old].kill();
    comes_back(&store, 1_000).await;
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_account_along() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), Cluster::of_masters());
    let store = funded(patient(&cluster.url(), dir.path())).await;
    let key = format!("{{{}}}", account().as_str());
    let mut spent_so_far = 0;
    for round in 0..6 {
        let from = cluster.owner(0, &key);
        let to = (from + 1) % 3;
        cluster.migrate(&key, to);
        // Whoever asks the old owner is told where the slot is, and nothing was done there.
        spend(&store, 1_000 + round).await;
        spent_so_far += 1;
        assert_eq!(spent(&store).await, spent_so_far);
    }
}

#[tokio::test]
async fn an_account_whose_slot_is_on_its_way_is_found_where_it_is() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), Cluster::of_masters());
    let store = funded(patient(&cluster.url(), dir.path())).await;
    let key = format!("{{{}}}", account().as_str());
    let from = cluster.owner(0, &key);
    let to = (from + 1) % 3;
    let slot = cluster.servers[to].cli(&["CLUSTER", "KEYSLOT", &key]);
    cluster.begin_migration(&slot, from, to);
    spend_or_refuse(&store, 1).await;
    cluster.move_keys(&slot, from, to);
    spend_or_refuse(&store, 100).await;
    cluster.end_migration(&slot, from, to);
    comes_back(&store, 1_000).await;
}

/// Before a slot has arrived a call may be refused, but never half done.
async fn spend_or_refuse(store: &Redis, hold: u128) {
    if let Err(error) = reserve(store, hold).await {
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_cluster_promotes_a_replica_without_an_operator() {
    let (dir, mut cluster) = (tempfile::tempdir().unwrap(), Cluster::start_with(3, 2, &WAIT));
    let store = funded(patient(&cluster.url(), dir.path())).await;
    for hold in 1..=20 {
        spend(&store, hold).await;
    }
    let key = format!("{{{}}}", account().as_str());
    let old = cluster.owner(0, &key);
    cluster.servers[old].kill();
    stops(&store, 100, "").await;
    comes_back(&store, 1_000_000).await;
    assert_ne!(cluster.owner((old + 1) % 3, &key), old);
    assert_eq!(spent(&store).await, 20);
}
