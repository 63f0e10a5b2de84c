//! The dialect's shapes.

use std::io::Read as _;

use gratis::simulator::{Settings, SimModel};
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{Bench, bytes_of, chat, events_of, joined, json_of, model};

#[tokio::test]
async fn a_plain_reply_has_the_shape_of_the_dialect() {
    let bench = Bench::listed().await;
    let response = bench.chat("hi", json!({})).await;
    for name in ["server", "req-arrive-time", "x-dashscope-call-gateway", "vary"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    assert!(response.headers().contains_key("content-length"));
    assert!(!response.headers().contains_key("content-encoding"));
    let (status, body) = json_of(response).await;
    assert_eq!(status, 200);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "qwen-plus");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
    let usage = &body["usage"];
    let number = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(number("total_tokens"), number("prompt_tokens") + number("completion_tokens"));
    assert_eq!(usage["completion_tokens_details"]["text_tokens"], usage["completion_tokens"]);
    assert_eq!(bench.charged().await, (1, number("total_tokens")));
}

#[tokio::test]
async fn a_stream_has_role_content_finish_and_end_in_this_order() {
    let bench = Bench::listed().await;
    let events = events_of(bench.chat("[[sim:answer=10]]", json!({"stream": true})).await).await;
    let (end, chunks) = events.split_last().unwrap();
    assert_eq!(end, "[DONE]");
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"content": "", "role": "assistant"}));
    let (finish, middle) = chunks[1..].split_last().unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(middle.len(), 3, "ten tokens, four a chunk");
    for chunk in middle {
        assert!(!chunk["choices"][0]["delta"]["content"].as_str().unwrap().is_empty());
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    for chunk in chunks {
        assert_eq!(chunk["usage"], Value::Null);
        assert!(chunk.as_object().unwrap().contains_key("usage"));
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
    }
}

#[tokio::test]
async fn the_usage_chunk_comes_only_when_asked_for_and_before_the_end() {
    let bench = Bench::listed().await;
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = events_of(bench.chat("hi", asked).await).await;
    let usage = &events[events.len() - 2];
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(bench.charged().await.1, usage["usage"]["total_tokens"].as_u64().unwrap());
    let asked = json!({"stream": true, "stream_options": {"include_usage": false}});
    let events = events_of(bench.chat("hi", asked).await).await;
    assert!(events.iter().all(|event| event["usage"].is_null()));
}

#[tokio::test]
async fn a_plain_reply_is_compressed_for_who_accepts_it_and_a_stream_is_not() {
    let bench = Bench::listed().await;
    let path = "/v1/chat/completions";
    let accept = [("accept-encoding", "br;q=0.5, gzip")];
    let response = bench.send(path, chat("hi", json!({})).to_string(), &accept).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*bytes_of(response).await).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["object"], "chat.completion");
    let refused = [("accept-encoding", "gzip;q=0")];
    let response = bench.send(path, chat("hi", json!({})).to_string(), &refused).await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
    let response = bench.send(path, chat("hi", json!({"stream": true})).to_string(), &accept).await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}])
}

#[tokio::test]
async fn a_tool_is_called_when_it_is_asked_for() {
    let bench = Bench::listed().await;
    let (_, body) = json_of(bench.chat("use get_weather", json!({"tools": weather()})).await).await;
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "get_weather");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "sample", "days": 1}));

    let (_, body) = json_of(bench.chat("hello", json!({"tools": weather()})).await).await;
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let forced = json!({"tools": weather(), "tool_choice": "required"});
    let (_, body) = json_of(bench.chat("hello", forced).await).await;
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_streamed_tool_call_joins_to_json() {
    let bench = Bench::listed().await;
    let asked = json!({"tools": weather(), "stream": true,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}}});
    let events = events_of(bench.chat("hello", asked).await).await;
    let calls: Vec<&Value> = events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert!(!calls[0]["id"].as_str().unwrap().is_empty());
    let text: String = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["city"], "sample");
}

#[tokio::test]
async fn max_tokens_bounds_the_answer_and_thinking_budget_the_thinking() {
    let bench = Bench::listed().await;
    let asked = json!({"max_tokens": 16, "enable_thinking": true});
    let (_, body) = json_of(bench.chat("[[sim:answer=500,thinking=300]]", asked).await).await;
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 316);
    assert_eq!(body["usage"]["completion_tokens_details"], json!({"reasoning_tokens": 300, "text_tokens": 316}));
    assert!(!body["choices"][0]["message"]["reasoning_content"].as_str().unwrap().is_empty());

    for (wanted, finish) in [(16, "stop"), (17, "length")] {
        let text = format!("[[sim:answer={wanted}]]");
        let (_, body) = json_of(bench.chat(&text, json!({"max_tokens": 16})).await).await;
        assert_eq!(body["usage"]["completion_tokens"], 16);
        assert_eq!(body["choices"][0]["finish_reason"], finish);
    }

    let asked = json!({"max_completion_tokens": 5, "max_tokens": 9, "enable_thinking": true, "thinking_budget": 7,
        "stream": true, "stream_options": {"include_usage": true}});
    let events = events_of(bench.chat("[[sim:answer=500,thinking=300]]", asked).await).await;
    assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 12);
    let thinking = events.iter().position(|event| event["choices"][0]["delta"]["reasoning_content"].is_string());
    let content = |event: &Value| event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty());
    assert!(thinking.unwrap() < events.iter().position(content).unwrap());
}

#[tokio::test]
async fn a_model_thinks_by_default_if_it_says_so_and_never_if_it_cannot() {
    let thinker = SimModel { thinks_by_default: true, ..model() };
    let plain = SimModel { max_thinking: 0, thinks_by_default: true, ..SimModel::new("qwen-turbo") };
    let bench = Bench::new(Settings { models: vec![thinker, plain], ..Settings::default() }).await;
    let text = "[[sim:answer=5,thinking=9]]";
    for (extra, completion) in [
        (json!({}), 14),
        (json!({"enable_thinking": false}), 5),
        (json!({"model": "qwen-turbo", "enable_thinking": true}), 5),
    ] {
        let (_, body) = json_of(bench.chat(text, extra.clone()).await).await;
        assert_eq!(body["usage"]["completion_tokens"], completion, "{extra}");
    }
}

#[tokio::test]
async fn choices_multiply_the_output() {
    let bench = Bench::listed().await;
    let (_, body) = json_of(bench.chat("[[sim:answer=6]]", json!({"n": 3})).await).await;
    assert_eq!(body["choices"].as_array().unwrap().len(), 3);
    assert_eq!(body["choices"][2]["index"], 2);
    assert_eq!(body["usage"]["completion_tokens"], 18);
    let events = events_of(bench.chat("[[sim:answer=6]]", json!({"n": 3, "stream": true})).await).await;
    for index in 0..3 {
        assert!(!joined(&events, index, "content").is_empty());
    }
}

#[tokio::test]
async fn models_are_listed_and_never_charged() {
    let bench = Bench::listed().await;
    let (status, list) = bench.get("/compatible-mode/v1/models").await;
    assert_eq!((status, &list["data"][0]["id"]), (200, &json!("qwen-plus")));
    assert_eq!(bench.get("/v1/models/qwen-plus").await.1["object"], "model");
    let (status, body) = bench.get("/v1/models/other").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(bench.charged().await, (0, 0));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_refused_and_costs_nothing() {
    let settings = Settings { models: vec![SimModel { window: 100, ..model() }], ..Settings::default() };
    let bench = Bench::new(settings).await;
    for (extra, status, code) in [
        (json!({"model": "other"}), 404, "model_not_found"),
        (json!({"model": 5}), 400, "invalid_request_error"),
        (json!({"messages": []}), 400, "invalid_parameter_error"),
        (json!({"max_tokens": 0}), 400, "invalid_parameter_error"),
        (json!({"max_tokens": -1}), 400, "invalid_parameter_error"),
        (json!({"max_tokens": 1.5}), 400, "invalid_parameter_error"),
        (json!({"max_tokens": 1_001}), 400, "invalid_parameter_error"),
        (json!({"max_completion_tokens": "9"}), 400, "invalid_parameter_error"),
        (json!({"thinking_budget": 2_001}), 400, "invalid_parameter_error"),
        (json!({"n": 5}), 400, "invalid_parameter_error"),
        (json!({"messages": [{"role": "user", "content": "x".repeat(500)}]}), 400, "invalid_parameter_error"),
    ] {
        let (got, body) = json_of(bench.chat("hi", extra.clone()).await).await;
        assert_eq!((got, body["error"]["code"].as_str()), (status, Some(code)), "{extra}");
        assert!(!body["request_id"].as_str().unwrap().is_empty());
    }
    for body in ["{", "[]", "\u{feff}{}", ""] {
        let response = bench.send("/v1/chat/completions", body.to_owned(), &[]).await.unwrap();
        assert_eq!(response.status(), 400, "{body:?}");
    }
    assert_eq!(bench.charged().await, (0, 0));
    assert_eq!(bench.ledger().await["refused"]["model_not_found"], 1);
}

#[tokio::test]
async fn a_key_is_asked_for_when_one_is_set() {
    let bench = Bench::new(Settings { key: Some("sk-1".to_owned()), ..Settings::default() }).await;
    for (header, status) in [("Bearer sk-1", 200), ("bearer sk-1", 200), ("Bearer sk-2", 401), ("sk-1", 401)] {
        let body = chat("hi", json!({})).to_string();
        let response = bench.send("/v1/chat/completions", body, &[("authorization", header)]).await.unwrap();
        assert_eq!(response.status(), status, "{header}");
    }
}

#[tokio::test]
async fn it_speaks_http_2_without_tls() {
    let bench = Bench::listed().await;
    let client: super::TestClient = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let body = chat("hi", json!({"stream": true})).to_string();
    let request = Request::post(bench.url("/v1/chat/completions")).body(Full::from(body)).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(events_of(response).await.last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn the_same_seed_produces_the_same() {
    let mut replies = Vec::new();
    for seed in [7, 7, 8] {
        let bench = Bench::new(Settings { seed, ..Settings::default() }).await;
        let mut usages = Vec::new();
        for _ in 0..5 {
            usages.push(json_of(bench.chat("hi", json!({})).await).await.1["usage"].clone());
        }
        replies.push(usages);
    }
    assert_eq!(replies[0], replies[1]);
    assert_ne!(replies[0], replies[2]);
}

#[tokio::test]
async fn the_worst_case_is_charged_and_reported_but_not_sent() {
    let settings = Settings { worst: true, models: vec![model()], ..Settings::default() };
    let bench = Bench::new(settings).await;
    // Two characters that grow to twelve bytes each when they are normalised, and "ab".
    let text = "ab\u{1D160}\u{1D160}";
    let (_, body) = json_of(bench.chat(text, json!({"enable_thinking": true, "n": 2})).await).await;
    assert_eq!(body["usage"]["prompt_tokens"], 26 + 16 + 512);
    assert_eq!(body["usage"]["completion_tokens"], 2 * (1_000 + 2_000));
    assert_eq!(bench.charged().await, (1, 554 + 6_000));
    let answer = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(answer.len() < 8 * 512);

    let bounded = json!({"enable_thinking": true, "max_tokens": 10, "thinking_budget": 20, "tools": []});
    let (_, body) = json_of(bench.chat(text, bounded).await).await;
    assert_eq!(body["usage"]["completion_tokens"], 30);
    assert_eq!(body["usage"]["prompt_tokens"], 554 + 6 * 2, "an empty tool list is two bytes of JSON");
    let tools = json!({"tools": weather()});
    let length = weather().to_string().len() as u64;
    let (_, body) = json_of(bench.chat(text, tools).await).await;
    assert_eq!(body["usage"]["prompt_tokens"], 554 + 512 + 6 * length);
}
