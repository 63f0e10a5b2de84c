//! A streamed reply: the order of its events, and how they are framed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::errors::Envelope;
use super::modes::Mode;
use super::plan::Plan;
use super::render::{Head, tool_id, usage};
use super::shapes;
use super::ways::Way;

/// Bytes of the padding in the event of `big-line`.
pub(super) const BIG: usize = 10 * 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A piece of a choice.
    Chunk(Bytes),
    /// The usage, in a chunk of its own.
    Usage(Bytes),
    /// An error.
    Error(Bytes),
    /// `[DONE]`.
    Done,
    /// A piece that is framed already.
    Framed(Bytes),
    /// One of the last events, framed already: nothing of it comes where a stream is cut.
    Last(Bytes),
}

fn chunk(head: &Head, choices: &Value, usage: &Value) -> Value {
    json!({
        "choices": choices, "object": "chat.completion.chunk", "usage": usage, "created": head.created,
        "system_fingerprint": null, "model": head.model, "id": head.id,
    })
}

fn delta(head: &Head, index: u64, delta: &Value, finish: Option<&str>) -> Event {
    let choices = json!([{"delta": delta, "finish_reason": finish, "index": index, "logprobs": null}]);
    Event::Chunk(chunk(head, &choices, &Value::Null).to_string().into())
}

/// The events of a whole reply: role, thinking, answer, finish, usage if it was asked for, `[DONE]`.
pub(super) fn events(
    head: &Head,
    plan: &Plan,
    (answers, thoughts): (&[Vec<String>], &[Vec<String>]),
    include_usage: bool,
    mode: Mode,
) -> Vec<Event> {
    let mut events = Vec::new();
    for index in 0..plan.choices {
        events.push(delta(head, index, &json!({"content": "", "role": "assistant"}), None));
    }
    interleave(thoughts, |index, text| {
        events.push(delta(head, index, &json!({"content": null, "reasoning_content": text}), None));
    });
    match &plan.tool {
        Some((name, arguments)) => {
            (0..plan.choices).for_each(|index| tool_chunks(head, index, name, arguments, &mut events));
        }
        None => interleave(answers, |index, text| events.push(delta(head, index, &json!({"content": text}), None))),
    }
    for index in 0..plan.choices {
        events.push(delta(head, index, &json!({"content": ""}), Some(plan.finish.name())));
    }
    odd_event(head, mode, &mut events);
    let usage = usage(plan, mode).filter(|_| include_usage);
    if let Some(usage) = usage {
        let event = Event::Usage(chunk(head, &json!([]), &usage).to_string().into());
        events.extend(vec![event; if mode == Mode::DoubleUsage { 2 } else { 1 }]);
    }
    events.extend(vec![Event::Done; if mode == Mode::DoubleDone { 2 } else { 1 }]);
    events
}

/// The first piece of every choice, then the second of every choice, and so on.
fn interleave(texts: &[Vec<String>], mut take: impl FnMut(u64, &str)) {
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..longest {
        for (index, pieces) in (0..).zip(texts) {
            if let Some(text) = pieces.get(at) {
                take(index, text);
            }
        }
    }
}

fn tool_chunks(head: &Head, index: u64, name: &str, arguments: &str, events: &mut Vec<Event>) {
    let call = |id: &str, name: Option<&str>, arguments: &str| {
        json!({"content": null, "tool_calls": [{"index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
    };
    events.push(delta(head, index, &call(&tool_id(index), Some(name), ""), None));
    let (first, second) = arguments.split_at_checked(arguments.len() / 2).unwrap_or((arguments, ""));
    for part in [first, second] {
        events.push(delta(head, index, &call("", None, part), None));
    }
}

/// The event that a mode slips in after the content.
fn odd_event(head: &Head, mode: Mode, events: &mut Vec<Event>) {
    if mode == Mode::BigLine {
        let mut value = chunk(head, &json!([]), &Value::Null);
        if let Some(value) = value.as_object_mut() {
            value.insert("padding".to_owned(), Value::from("x".repeat(BIG)));
        }
        events.push(Event::Chunk(value.to_string().into()));
    }
    if mode == Mode::InvalidUtf8 {
        let mut bytes = br#"{"choices":[],"usage":null,"padding":""#.to_vec();
        bytes.extend_from_slice(b"\xff\xfe\xc3\x28\"}");
        events.push(Event::Chunk(bytes.into()));
    }
}

/// An error event (`WIRE 1.2`).
pub(super) fn error(envelope: &Envelope, head: &Head) -> Event {
    if !matches!(head.way, Way::Chat | Way::Completions) {
        return Event::Framed(shapes::error_event(envelope, head));
    }
    Event::Error(envelope.body(&(head.id.clone(), head.request_id.clone())).to_string().into())
}

/// The bytes of an event as the mode frames it.
pub(super) fn frame(event: &Event, mode: Mode) -> Bytes {
    let (name, end): (&[u8], &[u8]) = match mode {
        Mode::Crlf => (b"data: ", b"\r\n\r\n"),
        Mode::NoSpace => (b"data:", b"\n\n"),
        _ => (b"data: ", b"\n\n"),
    };
    if let Event::Framed(bytes) | Event::Last(bytes) = event {
        return bytes.clone();
    }
    let payload: &[u8] = match event {
        Event::Chunk(bytes) | Event::Usage(bytes) | Event::Error(bytes) | Event::Framed(bytes) | Event::Last(bytes) => {
            bytes
        }
        Event::Done => b"[DONE]",
    };
    let comment: &[u8] = if mode == Mode::Comments { b": keep-alive\n\n" } else { b"" };
    [comment, name, payload, end].concat().into()
}
