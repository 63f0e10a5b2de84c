//! The wire vectors of the OpenAI chat and models routes, as far as bytes alone decide them.

use bytes::Bytes;
use gratis::dialect::{
    Clamp, Dialect, Encoding, ErrorEnvelope, Facts, Finding, Metering, Observer, Reading, RouteMatch, UpstreamSignal,
    render_error, route,
};
use serde_json::Value;

use crate::support::vectors::{bytes_of, contains, keys, of_protocols};

/// Keys of `expected` that are judged here; the others are judged where requests travel, and are listed so that a new
/// one cannot be passed over in silence.
const JUDGED_HERE: [&str; 5] = ["model", "usage", "upstream_request", "client", "upstream_error"];
const JUDGED_ELSEWHERE: [&str; 6] = ["charge", "quota_after", "paid", "settle", "upstream_called", "effect"];
const OF_CLIENT: [&str; 8] = [
    "status",
    "headers",
    "body_json",
    "body_text",
    "same_as_upstream",
    "decoded_same_as_upstream",
    "must_not_contain",
    "end",
];
const OF_USAGE: [&str; 6] =
    ["where", "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "reasoning_tokens"];

fn only(name: &str, value: &Value, known: &[&str]) {
    let unknown: Vec<_> = keys(value).into_iter().filter(|key| !known.contains(key)).collect();
    assert!(unknown.is_empty(), "{name}: keys that nobody judges: {unknown:?}");
}

#[test]
fn every_vector_is_read_as_expected_at_every_split() {
    let vectors = of_protocols(&["openai_chat", "openai_models"]);
    let mut ran = 0;
    for (name, vector) in &vectors {
        let expected = &vector["expected"];
        let known: Vec<_> = JUDGED_HERE.iter().chain(&JUDGED_ELSEWHERE).copied().collect();
        only(name, expected, &known);
        only(name, &expected["client"], &OF_CLIENT);
        only(name, &expected["usage"], &OF_USAGE);
        let strip = request(name, vector);
        if vector["upstream"].is_object() {
            response(name, vector, strip);
        } else {
            refusal(name, expected);
        }
        ran += 1;
    }
    println!("{ran} of {} vectors", vectors.len());
    assert_eq!((ran, vectors.len()), (25, 25));
}

/// Checks what is read of the request and what is sent on; gives whether the usage chunk is taken out.
fn request(name: &str, vector: &Value) -> bool {
    let (request, expected) = (&vector["request"], &vector["expected"]);
    let method = request["method"].as_str().unwrap().parse().unwrap();
    let path = request["path"].as_str().unwrap();
    let RouteMatch::Found(found) = route(&method, path, None) else { panic!("{name}: {path} is not routed") };
    assert_eq!(found.upstream_path, path.strip_prefix("/compatible-mode/v1").unwrap(), "{name}");
    if found.metering == Metering::Free {
        return false;
    }
    let body = Bytes::from(bytes_of(request));
    let facts = Facts::read(&body).unwrap_or_else(|e| panic!("{name}: {e}"));
    if let Some(model) = expected["model"].as_str() {
        assert_eq!(facts.model, model, "{name}");
    }
    let include_usage = facts.stream && !facts.usage_asked;
    let sent = facts.splice(&body, &Clamp { include_usage, ..Clamp::default() });
    if let Some(part) = expected["upstream_request"].get("body_json_contains") {
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert!(contains(&sent, part), "{name}: {sent}");
    } else {
        assert_eq!(sent, body, "{name}");
    }
    include_usage
}

/// Checks what is seen of the response, whole and at every split.
fn response(name: &str, vector: &Value, strip: bool) {
    let (upstream, expected) = (&vector["upstream"], &vector["expected"]);
    let metering = if vector["protocol"] == "openai_models" { Metering::Free } else { Metering::Chat };
    let header = |key: &str| upstream["headers"].get(key).and_then(Value::as_str);
    let body = Bytes::from(bytes_of(upstream));
    let clean = upstream["delivery"]["end"] != "reset";
    let observe = |cuts: &[usize]| {
        let encoding = Encoding::of(header("content-encoding"));
        let mut observer = Observer::new(metering, header("content-type"), encoding, strip);
        let mut out = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([body.len()]) {
            out.extend_from_slice(&observer.observe(body.slice(from..cut)).bytes);
            from = cut;
        }
        out.extend_from_slice(&observer.end(clean));
        (out, observer.finding())
    };
    let (out, finding) = observe(&[]);
    client(name, &expected["client"], &body, &out);
    usage(name, &expected["usage"], &finding);
    effect(name, expected, &finding);
    for cut in 0..=body.len() {
        assert_eq!(observe(&[cut]), (out.clone(), finding.clone()), "{name} cut at {cut}");
    }
    let every: Vec<_> = (1..body.len()).collect();
    assert_eq!(observe(&every), (out, finding), "{name} byte by byte");
}

fn client(name: &str, client: &Value, upstream: &[u8], out: &[u8]) {
    match client["body_text"].as_str() {
        Some(text) => assert_eq!(String::from_utf8_lossy(out), text, "{name}"),
        None => assert_eq!(out, upstream, "{name}"),
    }
    for text in client["must_not_contain"].as_array().into_iter().flatten() {
        assert!(!String::from_utf8_lossy(out).contains(text.as_str().unwrap()), "{name}");
    }
}

fn usage(name: &str, expected: &Value, finding: &Finding) {
    if expected.is_null() {
        assert_eq!(finding.reading, Reading::None, "{name}");
        return;
    }
    let Reading::Exact(usage) = finding.reading else { panic!("{name}: {finding:?}") };
    let number = |key: &str| expected.get(key).and_then(Value::as_u64);
    assert_eq!(Some(usage.input), number("input_tokens"), "{name}");
    assert_eq!(Some(usage.output), number("output_tokens"), "{name}");
    assert_eq!(Some(usage.total()), number("total_tokens"), "{name}");
    if let Some(cached) = number("cache_read_tokens") {
        assert_eq!(finding.details.cached, Some(cached), "{name}");
    }
    if let Some(reasoning) = number("reasoning_tokens") {
        assert_eq!(finding.details.reasoning, Some(reasoning), "{name}");
    }
}

fn effect(name: &str, expected: &Value, finding: &Finding) {
    if let Some(code) = expected["upstream_error"]["code"].as_str() {
        assert_eq!(finding.error.as_ref().map(|e| e.code.as_str()), Some(code), "{name}");
        assert!(!finding.only_error, "{name}: content came first");
    }
    let Some(effect) = expected["effect"].as_str() else { return };
    let signal = finding.error.as_ref().map(|e| e.signal).unwrap();
    assert!(finding.only_error, "{name}");
    match effect {
        "upstream_model_exhausted" => assert_eq!(signal, UpstreamSignal::FreeTierOnly, "{name}"),
        "upstream_overdue" => assert_eq!(signal, UpstreamSignal::Arrearage, "{name}"),
        "none" => assert!(matches!(signal, UpstreamSignal::RateLimited | UpstreamSignal::Other), "{name}"),
        other => panic!("{name}: an effect that nobody judges: {other}"),
    }
}

/// Renders the refusal from its own parts: the shape must come out, member for member.
fn refusal(name: &str, expected: &Value) {
    let body = &expected["client"]["body_json"];
    let text = |key: &str| body["error"][key].as_str().unwrap_or_default();
    let envelope = ErrorEnvelope {
        code: text("code"),
        kind: text("type"),
        message: text("message"),
        param: None,
        gateway: text("code") == "invalid_api_key",
        request_id: "0192-id",
    };
    let rendered: Value = serde_json::from_slice(&render_error(Dialect::OpenAi, &envelope)).unwrap();
    if body.get("request_id").is_none() {
        assert!(contains(&rendered, body), "{name}: {rendered}");
        return;
    }
    assert_eq!(keys(&rendered), keys(body), "{name}");
    assert_eq!(rendered["error"], body["error"], "{name}");
}
