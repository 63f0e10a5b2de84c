//! Every dialect and unit through a whole Gratis, against the simulator's own ledger of what it charged.

mod calls;

use http::Method;
use serde_json::{Value, json};

use crate::support::wire::{request, send, whole};
use crate::support::world::{KEY, Plan, World, model, model_of, thinking_model};
use gratis::catalogue::{Model, ModelType};
use gratis::ledger::{HoldState, Unit};
use gratis::proxy::App;

pub(crate) use calls::{Call, apps, calls, tasks, wav_of};
use calls::{MULTI, call};

/// Models of every unit.
pub(crate) fn models() -> Vec<Model> {
    let asr = Model { kind: ModelType::Asr, ..model_of("asr", Unit::Seconds, 60) };
    vec![
        model("plain", 32_768, 1_024),
        thinking_model("thinker", 32_768, 1_024, 2_048),
        model("embed", 32_768, 0),
        model_of("draw", Unit::Images, 4),
        model_of("film", Unit::Seconds, 15),
        model_of("speak", Unit::Characters, 600),
        asr,
        model_of("voice", Unit::Voices, 1),
    ]
}

pub(crate) async fn world(worst: bool, change: impl FnOnce(&mut Plan)) -> World {
    let all = models();
    let mut plan = Plan::new(all[0].clone(), 0);
    plan.grants = all.iter().map(|model| (model.pool.to_string(), 2_000_000)).collect();
    plan.models = all;
    let models = [("plain".into(), 1), ("thinker".into(), 1)].into();
    plan.apps.insert("app-1".to_owned(), App { models });
    plan.simulator.worst = worst;
    plan.quota.presumed_breaker = 0;
    change(&mut plan);
    World::new(plan).await
}

pub(crate) async fn make(world: &World, call: &Call) -> (u16, Option<Vec<u8>>) {
    let bearer = format!("Bearer {KEY}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend(call.headers.iter().copied());
    let url = format!("{}{}", world.origin, call.path);
    match whole(send(request(Method::POST, &url, &headers, call.body.to_string().into_bytes())).await).await {
        Ok((status, _, body)) => (status, Some(body.to_vec())),
        Err(_) => (0, None),
    }
}

pub(crate) async fn get(world: &World, key: &str, method: Method, path: &str) -> (u16, Value) {
    let bearer = format!("Bearer {key}");
    let url = format!("{}{path}", world.origin);
    let reply = whole(send(request(method, &url, &[("authorization", &bearer)], Vec::new())).await).await;
    let (status, _, body) = reply.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Every unit that was charged is spent, none is held or presumed, and no call cost more than its hold.
async fn agree(world: &World) {
    let mut total = 0;
    for model in models() {
        let balance = world.settled(model.pool.as_str()).await;
        let truth = world.charged(model.code.as_str()).await;
        assert_eq!((balance.spent, balance.held, balance.presumed), (truth, 0, 0), "{}", model.code);
        total += truth;
    }
    assert!(total > 0);
    assert_eq!(world.metrics.over_hold.get(), 0, "a call cost more than its hold");
    assert_eq!(world.metrics.overspent.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_is_what_is_spent_in_every_dialect_and_unit() {
    for worst in [false, true] {
        let world = world(worst, |_| {}).await;
        for call in calls("Hi, wie geht's? 你好").into_iter().chain(apps("Hi 你好")) {
            let (status, body) = make(&world, &call).await;
            let text = String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
            assert_eq!(status, 200, "{} {}: {text}", call.path, call.body);
        }
        agree(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_settled_once_by_whoever_sees_their_end() {
    // The client polls.
    let world = world(false, |_| {}).await;
    for call in tasks("a cat") {
        let (status, body) = make(&world, &call).await;
        assert_eq!(status, 200, "{}", call.path);
        let reply: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        let id = reply["output"]["task_id"].as_str().unwrap().to_owned();
        assert_eq!(get(&world, "sk-other", Method::GET, &format!("/api/v1/tasks/{id}")).await.0, 401);
        for status in ["PENDING", "SUCCEEDED", "SUCCEEDED"] {
            let (code, task) = get(&world, KEY, Method::GET, &format!("/api/v1/tasks/{id}")).await;
            assert_eq!((code, &task["output"]["task_status"]), (200, &json!(status)), "{}", call.path);
        }
    }
    agree(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_nobody_polls_are_settled_all_the_same_and_failed_ones_are_free() {
    let world = world(false, |plan| plan.quota.task_poll = std::time::Duration::from_millis(20)).await;
    for call in tasks("a cat") {
        assert_eq!(make(&world, &call).await.0, 200);
    }
    agree(&world).await;
    let before = world.balance("film").await.spent;
    for call in tasks("[[sim:error-mid-stream]]") {
        assert_eq!(make(&world, &call).await.0, 200);
    }
    agree(&world).await;
    assert_eq!(world.balance("film").await.spent, before);
    let book = world.book().await;
    assert!(book.holds.values().all(|hold| hold.state != HoldState::Presumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_gives_its_hold_back_and_unknown_ones_are_not_there() {
    let world = world(false, |_| {}).await;
    let film = tasks("a cat").remove(2);
    let (_, body) = make(&world, &film).await;
    let reply: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    let id = reply["output"]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(world.balance("film").await.held, 5);
    assert_eq!(get(&world, KEY, Method::POST, &format!("/api/v1/tasks/{id}/cancel")).await.0, 200);
    let (_, task) = get(&world, KEY, Method::GET, &format!("/api/v1/tasks/{id}")).await;
    assert_eq!(task["output"]["task_status"], "CANCELED");
    let balance = world.settled("film").await;
    assert_eq!((balance.held, balance.spent, balance.presumed), (0, 0, 0));
    let before = world.received().await;
    for path in ["/api/v1/tasks/task-elsewhere", "/api-task/v1/tasks/0"] {
        let (status, body) = get(&world, KEY, Method::GET, path).await;
        assert_eq!((status, &body["code"]), (404, &json!("NotFound")), "{path}");
    }
    for path in
        ["/compatible-mode/v1/files/f", "/compatible-mode/v1/conversations/c", "/compatible-mode/v1/responses/r"]
    {
        let (status, body) = get(&world, KEY, Method::GET, path).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    assert_eq!(world.received().await, before, "nothing of it went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cut_reply_costs_at_least_what_was_charged() {
    for mode in ["cut", "truncate", "reset-mid-stream", "error-mid-stream", "no-usage", "garbage", "double-usage"] {
        let world = world(false, |_| {}).await;
        let mut before = std::collections::HashMap::new();
        for call in calls(&format!("[[sim:{mode},answer=60]] go on")) {
            make(&world, &call).await;
            let model = call.body["model"].as_str().unwrap().to_owned();
            let balance = world.settled(&model).await;
            let counted = balance.spent + balance.presumed;
            let truth = world.charged(&model).await;
            let (counted_before, truth_before) = before.insert(model, (counted, truth)).unwrap_or((0, 0));
            let (counted, truth) = (counted - counted_before, truth - truth_before);
            assert!(truth <= counted, "{mode} {} {}: charged {truth}, counted {counted}", call.path, call.body);
        }
        assert_eq!(world.metrics.over_hold.get(), 0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_another_account_made_is_not_gone_on_from() {
    let world = world(false, |_| {}).await;
    let (_, body) = make(&world, &call("/v1/responses", json!({"model": "plain", "input": "a"}))).await;
    let made: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    let next = |id: &str| call("/v1/responses", json!({"model": "plain", "input": "b", "previous_response_id": id}));
    assert_eq!(make(&world, &next(made["id"].as_str().unwrap())).await.0, 200);
    let before = world.received().await;
    assert_eq!(make(&world, &next("resp_of_somebody_else")).await.0, 404);
    let file = json!({"model": "plain", "messages": [{"role": "system", "content": "fileid://file-fe-1"}]});
    assert_eq!(make(&world, &call("/v1/chat/completions", file)).await.0, 404);
    assert_eq!(world.received().await, before);
    agree(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_stands_in_the_request_is_held_by_its_length() {
    for worst in [false, true] {
        // Too little for a recording of unknown length, which may be 60 seconds.
        let world = world(worst, |plan| plan.grants.iter_mut().for_each(|(_, amount)| *amount = 25)).await;
        let heard = |sound: &str| {
            let message = json!({"role": "user", "content": [{"audio": sound}]});
            call(MULTI, json!({"model": "asr", "input": {"messages": [message]}}))
        };
        assert_eq!(make(&world, &heard("https://example.com/a.wav")).await.0, 403);
        assert_eq!(make(&world, &heard(&wav_of(60))).await.0, 403);
        assert_eq!(make(&world, &heard(&wav_of(12))).await.0, 200);
        let balance = world.settled("asr").await;
        assert_eq!((balance.spent, balance.held), (12, 0));
        assert_eq!(make(&world, &heard(&wav_of(13))).await.0, 403, "one more than its bytes say is held");
        assert_eq!(make(&world, &heard(&wav_of(7))).await.0, 200);
        assert_eq!((world.charged("asr").await, world.metrics.over_hold.get()), (19, 0));
        // Several answers, or a call that listens to something else: the length in the request says nothing.
        let mut several = heard(&wav_of(1));
        several.body["parameters"]["n"] = json!(9);
        assert_eq!(make(&world, &several).await.0, 403);
        let elsewhere = Call { path: "/api/v1/services/audio/asr/transcription", ..heard(&wav_of(1)) };
        assert_eq!(make(&world, &elsewhere).await.0, 403);
    }
}
