//! The parts of the input's bound.

use gratis::dialect::{Api, Facts, InputBound};
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use crate::dialects_facts::with;

fn of(messages: &str) -> InputBound {
    let body = format!(r#"{{"model":"m","messages":[{messages}]}}"#);
    Facts::read(Api::Chat, body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}")).input
}

fn surcharges(members: &str) -> Vec<String> {
    Facts::read(Api::Chat, with(members).as_bytes()).unwrap().surcharges
}

#[test]
fn text_is_counted_decoded_and_normalised() {
    let text = |content: &str| of(&format!(r#"{{"role":"user","content":{content}}}"#)).text;
    assert_eq!(text(r#""hello""#), 5);
    assert_eq!(text(r#""a\n\u0041""#), 3);
    assert_eq!(text("null"), 0);
    assert_eq!(text(r#""你好""#), 6);
    assert_eq!(text(r#""\u4f60""#), 3);
    // One code point whose normal form is three times as long.
    assert_eq!(text("\"\u{1D160}\""), "\u{1D160}".nfc().map(|c| c.len_utf8() as u64).sum::<u64>());
    assert_eq!(text("\"\u{1D160}\""), 12);
    // A long text is not normalised unless that is plain to see.
    assert_eq!(text(&format!("\"{}\"", "é".repeat(200_000))), 400_000);
    assert_eq!(text(&format!("\"{}\"", "e\u{301}".repeat(1000))), 2000);
    assert_eq!(text(&format!("\"{}\"", "e\u{301}".repeat(100_000))), 900_016);
    assert_eq!(text(&format!("\"{}\"", "a".repeat(400_000))), 400_000);
    assert_eq!(text(r#"[{"type":"text","text":"abc"},"de",{"text":"f"}]"#), 6);
    assert_eq!(of(r#"{"role":"assistant","content":"a","reasoning_content":"bc","name":"d","refusal":"e"}"#).text, 5);
    assert_eq!(of(r#"{"role":"a strange role","content":""}"#).text, 14);
    assert_eq!(of(r#"{"role":"user","content":""},{"role":"user","content":""}"#).messages, 2);
}

#[test]
fn json_counts_six_times() {
    let calls = r#"[{"id":"1","function":{"name":"f","arguments":"{}"}}]"#;
    let message = of(&format!(r#"{{"role":"assistant","tool_calls":{calls}}}"#));
    assert_eq!((message.json, message.has_tools), (6 * calls.len() as u64, false));
    let tools = r#"[{"type":"function","function":{"name":"f"}}]"#;
    let facts =
        Facts::read(Api::Chat, with(&format!(r#""tools": {tools},"tool_choice":"auto","wholly_new":[1]"#)).as_bytes())
            .unwrap();
    assert_eq!(facts.input.json, 6 * (tools.len() + r#""auto""#.len() + "[1]".len()) as u64);
    // A member of a part that nobody knows: its name, its value, and what a template may write around them.
    let part = of(r#"{"role":"user","content":[{"text":"","extra":1}]}"#);
    assert_eq!(part.json, 6 * ("extra".len() + "1".len() + r#""":"",{}"#.len()) as u64);
    assert!(facts.input.has_tools);
    assert!(!Facts::read(Api::Chat, with(r#""tools":[]"#).as_bytes()).unwrap().input.has_tools);
    assert!(Facts::read(Api::Chat, with(r#""functions":[{}]"#).as_bytes()).unwrap().input.has_tools);
}

#[test]
fn images_are_counted_and_other_media_has_no_bound() {
    let part = |part: &str| of(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let image = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"high"}}"#;
    assert_eq!((part(image).images, part(image).unbounded, part(image).text, part(image).json), (1, None, 0, 0));
    assert_eq!(part(&format!("{image},{image}")).images, 2);
    let source =
        |kind: &str| part(&format!(r#"{{"type":"image","source":{{"type":"{kind}","data":"QUJD"}}}}"#)).unbounded;
    assert!(source("base64").is_none() && source("url").is_none() && source("file").is_some());
    assert_eq!(part(r#"{"type":"image_url","image_url":"http://x"}"#).images, 1);
    assert_eq!(part(r#"{"type":"image_url"}"#).images, 1);
    for unbounded in [
        r#"{"type":"input_audio","input_audio":{"data":"QUJD"}}"#,
        r#"{"type":"video_url","video_url":{"url":"http://x"}}"#,
        r#"{"type":"video","video":["a"]}"#,
        r#"{"type":"file","file":{"file_id":"x"}}"#,
        r#"{"type":"text","text":"x","type":"file"}"#,
        r#"{"type":"text","text":"x","video":"x"}"#,
        r#"{"type":"IMAGE_URL","image_url":"x"}"#,
        r#"{"type":"image_url","image_url":{"urls":["a","b"]}}"#,
        r#"{"wholly_new":1}"#,
    ] {
        assert!(part(unbounded).unbounded.is_some(), "{unbounded}");
    }
    assert!(part(r#"{"type":"text","text":"x","wholly_new":1}"#).unbounded.is_none());
    assert!(of(r#"{"role":"assistant","audio":{"id":"x"}}"#).unbounded.is_some());
    for member in ["previous_response_id", "conversation", "file_ids", "modalities", "new_image_list"] {
        let facts = Facts::read(Api::Chat, with(&format!("\"{member}\":[\"a\"]")).as_bytes()).unwrap();
        assert!(facts.input.unbounded.is_some(), "{member}");
    }
}

#[test]
fn what_is_billed_apart_is_named() {
    assert_eq!(surcharges(r#""enable_search":true"#), ["enable_search"]);
    assert_eq!(surcharges(r#""enable_search":"yes""#), ["enable_search"]);
    assert!(surcharges(r#""enable_search":false,"search_options":null,"service_tier":"auto""#).is_empty());
    assert_eq!(surcharges(r#""search_options":{},"service_tier":"priority""#), ["search_options", "service_tier"]);
    assert_eq!(surcharges(r#""enable_code_interpreter":true,"plugins":[]"#), ["enable_code_interpreter", "plugins"]);
    assert_eq!(surcharges(r#""tools":[{"type":"web_search"},{"type":"x"}]"#), ["tools"]);
    assert_eq!(surcharges(r#""tools":[{"function":{}}]"#), ["tools"]);
    assert_eq!(surcharges(r#""tools":[{"type":"function","cache_control":{}}]"#), ["cache_control"]);
    assert!(surcharges(r#""tools":[{"type":"function","function":{"parameters":{"cache_control":1}}}]"#).is_empty());
    let marked = r#"{"model":"m","messages":[{"role":"system","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}"#;
    assert_eq!(Facts::read(Api::Chat, marked.as_bytes()).unwrap().surcharges, ["cache_control"]);
}

fn marks() -> impl Strategy<Value = String> {
    let letter = prop::sample::select(vec!['a', 'e', 'ệ', 'é', '가', 'ᄀ', 'ᅡ', '\u{1D160}', '\u{FB2C}', '\u{0344}']);
    let mark = prop::sample::select(vec!['\u{301}', '\u{323}', '\u{302}', '\u{345}', '\u{5b0}', '\u{5bc}']);
    prop::collection::vec(prop_oneof![letter, mark], 0..12).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    /// However a service joins the parts, the joined text has at most as many bytes as were counted.
    #[test]
    fn the_bound_holds_for_parts_that_are_joined(parts in prop::collection::vec(marks(), 1..5)) {
        let content: Vec<_> = parts.iter().map(|p| serde_json::json!({"type": "text", "text": p})).collect();
        let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": content}]}).to_string();
        let counted = Facts::read(Api::Chat, body.as_bytes()).unwrap().input.text;
        let joined: u64 = parts.concat().nfc().map(|c| c.len_utf8() as u64).sum();
        prop_assert!(joined <= counted, "{joined} > {counted}");
    }
}
