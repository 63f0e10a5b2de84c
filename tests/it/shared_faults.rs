//! Three replicas on one shared store under load while something breaks; afterwards the simulator's own ledger judges.
//!
//! Each run ends with the grant used up: overspent 0, drift 0, at least 95 % of it spent or presumed.

use std::time::Duration;

use http::StatusCode;

use crate::shared_site::{REPLICAS, Trio};
use crate::support::redis::{Cluster, Sentinels, Server, WAIT};

/// What is granted in a run: enough that the trouble is over before it is used up.
const GRANTED: u64 = 3_000_000;

async fn a_while() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_is_killed_in_turn() {
    let server = Server::always();
    let trio = Trio::new(&server.url(), GRANTED);
    let mut processes = trio.serve_all().await;
    let (report, processes) = trio
        .under_load(async {
            for replica in 0..REPLICAS {
                a_while().await;
                processes.remove(0).kill();
                processes.push(trio.serve(replica, true).await);
            }
            a_while().await;
            processes
        })
        .await;
    trio.judge("kill -9 of each replica", &report).await;
    drop(processes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_stands_still() {
    let server = Server::always();
    let trio = Trio::new(&server.url(), GRANTED);
    let _processes = trio.serve_all().await;
    let (report, ()) = trio
        .under_load(async {
            a_while().await;
            server.freeze();
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.thaw();
            trio.wait_all(StatusCode::OK).await;
            a_while().await;
        })
        .await;
    trio.judge("Redis SIGSTOP for 5 s", &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_killed_and_an_operator_says_to_go_on() {
    let mut server = Server::always();
    let trio = Trio::new(&server.url(), GRANTED);
    let _processes = trio.serve_all().await;
    let (report, ()) = trio
        .under_load(async {
            for _ in 0..3 {
                a_while().await;
                server.kill();
                server.restart();
                // Another run id: what it acknowledged may be missing until somebody has looked.
                trio.wait_all(StatusCode::SERVICE_UNAVAILABLE).await;
                trio.must(&["store", "resume", "--yes"]);
                trio.wait_all(StatusCode::OK).await;
            }
            a_while().await;
        })
        .await;
    trio.judge("Redis kill -9, appendfsync always", &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_forgotten_under_load() {
    let server = Server::always();
    let trio = Trio::new(&server.url(), GRANTED);
    let _processes = trio.serve_all().await;
    let (report, ()) = trio
        .under_load(async {
            for _ in 0..20 {
                server.must(&["SCRIPT", "FLUSH"]);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    assert!(report.errors.is_empty(), "a forgotten script is loaded again: {:?}", report.errors);
    trio.judge("SCRIPT FLUSH", &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_promote_a_replica_under_load() {
    // Two replicas: one is left to acknowledge after the other was promoted.
    let mut sentinels = Sentinels::start_with(2, &WAIT);
    let trio = Trio::new(&sentinels.url(), GRANTED);
    let _processes = trio.serve_all().await;
    let (report, ()) = trio
        .under_load(async {
            a_while().await;
            let old = sentinels.primary();
            sentinels.servers[old].kill();
            sentinels.wait_for_another(old).await;
            trio.wait_all(StatusCode::OK).await;
            a_while().await;
        })
        .await;
    trio.judge("Sentinel failover", &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_the_accounts_slot_under_load() {
    let cluster = Cluster::start();
    let trio = Trio::new(&cluster.url(), GRANTED);
    let _processes = trio.serve_all().await;
    let key = "gratis:{default}:a";
    let (report, ()) = trio
        .under_load(async {
            for _ in 0..3 {
                a_while().await;
                let owner = cluster.owner(0, key);
                cluster.migrate(key, (owner + 1) % 3);
            }
            trio.wait_all(StatusCode::OK).await;
            a_while().await;
        })
        .await;
    trio.judge("Cluster slot migration", &report).await;
}

/// Every replica refuses by itself; then the journals make the ledger again.
async fn lost_and_rebuilt(label: &str, lose: impl AsyncFnOnce(&mut Server, &[u8])) {
    let mut server = Server::always();
    let trio = Trio::new(&server.url(), GRANTED);
    let mut processes = trio.serve_all().await;
    let older = server.snapshot();
    let (report, ()) = trio.under_load(a_while()).await;
    lose(&mut server, &older).await;
    trio.wait_all(StatusCode::SERVICE_UNAVAILABLE).await;
    let answers = trio.answers().await;
    assert!(answers.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{label}: {answers:?}");
    processes.clear();
    let journals = trio.journals();
    let mut words = vec!["store", "rebuild", "--yes"];
    words.extend(journals.iter().map(String::as_str));
    let said = trio.must(&words);
    println!("{label}:\n{said}");
    let _processes = trio.serve_all().await;
    trio.judge(label, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_refuses_until_it_is_made_again() {
    lost_and_rebuilt("FLUSHALL", async |server, _| server.must(&["FLUSHALL"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_refuses_until_it_is_made_again() {
    lost_and_rebuilt("restore of an old RDB", async |server, older| server.restart_from(Some(older))).await;
}
