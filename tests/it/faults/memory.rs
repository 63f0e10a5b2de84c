//! Memory under overload (F-LIF-6): a crowd of large bodies, and a process that has used what it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gratis::simulator;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::{DIALECTS, hi, metric};
use crate::support::PATIENCE;
use crate::support::binary::{Gratis, Home};
use crate::support::plug::{Plug, chat_request};
use crate::support::wire::{chat, get_json, post};

const MEMORY: u64 = 256 << 20;
/// Together four times the memory.
const CLIENTS: usize = 128;
/// As many as fit into a quarter of the memory, and one that may have come and gone before the last is there.
const MOST: usize = 8;

/// A request with a body of nearly 10 MiB that costs next to nothing.
fn large(key: &str) -> String {
    let mut body = hi("qwen-max");
    body["user"] = json!("x".repeat((10 << 20) - 1_000));
    chat_request("1.1", key, "", &body.to_string())
}

async fn upstream() -> simulator::Running {
    simulator::start(simulator::Settings::default()).await.unwrap()
}

/// What one client saw: 200, or a refusal as it has to be.
async fn ending(plug: &mut Plug) -> bool {
    let reply = plug.reply().await;
    if reply.status == 200 {
        return true;
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, &body["error"]["code"]), (503, &json!("gratis_overloaded")), "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_6_a_crowd_of_large_bodies_stays_within_the_memory_and_is_served_after_it() {
    let simulator = upstream().await;
    let home = Home::new(&simulator.origin(), &format!("[limits]\nmemory = \"{MEMORY}B\"\n"));
    let key = home.init("qwen-max=900,000/1,000,000");
    let gratis = home.serve();
    let request: Arc<str> = large(&key).into();
    let (all_there, arrived) = (Arc::new(Barrier::new(CLIENTS + 1)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (origin, request) = (gratis.origin.clone(), Arc::clone(&request));
        let (all_there, arrived) = (Arc::clone(&all_there), Arc::clone(&arrived));
        clients.spawn(async move {
            let mut plug = Plug::to(&origin).await;
            let (most, last) = request.as_bytes().split_at(request.len() - 1);
            // Who is refused may be cut off before it has written everything.
            let written = plug.try_write(most).await;
            arrived.fetch_add(1, Ordering::SeqCst);
            all_there.wait().await;
            if written.is_err() || plug.try_write(last).await.is_err() {
                return plug.reply().await.status == 200;
            }
            ending(&mut plug).await
        });
    }
    let begun = Instant::now();
    while arrived.load(Ordering::SeqCst) < CLIENTS {
        assert!(begun.elapsed() < PATIENCE, "{arrived:?} of {CLIENTS}");
        // Between them, small calls are served as ever.
        assert_eq!(chat(&gratis.origin, &key, &hi("qwen-max")).await.0, 200);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(metric(&gratis, "gratis_request_bodies_bytes").await <= MEMORY / 4);
    all_there.wait().await;
    let served = clients.join_all().await.into_iter().filter(|served| *served).count();
    assert!((1..=MOST).contains(&served), "{served} of {CLIENTS}");
    let (peak, bound) = (peak(&gratis), MEMORY);
    assert!(peak <= bound, "{peak} bytes of {bound}");
    println!("{CLIENTS} bodies of 10 MiB: {served} served, at most {} MiB of {} MiB used", peak >> 20, bound >> 20);
    let refused = metric(&gratis, "gratis_rejections_total{code=\"gratis_overloaded\"}").await;
    assert_eq!(refused, (CLIENTS - served) as u64);
    // After the wave each of them is served.
    for _ in 0..MOST {
        let mut plug = Plug::to(&gratis.origin).await;
        plug.write(&*request).await;
        assert!(ending(&mut plug).await, "{}", gratis.said());
    }
    assert_eq!(metric(&gratis, "gratis_request_bodies_bytes").await, 0);
}

/// The most that the process ever had, in bytes.
fn peak(gratis: &Gratis) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gratis.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_6_without_memory_nothing_new_is_held_until_there_is_some_again() {
    let simulator = upstream().await;
    let mut home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=900,000/1,000,000");
    home.set("GRATIS_LIMITS__MEMORY", "16MiB");
    let mut gratis = home.serve();
    let begun = Instant::now();
    while metric(&gratis, "gratis_memory_used_bytes").await == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody looks");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (path, code) in DIALECTS {
        let (status, headers, body) =
            post(&format!("{}{path}", gratis.origin), &headers, hi("qwen-max").to_string().into()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body.pointer(code).is_some()), (503, true), "{path}: {body}");
        assert!(headers.contains_key("retry-after") && !headers.contains_key("x-should-retry"), "{headers:?}");
    }
    let mut plug = Plug::to(&gratis.origin).await;
    let handshake = format!(
        "GET /api-ws/v1/realtime?model=qwen-max HTTP/1.1\r\nhost: gratis\r\nauthorization: {bearer}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    plug.write(handshake).await;
    assert_eq!(plug.reply().await.status, 503);
    let ledger = get_json(&format!("{}/requests?last=8", simulator.origin())).await;
    assert_eq!(ledger["count"], json!(0), "nothing went up");
    gratis.signal("TERM");
    gratis.ended().await;
    drop(gratis);

    home.set("GRATIS_LIMITS__MEMORY", "1GiB");
    let gratis = home.serve();
    assert_eq!(metric(&gratis, "gratis_admitted_total{model=\"qwen-max\"}").await, 0);
    assert_eq!(chat(&gratis.origin, &key, &hi("qwen-max")).await.0, 200);
}
