//! The reader of requests: never panics, never disagrees with a full parse, and a splice changes only what it was told to.

use bytes::Bytes;
use gratis::dialect::{Api, Clamp, Facts};
use serde_json::Value;

/// The calls of which only this is asked: no panic, and a splice that is JSON and is read again.
const OTHERS: [Api; 15] = [
    Api::Completions,
    Api::Responses,
    Api::Embeddings,
    Api::Reranks,
    Api::Messages,
    Api::Generation,
    Api::TextEmbedding,
    Api::MultimodalEmbedding,
    Api::TextRerank,
    Api::Image,
    Api::Video,
    Api::Speech,
    Api::Transcription,
    Api::Voice,
    Api::App,
];

/// Looks at one input.
pub fn check(input: (u8, &[u8])) {
    let (choice, body) = input;
    for api in OTHERS {
        let Ok(facts) = Facts::read(api, body) else { continue };
        let clamp = Clamp { answer: Some(77), disable_thinking: choice & 4 != 0, ..Clamp::default() };
        let out = facts.splice(&Bytes::copy_from_slice(body), &clamp);
        serde_json::from_slice::<Value>(&out).expect("a splice is JSON");
        Facts::read(api, &out).expect("a splice is read again");
    }
    let Ok(facts) = Facts::read(Api::Chat, body) else { return };
    let value: Value = serde_json::from_slice(body).expect("what is read is JSON");
    assert_eq!(value["model"], facts.model);
    assert_eq!(value["stream"].as_bool().unwrap_or(false), facts.stream);
    let n = value["n"].as_u64().unwrap_or(1).max(value["best_of"].as_u64().unwrap_or(1));
    assert_eq!(n, u64::from(facts.choices));
    let answer = value["max_tokens"].as_u64().or(value["max_completion_tokens"].as_u64());
    assert_eq!(answer, facts.answer);
    assert_eq!(value["thinking_budget"].as_u64(), facts.thinking.budget);
    assert_eq!(value["stream_options"]["include_usage"].as_bool().unwrap_or(false), facts.usage_asked);
    let clamp = Clamp {
        answer: (choice & 1 != 0).then_some(77),
        thinking_budget: (choice & 2 != 0).then_some(88),
        disable_thinking: choice & 4 != 0,
        include_usage: choice & 8 != 0,
    };
    let out = facts.splice(&Bytes::copy_from_slice(body), &clamp);
    let spliced: Value = serde_json::from_slice(&out).expect("a splice is JSON");
    assert_eq!(spliced, meant(value, &clamp));
    Facts::read(Api::Chat, &out).expect("a splice is read again");
}

/// What the body must mean once the clamp is in it.
pub fn meant(mut value: Value, clamp: &Clamp) -> Value {
    let object = value.as_object_mut().expect("what is read is an object");
    if let Some(answer) = clamp.answer {
        let names = ["max_tokens", "max_completion_tokens"];
        let named: Vec<_> = names.into_iter().filter(|name| object.contains_key(*name)).collect();
        for name in if named.is_empty() { vec!["max_tokens"] } else { named } {
            object.insert(name.into(), answer.into());
        }
    }
    if let Some(budget) = clamp.thinking_budget {
        object.insert("thinking_budget".into(), budget.into());
    }
    if clamp.disable_thinking && object.get("enable_thinking").is_none_or(Value::is_null) {
        object.insert("enable_thinking".into(), false.into());
    }
    if clamp.include_usage {
        let options = object.entry("stream_options").or_insert(Value::Null);
        if options.is_null() {
            *options = serde_json::json!({});
        }
        options["include_usage"] = true.into();
    }
    value
}
