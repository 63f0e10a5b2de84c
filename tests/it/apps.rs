//! Apps whose models are declared: one call, a hold for each model at its maximum, all of them or none.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use serde_json::{Value, json};

use crate::support::models::{model, model_of, thinking_model};
use crate::support::wire::{request, send, whole};
use crate::support::world::{KEY, Plan, World};
use gratis::ledger::{HoldState, ModelCode, Unit};
use gratis::proxy::App;

const DECLARED: &str = "declared-app";

fn app(models: &[(&str, u64)]) -> App {
    let models: BTreeMap<ModelCode, u64> = models.iter().map(|(code, calls)| ((*code).into(), *calls)).collect();
    App { models }
}

/// What one call of the declared app can cost at most: two calls of `plain`, one of `thinker`.
const MOST: [(&str, u64); 2] = [("plain", 2 * (8_192 + 512)), ("thinker", 8_192 + 512 + 1_024)];

async fn world(granted: u64, change: impl FnOnce(&mut Plan)) -> World {
    let mut plan = Plan::new(model("plain", 8_192, 512), granted);
    plan.models.push(thinking_model("thinker", 8_192, 512, 1_024));
    plan.models.push(model_of("draw", Unit::Images, 4));
    plan.grants.extend([("thinker".to_owned(), granted), ("draw".to_owned(), granted)]);
    plan.apps = HashMap::from([
        (DECLARED.to_owned(), app(&[("plain", 2), ("thinker", 1)])),
        ("draws".to_owned(), app(&[("plain", 1), ("draw", 1)])),
    ]);
    change(&mut plan);
    World::new(plan).await
}

async fn ask(world: &World, app: &str, stream: bool, body: Value) -> (u16, http::HeaderMap, String) {
    let bearer = format!("Bearer {KEY}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    if stream {
        headers.push(("x-dashscope-sse", "enable"));
    }
    let url = format!("{}/api/v1/apps/{app}/completion", world.origin);
    let sent = send(request(Method::POST, &url, &headers, body.to_string().into_bytes())).await;
    let (status, headers, body) = whole(sent).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

fn prompt(text: &str) -> Value {
    json!({"model": "", "input": {"prompt": text}, "parameters": {"incremental_output": true}})
}

async fn counted(world: &World, pool: &str) -> (u64, u64) {
    let balance = world.settled(pool).await;
    assert_eq!(balance.held, 0);
    (balance.spent, balance.presumed)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_declared_model_is_settled_by_what_the_reply_says_of_it() {
    for worst in [false, true] {
        for stream in [false, true] {
            let world = world(1_000_000, |plan| plan.simulator.worst = worst).await;
            let (status, headers, text) = ask(&world, DECLARED, stream, prompt("Hi, 你好")).await;
            assert_eq!(status, 200, "{text}");
            assert_eq!(headers["x-gratis-held"], (MOST[0].1 + MOST[1].1).to_string().as_str());
            assert_eq!(headers["x-gratis-billing"], "free");
            for (pool, most) in MOST {
                let truth = world.charged(pool).await;
                assert_eq!(counted(&world, pool).await, (truth, 0), "{pool}");
                assert!(0 < truth && (truth == most) == worst, "{pool}: {truth} of {most}");
            }
            assert_eq!(world.metrics.over_hold.get(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_its_models_are_held_or_none() {
    // `plain` is held first and would fit; `thinker` does not.
    let world = world(1_000_000, |plan| plan.grants[1].1 = MOST[1].1 - 1).await;
    let (status, _, text) = ask(&world, DECLARED, false, prompt("Hi")).await;
    assert_eq!(status, 403);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["code"], "AllocationQuota.FreeTierOnly", "{text}");
    let (_, _, text) = ask(&world, DECLARED, true, prompt("Hi")).await;
    assert!(text.starts_with("id:1\nevent:error\n:HTTP_STATUS/403\ndata:"), "{text}");
    for (pool, _) in MOST {
        assert_eq!(counted(&world, pool).await, (0, 0), "{pool}");
    }
    assert_eq!(world.received().await, 0, "nothing of it went upstream");
    let book = world.book().await;
    assert!(book.holds.values().all(|hold| hold.state == HoldState::Released), "{:?}", book.holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_never_exceed_what_is_granted() {
    // Room for three calls at their maximum; each really uses it.
    let world = std::sync::Arc::new(
        world(3 * MOST[0].1, |plan| {
            plan.simulator.worst = true;
            plan.quota.busy_wait = std::time::Duration::from_millis(200);
        })
        .await,
    );
    let calls = (0..12).map(|number| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { ask(&world, DECLARED, number % 2 == 0, prompt("Hi")).await.0 })
    });
    let mut served = 0;
    for call in calls.collect::<Vec<_>>() {
        let status = call.await.unwrap();
        assert!(matches!(status, 200 | 403 | 429), "{status}");
        served += u64::from(status == 200);
    }
    assert_eq!(served, 3);
    for (pool, most) in MOST {
        assert_eq!(counted(&world, pool).await, (served * most, 0), "{pool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reply_does_not_tell_is_presumed_and_a_refusal_gives_everything_back() {
    let world = world(1_000_000, |_| {}).await;
    for (mode, stream) in
        [("no-usage", false), ("no-usage", true), ("cut", true), ("reset-mid-stream", true), ("negative-usage", true)]
    {
        let before = [counted(&world, "plain").await, counted(&world, "thinker").await];
        let bearer = format!("Bearer {KEY}");
        let headers =
            [("authorization", bearer.as_str()), ("x-dashscope-sse", if stream { "enable" } else { "disable" })];
        let url = format!("{}/api/v1/apps/{DECLARED}/completion", world.origin);
        let body = prompt(&format!("[[sim:{mode}]]")).to_string();
        let _ = whole(send(request(Method::POST, &url, &headers, body.into_bytes())).await).await;
        for ((pool, most), before) in MOST.into_iter().zip(before) {
            let now = counted(&world, pool).await;
            assert_eq!((now.0, now.1), (before.0, before.1 + most), "{mode} {pool}");
        }
    }
    let before = [counted(&world, "plain").await, counted(&world, "thinker").await];
    assert_eq!(ask(&world, DECLARED, false, prompt("[[sim:rate-limit]]")).await.0, 429);
    assert_eq!([counted(&world, "plain").await, counted(&world, "thinker").await], before);
    // Pictures are not told in tokens: that model is presumed, the other one is settled.
    let spent = before[0].0;
    assert_eq!(ask(&world, "draws", false, prompt("Hi")).await.0, 200);
    assert_eq!(counted(&world, "draw").await, (0, 4));
    assert!(counted(&world, "plain").await.0 > spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_declared_is_refused_and_so_is_what_is_billed_apart() {
    let world = world(1_000_000, |_| {}).await;
    assert_eq!(ask(&world, "another", false, prompt("Hi")).await.0, 403);
    for body in [
        json!({"input": {"prompt": "a"}, "parameters": {"enable_web_search": true}}),
        json!({"input": {"prompt": "a"}, "parameters": {"mcp_servers": ["m"]}}),
        json!({"input": {"prompt": "a"}, "parameters": {"model_id": "draw"}}),
        json!({"model": "plain", "input": {"prompt": "a"}, "parameters": {"model_id": "thinker"}}),
        json!({"input": {"prompt": "a", "prompt": "b"}, "enable_web_search": true}),
        json!({"input": {"prompt": "a", "session_id": "of-somebody-else"}}),
        json!({"input": {"prompt": "a"}, "parameters": {"Model_ID": "draw"}}),
    ] {
        let status = ask(&world, DECLARED, false, body.clone()).await.0;
        assert!(matches!(status, 400 | 403 | 404), "{body}: {status}");
    }
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_the_account_that_began_it() {
    let world = world(1_000_000, |_| {}).await;
    let (status, _, text) = ask(&world, DECLARED, false, prompt("Hi")).await;
    assert_eq!(status, 200);
    let session = serde_json::from_str::<Value>(&text).unwrap()["output"]["session_id"].as_str().unwrap().to_owned();
    let next = |id: &str| json!({"input": {"prompt": "go on", "session_id": id}});
    assert_eq!(ask(&world, DECLARED, true, next(&session)).await.0, 200);
    assert_eq!(ask(&world, DECLARED, true, next("another")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_not_declared_is_written_down_all_the_same() {
    let world = world(1_000_000, |_| {}).await;
    let reply = json!({"output": {"text": "a", "finish_reason": "stop", "session_id": "s"}, "request_id": "r",
        "usage": {"models": [{"model_id": "plain", "input_tokens": 3, "output_tokens": 4},
            {"model_id": "thinker", "input_tokens": 1, "output_tokens": 1},
            {"model_id": "draw", "input_tokens": 5, "output_tokens": 6}]}});
    world
        .behave(json!({"model": DECLARED, "mode": "echo", "reply": {"headers": {"content-type": "application/json"},
        "body": reply.to_string()}}))
        .await;
    let (status, _, text) = ask(&world, DECLARED, false, prompt("Hi")).await;
    assert_eq!(status, 200, "{text}");
    world.quiet_tasks().await;
    assert_eq!(counted(&world, "plain").await, (7, 0));
    assert_eq!(counted(&world, "thinker").await, (2, 0));
    assert_eq!(counted(&world, "draw").await, (11, 0));
    assert_eq!(world.metrics.over_hold.get(), 11);
}
