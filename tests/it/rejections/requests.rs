//! Refusals for what the request itself is.

use serde_json::json;

use super::{Again, FREE_TIER_ONLY, INVALID_KEY, Wanted, answered, bearer, chat, hi, plan, refused, request, with};
use crate::support::world::{KEY, World};

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_no_key() {
    let world = World::new(plan()).await;
    let long = format!("authorization: Bearer {}\r\n", "k".repeat(1_000));
    let cases = [
        ("none", String::new()),
        ("unknown", "authorization: Bearer sk-test-0002\r\n".to_owned()),
        ("empty", "authorization: Bearer \r\n".to_owned()),
        ("no scheme", format!("authorization: {KEY}\r\n")),
        ("another scheme", format!("authorization: Basic {KEY}\r\n")),
        ("one character more", format!("authorization: Bearer {KEY}x\r\n")),
        ("too long", long),
        ("two that differ", format!("authorization: Bearer {KEY}\r\nauthorization: Bearer sk-other\r\n")),
        (
            "two that differ, the good one last",
            format!("authorization: Bearer sk-other\r\nauthorization: Bearer {KEY}\r\n"),
        ),
        ("two kinds that differ", format!("authorization: Bearer {KEY}\r\nx-api-key: sk-other\r\n")),
        ("a good one beside an empty one", format!("authorization: Bearer {KEY}\r\nx-api-key: \r\n")),
    ];
    let mut messages = std::collections::BTreeSet::new();
    for (name, headers) in cases {
        let body = hi().to_string();
        let reply = refused(&world, name, request("POST /v1/chat/completions", &headers, &body), INVALID_KEY).await;
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        messages.insert(body["error"]["message"].as_str().unwrap().to_owned());
        refused(&world, name, request("GET /v1/models", &headers, ""), INVALID_KEY).await;
    }
    assert_eq!(messages.len(), 1, "every cause gives the same answer: {messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_or_bounded() {
    let world = World::new(plan()).await;
    let twice = r#"{"model":"qwen-plus","model":"qwen-max","messages":[]}"#;
    let tokens = r#"{"model":"qwen-plus","messages":[],"max_tokens":5,"max_tokens":5}"#;
    let cases = [
        ("empty", String::new(), Wanted::request()),
        ("not JSON", "hello".to_owned(), Wanted::request()),
        ("cut JSON", r#"{"model":"qwen-plus","#.to_owned(), Wanted::request()),
        ("a list", "[]".to_owned(), Wanted::request()),
        ("bytes behind", format!("{}{{}}", hi()), Wanted::request()),
        ("no model", r#"{"messages":[]}"#.to_owned(), Wanted { param: Some("model"), ..Wanted::request() }),
        ("no messages", r#"{"model":"qwen-plus"}"#.to_owned(), Wanted::parameter("messages")),
        ("two models", twice.to_owned(), Wanted::parameter("model")),
        ("two bounds", tokens.to_owned(), Wanted::parameter("max_tokens")),
        ("max_tokens 0", with("max_tokens", json!(0)), Wanted::parameter("max_tokens")),
        ("max_tokens -1", with("max_tokens", json!(-1)), Wanted::parameter("max_tokens")),
        ("max_tokens 1.5", with("max_tokens", json!(1.5)), Wanted::parameter("max_tokens")),
        ("max_tokens text", with("max_tokens", json!("5")), Wanted::parameter("max_tokens")),
        ("max_tokens huge", with("max_tokens", json!(u64::MAX)), Wanted::parameter("max_tokens")),
        ("n", with("n", json!(5)), Wanted::parameter("n")),
        ("n text", with("n", json!("1")), Wanted::parameter("n")),
        ("stream", with("stream", json!("yes")), Wanted::parameter("stream")),
        ("a model that is a number", with("model", json!(5)), Wanted::parameter("model")),
        ("a disguise", with("Max_Tokens", json!(5)), Wanted::parameter("max_tokens")),
        ("unknown model", with("model", json!("qwen-none")), Wanted::gateway(404, "model_not_found")),
        ("another case", with("model", json!("Qwen-Plus")), Wanted::gateway(404, "model_not_found")),
        ("a bad name", with("model", json!("\u{1}<b>\n")), Wanted::gateway(404, "model_not_found")),
        ("search", with("enable_search", json!(true)), Wanted { param: Some("enable_search"), ..FREE_TIER_ONLY }),
    ];
    for (name, body, wanted) in cases {
        let reply = refused(&world, name, chat(&body), wanted).await;
        if let Some(param) = wanted.param {
            assert!(reply.text().contains(&format!("`{param}`")) || reply.text().contains(param), "{name}: {reply:?}");
        }
        // A request for a stream is refused in the same plain JSON (W 0.4).
        let streamed = body.replacen('{', "{\"stream\":true,", 1);
        if name != "stream" && body.starts_with('{') {
            refused(&world, name, chat(&streamed), wanted).await;
        }
    }
    let body = [b"{\"model\":\"qwen-plus\",\"user\":\"canary\xff\"}".as_slice()].concat();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\n{}content-length: {}\r\n\r\n",
        bearer(),
        body.len()
    );
    let reply = refused(&world, "not UTF-8", [head.into_bytes(), body].concat(), Wanted::request()).await;
    assert!(!reply.text().contains("canary"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_metered_is_not_passed_on() {
    let world = World::new(plan()).await;
    let not_metered = Wanted::gateway(404, "not_metered");
    for line in [
        "POST /v1/audio/speech",
        "POST /v1/responses/",
        "POST /v1/chat/completions/",
        "POST /v1/chat/completions?x=1",
        "POST /v1//chat/completions",
        "POST /v1/chat%2Fcompletions",
        "POST /v1/../v1/chat/completions",
        "GET /v1/models/..",
        "GET /v1/models?url=http://x/",
        "GET /",
        "GET /compatible-mode/v1/assistants",
    ] {
        refused(&world, line, request(line, &bearer(), &hi().to_string()), not_metered).await;
        // Whether a path exists is no secret; the answer does not depend on the key.
        refused(&world, line, request(line, "", &hi().to_string()), not_metered).await;
    }
    let wrong_method = Wanted::gateway(405, "method_not_allowed");
    for (line, allow) in [
        ("GET /v1/chat/completions", "POST"),
        ("PUT /compatible-mode/v1/chat/completions", "POST"),
        ("OPTIONS /v1/chat/completions", "POST"),
        ("POST /v1/models", "GET"),
        ("DELETE /v1/models/qwen-plus", "GET"),
    ] {
        let reply = refused(&world, line, request(line, &bearer(), ""), wrong_method).await;
        assert_eq!(reply.header("allow"), Some(allow), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_taken() {
    let mut plan = plan();
    plan.max_body = 1_000;
    let world = World::new(plan).await;
    let too_large = Wanted::gateway(413, "request_too_large");
    let large = with("user", json!("x".repeat(1_000)));
    refused(&world, "declared", chat(&large), too_large).await;
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\n{}transfer-encoding: chunked\r\n\r\n", bearer());
    let chunked = format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    refused(&world, "undeclared", chunked, too_large).await;
    let encoded = Wanted::gateway(415, "unsupported_content_encoding");
    for coding in ["gzip", "br", "zstd", "gzip, identity", "x"] {
        let headers = format!("{}content-encoding: {coding}\r\n", bearer());
        let request = request("POST /v1/chat/completions", &headers, &hi().to_string());
        refused(&world, coding, request, encoded).await;
    }
    let headers = format!("{}content-encoding: identity\r\n", bearer());
    let mut plug = crate::support::plug::Plug::to(&world.origin).await;
    plug.write(request("POST /v1/chat/completions", &headers, &hi().to_string())).await;
    assert_eq!(plug.reply().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_costs_nothing() {
    // A port that was free a moment ago and that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut plan = plan();
    plan.upstream = Some(format!("http://{port}"));
    let world = World::new(plan).await;
    let unreachable = Wanted::gateway(502, "gratis_upstream_unreachable").again(Again::AsYouLike);
    for _ in 0..5 {
        answered(&world, "unreachable", chat(&hi().to_string()), unreachable).await;
    }
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed, balance.held), (0, 0, 0));
    let models = request("GET /v1/models", &bearer(), "");
    answered(&world, "models", models, unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_answer_or_breaks_is_presumed() {
    let mut plan = plan();
    plan.head_timeout = std::time::Duration::from_millis(50);
    plan.quota.drain_time = std::time::Duration::from_millis(50);
    let world = World::new(plan).await;
    world.behave(json!({"mode": "never-answer"})).await;
    let timeout = Wanted::gateway(504, "gratis_upstream_timeout");
    answered(&world, "timeout", chat(&hi().to_string()), timeout).await;
    let once = world.settled("qwen-plus").await;
    assert!(once.presumed >= world.charged("qwen-plus").await && once.presumed > 0, "{once:?}");
    world.behave(json!({"mode": "reset-before-head"})).await;
    answered(&world, "broken", chat(&hi().to_string()), Wanted::gateway(502, "gratis_upstream_broken")).await;
    let twice = world.settled("qwen-plus").await;
    assert!(twice.presumed > once.presumed, "{twice:?}");
}
