//! Faults of replicas and of the store that nothing is lost in: three replicas under load, and the two ledgers compared at the end.

use std::time::Duration;

use crate::shared_site::{Trio, rounds};
use crate::support::proxy::{Faults, Proxy};
use crate::support::redis::{Cluster, Sentinels, Server};

/// How long a store is frozen.
fn frozen() -> Duration {
    Duration::from_secs(if rounds() > 1 { 5 } else { 2 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_replica_is_killed_in_turn() {
    let server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        for place in 0..3 {
            trio.replicas[place].take().unwrap().kill();
            trio.run().await;
            trio.start_again().await;
        }
        trio.recovers().await;
    }
    trio.finish("replica kill -9").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_frozen() {
    let server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        server.freeze();
        let since = std::time::Instant::now();
        trio.refuses().await;
        tokio::time::sleep(frozen().saturating_sub(since.elapsed())).await;
        server.thaw();
        trio.recovers().await;
        trio.run().await;
    }
    trio.finish("SIGSTOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_killed_and_an_operator_goes_on() {
    let mut server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        server.kill();
        trio.refuses().await;
        server.restart();
        // It has another run id: nothing goes on by itself.
        trio.refuses().await;
        trio.resume().await;
        trio.recovers().await;
        trio.run().await;
    }
    trio.finish("redis kill -9").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_another_primary() {
    let mut sentinels = Sentinels::start();
    let mut trio = Trio::start(&sentinels.url()).await;
    for _ in 0..rounds() {
        let old = sentinels.primary();
        sentinels.servers[old].kill();
        let since = std::time::Instant::now();
        trio.refuses().await;
        sentinels.wait_for_another(old).await;
        trio.note("promoted after", since.elapsed());
        // A primary without a replica takes no writes.
        sentinels.servers[old].restart();
        trio.recovers().await;
        trio.run().await;
    }
    trio.finish("sentinel failover").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_moves_the_slot_and_promotes_a_replica() {
    const KEY: &str = "{default}";
    let mut cluster = Cluster::start();
    let mut trio = Trio::start(&cluster.url()).await;
    for _ in 0..rounds() {
        for _ in 0..3 {
            let to = (cluster.owner(0, KEY) + 1) % 3;
            cluster.migrate(KEY, to);
            trio.run().await;
        }
        let old = cluster.owner(0, KEY);
        let asked = (0..3).find(|place| *place != old).unwrap();
        cluster.servers[old].kill();
        trio.refuses().await;
        let new = cluster.wait_for_another(asked, KEY, old).await;
        cluster.servers[old].restart();
        trio.recovers().await;
        trio.run().await;
        // The masters are the first three again for the next round.
        cluster.hand_back(old, new).await;
        trio.recovers().await;
    }
    trio.finish("cluster migration, failover").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_are_forgotten() {
    let server = Server::always();
    let trio = Trio::start(&server.url()).await;
    for _ in 0..20 * rounds() {
        server.must(&["SCRIPT", "FLUSH"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let line = trio.finish("SCRIPT FLUSH").await;
    assert_eq!((line.charged, line.presumed), (line.spent, 0), "something was lost: {line:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_delays_cuts_and_repeats() {
    let server = Server::always();
    let faults = Faults {
        delay_every: 41,
        delay: Duration::from_millis(300),
        cut_every: 67,
        replay_every: 5,
        replay_after: Duration::from_millis(700),
    };
    let proxy = Proxy::start(server.port(), faults).await;
    let trio = Trio::start(&proxy.url()).await;
    for _ in 0..4 * rounds() {
        trio.run().await;
    }
    let seen = proxy.counts.seen();
    println!("delays, cuts, replays: {seen:?}");
    assert!(seen.iter().all(|count| *count > 0), "the network was well: {seen:?}");
    proxy.heal();
    trio.finish("delays, cuts, replays").await;
}
