//! Restarts under load with a listening socket that outlives its processes (F-LIF-3).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{charged, hi, settled, upstream};
use crate::support::binary::Home;
use crate::support::plug::{Plug, chat_request};

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

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_3_restarts_under_load_refuse_nobody_and_cut_nobody() {
    let restarts = std::env::var("GRATIS_RESTARTS").map_or(RESTARTS, |text| text.parse().unwrap());
    let simulator = upstream(Duration::from_millis(2)).await;
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=50,000,000/50,000,000");
    let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", kept.local_addr().unwrap());
    let handed = || OwnedFd::from(kept.try_clone().unwrap());
    let mut gratis = home.serve_on(handed());
    assert_eq!(gratis.origin, origin, "it serves on what it was given");
    let seen = Arc::new(Seen::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(calls(origin.clone(), key.clone(), Arc::clone(&seen)));
    }
    for restart in 0..restarts {
        let before = seen.whole.load(Ordering::SeqCst);
        while seen.whole.load(Ordering::SeqCst) < before + 8 {
            assert!(clients.try_join_next().is_none(), "a client gave up before restart {restart}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gratis.signal("TERM");
        let status = gratis.ended().await;
        assert_eq!(status.code(), Some(0), "{}", gratis.said());
        gratis = home.serve_on(handed());
    }
    seen.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let whole = seen.whole.load(Ordering::SeqCst);
    let longest = seen.longest.load(Ordering::SeqCst);
    println!("{restarts} restarts, {whole} calls, none refused, none cut; the longest took {longest} ms");
    let balance = settled(&home, &gratis).await;
    assert_eq!(balance["presumed"], json!(0), "{balance}");
    assert_eq!(balance["spent"], json!(charged(&simulator).await), "{balance}");
}
