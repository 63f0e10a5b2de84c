//! A ledger in a real Redis from its making to its loss: `init`, `serve`, `store`, and what each refuses.

use std::process::Output;
use std::time::{Duration, Instant};

use gratis::clock::Clock;
use gratis::simulator;
use gratis::store::Pepper;
use gratis::store::redis::{Redis, Settings};
use http::Method;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::binary::{Gratis, Home};
use crate::support::redis::{EVERYSEC, Server};
use crate::support::wire::{chat, request, send, whole};

/// A pepper that every replica is given.
const PEPPER: &str = "abababababababababababababababababababababababababababababababab";

/// The home of one replica on this server.
fn home(simulator: &simulator::Running, server: &Server) -> Home {
    let mut home = Home::new(&simulator.origin(), "");
    home.set("GRATIS_STORE__URL", &server.url());
    home
}

/// The same with the pepper that all share.
fn replica(simulator: &simulator::Running, server: &Server) -> Home {
    let mut home = home(simulator, server);
    home.set("GRATIS_KEYS__PEPPER", PEPPER);
    home
}

async fn upstream() -> simulator::Running {
    simulator::start(simulator::Settings { chunk_delay: Duration::ZERO, ..simulator::Settings::default() })
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn in_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {}", said(output)))
}

fn hi() -> Value {
    json!({"model": "qwen-max", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300})
}

async fn get(url: &str) -> (u16, String) {
    let (status, _, body) = whole(send(request(Method::GET, url, &[], Vec::new())).await).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ready(gratis: &Gratis) -> (u16, String) {
    get(&format!("{}/readyz?verbose", gratis.admin)).await
}

/// Polls until a replica is ready, or not.
async fn wait_until_ready(gratis: &Gratis, wanted: bool) -> String {
    let begun = Instant::now();
    loop {
        let (status, text) = ready(gratis).await;
        if (status == 200) == wanted {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "{status} {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every key and its value's dump, to see that nothing was touched.
fn dump(server: &Server) -> Vec<String> {
    let mut keys: Vec<String> = server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    // What replicas write each second is no ledger.
    keys.retain(|key| !key.contains("beat"));
    keys.into_iter().map(|key| format!("{key} {}", server.cli(&["DUMP", &key]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_up_a_ledger_that_is_made_after_they_began() {
    let (simulator, server) = (upstream().await, Server::always());
    let (one, two, office) = (replica(&simulator, &server), replica(&simulator, &server), replica(&simulator, &server));
    let (one, two) = (one.serve(), two.serve());
    for gratis in [&one, &two] {
        assert!(gratis.said().contains("gratis init --assume-full"), "{}", gratis.said());
        assert!(gratis.said().contains("redis-always"), "{}", gratis.said());
        let (status, _, body) = chat(&gratis.origin, "sk-gratis-any", &hi()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["code"]), (503, &json!("gratis_no_ledger")), "{body}");
        assert_eq!(ready(gratis).await.0, 503);
    }
    let key = office.init("qwen-max=50,000/1,000,000");
    for gratis in [&one, &two] {
        let text = wait_until_ready(gratis, true).await;
        assert!(text.contains("redis-always"), "{text}");
        let (status, _, body) = chat(&gratis.origin, &key, &hi()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_touches_a_ledger_and_says_what_replicas_need() {
    let (simulator, server) = (upstream().await, Server::always());
    let first = home(&simulator, &server);
    let output = first.run(&["init", "--balance", "qwen-max=50,000/1,000,000"]);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("every other replica needs the same") && text.contains("state/pepper"), "{text}");
    assert!(text.contains("redis://127.0.0.1:"), "{text}");
    let before = dump(&server);
    for again in [&first, &home(&simulator, &server)] {
        let output = again.run(&["init", "--assume-full"]);
        assert_eq!(code(&output), Some(1), "{}", said(&output));
        assert!(said(&output).contains("it was left as it is"), "{}", said(&output));
        let output = again.run(&["init", "--assume-full", "--discard-incomplete"]);
        assert_eq!(code(&output), Some(1), "a complete one is not discarded: {}", said(&output));
    }
    assert_eq!(dump(&server), before);
    // Another prefix is another ledger.
    let mut other = home(&simulator, &server);
    other.set("GRATIS_STORE__PREFIX", "other");
    assert_eq!(code(&other.run(&["init", "--balance", "qwen-max=1/2"])), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_pepper_or_none_is_refused() {
    let (simulator, server) = (upstream().await, Server::always());
    let first = home(&simulator, &server);
    let key = first.init("qwen-max=50,000/1,000,000");
    let mut other = home(&simulator, &server);
    let output = other.run(&["serve"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("pepper"), "{}", said(&output));
    other.set("GRATIS_KEYS__PEPPER", PEPPER);
    let output = other.run(&["serve"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("pepper") && !said(&output).contains(PEPPER), "{}", said(&output));
    // The right one lets it in.
    let right = std::fs::read_to_string(first.path().join("state/pepper")).unwrap();
    let mut third = home(&simulator, &server);
    third.set("GRATIS_KEYS__PEPPER", right.trim());
    let gratis = third.serve();
    wait_until_ready(&gratis, true).await;
    assert_eq!(chat(&gratis.origin, &key, &hi()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_there_before_a_ledger_with_another_pepper_never_admits() {
    let (simulator, server) = (upstream().await, Server::always());
    let waiting = replica(&simulator, &server).serve();
    let key = home(&simulator, &server).init("qwen-max=50,000/1,000,000");
    let begun = Instant::now();
    loop {
        let (status, _, body) = chat(&waiting.origin, &key, &hi()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 503, "{body}");
        if body["error"]["code"] == "gratis_store_unavailable" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ready(&waiting).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_cannot_begin_leaves_nothing_behind() {
    let (simulator, server) = (upstream().await, Server::always());
    let home = replica(&simulator, &server);
    let gratis = home.serve();
    // The journal of this state folder is that of the replica that runs on it.
    let output = home.run(&["init", "--balance", "qwen-max=50,000/1,000,000"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("in use"), "{}", said(&output));
    assert_eq!(in_json(&home.run(&["store", "status", "-o", "json"]))["ledger"], "absent");
    drop(gratis);
    home.init("qwen-max=50,000/1,000,000");
    wait_until_ready(&home.serve(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_died_is_recognised() {
    let (simulator, server) = (upstream().await, Server::always());
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(server.url().parse().unwrap(), folder.path());
    settings.pepper_mark = Some(Pepper::from_text(PEPPER).unwrap().mark());
    drop(Redis::create(settings, Clock::system()).await.unwrap());
    let home = replica(&simulator, &server);
    let status = in_json(&home.run(&["store", "status", "-o", "json"]));
    assert_eq!(status["ledger"], "incomplete", "{status}");
    let gratis = home.serve();
    let (status, _, body) = chat(&gratis.origin, "sk-gratis-any", &hi()).await;
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    let office = replica(&simulator, &server);
    let output = office.run(&["init", "--balance", "qwen-max=50,000/1,000,000"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--discard-incomplete"), "{}", said(&output));
    let output = office.run(&["init", "--balance", "qwen-max=50,000/1,000,000", "--discard-incomplete", "-o", "json"]);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    wait_until_ready(&gratis, true).await;
    assert_eq!(chat(&gratis.origin, in_json(&output)["api_key"].as_str().unwrap(), &hi()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_class_needs_the_operators_word_and_prints_its_bound() {
    let (simulator, server) = (upstream().await, Server::start(&EVERYSEC));
    let mut home = replica(&simulator, &server);
    for words in [&["init", "--assume-full"][..], &["serve"]] {
        let output = home.run(words);
        assert_eq!(code(&output), Some(1), "{}", said(&output));
        assert!(said(&output).contains("accept_loss") && said(&output).contains("appendfsync"), "{}", said(&output));
    }
    home.set("GRATIS_STORE__ACCEPT_LOSS", "true");
    home.init("qwen-max=50,000/1,000,000");
    let gratis = home.serve();
    assert!(gratis.said().contains("redis-everysec"), "{}", gratis.said());
    assert!(wait_until_ready(&gratis, true).await.contains("redis-everysec"));
    assert_eq!(in_json(&home.run(&["store", "status", "-o", "json"]))["class"], "redis-everysec");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_throws_counters_away_is_refused() {
    let simulator = upstream().await;
    let server =
        Server::start(&["appendonly yes", "appendfsync always", "maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    let mut home = replica(&simulator, &server);
    home.set("GRATIS_STORE__ACCEPT_LOSS", "true");
    let output = home.run(&["init", "--assume-full"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("noeviction"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_store_goes_on_when_the_operator_says_so() {
    let (simulator, mut server) = (upstream().await, Server::always());
    let (one, two) = (replica(&simulator, &server), replica(&simulator, &server));
    let key = one.init("qwen-max=50,000/1,000,000");
    let (first, second) = (one.serve(), two.serve());
    wait_until_ready(&first, true).await;
    wait_until_ready(&second, true).await;
    // Another run id: nobody here knows whether it has forgotten something.
    server.kill();
    server.restart();
    for gratis in [&first, &second] {
        wait_until_ready(gratis, false).await;
    }
    let begun = Instant::now();
    let status = loop {
        let status = in_json(&one.run(&["store", "status", "-o", "json"]));
        if status["suspended"].is_string() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
    };
    assert!(status["suspended"].as_str().unwrap().contains("run id"), "{status}");
    assert_eq!((&status["ledger"], &status["class"]), (&json!("ready"), &json!("redis-always")), "{status}");
    assert_eq!(status["replicas"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["run_id"], server.fact("run_id").unwrap(), "{status}");
    let (_, text) = ready(&first).await;
    assert!(text.contains("suspended") && text.contains("gratis store resume"), "{text}");
    let (_, metrics) = get(&format!("{}/metrics", first.admin)).await;
    assert!(metrics.contains("gratis_store_suspended 1"), "{metrics}");
    let (http, _, body) = chat(&first.origin, &key, &hi()).await;
    assert_eq!(http, 503, "{body:?}");
    // Nobody sits at a terminal here: without --yes nothing changes.
    let output = one.run(&["store", "resume"]);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--yes") && said(&output).contains("rebuild"), "{}", said(&output));
    assert_eq!(ready(&first).await.0, 503);
    let output = one.run(&["store", "resume", "--yes"]);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    for gratis in [&first, &second] {
        wait_until_ready(gratis, true).await;
        assert_eq!(chat(&gratis.origin, &key, &hi()).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_resumes_too() {
    let (simulator, mut server) = (upstream().await, Server::always());
    let home = replica(&simulator, &server);
    home.init("qwen-max=50,000/1,000,000");
    let gratis = home.serve();
    wait_until_ready(&gratis, true).await;
    server.kill();
    server.restart();
    let bearer = format!("Bearer {}", home.token());
    let begun = Instant::now();
    loop {
        let text = ready(&gratis).await.1;
        if text.contains("suspended") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("{}/admin/v1/store/resume", gratis.admin);
    let asked = request(Method::POST, &url, &[("authorization", &bearer)], Vec::new());
    let (status, _, body) = whole(send(asked).await).await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    wait_until_ready(&gratis, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_refuses_with_a_time_to_come_back() {
    let (simulator, mut server) = (upstream().await, Server::always());
    let home = replica(&simulator, &server);
    let key = home.init("qwen-max=50,000/1,000,000");
    let gratis = home.serve();
    wait_until_ready(&gratis, true).await;
    server.kill();
    let (status, headers, body) = chat(&gratis.origin, &key, &hi()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("gratis_store_unavailable")), "{body}");
    assert!(headers.contains_key("retry-after") && !headers.contains_key("x-should-retry"), "{headers:?}");
    let begun = Instant::now();
    loop {
        let (_, metrics) = get(&format!("{}/metrics", gratis.admin)).await;
        if metrics.contains("gratis_store_breaker_open 1") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
        chat(&gratis.origin, &key, &hi()).await;
    }
}
