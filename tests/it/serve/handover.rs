//! Restarts under load with a listening socket that outlives its processes (F-LIF-3).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gratis::simulator;
use serde_json::json;
use tokio::task::JoinSet;

use super::{charged, hi, settled, upstream};
use crate::support::binary::{Gratis, Home};
use crate::support::plug::{Plug, chat_request};
use crate::support::redis::Server;

/// Restarts of the test; the campaign makes more (`GRATIS_RESTARTS`).
const RESTARTS: usize = 6;

/// Calls at once.
const CLIENTS: usize = 4;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    whole: AtomicU64,
    /// The longest that one waited, in ms.
    longest: AtomicU64,
    stop: AtomicBool,
}

/// Calls one after the other, each on a connection of its own; every reply must be whole.
async fn calls(origin: String, key: String, seen: Arc<Seen>) {
    let mut number = 0;
    while !seen.stop.load(Ordering::SeqCst) {
        number += 1;
        let stream = number % 2 == 0;
        let begun = Instant::now();
        let mut plug = Plug::to(&origin).await;
        plug.write(chat_request("1.1", &key, "connection: close\r\n", &hi(stream).to_string())).await;
        let reply = String::from_utf8(plug.rest().await).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "call {number} was refused or cut: {reply:?}");
        let end = if stream { "data: [DONE]" } else { "total_tokens" };
        assert!(reply.contains(end), "call {number} was cut: {reply:?}");
        seen.whole.fetch_add(1, Ordering::SeqCst);
        let waited = u64::try_from(begun.elapsed().as_millis()).unwrap();
        seen.longest.fetch_max(waited, Ordering::SeqCst);
    }
}

/// A listening socket that is kept over restarts, and the clients that call through it.
struct Kept {
    socket: TcpListener,
    origin: String,
    seen: Arc<Seen>,
    clients: JoinSet<()>,
}

impl Kept {
    fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", socket.local_addr().unwrap());
        Self { socket, origin, seen: Arc::default(), clients: JoinSet::new() }
    }

    fn handed(&self) -> OwnedFd {
        OwnedFd::from(self.socket.try_clone().unwrap())
    }

    fn load(&mut self, key: &str) {
        for _ in 0..CLIENTS {
            self.clients.spawn(calls(self.origin.clone(), key.to_owned(), Arc::clone(&self.seen)));
        }
    }

    /// Some calls more.
    async fn run(&mut self) {
        let before = self.seen.whole.load(Ordering::SeqCst);
        while self.seen.whole.load(Ordering::SeqCst) < before + 8 {
            assert!(self.clients.try_join_next().is_none(), "a client gave up");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn end(mut self, restarts: usize) {
        self.seen.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let (whole, longest) = (self.seen.whole.load(Ordering::SeqCst), self.seen.longest.load(Ordering::SeqCst));
        println!("{restarts} restarts, {whole} calls, none refused, none cut; the longest took {longest} ms");
    }
}

fn restarts() -> usize {
    std::env::var("GRATIS_RESTARTS").map_or(RESTARTS, |text| text.parse().unwrap())
}

async fn ends_well(gratis: &mut Gratis) {
    gratis.signal("TERM");
    let status = gratis.ended().await;
    assert_eq!(status.code(), Some(0), "{}", gratis.said());
}

async fn nothing_is_lost(home: &Home, gratis: &Gratis, simulator: &simulator::Running) {
    let balance = settled(home, gratis).await;
    assert_eq!(balance["presumed"], json!(0), "{balance}");
    assert_eq!(balance["spent"], json!(charged(simulator).await), "{balance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_3_restarts_under_load_refuse_nobody_and_cut_nobody() {
    let simulator = upstream(Duration::from_millis(2)).await;
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=50,000,000/50,000,000");
    let mut kept = Kept::new();
    let mut gratis = home.serve_on(kept.handed(), &[]);
    assert_eq!(gratis.origin, kept.origin, "it serves on what it was given");
    kept.load(&key);
    for _ in 0..restarts() {
        kept.run().await;
        ends_well(&mut gratis).await;
        gratis = home.serve_on(kept.handed(), &[]);
    }
    kept.end(restarts()).await;
    nothing_is_lost(&home, &gratis, &simulator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_3_on_a_shared_store_the_next_process_serves_before_the_last_one_ends() {
    let simulator = upstream(Duration::from_millis(2)).await;
    let redis = Server::always();
    let mut home = Home::new(&simulator.origin(), "");
    home.set("GRATIS_STORE__URL", &redis.url());
    let key = home.init("qwen-max=50,000,000/50,000,000");
    // Two processes at a time, so two state folders, which know the same keys.
    let folders = ["state", "other"];
    std::fs::create_dir(home.path().join(folders[1])).unwrap();
    for file in ["pepper", "admin-token"] {
        std::fs::copy(home.path().join("state").join(file), home.path().join(folders[1]).join(file)).unwrap();
    }
    let mut kept = Kept::new();
    let next = |kept: &Kept, number: usize| {
        home.serve_on(kept.handed(), &[("GRATIS_STORE__STATE_DIR", folders[number % folders.len()])])
    };
    let mut gratis = next(&kept, 0);
    kept.load(&key);
    for number in 1..=restarts() {
        kept.run().await;
        let mut last = std::mem::replace(&mut gratis, next(&kept, number));
        ends_well(&mut last).await;
    }
    kept.end(restarts()).await;
    nothing_is_lost(&home, &gratis, &simulator).await;
}
