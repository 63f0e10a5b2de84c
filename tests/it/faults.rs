//! Faults of the process and floods against it: whatever happens, it goes on, and what was held is resolved.

mod low_usage;
mod memory;
mod table;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gratis::simulator;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::binary::{Gratis, Home};
use crate::support::wire::{chat, post, request, send, whole};
use crate::support::world::{KEY, Plan, World, model};

/// A sample of the metrics' page.
async fn metric(gratis: &Gratis, name: &str) -> u64 {
    let page = send(request(Method::GET, &format!("{}/metrics", gratis.admin), &[], Vec::new())).await;
    let page = String::from_utf8(whole(page).await.unwrap().2.to_vec()).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64})
}

fn plan() -> Plan {
    Plan::new(model("qwen-plus", 32_768, 8_192), 50_000_000)
}

/// The code stands where the dialect has it.
const DIALECTS: [(&str, &str); 3] = [
    ("/v1/chat/completions", "/error/code"),
    ("/apps/anthropic/v1/messages", "/error/type"),
    ("/api/v1/services/aigc/text-generation/generation", "/code"),
];

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_4_a_panic_is_one_requests_500_in_its_dialect_and_gives_its_hold_back() {
    let world = World::new(plan()).await;
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (number, (path, code)) in DIALECTS.into_iter().enumerate() {
        let body = match path {
            "/api/v1/services/aigc/text-generation/generation" => {
                json!({"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "hi"}]}})
            }
            _ => hi("qwen-plus"),
        };
        world.store.panics.store(true, Ordering::SeqCst);
        let (status, _, reply) = post(&format!("{}{path}", world.origin), &headers, body.to_string().into()).await;
        let told = String::from_utf8_lossy(&reply).into_owned();
        assert_eq!(status, 500, "{path}: {told}");
        let reply: Value = serde_json::from_str(&told).unwrap();
        assert!(reply.pointer(code).is_some_and(Value::is_string), "{path}: {told}");
        assert!(!told.contains("told to panic"), "{told}");
        assert_eq!(world.metrics.panics.get(), number as u64 + 1);
        world.store.panics.store(false, Ordering::SeqCst);
    }
    // It was held and never sent.
    assert_eq!(world.store.admitted.load(Ordering::SeqCst), DIALECTS.len() as u64);
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.held, balance.spent, balance.presumed), (0, 0, 0));
    assert_eq!(world.received().await, 0);
    assert_eq!(chat(&world.origin, KEY, &hi("qwen-plus")).await.0, 200, "the process lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_6_without_descriptors_it_waits_and_goes_on() {
    const DESCRIPTORS: u32 = 64;
    let simulator = simulator::start(simulator::Settings::default()).await.unwrap();
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve_within(DESCRIPTORS);
    let begun = Instant::now();
    let address = gratis.origin.trim_start_matches("http://").to_owned();
    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        crowd.push(TcpStream::connect(&address).await.unwrap());
    }
    gratis.wait_for("cannot accept a connection");
    gratis.wait_for_times("cannot accept a connection", 3);
    let complaints = gratis.said().matches("cannot accept a connection").count() as u128;
    // It pauses 50 ms between two tries; a loop without a pause would say it thousands of times.
    assert!(complaints <= begun.elapsed().as_millis() / 50 + 1, "{complaints} in {:?}", begun.elapsed());
    drop(crowd);
    assert_eq!(chat(&gratis.origin, &key, &hi("qwen-max")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_lif_6_what_is_too_much_is_shed_before_anything_is_held() {
    let settings = simulator::Settings { first_delay: Duration::from_millis(300), ..simulator::Settings::default() };
    let simulator = simulator::start(settings).await.unwrap();
    let home = Home::new(&simulator.origin(), "[limits]\nin_flight = 3\n");
    let key = home.init("qwen-max=500,000/1,000,000");
    let gratis = home.serve();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (origin, key) = (gratis.origin.clone(), key.clone());
        calls.spawn(async move { chat(&origin, &key, &hi("qwen-max")).await });
    }
    let (good, shed): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(|(status, ..)| *status == 200);
    assert!(good.len() >= 3 && !shed.is_empty(), "{} and {}", good.len(), shed.len());
    for (status, headers, body) in &shed {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((*status, &body["error"]["code"]), (503, &json!("gratis_overloaded")), "{body}");
        assert!(headers.contains_key("retry-after"));
    }
    let ledger = crate::support::wire::get_json(&format!("{}/requests?last=64", simulator.origin())).await;
    assert_eq!(ledger["count"], json!(good.len()), "what was shed never went up");
    let shed = shed.len() as u64;
    assert_eq!(metric(&gratis, "gratis_rejections_total{code=\"gratis_overloaded\"}").await, shed);
    assert_eq!(metric(&gratis, "gratis_responses_total{class=\"5xx\"}").await, shed);
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_12_streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    let world = World::new(plan()).await;
    let mut stream = TcpStream::connect(world.origin.trim_start_matches("http://")).await.unwrap();
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat()).await.unwrap();
    let mut number = 1;
    let mut buffer = [0; 4_096];
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut flood = Vec::new();
            for _ in 0..100 {
                // :method POST, :scheme http, :path /, :authority a
                flood.extend(frame(1, 4, number, &[0x83, 0x86, 0x84, 0x41, 1, b'a']));
                flood.extend(frame(3, 0, number, &8_u32.to_be_bytes()));
                number += 2;
            }
            if stream.write_all(&flood).await.is_err() {
                return;
            }
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    ended.await.unwrap_or_else(|_| panic!("{number} streams, and the flood goes on"));
    assert_eq!(world.store.reserves.load(Ordering::SeqCst), 0, "nothing was held for it");
    assert_eq!(chat(&world.origin, KEY, &hi("qwen-plus")).await.0, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_13_streams_that_are_reset_after_their_request_are_each_charged_exactly_and_bounded() {
    let mut settings = plan();
    settings.simulator.chunk_delay = Duration::from_millis(5);
    settings.key_in_flight = 8;
    let world = World::new(settings).await;
    let mut sender = crate::support::wire::h2(&world.origin).await;
    for _ in 0..40 {
        let url = format!("{}/v1/chat/completions", world.origin);
        let mut body = hi("qwen-plus");
        body["stream"] = json!(true);
        let request = http::Request::post(url).header("authorization", format!("Bearer {KEY}"));
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body.to_string()))).unwrap();
        sender.ready().await.unwrap();
        // Dropped at once or after its head: the stream is reset either way.
        let answer = tokio::time::timeout(Duration::from_millis(10), sender.send_request(request)).await;
        drop(answer);
    }
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
    assert!(world.store.reserves.load(Ordering::SeqCst) <= 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_5_what_is_no_tls_on_the_tls_port_is_closed() {
    let simulator = simulator::start(simulator::Settings::default()).await.unwrap();
    let more = "tls_timeout = \"1s\"\ntls_certificate = \"server.crt\"\ntls_private_key = \"server.key\"\n";
    let home = Home::new(&simulator.origin(), more);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(home.path().join("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(home.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    home.init("qwen-max=500,000/1,000,000");
    let gratis = home.serve();
    let address = gratis.origin.split_once("://").unwrap().1.to_owned();
    // Half of a handshake, garbage, and HTTP without TLS.
    for said in [&b"\x16\x03\x01\x02\x00"[..], b"\x00\xff\x00\xff\x00\xff", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut got = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await;
        // However it ends, but for an answer in the clear.
        let _ = ended.unwrap_or_else(|_| panic!("{said:?} keeps its connection"));
        assert!(!got.starts_with(b"HTTP/1.1 2"), "{said:?}");
    }
}
