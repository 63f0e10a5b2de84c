//! Texts, usage and the plain reply, in the shapes of `WIRE 3.1`.

use rand::RngExt as _;
use serde_json::{Map, Value, json};

use super::SimUnit;
use super::modes::Mode;
use super::plan::Plan;
use super::ways::Way;

/// What every part of one reply repeats.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// `chatcmpl-…`.
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) model: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The shape of the call.
    pub(super) way: Way,
    /// What the model is counted in.
    pub(super) unit: SimUnit,
    /// Whether errors are events.
    pub(super) events: bool,
}

/// One token each; the space in front belongs to the token as in byte-level vocabularies.
const WORDS: &[&str] = &[
    " the", " river", " keeps", " its", " own", " count", " of", " every", " stone", " and", " no", " one", " asks",
    " why", " it", " runs", " so", " far", "。", " 水", "到", "渠", "成", ",", " light", " on", " water", ".", " wide",
    " slow", " then", " é",
];

/// A text of so many tokens, in pieces of `size` tokens.
pub(super) fn pieces(tokens: u64, size: u64, rng: &mut impl rand::Rng) -> Vec<String> {
    let size = size.max(1);
    let mut left = tokens;
    let mut pieces = Vec::new();
    while left > 0 {
        let take = left.min(size);
        let words = (0..take).filter_map(|_| WORDS.get(rng.random_range(0..WORDS.len())).copied());
        pieces.push(words.collect());
        left -= take;
    }
    pieces
}

/// An identifier in the provider's form, made from the call's own chance.
pub(super) fn uuid(rng: &mut impl rand::Rng) -> String {
    let (high, low) = (rng.random::<u64>(), rng.random::<u64>());
    let node = low & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-9{:03x}-8{:03x}-{node:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff, low >> 52)
}

/// The usage that the reply reports, which under some modes is not the truth; `None` = none.
pub(super) fn usage(plan: &Plan, mode: Mode) -> Option<Value> {
    let charge = plan.charge();
    let (prompt, completion) = (charge.prompt, charge.answer.saturating_add(charge.thinking));
    let numbers = |prompt: u64, completion: u64| {
        let mut answer = Map::new();
        if charge.thinking > 0 {
            answer.insert("reasoning_tokens".to_owned(), charge.thinking.into());
        }
        // The text counts the thinking as well: details overlap (`WIRE 0.9`).
        answer.insert("text_tokens".to_owned(), completion.into());
        json!({
            "prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": prompt},
            "completion_tokens_details": answer,
        })
    };
    let total = prompt.saturating_add(completion);
    match mode {
        Mode::NoUsage => None,
        Mode::LieLow => Some(numbers(prompt / 2, completion / 2)),
        Mode::LieHigh => Some(numbers(prompt.saturating_mul(2), completion.saturating_mul(2))),
        Mode::NegativeUsage => Some(json!({
            "prompt_tokens": prompt, "completion_tokens": -5, "total_tokens": -5,
        })),
        Mode::FloatUsage => Some(json!({
            "prompt_tokens": prompt, "completion_tokens": 1.5, "total_tokens": 2.5,
        })),
        Mode::StringUsage => Some(json!({
            "prompt_tokens": prompt.to_string(), "completion_tokens": completion.to_string(),
            "total_tokens": total.to_string(),
        })),
        _ => Some(numbers(prompt, completion)),
    }
}

/// The plain reply. `answers` and `thoughts` are the texts of the choices.
pub(super) fn completion(head: &Head, plan: &Plan, answers: &[String], thoughts: &[String], mode: Mode) -> Vec<u8> {
    let choices: Vec<Value> =
        (0..).zip(answers.iter().zip(thoughts)).map(|(index, texts)| choice(plan, index, texts)).collect();
    let mut body = json!({
        "choices": choices, "object": "chat.completion", "created": head.created, "system_fingerprint": null,
        "model": head.model, "id": head.id,
    });
    if let (Some(usage), Some(body)) = (usage(plan, mode), body.as_object_mut()) {
        body.insert("usage".to_owned(), usage);
    }
    if let (Mode::BigLine, Some(body)) = (mode, body.as_object_mut()) {
        body.insert("padding".to_owned(), Value::from("x".repeat(super::chunks::BIG)));
    }
    let mut bytes = body.to_string().into_bytes();
    if let (Mode::DoubleUsage, Some(usage)) = (mode, usage(plan, mode)) {
        bytes.pop();
        bytes.extend_from_slice(format!(",\"usage\":{usage}}}").as_bytes());
    }
    bytes
}

fn choice(plan: &Plan, index: u64, (answer, thought): (&String, &String)) -> Value {
    let mut message = match &plan.tool {
        Some((name, arguments)) => json!({"role": "assistant", "content": "", "tool_calls": [
            {"index": 0, "id": tool_id(index), "type": "function",
             "function": {"name": name, "arguments": arguments}}]}),
        None => json!({"role": "assistant", "content": answer}),
    };
    if let (false, Some(message)) = (thought.is_empty(), message.as_object_mut()) {
        message.insert("reasoning_content".to_owned(), Value::from(thought.clone()));
    }
    json!({"message": message, "finish_reason": plan.finish.name(), "index": index, "logprobs": null})
}

/// The id of a tool call.
pub(super) fn tool_id(index: u64) -> String {
    format!("call_{index:024x}")
}
