//! An upstream that reports less than what it wrote can have cost (F-UP-14).

use serde_json::{Value, json};

use super::hi;
use crate::support::wire::post;
use crate::support::world::{KEY, Plan, World, model};

/// Bytes of text in each reply: at least 100 tokens of at most 128 bytes.
const TEXT: usize = 12_800;
const FLOOR: u64 = 100;

/// Events of a stream.
fn events(objects: &[Value], end: &str) -> String {
    objects.iter().map(|object| format!("data: {object}\n\n")).collect::<String>() + end
}

/// A call, and the reply to it that says `output`, with its type.
type Case = (&'static str, Value, &'static str, fn(u64) -> String);

fn piece() -> String {
    "x".repeat(TEXT / 100)
}

fn chat_stream(output: u64) -> String {
    let chunk = |content: Value| json!({"id": "c", "choices": [{"index": 0, "delta": content, "finish_reason": null}]});
    let mut objects = vec![chunk(json!({"content": null, "reasoning_content": piece()})); 40];
    objects.extend(vec![chunk(json!({"role": "assistant", "content": piece()})); 60]);
    let total = 10 + output;
    let usage = json!({"prompt_tokens": 10, "completion_tokens": output, "total_tokens": total});
    objects.push(json!({"choices": [], "usage": usage}));
    events(&objects, "data: [DONE]\n\n")
}

fn chat_plain(output: u64) -> String {
    let message = json!({"role": "assistant", "content": "x".repeat(TEXT)});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": output, "total_tokens": 10 + output});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).to_string()
}

fn messages_stream(output: u64) -> String {
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece()}});
    let usage = json!({"input_tokens": 10, "output_tokens": 0});
    let mut objects = vec![json!({"type": "message_start", "message": {"role": "assistant", "usage": usage}})];
    objects.extend(vec![delta; 100]);
    objects.push(json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": output, "input_tokens": 10}}));
    events(&objects, "data: {\"type\":\"message_stop\"}\n\n")
}

fn messages_plain(output: u64) -> String {
    let content = json!([{"type": "text", "text": "x".repeat(TEXT)}]);
    let usage = json!({"input_tokens": 10, "output_tokens": output});
    json!({"type": "message", "role": "assistant", "content": content, "usage": usage}).to_string()
}

fn responses_stream(output: u64) -> String {
    let mut objects = vec![json!({"type": "response.output_text.delta", "item_id": "m", "delta": piece()}); 100];
    objects.push(json!({"type": "response.output_text.done", "text": "x".repeat(TEXT)}));
    let usage = json!({"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output});
    objects.push(json!({"type": "response.completed", "response": {"id": "r", "usage": usage}}));
    events(&objects, "")
}

/// Each event says everything so far.
fn native_stream(output: u64) -> String {
    let event = |bytes: usize, reason: &str, output: u64| {
        let message = json!({"role": "assistant", "content": "x".repeat(bytes)});
        let usage = json!({"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output});
        json!({"output": {"choices": [{"message": message, "finish_reason": reason}]}, "usage": usage})
    };
    events(&[event(TEXT / 2, "null", output), event(TEXT, "stop", output)], "")
}

fn native_plain(output: u64) -> String {
    let usage = json!({"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output});
    json!({"output": {"text": "x".repeat(TEXT), "finish_reason": "stop"}, "usage": usage}).to_string()
}

fn cases() -> Vec<Case> {
    const EVENTS: &str = "text/event-stream";
    const JSON: &str = "application/json";
    const CHAT: &str = "/v1/chat/completions";
    const NATIVE: &str = "/api/v1/services/aigc/text-generation/generation";
    let streamed = |mut body: Value| {
        body["stream"] = json!(true);
        body
    };
    let native = json!({"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "hi"}]}});
    let response = json!({"model": "qwen-plus", "input": "hi", "stream": true});
    vec![
        (CHAT, streamed(hi("qwen-plus")), EVENTS, chat_stream),
        (CHAT, hi("qwen-plus"), JSON, chat_plain),
        ("/apps/anthropic/v1/messages", streamed(hi("qwen-plus")), EVENTS, messages_stream),
        ("/apps/anthropic/v1/messages", hi("qwen-plus"), JSON, messages_plain),
        ("/compatible-mode/v1/responses", response, EVENTS, responses_stream),
        (NATIVE, native.clone(), EVENTS, native_stream),
        (NATIVE, native, JSON, native_plain),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn f_up_14_a_usage_below_the_text_that_came_is_raised_to_the_least_that_the_text_can_cost() {
    let world = World::new(Plan::new(model("qwen-plus", 32_768, 8_192), 50_000_000)).await;
    let bearer = format!("Bearer {KEY}");
    let (mut spent, mut low) = (0, 0);
    for (path, body, kind, reply) in cases() {
        // Nothing written, too little, the least, and what is likely; in one write and in many.
        for said in [0, 3, FLOOR - 1, FLOOR, 40 * FLOOR] {
            for split in [0, 1_000] {
                let reply = json!({"headers": {"content-type": kind}, "body": reply(said), "split_every": split});
                world.behave(json!({"mode": "echo", "reply": reply})).await;
                let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
                if kind == "text/event-stream" && path.starts_with("/api") {
                    headers.push(("x-dashscope-sse", "enable"));
                }
                let (status, _, answer) =
                    post(&format!("{}{path}", world.origin), &headers, body.to_string().into()).await;
                let name = format!("{path}, {kind}, {said} said, split {split}");
                assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&answer));
                let balance = world.settled("qwen-plus").await;
                spent += 10 + said.max(FLOOR);
                low += u64::from(said < FLOOR);
                assert_eq!((balance.spent, balance.presumed), (spent, 0), "{name}");
                assert_eq!(world.metrics.model("qwen-plus").usage_low.get(), low, "{name}");
            }
        }
    }
}
