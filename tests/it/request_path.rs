//! The request path as a client sees it, end to end over real sockets.

use serde_json::{Value, json};

use crate::support::wire::{chat, request, send, whole};
use crate::support::world::{KEY, Plan, World, model};

fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_call_is_charged_exactly_and_the_counters_show_it_at_its_end() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)).await;
    let (status, headers, body) = chat(&world.origin, KEY, &hi("qwen-plus")).await;
    let balance = world.balance("qwen-plus").await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let usage: Value = serde_json::from_slice::<Value>(&body).unwrap()["usage"]["total_tokens"].clone();
    assert_eq!(balance.spent, usage.as_u64().unwrap());
    assert_eq!((balance.held, balance.presumed), (0, 0));
    assert_eq!(world.charged("qwen-plus").await, balance.spent);
    assert_eq!(headers["x-gratis-billing"], "free");
    assert_eq!(headers["x-gratis-model"], "qwen-plus");
    assert!(headers.contains_key("x-gratis-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_charged_exactly_and_the_usage_chunk_is_hidden_unless_asked_for() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)).await;
    let mut body = hi("qwen-plus");
    body["stream"] = json!(true);
    let (status, _, bytes) = chat(&world.origin, KEY, &body).await;
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(status, 200);
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!text.contains("\"choices\":[]"), "{text}");
    let balance = world.balance("qwen-plus").await;
    assert_eq!(balance.spent, world.charged("qwen-plus").await);
    assert!(balance.spent > 0);
    assert_eq!(balance.held, 0);
    body["stream_options"] = json!({"include_usage": true});
    let (_, _, bytes) = chat(&world.origin, KEY, &body).await;
    assert!(String::from_utf8_lossy(&bytes).contains("\"choices\":[]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_on_a_small_grant_never_overspend() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 20_000)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..64_u64 {
        let origin = world.origin.clone();
        tasks.spawn(async move {
            let mut done = 0_u64;
            for call in 0..20_u64 {
                let mut body = hi("qwen-plus");
                body["stream"] = json!((client + call) % 2 == 0);
                let (status, _, body) = chat(&origin, KEY, &body).await;
                match status {
                    200 => done += 1,
                    403 => break,
                    429 => {}
                    other => panic!("{other}: {}", String::from_utf8_lossy(&body)),
                }
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    let balance = world.settled("qwen-plus").await;
    let charged = world.charged("qwen-plus").await;
    println!("{done} calls completed, {charged} of 20000 charged, {balance:?}");
    assert!(charged <= 20_000, "overspent: {charged}");
    assert_eq!(charged, balance.spent);
    assert!(balance.available() < 546 + 256, "a minimal request would still fit: {balance:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_whatever_the_quota_says() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 0)).await;
    let url = format!("{}/v1/models", world.origin);
    let headers = [("authorization", "Bearer sk-test-0001")];
    let (status, _, body) = whole(send(request(http::Method::GET, &url, &headers, Vec::new())).await).await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let (status, _, body) = chat(&world.origin, KEY, &hi("qwen-plus")).await;
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&body));
}
