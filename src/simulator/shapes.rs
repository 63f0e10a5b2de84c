//! Replies and streams of the other shapes, as `WIRE 1.3, 1.4, 3.2` to `3.5` have them.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::SimUnit;
use super::chunks::Event;
use super::errors::Envelope;
use super::modes::Mode;
use super::plan::Plan;
use super::render::{self, Head};
use super::ways::{Family, Way};

/// The usage in the shape of the call; what a mode makes of its numbers stays.
pub(super) fn usage(head: &Head, plan: &Plan, mode: Mode) -> Option<Value> {
    let chat = render::usage(plan, mode)?;
    let number = |name: &str| chat.get(name).cloned().unwrap_or(Value::Null);
    let (read, written, total) = (number("prompt_tokens"), number("completion_tokens"), number("total_tokens"));
    let name = match head.unit {
        SimUnit::Tokens => None,
        SimUnit::Images => Some("image_count"),
        SimUnit::Seconds if head.way == Way::Native => Some("seconds"),
        SimUnit::Seconds => Some("duration"),
        SimUnit::Characters => Some("characters"),
        SimUnit::Voices => Some("count"),
    };
    if let Some(name) = name {
        return Some(json!({name: read, "input_tokens": 0, "output_tokens": 0}));
    }
    Some(match head.way {
        Way::Chat | Way::Completions => chat,
        Way::Embeddings => json!({"prompt_tokens": read, "total_tokens": read}),
        Way::Reranks | Way::NativeRerank | Way::NativeEmbedding => json!({"total_tokens": read}),
        // Cached tokens stand beside the others (`WIRE 3.4`).
        Way::Messages => match read.as_u64() {
            Some(all) => json!({"input_tokens": all - all / 4, "output_tokens": written,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": all / 4}),
            None => json!({"input_tokens": read, "output_tokens": written}),
        },
        _ => json!({"input_tokens": read, "output_tokens": written, "total_tokens": total}),
    })
}

/// The plain reply.
pub(super) fn reply(head: &Head, plan: &Plan, answers: &[String], mode: Mode) -> Vec<u8> {
    let text = answers.first().cloned().unwrap_or_default();
    let mut body = match head.way {
        Way::Completions => {
            let choices: Vec<Value> = (0..)
                .zip(answers)
                .map(|(index, text): (u64, _)| json!({"text": text, "index": index, "finish_reason": plan.finish.name()}))
                .collect();
            json!({"id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
                "choices": choices})
        }
        Way::Responses => response(head, &text, "completed"),
        Way::Embeddings => json!({"object": "list", "model": head.model, "id": head.request_id,
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]}),
        Way::Reranks => json!({"id": head.request_id, "model": head.model, "object": "list",
            "results": [{"index": 0, "relevance_score": 0.9}]}),
        Way::Messages => json!({"id": head.id, "type": "message", "role": "assistant", "model": head.model,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null}),
        _ => json!({"output": output(head, &text, "stop"), "request_id": head.request_id}),
    };
    if let (Some(usage), Some(body)) = (usage(head, plan, mode), body.as_object_mut()) {
        body.insert("usage".to_owned(), usage);
    }
    body.to_string().into_bytes()
}

fn response(head: &Head, text: &str, status: &str) -> Value {
    json!({"id": head.id.replace("chatcmpl-", "resp_"), "object": "response", "created_at": head.created,
        "status": status, "model": head.model,
        "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": status,
            "content": [{"type": "output_text", "text": text, "annotations": []}]}]})
}

/// What a DashScope reply has under `output`.
fn output(head: &Head, text: &str, finish: &str) -> Value {
    let message = |content: Value| {
        json!({"choices": [{"finish_reason": finish,
        "message": {"role": "assistant", "content": content}}]})
    };
    match (head.way, head.unit) {
        (Way::NativeEmbedding, _) => json!({"embeddings": [{"text_index": 0, "embedding": [0.1, 0.2]}]}),
        (Way::NativeRerank, _) => json!({"results": [{"index": 0, "relevance_score": 0.9}]}),
        (Way::Voice, _) => json!({"voice": format!("voice-{}", head.request_id)}),
        (_, SimUnit::Images) => message(json!([{"image": "https://example.com/1.png"}])),
        (_, SimUnit::Characters) => json!({"audio": {"url": "https://example.com/1.wav", "data": ""},
            "finish_reason": finish}),
        _ => message(json!(text)),
    }
}

/// The events of a streamed reply, framed as the service does.
pub(super) fn events(head: &Head, plan: &Plan, pieces: &[String], mode: Mode) -> Vec<Event> {
    match head.way {
        Way::Completions => completions(head, plan, pieces, mode),
        Way::Responses => responses(head, plan, pieces, mode),
        Way::Messages => messages(head, plan, pieces, mode),
        _ => native(head, plan, pieces, mode),
    }
}

fn completions(head: &Head, plan: &Plan, pieces: &[String], mode: Mode) -> Vec<Event> {
    let chunk = |choices: Value, usage: Value| {
        Bytes::from(
            json!({"id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
            "choices": choices, "usage": usage})
            .to_string(),
        )
    };
    let mut events: Vec<Event> = pieces
        .iter()
        .map(|text| Event::Chunk(chunk(json!([{"text": text, "index": 0, "finish_reason": null}]), Value::Null)))
        .collect();
    if let Some(usage) = usage(head, plan, mode) {
        events.push(Event::Usage(chunk(json!([]), usage)));
    }
    events.push(Event::Done);
    events
}

/// One event in the framing of the DashScope family: no spaces, a comment with the status (`WIRE 3.2, 3.3`).
pub(super) fn framed(number: usize, kind: &str, status: u16, payload: &Value) -> Bytes {
    format!("id:{number}\nevent:{kind}\n:HTTP_STATUS/{status}\ndata:{payload}\n\n").into()
}

fn responses(head: &Head, plan: &Plan, pieces: &[String], mode: Mode) -> Vec<Event> {
    let created = json!({"sequence_number": 0, "type": "response.created", "response": response(head, "", "queued")});
    let mut events = vec![Event::Framed(framed(1, "response.created", 200, &created))];
    for (number, text) in pieces.iter().enumerate() {
        let delta = json!({"sequence_number": number + 1, "type": "response.output_text.delta", "delta": text,
            "item_id": "msg_1", "output_index": 0, "content_index": 0});
        events.push(Event::Framed(framed(number + 2, "response.output_text.delta", 200, &delta)));
    }
    let mut done = response(head, &pieces.concat(), "completed");
    if let (Some(usage), Some(done)) = (usage(head, plan, mode), done.as_object_mut()) {
        done.insert("usage".to_owned(), usage);
    }
    let number = pieces.len() + 1;
    let completed = json!({"sequence_number": number, "type": "response.completed", "response": done});
    events.push(Event::Last(framed(number + 1, "response.completed", 200, &completed)));
    events
}

fn messages(head: &Head, plan: &Plan, pieces: &[String], mode: Mode) -> Vec<Event> {
    let event = |kind: &str, payload: Value| Bytes::from(format!("event: {kind}\ndata: {payload}\n\n"));
    let whole = usage(head, plan, mode);
    let read = whole.as_ref().and_then(|usage| usage.get("input_tokens")).cloned();
    let mut message = json!({"id": head.id, "type": "message", "role": "assistant", "model": head.model, "content": [],
        "stop_reason": null, "stop_sequence": null});
    if let (Some(read), Some(message)) = (read, message.as_object_mut()) {
        message.insert("usage".to_owned(), json!({"input_tokens": read, "output_tokens": 0}));
    }
    let mut events = vec![
        Event::Framed(event("message_start", json!({"type": "message_start", "message": message}))),
        Event::Framed(event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        )),
        Event::Framed(event("ping", json!({"type": "ping"}))),
    ];
    for text in pieces {
        let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        events.push(Event::Framed(event("content_block_delta", delta)));
    }
    events.push(Event::Last(event("content_block_stop", json!({"type": "content_block_stop", "index": 0}))));
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}});
    if let (Some(usage), Some(last)) = (whole, last.as_object_mut()) {
        last.insert("usage".to_owned(), usage);
    }
    events.push(Event::Last(event("message_delta", last)));
    events.push(Event::Last(event("message_stop", json!({"type": "message_stop"}))));
    events
}

/// Usage is in every event, and cumulative (`WIRE 0.6`).
fn native(head: &Head, plan: &Plan, pieces: &[String], mode: Mode) -> Vec<Event> {
    let last = pieces.len();
    let event = |number: usize, text: &str| {
        let finish = if number == last { "stop" } else { "null" };
        let mut body = Map::new();
        body.insert("output".to_owned(), output(head, text, finish));
        // What was written so far, and all of it at the end.
        let part = if number == last { plan.answer } else { plan.answer.min(number as u64) };
        let thinking = if number == last { plan.thinking } else { 0 };
        let so_far = Plan { answer: part, thinking, ..plan.clone() };
        if let Some(usage) = usage(head, &so_far, mode) {
            body.insert("usage".to_owned(), usage);
        }
        body.insert("request_id".to_owned(), Value::from(head.request_id.clone()));
        framed(number + 1, "result", 200, &Value::Object(body))
    };
    let mut events: Vec<Event> =
        pieces.iter().enumerate().map(|(number, text)| Event::Framed(event(number, text))).collect();
    events.push(Event::Last(event(last, "")));
    events
}

/// An error inside of a stream.
pub(super) fn error_event(envelope: &Envelope, head: &Head) -> Bytes {
    match head.way.family() {
        Family::Anthropic => format!("event: error\ndata: {}\n\n", error(envelope, head)).into(),
        Family::Native | Family::OpenAi => framed(1, "error", envelope.status, &native_error(envelope, head)),
    }
}

/// The body of an error reply.
pub(super) fn error(envelope: &Envelope, head: &Head) -> Value {
    match head.way.family() {
        Family::OpenAi => envelope.body(&(head.id.clone(), head.request_id.clone())),
        Family::Native => native_error(envelope, head),
        Family::Anthropic => json!({"type": "error", "error": {"type": anthropic_type(envelope.status),
            "message": format!("{}: {}", envelope.code, envelope.message)}, "request_id": head.request_id}),
    }
}

fn native_error(envelope: &Envelope, head: &Head) -> Value {
    json!({"code": native_code(envelope.code), "message": envelope.message, "request_id": head.request_id})
}

const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

/// The provider's own code (`WIRE 1.1`).
fn native_code(code: &str) -> &str {
    match code {
        "invalid_api_key" => "InvalidApiKey",
        "invalid_parameter_error" | "invalid_request_error" => "InvalidParameter",
        "model_not_found" => "ModelNotFound",
        "access_denied" => "AccessDenied",
        "limit_requests" => "Throttling.RateQuota",
        "insufficient_quota" => "Throttling.AllocationQuota",
        "data_inspection_failed" => "DataInspectionFailed",
        "internal_error" => "InternalError",
        other => other,
    }
}
