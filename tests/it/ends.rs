//! How calls end: whatever happens on the way, the hold is resolved once and covers what was charged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gratis::proxy::OnDisconnect;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::PATIENCE;
use crate::support::wire::{chat, raw};
use crate::support::world::{KEY, Plan, World, model};

fn hi(stream: bool) -> Value {
    json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "max_tokens": 64})
}

fn plan() -> Plan {
    Plan::new(model("qwen-plus", 32_768, 8_192), 50_000_000)
}

/// How a mode of the simulator has to end here.
#[derive(PartialEq, Debug)]
enum Ending {
    /// Settled at the truth.
    Exact,
    /// Nothing is owed.
    Free,
    /// Taken as used in full.
    Presumed,
}

use Ending::{Exact, Free, Presumed};

/// The simulator's modes, and how a plain and a streamed call have to end under each.
const MODES: [(&str, Ending, Ending); 31] = [
    ("none", Exact, Exact),
    ("crlf", Exact, Exact),
    ("comments", Exact, Exact),
    ("no-space", Exact, Exact),
    ("split-3", Exact, Exact),
    ("double-usage", Exact, Exact),
    ("double-done", Exact, Exact),
    ("slow-drip", Exact, Exact),
    ("gzip-stream", Exact, Exact),
    ("bad-request", Free, Free),
    ("invalid-key", Free, Free),
    ("access-denied", Free, Free),
    ("model-not-found", Free, Free),
    ("rate-limit", Free, Free),
    ("insufficient-quota", Free, Free),
    ("content-inspection", Free, Free),
    ("internal-error", Free, Free),
    ("overloaded", Free, Free),
    ("error-only-event", Free, Free),
    ("redirect", Presumed, Presumed),
    ("error-html", Presumed, Presumed),
    ("reset-before-head", Presumed, Presumed),
    ("reset-mid-stream", Presumed, Presumed),
    ("truncate", Presumed, Presumed),
    ("cut", Presumed, Presumed),
    ("error-mid-stream", Presumed, Presumed),
    ("no-usage", Presumed, Presumed),
    ("negative-usage", Presumed, Presumed),
    ("float-usage", Presumed, Presumed),
    ("string-usage", Presumed, Presumed),
    ("garbage", Presumed, Presumed),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_misbehaviour_of_the_upstream_is_covered() {
    for (mode, plain, streamed) in MODES {
        for (stream, ending) in [(false, plain), (true, streamed)] {
            let world = World::new(plan()).await;
            let pieces = mode.strip_prefix("split-").map(|every| every.parse::<u64>().unwrap());
            let rule = match pieces {
                Some(every) => json!({"mode": "split", "split_every": every}),
                None => json!({"mode": mode}),
            };
            world.behave(rule).await;
            let answer = tokio::spawn({
                let origin = world.origin.clone();
                async move {
                    let client = crate::support::wire::client();
                    let bearer = format!("Bearer {KEY}");
                    let url = format!("{origin}/v1/chat/completions");
                    let headers = [("authorization", bearer.as_str())];
                    let request = crate::support::wire::request(
                        http::Method::POST,
                        &url,
                        &headers,
                        hi(stream).to_string().into(),
                    );
                    let response = client.request(request).await.unwrap();
                    // The body may break off; what counts is the ledger.
                    let _ = crate::support::wire::whole(response).await;
                }
            });
            answer.await.unwrap();
            let balance = world.settled("qwen-plus").await;
            let charged = world.charged("qwen-plus").await;
            let name = format!("{mode}, stream {stream}: charged {charged}, {balance:?}");
            assert!(charged <= balance.spent + balance.presumed, "{name}");
            match ending {
                Exact => assert_eq!((balance.spent, balance.presumed), (charged, 0), "{name}"),
                Free => assert_eq!((balance.spent, balance.presumed, charged), (0, 0, 0), "{name}"),
                Presumed => assert!(balance.presumed > 0, "{name}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_above_the_hold_is_recorded_and_later_calls_are_held_at_the_window() {
    let world = World::new(plan()).await;
    world.behave(json!({"mode": "ignore-clamp", "calls": 1})).await;
    let mut long = hi(false);
    long["messages"][0]["content"] = json!("hi [[sim:answer=3000]]");
    let (status, _, _) = chat(&world.origin, KEY, &long).await;
    assert_eq!(status, 200);
    let balance = world.settled("qwen-plus").await;
    assert_eq!(balance.spent, world.charged("qwen-plus").await);
    let (_, headers, _) = chat(&world.origin, KEY, &hi(false)).await;
    let held: u64 = headers["x-gratis-held"].to_str().unwrap().parse().unwrap();
    assert!(held > 32_768, "held {held} after an overrun");
    assert!(world.metrics.over_hold.get() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_at_any_byte_is_charged_exactly_what_the_upstream_charged() {
    let mut settings = plan();
    settings.simulator.answer = 6..=6;
    let world = World::new(settings).await;
    for stream in [true, false] {
        let body = hi(stream).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let request = format!("{head}{body}");
        let whole = raw(&world.origin, request.as_bytes(), usize::MAX >> 1).await.len();
        let mut offsets = 0;
        for offset in 0..whole {
            raw(&world.origin, request.as_bytes(), offset).await;
            offsets += 1;
        }
        world.quiet_tasks().await;
        let balance = world.settled("qwen-plus").await;
        println!("stream {stream}: left at {offsets} offsets of {whole}: {balance:?}");
        assert_eq!(balance.spent, world.charged("qwen-plus").await, "stream {stream}");
        assert_eq!(balance.presumed, 0, "stream {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_is_still_charged_exactly() {
    let mut settings = plan();
    settings.simulator.first_delay = Duration::from_millis(150);
    let world = World::new(settings).await;
    let body = hi(true).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(world.origin.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let begun = std::time::Instant::now();
    while world.charged("qwen-plus").await == 0 {
        assert!(begun.elapsed() < PATIENCE, "the call never reached the upstream");
    }
    drop(stream);
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_in_time_is_a_504_and_the_call_goes_on_behind() {
    let mut settings = plan();
    settings.simulator.first_delay = Duration::from_millis(400);
    settings.head_timeout = Duration::from_millis(50);
    let world = World::new(settings).await;
    let (status, headers, body) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!(status, 504, "{}", String::from_utf8_lossy(&body));
    assert_eq!(headers["x-should-retry"], "false");
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_past_the_drain_s_cap_is_presumed() {
    let mut settings = plan();
    settings.quota.drain_time = Duration::from_millis(100);
    let world = World::new(settings).await;
    world.behave(json!({"mode": "hang-mid-stream"})).await;
    let body = hi(true).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(&world.origin, request.as_bytes(), 400).await;
    let balance = world.settled("qwen-plus").await;
    assert!(balance.presumed >= world.charged("qwen-plus").await);
    assert_eq!(balance.spent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_takes_longer_than_a_call_may_is_cut_and_presumed() {
    let mut settings = plan();
    settings.quota.max_call_stream = Duration::from_millis(200);
    let world = World::new(settings).await;
    world.behave(json!({"mode": "hang-mid-stream"})).await;
    let url = format!("{}/v1/chat/completions", world.origin);
    let headers = [("authorization", "Bearer sk-test-0001")];
    let call = crate::support::wire::request(http::Method::POST, &url, &headers, hi(true).to_string().into());
    let reply = crate::support::wire::whole(crate::support::wire::send(call).await).await;
    assert!(reply.is_err(), "the stream ended as if it were complete");
    let balance = world.settled("qwen-plus").await;
    assert!(balance.presumed >= world.charged("qwen-plus").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_set_to_cancel_presumes_at_once() {
    let mut settings = plan();
    settings.quota.on_disconnect = OnDisconnect::Cancel;
    settings.simulator.chunk_delay = Duration::from_millis(20);
    let world = World::new(settings).await;
    let body = hi(true).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(&world.origin, request.as_bytes(), 700).await;
    let balance = world.settled("qwen-plus").await;
    assert!(balance.presumed >= world.charged("qwen-plus").await, "{balance:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_opens_before_an_outage_eats_the_quota_and_closes_after_a_good_reply() {
    let mut settings = plan();
    settings.quota.presumed_breaker = 3;
    settings.quota.breaker_pause = Duration::from_millis(200);
    let world = World::new(settings).await;
    world.behave(json!({"mode": "reset-before-head"})).await;
    for _ in 0..3 {
        let (status, _, _) = chat(&world.origin, KEY, &hi(false)).await;
        assert_eq!(status, 502);
    }
    let presumed = world.balance("qwen-plus").await.presumed;
    let (status, headers, body) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    assert!(headers.contains_key("retry-after"));
    assert_eq!(world.balance("qwen-plus").await.presumed, presumed, "a paused call holds nothing");
    world.behave(json!({"mode": "none"})).await;
    let begun = std::time::Instant::now();
    loop {
        let (status, _, _) = chat(&world.origin, KEY, &hi(false)).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 503);
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(chat(&world.origin, KEY, &hi(false)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_mark_waits_for_a_settlement_that_takes_time() {
    let world = World::new(plan()).await;
    world.store.slow_resolve.store(true, Ordering::SeqCst);
    for stream in [true, false] {
        let (status, _, bytes) = chat(&world.origin, KEY, &hi(stream)).await;
        let balance = world.balance("qwen-plus").await;
        assert_eq!(status, 200);
        assert_eq!(balance.held, 0, "the end was seen before the settlement");
        assert_eq!(balance.spent, world.charged("qwen-plus").await);
        assert!(!bytes.is_empty());
    }
    assert_eq!(world.metrics.settled_late.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_is_one_reserve_and_one_resolve() {
    let world = World::new(plan()).await;
    for stream in [true, false] {
        chat(&world.origin, KEY, &hi(stream)).await;
    }
    world.quiet().await;
    assert_eq!(world.store.reserves.load(Ordering::SeqCst), 2);
    assert_eq!(world.store.resolves.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_refuses_and_sends_nothing() {
    let world = World::new(plan()).await;
    world.store.down.store(true, Ordering::SeqCst);
    let before = world.received().await;
    let (status, headers, body) = chat(&world.origin, KEY, &hi(false)).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("gratis_store_unavailable")));
    assert!(headers.contains_key("retry-after"));
    assert_eq!(world.received().await, before);
}
