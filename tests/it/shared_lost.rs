//! Faults in which the store forgets, or is away while calls end: nothing goes on until the journals have made it good.

use crate::shared_site::{Trio, rounds};
use crate::support::redis::{Server, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_emptied_is_rebuilt() {
    let server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        server.must(&["FLUSHALL"]);
        trio.refuses().await;
        trio.rebuild().await;
        trio.recovers().await;
        trio.run().await;
    }
    trio.finish("FLUSHALL, rebuild").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_snapshot_is_refused_and_rebuilt() {
    let mut server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        let snapshot = server.snapshot();
        trio.run().await;
        server.restart_from(Some(&snapshot));
        trio.refuses().await;
        trio.rebuild().await;
        trio.recovers().await;
        trio.run().await;
    }
    trio.finish("old RDB, rebuild").await;
}

/// One replica is stopped and one killed while the store is away: what they owed is in their journals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlements_wait_on_the_disk_while_the_store_is_away() {
    let mut server = Server::always();
    let mut trio = Trio::start(&server.url()).await;
    for _ in 0..rounds() {
        server.kill();
        trio.refuses().await;
        let owed = trio.parked();
        assert!(owed > 0, "no settlement met the fault");
        let stopped = trio.replicas[0].take().unwrap().stop().await;
        trio.note("stopped in", stopped);
        trio.replicas[1].take().unwrap().kill();
        assert_eq!(trio.parked(), owed, "what was on the disk is gone");
        server.restart();
        trio.resume().await;
        trio.start_again().await;
        trio.recovers().await;
        let since = std::time::Instant::now();
        until("what was owed is settled", || trio.parked() == 0).await;
        trio.note("settled after", since.elapsed());
        trio.run().await;
    }
    trio.finish("parked settlements").await;
}
