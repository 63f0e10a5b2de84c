//! The three families side by side: errors of ours in each shape, also where nothing exists, and what of a request's head crosses.

use http::Method;
use serde_json::{Value, json};

use crate::mixed::{Call, make, world};
use crate::support::PATIENCE;
use crate::support::wire::{request, send, whole};
use crate::support::world::{KEY, World};
use gratis::dialect::Kind;
use gratis::ledger::{AccountId, HoldId, Origin, Timestamp, Unit};
use gratis::store::{Resource, ResourceStore, TaskHold};

const CHAT: &str = "/compatible-mode/v1/chat/completions";
const NATIVE: &str = "/api/v1/services/aigc/text-generation/generation";
const MESSAGES: &str = "/apps/anthropic/v1/messages";

async fn ask(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (u16, Value, String) {
    let url = format!("{}{path}", world.origin);
    let reply = send(request(method, &url, headers, body.to_string().into_bytes())).await;
    let (status, headers, body) = whole(reply).await.unwrap();
    let kind = headers["content-type"].to_str().unwrap().to_owned();
    assert_eq!(headers["x-gratis-error-source"], "gratis", "{path}");
    let text = String::from_utf8(body.to_vec()).unwrap();
    let json = text.split("data:").last().and_then(|text| serde_json::from_str(text.trim()).ok()).unwrap_or_default();
    (status, json, format!("{kind} {text}"))
}

/// The code of an error, wherever its family has it.
fn code<'v>(path: &str, error: &'v Value) -> &'v str {
    let (keys, at): (&[&str], &Value) = match path {
        _ if path.starts_with("/apps/anthropic") => (&["error", "request_id", "type"], &error["error"]["code"]),
        _ if path.starts_with("/api/") => (&["code", "message", "request_id"], &error["code"]),
        _ => (&["error", "request_id"], &error["error"]["code"]),
    };
    let found: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).filter(|key| *key != "id").collect();
    let mut wanted = keys.to_vec();
    let mut found_sorted = found;
    wanted.sort_unstable();
    found_sorted.sort_unstable();
    assert_eq!(found_sorted, wanted, "{path}: {error}");
    at.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_has_the_shape_of_its_paths_family_also_where_there_is_nothing() {
    let world = world(false, |_| {}).await;
    let bearer = format!("Bearer {KEY}");
    let key = [("authorization", bearer.as_str())];
    let before = world.received().await;
    for (path, no_key, nothing) in [
        (CHAT, "invalid_api_key", "/compatible-mode/v1/nothing"),
        (NATIVE, "InvalidApiKey", "/api/v1/nothing"),
        (MESSAGES, "invalid_api_key", "/apps/anthropic/v1/nothing"),
    ] {
        let body = json!({"model": "plain"});
        let (status, error, _) = ask(&world, Method::POST, path, &[], &body).await;
        assert_eq!((status, code(path, &error)), (401, no_key), "{path}");
        let (status, error, _) = ask(&world, Method::POST, nothing, &[], &body).await;
        assert_eq!((status, code(nothing, &error)), (404, "not_metered"), "{nothing}");
        let (status, error, _) = ask(&world, Method::PUT, path, &key, &body).await;
        assert_eq!((status, code(path, &error)), (405, "method_not_allowed"), "{path}");
        let unknown = json!({"model": "nobody", "messages": [], "input": {"messages": []}});
        let (status, error, _) = ask(&world, Method::POST, path, &key, &unknown).await;
        assert_eq!(status, 404, "{path}: {error}");
        assert!(matches!(code(path, &error), "model_not_found" | "ModelNotFound"), "{path}: {error}");
    }
    // A model whose unit no reply to such a call counts.
    let (status, error, _) = ask(&world, Method::POST, MESSAGES, &key, &json!({"model": "draw", "messages": []})).await;
    assert_eq!((status, code(MESSAGES, &error)), (404, "model_not_found"));
    // A stream that is refused: one event, under the error's own status.
    let events = [("authorization", "Bearer sk-wrong"), ("x-dashscope-sse", "enable")];
    let (status, error, text) = ask(&world, Method::POST, NATIVE, &events, &json!({})).await;
    assert_eq!((status, error["code"].as_str()), (401, Some("InvalidApiKey")));
    assert!(text.starts_with("text/event-stream;charset=UTF-8 id:1\nevent:error\n:HTTP_STATUS/401\ndata:{"), "{text}");
    assert_eq!(world.received().await, before, "nothing of it went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_requests_head_only_what_is_known_crosses() {
    let world = world(false, |_| {}).await;
    let headers = vec![
        ("x-dashscope-cachecontrol", "enable"),
        ("x-dashscope-session-cache", "enable"),
        ("x-dashscope-workspace", "ws-1"),
        ("x-dashscope-ossresourceresolve", "enable"),
        ("x-dashscope-useragent", "QwenCode/0.24.4"),
        ("anthropic-beta", "context-1m"),
        ("anthropic-version", "2023-06-01"),
        ("cookie", "a=b"),
    ];
    let seen = |request: &Value| -> Vec<String> {
        let names = request["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_owned());
        let mut names: Vec<String> =
            names.filter(|name| name.contains("dash") || name.contains("anth") || name == "cookie").collect();
        names.sort_unstable();
        names
    };
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (path, body, wanted) in [
        (CHAT, json!({"model": "plain", "messages": messages}), vec![]),
        (NATIVE, json!({"model": "plain", "input": {"messages": messages}}), vec!["x-dashscope-ossresourceresolve"]),
        (MESSAGES, json!({"model": "plain", "max_tokens": 300, "messages": messages}), vec!["anthropic-version"]),
    ] {
        let (status, _) = make(&world, &Call { path, headers: headers.clone(), body }).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(seen(&world.last_request().await), wanted, "{path}");
    }
    // What is billed apart is refused instead of being left out in silence.
    for header in [("x-dashscope-plugin", "{\"search\":{}}"), ("x-dashscope-datainspection", "{\"input\":\"cip\"}")] {
        let body = json!({"model": "plain", "input": {"messages": messages}});
        let before = world.received().await;
        assert_eq!(make(&world, &Call { path: NATIVE, headers: vec![header], body }).await.0, 403, "{header:?}");
        assert_eq!(world.received().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_record_is_gone_is_not_asked_about_any_more() {
    let world = world(false, |plan| plan.quota.task_poll = std::time::Duration::from_millis(20)).await;
    let origin = Origin { key: "key-1".into(), model: "film".into(), pool: "film".into() };
    let day = 86_400_000;
    let old = Resource {
        kind: Kind::Task,
        id: "task-old".into(),
        account: "default".into(),
        created: Timestamp(world.clock.now().0 - day),
        task: Some(TaskHold { open: true, hold: HoldId(9), origin, unit: Unit::Seconds }),
    };
    world.store.remember(old).await.unwrap();
    let begun = std::time::Instant::now();
    while !world.store.open_tasks(9).await.unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it stays open");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_apps_pass_only_where_no_model_is_in_free_quota_only() {
    let file = |world: &World| {
        let made = Resource {
            kind: Kind::File,
            id: "file-1".into(),
            account: "default".into(),
            created: world.clock.now(),
            task: None,
        };
        let store = std::sync::Arc::clone(&world.store);
        async move { store.remember(made).await.unwrap() }
    };
    let batch = |id: &str| Call {
        path: "/compatible-mode/v1/batches",
        headers: Vec::new(),
        body: json!({"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
    };
    let app =
        || Call { path: "/api/v1/apps/app-2/completion", headers: Vec::new(), body: json!({"input": {"prompt": "x"}}) };
    let free = world(false, |_| {}).await;
    file(&free).await;
    for call in [batch("file-1"), app()] {
        assert_eq!(make(&free, &call).await.0, 403, "{}", call.path);
    }
    assert_eq!(free.received().await, 0);
    let paid = world(false, |plan| plan.free_quota_only = false).await;
    file(&paid).await;
    assert_eq!(make(&paid, &batch("file-of-another")).await.0, 404);
    assert_eq!(paid.received().await, 0);
    let (status, body) = make(&paid, &batch("file-1")).await;
    let made: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    assert_eq!(status, 200, "{made}");
    let made = paid.store.resource(Kind::Batch, made["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(made.unwrap().account.as_str(), "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_with_another_accounts_voice() {
    let world = world(false, |_| {}).await;
    for (id, account) in [("v-mine", "default"), ("v-theirs", "other")] {
        let account = AccountId::from(account);
        let made = Resource { kind: Kind::Voice, id: id.into(), account, created: world.clock.now(), task: None };
        world.store.remember(made).await.unwrap();
    }
    let speech = |place: &str, voice: Value| {
        let mut body = json!({"model": "speak", "input": {"text": "hello"}});
        body[place]["voice"] = voice;
        Call { path: "/api/v1/services/audio/tts/SpeechSynthesizer", headers: Vec::new(), body }
    };
    for place in ["input", "parameters"] {
        for (voice, status) in [("Cherry", 200), ("v-mine", 200), ("v-theirs", 404), ("\u{65e5} no id", 200)] {
            assert_eq!(make(&world, &speech(place, json!(voice))).await.0, status, "{place} {voice}");
        }
        assert_eq!(make(&world, &speech(place, json!(["v-theirs"]))).await.0, 400, "{place}");
        assert_eq!(make(&world, &speech(place, Value::Null)).await.0, 200, "{place}");
    }
}
