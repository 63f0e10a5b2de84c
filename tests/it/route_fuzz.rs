//! Whatever is asked, in whatever spelling: nothing reaches the upstream without a hold.
//!
//! Requests are made of valid ones by changing path, query, method, headers and body. What arrived is counted at the simulator;
//! what was held is counted by the ledger; a model without a grant is never charged.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::mixed::{Call, apps, calls, models, tasks, world};
use crate::support::wire::{get_json, post};
use crate::support::world::{KEY, World, model};

/// How many requests are made between two looks at the books.
const BATCH: usize = 500;

/// Each runs in a world of its own, all at once: two requests in one world could not be told apart in its books.
const SEEDS: [u64; 4] = [0x5eed, 0x5eee, 0x5eef, 0x5ef0];

/// How many requests a run makes; `make route-fuzz` asks for a million.
fn requests() -> usize {
    std::env::var("GRATIS_FUZZ_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(4_000)
}

/// Paths beside those of the calls: they exist and hold nothing, or must not exist.
const OTHERS: [&str; 14] = [
    "/v1/models",
    "/compatible-mode/v1/models/plain",
    "/compatible-mode/v1/files",
    "/compatible-mode/v1/files/f-1/content",
    "/compatible-mode/v1/conversations",
    "/compatible-mode/v1/batches",
    "/compatible-mode/v1/batches/b-1/cancel",
    "/compatible-mode/v1/fine_tuning/jobs",
    "/api/v1/tasks",
    "/api/v1/tasks/task-1",
    "/api/v1/apps/app-2/completion",
    "/api/v1/deployments",
    "/apps/anthropic/v1/messages/batches",
    "/api-ws/v1/inference",
];

/// A call that is mutated, its body as text: to write it anew for each request would take most of the time.
struct Original {
    call: Call,
    text: String,
    /// The same for a model without a grant.
    empty: String,
}

fn originals() -> Vec<Original> {
    let all = calls("go on").into_iter().chain(tasks("a cat")).chain(apps("go on"));
    let written = |call: Call| {
        let mut empty = call.body.clone();
        empty["model"] = json!("empty");
        Original { text: call.body.to_string(), empty: empty.to_string(), call }
    };
    all.map(written).collect()
}

fn path(rng: &mut StdRng, calls: &[Original]) -> String {
    let mut path = if rng.random_bool(0.8) {
        calls.choose(rng).unwrap().call.path.to_owned()
    } else {
        (*OTHERS.choose(rng).unwrap()).to_owned()
    };
    for _ in 0..*[0, 0, 1, 1, 2].choose(rng).unwrap() {
        let at = rng.random_range(0..=path.len());
        let at = (0..=at).rev().find(|at| path.is_char_boundary(*at)).unwrap();
        match rng.random_range(0..12) {
            0 => path.insert(at, '/'),
            1 => path.insert_str(at, "/../"),
            2 => path.insert_str(at, "/./"),
            3 => path.insert_str(at, "%2e%2e%2f"),
            4 => path.push('/'),
            5 => path = path.to_uppercase(),
            6 => path.insert_str(at, ["%00", "%2F", ";a=b", "%5c", "%E2%80%8B"].choose(rng).unwrap()),
            7 => path.push_str([".json", "%20", "?", "?model=plain", "?a=/../", "#x"].choose(rng).unwrap()),
            8 => path = path.replacen('/', "//", 1),
            9 => path = format!("/v1{path}"),
            10 => {
                path.truncate(at);
                if path.is_empty() {
                    path.push('/');
                }
            }
            _ => {
                let swapped = path.replacen('o', "%6f", 1);
                path = swapped;
            }
        }
    }
    path
}

fn body(rng: &mut StdRng, of: &Original) -> Vec<u8> {
    let mut text = if rng.random_bool(0.1) { of.empty.clone() } else { of.text.clone() };
    for _ in 0..*[0, 0, 1, 1, 2].choose(rng).unwrap() {
        let member = [
            r#""model":"empty","#,
            r#""Model":"empty","#,
            r#""\u006dodel":"empty","#,
            r#""model ":"empty","#,
            r#""isModel":"empty","#,
            r#""n":4,"#,
            r#""max_tokens":100000,"#,
            r#""stream":true,"#,
            r#""parameters":{"n":9},"#,
            r#""input":{"prompt":"x"},"#,
            r#""enable_search":true,"#,
            r#""previous_response_id":"resp_1","#,
            r#""tools":[{"type":"web_search"}],"#,
            r#""Max_Tokens":9,"#,
        ]
        .choose(rng)
        .unwrap();
        match rng.random_range(0..5) {
            0 | 1 => text.insert_str(1, member),
            2 => {
                let end = text.rfind('}').unwrap();
                text.insert_str(end, &format!(",{}", member.trim_end_matches(',')));
            }
            3 => {
                let at = (0..=rng.random_range(0..text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
                text.truncate(at.max(1));
                break;
            }
            _ => {
                let at = (0..=rng.random_range(0..text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
                text.insert_str(at, ["{", "\"", "\u{0}", "null", ",", "\\u0000", " "].choose(rng).unwrap());
            }
        }
        if text.rfind('}').is_none() {
            break;
        }
    }
    text.into_bytes()
}

fn mutated(rng: &mut StdRng, calls: &[Original]) -> Option<Request<Full<Bytes>>> {
    let of = calls.choose(rng).unwrap();
    let call = &of.call;
    let method = match rng.random_range(0..10) {
        0 => Method::GET,
        1 => [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::HEAD].choose(rng).unwrap().clone(),
        2 => "post".parse().unwrap(),
        _ => Method::POST,
    };
    let path = if rng.random_bool(0.5) { call.path.to_owned() } else { path(rng, calls) };
    let uri = if rng.random_bool(0.1) { format!("http://elsewhere.example{path}") } else { path };
    let request = Request::builder().method(method).uri(uri).header("host", "gratis");
    let mut request = request.header("authorization", format!("Bearer {KEY}"));
    for (name, value) in &call.headers {
        request = request.header(*name, *value);
    }
    if rng.random_bool(0.3) {
        let (name, value) = [
            ("x-http-method-override", "POST"),
            ("x-original-url", "/api/v1/deployments"),
            ("x-rewrite-url", "/compatible-mode/v1/batches"),
            ("x-forwarded-prefix", "/api"),
            ("x-dashscope-plugin", "search"),
            ("x-dashscope-async", "enable"),
            ("content-encoding", "identity"),
            ("host", "elsewhere.example"),
        ]
        .choose(rng)
        .unwrap();
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body(rng, of)))).ok()
}

/// How many holds a request that arrived upstream needs: none where it costs nothing, one for each model of an app.
fn needs(seen: &Value) -> u64 {
    let path = seen["path"].as_str().unwrap();
    match (seen["method"].as_str().unwrap(), path) {
        ("GET", _) if path.starts_with("/compatible-mode/v1/models") => 0,
        ("POST", "/compatible-mode/v1/files" | "/compatible-mode/v1/conversations") => 0,
        ("POST", _) if path.starts_with("/api/v1/apps/") => 2,
        _ => 1,
    }
}

async fn arrived(world: &World) -> Vec<Value> {
    let url = format!("{}/requests?last={BATCH}", world.simulator.origin());
    let requests = get_json(&url).await;
    let list = requests["requests"].as_array().unwrap().clone();
    assert_eq!(requests["count"].as_u64().unwrap(), list.len() as u64, "not every request is shown");
    list
}

/// What became of the requests of one seed.
#[derive(Default)]
struct Count {
    made: usize,
    /// Requests that arrived and cost something.
    costly: u64,
    /// Requests that arrived and cost nothing.
    free: u64,
    /// Holds that were admitted.
    held: u64,
    /// Holds that were missing for what arrived.
    without: u64,
    /// Holds for which nothing arrived.
    idle: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.costly += other.costly;
        self.free += other.free;
        self.held += other.held;
        self.without += other.without;
        self.idle += other.idle;
    }
}

async fn of_seed(seed: u64, requests: usize) -> Count {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = world(false, |plan| {
        plan.models.push(model("empty", 32_768, 1_024));
        plan.grants.push(("empty".to_owned(), 0));
        plan.grants.iter_mut().for_each(|(_, amount)| *amount *= 1_000_000);
        plan.simulator.keep_requests = BATCH;
        // Our own polls of tasks would arrive beside what is counted.
        plan.quota.task_poll = std::time::Duration::from_secs(86_400);
        plan.simulator.answer = 1..=8;
        plan.simulator.thinking = 1..=8;
    })
    .await;
    let all = originals();
    let mut count = Count::default();
    let mut charged = BTreeMap::<String, u64>::new();
    while count.made < requests {
        let reset = post(&format!("{}/reset", world.simulator.origin()), &[], Vec::new()).await;
        assert_eq!(reset.0, 200);
        let before = world.store.admitted.load(Ordering::SeqCst);
        for _ in 0..BATCH.min(requests - count.made) {
            count.made += 1;
            let Some(request) = mutated(&mut rng, &all) else { continue };
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let bytes = request.body().clone().collect().await.unwrap().to_bytes();
            let line = || {
                // A recording would fill the screen.
                let text = String::from_utf8_lossy(&bytes).replace(&"A".repeat(64), "");
                format!("seed {seed:#x}, request {}: {method} {uri} {text}", count.made)
            };
            let response = world.proxy.handle(request).await;
            let status = response.status().as_u16();
            // A body that is not read to its end would be drained in the background.
            let _ = response.into_body().collect().await;
            assert!(status < 500, "{}: {status}", line());
            assert_eq!(world.metrics.over_hold.get(), 0, "{}", line());
        }
        let held = world.store.admitted.load(Ordering::SeqCst) - before;
        let seen = arrived(&world).await;
        let needed: u64 = seen.iter().map(needs).sum();
        if needed != held {
            println!("seed {seed:#x}, to request {}: {held} held, {needed} needed by {seen:?}", count.made);
        }
        let free = seen.iter().filter(|seen| needs(seen) == 0).count() as u64;
        count.costly += seen.len() as u64 - free;
        count.free += free;
        count.held += held;
        count.without += needed.saturating_sub(held);
        count.idle += held.saturating_sub(needed);
        let ledger = get_json(&format!("{}/ledger", world.simulator.origin())).await;
        for (model, line) in ledger["models"].as_object().unwrap() {
            *charged.entry(model.clone()).or_default() += line["charged"].as_u64().unwrap();
        }
    }
    assert_eq!(charged.get("empty"), None, "a model without a grant was charged");
    for model in models() {
        let balance = world.balance(model.pool.as_str()).await;
        let truth = charged.get(model.code.as_str()).copied().unwrap_or(0);
        assert!(truth <= balance.spent + balance.presumed, "{}: {truth} {balance:?}", model.code);
    }
    assert_eq!(world.metrics.over_hold.get(), 0);
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_request_reaches_the_upstream_without_a_hold() {
    let each = requests().div_ceil(SEEDS.len());
    let mut running: JoinSet<Count> = SEEDS.into_iter().map(|seed| of_seed(seed, each)).collect();
    let mut all = Count::default();
    while let Some(count) = running.join_next().await {
        all += count.unwrap();
    }
    let Count { made, costly, free, held, without, idle } = all;
    let refused = made as u64 - costly - free;
    println!("requests                         {made:>9}");
    println!("  reached the upstream, metered  {costly:>9}");
    println!("  reached the upstream, free     {free:>9}");
    println!("  refused                        {refused:>9}");
    println!("holds                            {held:>9}");
    println!("  missing for what arrived       {without:>9}");
    println!("  for what did not arrive        {idle:>9}");
    assert!(costly > 0 && free > 0 && refused > 0);
    assert_eq!((without, idle), (0, 0));
}
