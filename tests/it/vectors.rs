//! The wire vectors, played through a whole Gratis: what the client gets, what the upstream got, what was charged.

use std::collections::BTreeSet;

use base64::Engine;
use gratis::ledger::{AccountState, Book, HoldState, Overrun, Timestamp, Unit};
use gratis::store::ResourceStore;
use serde_json::{Value, json};

use crate::support::vectors::{bytes_of, contains, keys, of_protocols};
use crate::support::wire::{request, send, whole};
use crate::support::world::{KEY, Plan, World, model, model_of, thinking_model};

const KNOWN: [&str; 16] = [
    "reserve",
    "release",
    "repeat",
    "remember_task",
    "not_covered",
    "model",
    "usage",
    "charge",
    "quota_after",
    "paid",
    "settle",
    "effect",
    "upstream_called",
    "upstream_request",
    "upstream_error",
    "client",
];
const OF_CLIENT: [&str; 8] = [
    "status",
    "headers",
    "body_json",
    "body_text",
    "same_as_upstream",
    "decoded_same_as_upstream",
    "must_not_contain",
    "end",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_of_the_http_routes_passes_end_to_end() {
    let vectors = of_protocols(&crate::dialects::PROTOCOLS);
    let mut ran = 0;
    for (name, vector) in &vectors {
        play(name, vector).await;
        ran += 1;
    }
    println!("vectors end to end: {ran} of {}", vectors.len());
    assert_eq!(ran, vectors.len());
    assert!(ran >= 52, "the vectors are missing");
}

async fn play(name: &str, vector: &Value) {
    let expected = &vector["expected"];
    println!("{name}");
    let unknown: BTreeSet<_> = keys(expected).into_iter().filter(|key| !KNOWN.contains(key)).collect();
    assert!(unknown.is_empty(), "{name}: keys that nobody judges: {unknown:?}");
    let unknown: BTreeSet<_> = keys(&expected["client"]).into_iter().filter(|key| !OF_CLIENT.contains(key)).collect();
    assert!(unknown.is_empty(), "{name}: keys of client that nobody judges: {unknown:?}");

    let world = World::new(plan(vector)).await;
    if !vector["upstream"].is_null() {
        world.behave(echo(&vector["upstream"])).await;
    }
    for task in vector["state"]["tasks"].as_array().into_iter().flatten() {
        world
            .open_task(
                task["task_id"].as_str().unwrap(),
                task["model"].as_str().unwrap(),
                task["reserved"].as_u64().unwrap(),
            )
            .await;
    }
    let before = world.received().await;
    let reply = call(&world, vector).await;
    if let Some(reserved) = expected["reserve"][0].as_object() {
        check_task(name, expected, reserved, &world).await;
        assert_eq!(world.received().await - before, 1, "{name}: calls upstream");
        check_client(name, vector, &reply);
        return;
    }
    world.quiet().await;
    for _ in 0..expected["repeat"]["times"].as_u64().unwrap_or(0) {
        let settled = world.book().await.pools;
        call(&world, vector).await;
        assert_eq!(world.book().await.pools, settled, "{name}: a repeat charges nothing");
    }
    let called = world.received().await - before;
    let repeats = expected["repeat"]["times"].as_u64().unwrap_or(0);
    let upstream_called = expected.get("upstream_called").map_or(!vector["upstream"].is_null(), |v| v == &json!(true));
    assert_eq!(called, u64::from(upstream_called) + repeats, "{name}: calls upstream");
    check_client(name, vector, &reply);
    if let Some(wanted) = expected["upstream_request"].get("body_json_contains") {
        let sent: Value = serde_json::from_str(world.last_request().await["body"].as_str().unwrap()).unwrap();
        assert!(contains(&sent, wanted), "{name}: sent {sent}");
    }
    check_ledger(name, vector, &world.book().await);
    check_effect(name, vector, &world).await;
}

fn plan(vector: &Value) -> Plan {
    let state = &vector["state"];
    let pools = state["quota"].as_array().unwrap();
    let unit: Unit = serde_json::from_value(pools[0]["unit"].clone()).unwrap();
    let asked = vector["request"]["body_json"]["model"].as_str();
    let mut codes: BTreeSet<&str> = pools.iter().map(|pool| pool["pool"].as_str().unwrap()).collect();
    codes.extend(asked);
    let models: Vec<_> = codes
        .into_iter()
        .map(|code| match code {
            "qwen3.8-max" => thinking_model(code, 1_000_000, 131_072, 262_144),
            code if unit == Unit::Tokens => model(code, 262_144, 32_768),
            code => model_of(code, unit, 100),
        })
        .collect();
    let tasks = state["tasks"].as_array().into_iter().flatten();
    let in_tasks: u64 = tasks.map(|task| task["reserved"].as_u64().unwrap()).sum();
    let mut plan = Plan::new(models[0].clone(), 0);
    plan.models = models;
    plan.grants = pools
        .iter()
        .map(|pool| (pool["pool"].as_str().unwrap().to_owned(), pool["remaining"].as_u64().unwrap() + in_tasks))
        .collect();
    plan.free_quota_only = state["free_quota_only"] == json!(true);
    plan.quota.overrun = (state["overrun"] == json!("last-call")).then_some(Overrun::LastCall);
    plan.state = match state["account"].as_str().unwrap() {
        "ok" => AccountState::Active,
        "overdue" => AccountState::Overdue { grace_until: Timestamp(0) },
        other => panic!("account state {other}"),
    };
    plan
}

/// A call that goes on as a task leaves its hold open and is remembered with it.
async fn check_task(name: &str, expected: &Value, reserved: &serde_json::Map<String, Value>, world: &World) {
    let book = world.book().await;
    let balance = book.pools[reserved["pool"].as_str().unwrap()].grants[0].balance;
    assert_eq!(json!(balance.held), reserved["amount"], "{name}: held");
    assert_eq!((balance.spent, balance.presumed), (0, 0), "{name}");
    let open = world.store.open_tasks(9).await.unwrap();
    assert_eq!(open.len(), 1, "{name}");
    assert_eq!(open[0].id, expected["remember_task"]["task_id"].as_str().unwrap(), "{name}");
    let hold = open[0].task.as_ref().unwrap();
    assert_eq!(hold.origin.model.as_str(), expected["remember_task"]["model"].as_str().unwrap(), "{name}");
    assert!(book.holds.contains_key(&hold.hold), "{name}");
}

fn echo(upstream: &Value) -> Value {
    let mut reply = json!({
        "status": upstream["status"],
        "headers": upstream["headers"],
        "body_base64": base64::engine::general_purpose::STANDARD.encode(bytes_of(upstream)),
    });
    if let Some(every) = upstream["delivery"].get("split_every") {
        reply["split_every"] = every.clone();
    }
    if let Some(end) = upstream["delivery"].get("end") {
        reply["end"] = end.clone();
    }
    json!({"mode": "echo", "reply": reply})
}

struct Reply {
    status: u16,
    headers: http::HeaderMap,
    /// `None` when the body was aborted; what came of it stands in `partial`.
    body: Option<Vec<u8>>,
    partial: Vec<u8>,
}

async fn call(world: &World, vector: &Value) -> Reply {
    use http_body_util::BodyExt;
    let asked = &vector["request"];
    let headers: Vec<(&str, &str)> = asked["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    assert!(KEY == "sk-test-0001");
    let url = format!("{}{}", world.origin, asked["path"].as_str().unwrap());
    let method = asked["method"].as_str().unwrap().parse().unwrap();
    let response = send(request(method, &url, &headers, bytes_of(asked))).await;
    let (parts, mut body) = response.into_parts();
    let (mut partial, mut clean) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => partial.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                clean = false;
                break;
            }
        }
    }
    let status = parts.status.as_u16();
    Reply { status, headers: parts.headers, body: clean.then(|| partial.clone()), partial }
}

fn check_client(name: &str, vector: &Value, reply: &Reply) {
    let client = &vector["expected"]["client"];
    let text = String::from_utf8_lossy(&reply.partial);
    assert_eq!(json!(reply.status), client["status"], "{name}: {text}");
    for (header, value) in client["headers"].as_object().into_iter().flatten() {
        let got = reply.headers.get(header).map(|v| v.to_str().unwrap());
        assert_eq!(got, value.as_str(), "{name}: header {header}");
    }
    assert_eq!(reply.body.is_none(), client["end"] == json!("aborted"), "{name}: end of the body");
    let upstream = bytes_of(&vector["upstream"]);
    if client["same_as_upstream"] == json!(true) {
        assert_eq!(text, String::from_utf8_lossy(&upstream), "{name}");
    }
    if client["decoded_same_as_upstream"] == json!(true) {
        let encoding = reply.headers.get("content-encoding").map(|v| v.to_str().unwrap());
        assert_eq!(encoding, vector["upstream"]["headers"]["content-encoding"].as_str(), "{name}");
        assert_eq!(reply.partial, upstream, "{name}");
    }
    if let Some(wanted) = client["body_text"].as_str() {
        match wanted.split_once("{{request_id}}") {
            Some((start, end)) => assert!(text.starts_with(start) && text.ends_with(end), "{name}: {text}"),
            None => assert_eq!(text, wanted, "{name}"),
        }
    }
    if let Some(wanted) = client.get("body_json") {
        let got: Value = serde_json::from_str(&text).unwrap();
        assert!(matches_shape(&got, wanted), "{name}: {got} is not {wanted}");
        let full = vector.get("proposal").is_none() || ["18", "54"].iter().any(|number| name.starts_with(number));
        if full {
            assert_eq!(keys(&got), keys(wanted), "{name}: keys of the body");
        }
    }
    for text_without in client["must_not_contain"].as_array().into_iter().flatten() {
        assert!(!text.contains(text_without.as_str().unwrap()), "{name}");
    }
}

/// `wanted` with its placeholders is contained in `got`.
fn matches_shape(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::String(got), Value::String(wanted)) if wanted.starts_with("{{") => !got.is_empty(),
        (Value::Object(got), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| got.get(key).is_some_and(|found| matches_shape(found, value)))
        }
        _ => got == wanted,
    }
}

fn check_ledger(name: &str, vector: &Value, book: &Book) {
    let expected = &vector["expected"];
    let presumed = book.holds.values().filter(|hold| hold.state == HoldState::Presumed).count();
    assert_eq!(presumed > 0, expected["settle"] == json!("presumed"), "{name}: presumed holds");
    if let Some(charges) = expected["charge"].as_array() {
        for quota in vector["state"]["quota"].as_array().unwrap() {
            let pool = quota["pool"].as_str().unwrap();
            let wanted: u64 = charges
                .iter()
                .filter(|charge| charge["pool"] == quota["pool"])
                .map(|charge| charge["amount"].as_u64().unwrap())
                .sum();
            let balance = book.pools[pool].grants[0].balance;
            // A pool that began empty was emptied by one unit.
            let spent = balance.spent - u64::from(quota["remaining"] == json!(0));
            assert_eq!((spent, balance.held), (wanted, 0), "{name}: charged to {pool}");
        }
    }
    for after in expected["quota_after"].as_array().into_iter().flatten() {
        let balance = book.pools[after["pool"].as_str().unwrap()].grants[0].balance;
        assert_eq!(json!(balance.available().max(0)), after["remaining"], "{name}: left");
    }
    if let Some(paid) = expected.get("paid") {
        let billed = book.pools[expected["model"].as_str().unwrap()].billed;
        assert_eq!(json!(billed.input), paid["input"], "{name}: paid input");
        assert_eq!(json!(billed.output), paid["output"], "{name}: paid output");
    }
}

/// What the upstream's answer means for the call after this one.
async fn check_effect(name: &str, vector: &Value, world: &World) {
    let Some(effect) = vector["expected"]["effect"].as_str() else { return };
    let before = world.received().await;
    let closed = match effect {
        "none" => None,
        "upstream_model_exhausted" => {
            world.quiet_tasks().await;
            Some("AllocationQuota.FreeTierOnly")
        }
        "upstream_overdue" | "upstream_not_activated" => Some("Arrearage"),
        other => panic!("{name}: effect {other}"),
    };
    let again = call(world, vector).await;
    let sent = world.received().await - before;
    assert_eq!(sent, u64::from(closed.is_none()), "{name}: calls upstream after the effect");
    if let Some(code) = closed {
        let body: Value = serde_json::from_slice(&again.partial).unwrap();
        let error = if body["error"].is_object() { &body["error"] } else { &body };
        assert_eq!(error["code"], json!(code), "{name}");
        assert_eq!(again.headers["x-gratis-error-source"], "gratis", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_passes_again_in_pieces_of_each_small_size() {
    for (name, vector) in of_protocols(&crate::dialects::PROTOCOLS) {
        if vector["upstream"]["body_text"].is_null() {
            continue;
        }
        for every in [1, 2, 3, 5, 64] {
            let mut split = vector.clone();
            split["upstream"]["delivery"]["split_every"] = json!(every);
            play(&format!("{name} in pieces of {every}"), &split).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_reply_is_what_whole_returns() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000)).await;
    let got =
        whole(send(request(http::Method::GET, &format!("{}/nothing", world.origin), &[], Vec::new())).await).await;
    let (status, headers, body) = got.unwrap();
    assert_eq!(status, 404);
    assert_eq!(headers["x-should-retry"], "false");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "not_metered");
}
