//! The request path as a client sees it, end to end over real sockets.

use gratis::ledger::{AccountState, KeyState, Operation};
use serde_json::{Value, json};

use crate::support::wire::{chat, h2, raw, request, send, whole};
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

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_one_http2_connection() {
    use http_body_util::BodyExt;
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)).await;
    let sender = h2(&world.origin).await;
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..16 {
        let (mut sender, url) = (sender.clone(), format!("{}/v1/chat/completions", world.origin));
        calls.spawn(async move {
            let mut body = hi("qwen-plus");
            body["stream"] = json!(call % 2 == 0);
            let headers = [("authorization", "Bearer sk-test-0001")];
            let response = sender
                .send_request(request(http::Method::POST, &url, &headers, body.to_string().into()))
                .await
                .unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap().to_bytes().len()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|length| length > 0));
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_and_an_overdue_account_stop_the_very_next_call() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)).await;
    assert_eq!(chat(&world.origin, KEY, &hi("qwen-plus")).await.0, 200);
    world.operate(Operation::SetKeyState { key: "key-1".into(), state: KeyState::Disabled }).await;
    assert_eq!(chat(&world.origin, KEY, &hi("qwen-plus")).await.0, 401);
    world.operate(Operation::SetKeyState { key: "key-1".into(), state: KeyState::Active }).await;
    world.operate(Operation::SetState(AccountState::Overdue { grace_until: world.clock.now() })).await;
    let (status, _, body) = chat(&world.origin, KEY, &hi("qwen-plus")).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (400, &json!("Arrearage")));
    world.operate(Operation::SetState(AccountState::Active)).await;
    assert_eq!(chat(&world.origin, KEY, &hi("qwen-plus")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continue_is_sent_only_to_who_has_a_key() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)).await;
    let body = hi("qwen-plus").to_string();
    let head = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {key}\r\nexpect: 100-continue\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
    };
    let refused = raw(&world.origin, head("sk-wrong").as_bytes(), usize::MAX >> 1).await;
    assert!(refused.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&refused));
    let going_on = raw(&world.origin, head(KEY).as_bytes(), 25).await;
    assert_eq!(String::from_utf8_lossy(&going_on), "HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_in_small_pieces_is_read_whole_and_a_large_one_is_refused() {
    let mut plan = Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000);
    plan.max_body = 4_096;
    let world = World::new(plan).await;
    let chunked = |body: &str, size: usize| {
        let mut bytes = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        for piece in body.as_bytes().chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    };
    let small = raw(&world.origin, &chunked(&hi("qwen-plus").to_string(), 3), usize::MAX >> 1).await;
    assert!(small.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&small));
    let mut large = hi("qwen-plus");
    large["messages"][0]["content"] = json!("x".repeat(8_192));
    let refused = raw(&world.origin, &chunked(&large.to_string(), 1_000), usize::MAX >> 1).await;
    assert!(refused.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&refused));
    let declared = chat(&world.origin, KEY, &large).await;
    assert_eq!(declared.0, 413);
    assert_eq!(world.settled("qwen-plus").await.spent, world.charged("qwen-plus").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_counted_in_tokens_is_no_chat_model() {
    let mut images = model("wan2.6-t2i", 32_768, 8_192);
    images.unit = gratis::ledger::Unit::Images;
    let world = World::new(Plan::new(images, 50)).await;
    let (status, _, body) = chat(&world.origin, KEY, &hi("wan2.6-t2i")).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(world.received().await, 0);
}
