//! The starters of real Redis servers do what the tests of the shared store rely on.

use crate::support::redis::{Cluster, EVERYSEC, Sentinels, Server, until};

#[tokio::test]
async fn a_server_that_is_frozen_keeps_its_connections_and_answers_nothing() {
    let server =
        Server::start_guarded(&[EVERYSEC[0], EVERYSEC[1], "requirepass \"a secret\""], &["--pass", "a secret"]);
    assert!(server.url().starts_with("redis://127.0.0.1:"));
    server.freeze();
    assert_eq!(server.cli(&["PING"]), "");
    server.thaw();
    assert_eq!(server.cli(&["PING"]), "PONG");
}

#[tokio::test]
async fn a_server_survives_what_a_test_does_to_it() {
    let mut server = Server::always();
    server.must(&["SET", "a", "1"]);
    let snapshot = server.snapshot();
    server.must(&["SET", "a", "2"]);
    server.kill();
    server.restart();
    assert_eq!(server.cli(&["GET", "a"]), "2");
    server.restart_from(Some(&snapshot));
    assert_eq!(server.cli(&["GET", "a"]), "1");
    assert_eq!(server.cli(&["CONFIG", "GET", "appendfsync"]), "appendfsync\nalways");
    assert_eq!(server.fact("aof_enabled").unwrap(), "1");
    server.shut_down();
    server.restart();
    assert_eq!(server.cli(&["GET", "a"]), "1");
    server.restart_from(None);
    assert_eq!(server.cli(&["GET", "a"]), "");
}

#[tokio::test]
async fn sentinels_promote_the_replica() {
    let mut trio = Sentinels::start();
    assert_eq!(trio.url().matches("127.0.0.1").count(), 3);
    let old = trio.primary();
    trio.servers[old].kill();
    let new = trio.wait_for_another(old).await;
    assert_ne!(new, old);
    trio.servers[old].restart();
    until("a primary with a replica again", || trio.servers[new].fact("connected_slaves").as_deref() == Some("1"))
        .await;
}

#[tokio::test]
async fn a_cluster_moves_a_slot_and_promotes_a_replica() {
    assert_eq!(Cluster::of_masters().url().matches("127.0.0.1").count(), 3);
    let mut cluster = Cluster::start();
    let old = cluster.owner(0, "{a}");
    let to = (old + 1) % 3;
    cluster.servers[old].must(&["SET", "{a}", "1"]);
    cluster.migrate("{a}", to);
    assert_eq!(cluster.owner(to, "{a}"), to);
    assert_eq!(cluster.servers[to].cli(&["GET", "{a}"]), "1");
    let [replica] = cluster.replicas_of(to)[..] else { panic!("one replica is expected") };
    until("the replica has it", || cluster.servers[replica].cli(&["DBSIZE"]) == "1").await;
    cluster.servers[to].kill();
    let asked = (to + 1) % 3;
    assert_eq!(cluster.wait_for_another(asked, "{a}", to).await, replica);
    until("the new master says it", || cluster.servers[replica].cli(&["GET", "{a}"]) == "1").await;
}
