//! What a server promises, and what it must not be set to.

use super::*;
use crate::support::redis::{ALWAYS, Cluster, EVERYSEC, Sentinels, Server, WAIT};

async fn class(settings: Settings) -> String {
    let store = open(settings).await.unwrap();
    let promise = store.promise().remove(0);
    end(store).await;
    promise
}

#[tokio::test]
async fn a_class_that_loses_what_was_acknowledged_opens_only_where_that_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let always = Server::always();
    assert!(class(settings(&always.url(), dir.path())).await.starts_with("redis-always: nothing"));
    for (lines, name) in [
        (&EVERYSEC[..], "redis-everysec"),
        (&["appendonly yes", "appendfsync no"], "redis-snapshots"),
        (&["save 60 1"], "redis-snapshots"),
        (&[], "redis-memory"),
    ] {
        let server = Server::start(lines);
        let why = refusal(settings(&server.url(), dir.path())).await;
        for part in [name, "lost", "`appendonly yes` and `appendfsync always`", "store.accept_loss"] {
            assert!(why.contains(part), "{lines:?}: no {part:?} in {why}");
        }
        assert!(class(lossy(&server.url(), dir.path())).await.starts_with(&format!("{name}: ")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_server_that_throws_counters_away_is_refused_whatever_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[ALWAYS[0], ALWAYS[1], "maxmemory-policy allkeys-lru"]);
    let why = refusal(lossy(&server.url(), dir.path())).await;
    assert!(why.contains("maxmemory-policy is allkeys-lru") && why.contains("noeviction"), "{why}");
}

#[tokio::test]
async fn a_setting_that_is_weakened_while_it_runs_stops_admissions_until_it_is_put_back() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::always());
    let store = funded(settings(&server.url(), dir.path())).await;
    for (name, weak, strong) in [
        ("appendfsync", "everysec", "always"),
        ("maxmemory-policy", "volatile-lru", "noeviction"),
        ("appendonly", "no", "yes"),
    ] {
        comes_back(&store, 1_000).await;
        server.config(name, weak);
        stops(&store, 2_000, if name == "maxmemory-policy" { name } else { "class" }).await;
        assert!(store.standing().suspended.is_some(), "{name}");
        server.config(name, strong);
    }
    comes_back(&store, 3_000).await;
    assert!(store.standing().suspended.is_none());
}

#[tokio::test]
async fn an_address_of_another_kind_says_how_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (server, trio, cluster) = (Server::always(), Sentinels::start(), Cluster::of_masters());
    let node = cluster.servers[0].address();
    let sentinel = trio.sentinels[0].address();
    for (url, said) in [
        (format!("redis://{node}"), "redis+cluster://"),
        (format!("redis://{sentinel}"), "redis+sentinel://"),
        (format!("redis+cluster://{}", server.address()), "redis://host"),
        (format!("redis+sentinel://{}/gratis", server.address()), "it is no sentinel: write store.url as redis://"),
        (format!("redis+sentinel://{sentinel}/other"), "knows no service other"),
        (format!("redis://{}", trio.servers[1].address()), "no primary"),
    ] {
        let why = refusal(lossy(&url, dir.path())).await;
        assert!(why.contains(said), "{url}: no {said:?} in {why}");
    }
}

#[tokio::test]
async fn replicas_make_a_class_strict_only_when_a_primary_alone_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let trio = Sentinels::start();
    let promise = class(settings(&trio.url(), dir.path())).await;
    assert!(promise.starts_with("redis-wait: nothing") && promise.contains("1 replica"), "{promise}");
    for lines in [&["appendonly yes"][..], &[WAIT[1], WAIT[2]]] {
        let weak = Sentinels::start_with(1, lines);
        let why = refusal(settings(&weak.url(), dir.path())).await;
        assert!(why.contains("redis-async") && why.contains("min-replicas-to-write"), "{why}");
        assert!(class(lossy(&weak.url(), dir.path())).await.starts_with("redis-async: "));
    }
    let alone = Cluster::of_masters();
    assert!(class(settings(&alone.url(), dir.path())).await.starts_with("redis-always"));
}
