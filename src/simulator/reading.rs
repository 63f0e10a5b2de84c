//! Requests of the other shapes, read into the same question: what is asked, and what turns into prompt tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;

use super::behaviour::Directives;
use super::errors::Envelope;
use super::prompt::Material;
use super::request::{Asked, count, flag};
use super::ways::Way;

/// Reads a body of any shape but a chat's.
pub(super) fn read(way: Way, headers: &HeaderMap, body: &[u8]) -> Result<Asked, Envelope> {
    let root: Value = serde_json::from_slice(body)
        .map_err(|error| Envelope::unreadable(&format!("The request body is not valid JSON: {error}")))?;
    let model = root.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Envelope::unreadable("you must provide a model parameter."))?;
    let empty = Value::Null;
    let (input, bounds) = match way {
        Way::Completions | Way::Responses | Way::Embeddings | Way::Reranks | Way::Messages | Way::Chat => {
            (&root, &root)
        }
        _ => (root.get("input").unwrap_or(&empty), root.get("parameters").unwrap_or(&empty)),
    };
    let (messages, last) = texts(way, input);
    let json = ["tools", "text", "response_format"].iter().filter_map(|name| bounds.get(name));
    let json_bytes = json.map(|value| value.to_string().len() as u64).sum();
    let has_tools = bounds.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    let mut material = Material::gather(&messages, has_tools, json_bytes);
    if way == Way::Completions {
        material.plain();
    }
    let thinking = bounds.get("thinking").filter(|_| way == Way::Messages);
    let budget = match thinking.and_then(|thinking| thinking.get("budget_tokens")).and_then(Value::as_u64) {
        Some(budget) => Some(budget),
        None => count(bounds, "thinking_budget", 1, u64::MAX)?,
    };
    let enabled = match thinking.and_then(|thinking| thinking.get("type")).and_then(Value::as_str) {
        Some(kind) => Some(kind == "enabled"),
        None => flag(bounds, "enable_thinking")?,
    };
    Ok(Asked {
        way,
        model: model.to_owned(),
        stream: stream(way, headers, &root)?,
        include_usage: root.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false),
        choices: if way.writes() { count(bounds, "n", 1, 6)?.unwrap_or(1) } else { 1 },
        max_tokens: ["max_tokens", "max_output_tokens"].iter().find_map(|name| bounds.get(name)?.as_u64()),
        enable_thinking: enabled,
        thinking_budget: budget,
        tool: None,
        directives: Directives::read(&last),
        units: units(way, input, bounds),
        task: enabled_header(headers, "x-dashscope-async"),
        material,
    })
}

pub(super) fn enabled_header(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enable"))
}

fn stream(way: Way, headers: &HeaderMap, root: &Value) -> Result<bool, Envelope> {
    if matches!(way, Way::Completions | Way::Responses | Way::Messages) {
        return Ok(flag(root, "stream")?.unwrap_or(false));
    }
    let accepts = headers.get("accept").is_some_and(|value| value.to_str().is_ok_and(|v| v.contains("event-stream")));
    Ok(matches!(way, Way::Native | Way::Speech) && (accepts || enabled_header(headers, "x-dashscope-sse")))
}

/// What is read, as messages, and the text that may direct the simulator.
fn texts(way: Way, input: &Value) -> (Vec<Value>, String) {
    let message = |text: &Value| serde_json::json!({"role": "user", "content": text});
    let listed = |value: Option<&Value>| -> Vec<Value> {
        match value {
            Some(Value::Array(all)) => all.clone(),
            Some(Value::Null) | None => Vec::new(),
            Some(one) => vec![one.clone()],
        }
    };
    let mut messages: Vec<Value> = match way {
        Way::Responses => match input.get("input") {
            Some(Value::Array(items)) => items.clone(),
            Some(text) => vec![message(text)],
            None => Vec::new(),
        },
        Way::Embeddings => listed(input.get("input")).iter().map(&message).collect(),
        Way::NativeEmbedding => {
            let all = listed(input.get("texts").or_else(|| input.get("contents")));
            all.iter().map(|one| message(one.get("text").unwrap_or(one))).collect()
        }
        // The query is read once with each document.
        Way::Reranks | Way::NativeRerank => {
            let query = input.get("query").and_then(Value::as_str).unwrap_or_default();
            let text = |one: &Value| one.get("text").unwrap_or(one).as_str().unwrap_or_default().to_owned();
            let all = listed(input.get("documents"));
            all.iter().map(|one| message(&Value::from(format!("{query}{}", text(one))))).collect()
        }
        _ => listed(input.get("messages")),
    };
    for name in ["instructions", "system", "prompt", "suffix", "text"] {
        if let Some(text) = input.get(name).filter(|text| text.is_string() || text.is_array()) {
            messages.push(message(text));
        }
    }
    let last =
        messages.iter().map(|message| message.get("content").map(Value::to_string).unwrap_or_default()).collect();
    (messages, last)
}

/// Units other than tokens, where the request itself says how many.
fn units(way: Way, input: &Value, bounds: &Value) -> Option<u64> {
    let named = |name: &str| bounds.get(name).and_then(Value::as_u64);
    let spoken = || {
        let text = input.get("text").and_then(Value::as_str)?;
        Some(text.chars().map(|c| if ('\u{3400}'..='\u{9FFF}').contains(&c) { 2 } else { 1 }).sum())
    };
    match way {
        Way::Video => named("duration"),
        Way::Voice => {
            let action = input.get("action").and_then(Value::as_str).unwrap_or("create");
            Some(u64::from(action.starts_with("create")))
        }
        _ => spoken().or_else(|| named("n")).or_else(|| heard(input)),
    }
}

/// The seconds of the recordings that stand in the messages themselves, as WAV files of 44 bytes of header: each is rounded up.
fn heard(input: &Value) -> Option<u64> {
    let messages = input.get("messages").and_then(Value::as_array)?;
    let parts = messages.iter().filter_map(|message| message.get("content").and_then(Value::as_array)).flatten();
    let sounds: Vec<&str> = parts.filter_map(|part| part.get("audio").and_then(Value::as_str)).collect();
    let seconds = |sound: &&str| {
        let file = STANDARD.decode(sound.strip_prefix("data:audio/wav;base64,")?).ok()?;
        let rate = u32::from_le_bytes(file.get(28..32)?.try_into().ok()?);
        let length = u64::try_from(file.len()).ok()?.checked_sub(44)?;
        Some(length.div_ceil(u64::from(rate.max(1))))
    };
    let all: Option<Vec<u64>> = sounds.iter().map(seconds).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
}
