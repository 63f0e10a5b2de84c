//! The wire vectors of every HTTP route, as far as bytes alone decide them.

use bytes::Bytes;
use gratis::dialect::{
    Clamp, Encoding, ErrorEnvelope, ErrorShape, Facts, Finding, Metering, Observer, Reading, Route, RouteMatch,
    UpstreamSignal, Watch, render_error, route,
};
use gratis::ledger::Unit;
use serde_json::Value;

use crate::support::vectors::{bytes_of, contains, keys, of_protocols};

/// Keys of `expected` that are judged here; the others are judged where requests travel, and are listed so that a new
/// one cannot be passed over in silence.
const JUDGED_HERE: [&str; 7] =
    ["model", "usage", "upstream_request", "client", "upstream_error", "remember_task", "not_covered"];
const JUDGED_ELSEWHERE: [&str; 9] =
    ["charge", "quota_after", "paid", "settle", "upstream_called", "effect", "reserve", "release", "repeat"];
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
const OF_USAGE: [&str; 11] = [
    "where",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "images",
    "seconds",
    "searches",
    "partial",
];
/// Calls that are answered over HTTP.
pub(crate) const PROTOCOLS: [&str; 7] = [
    "openai_chat",
    "openai_models",
    "openai_embeddings",
    "openai_responses",
    "openai_batches",
    "anthropic",
    "dashscope",
];

fn only(name: &str, value: &Value, known: &[&str]) {
    let unknown: Vec<_> = keys(value).into_iter().filter(|key| !known.contains(key)).collect();
    assert!(unknown.is_empty(), "{name}: keys that nobody judges: {unknown:?}");
}

#[test]
fn every_vector_is_read_as_expected_at_every_split() {
    let vectors = of_protocols(&PROTOCOLS);
    let mut ran = 0;
    for (name, vector) in &vectors {
        let expected = &vector["expected"];
        let known: Vec<_> = JUDGED_HERE.iter().chain(&JUDGED_ELSEWHERE).copied().collect();
        only(name, expected, &known);
        only(name, &expected["client"], &OF_CLIENT);
        only(name, &expected["usage"], &OF_USAGE);
        let found = found(name, vector);
        match found.metering {
            _ if !vector["upstream"].is_object() => refusal(name, vector),
            Metering::Call(api) => {
                let strip = request(name, vector);
                response(name, vector, Watch { api, unit: unit(vector) }, strip);
            }
            Metering::Task => task(name, vector),
            other => assert_eq!(other, Metering::Free, "{name}"),
        }
        ran += 1;
    }
    println!("{ran} of {} vectors", vectors.len());
    assert_eq!((ran, vectors.len()), (PLAYED, PLAYED));
}

/// How many vectors there are of these protocols.
const PLAYED: usize = 52;

fn found(name: &str, vector: &Value) -> Route {
    let request = &vector["request"];
    let method = request["method"].as_str().unwrap().parse().unwrap();
    let path = request["path"].as_str().unwrap();
    let RouteMatch::Found(found) = route(&method, path, None) else { panic!("{name}: {path} is not routed") };
    let below = match found.base {
        gratis::dialect::Base::OpenAi => "/compatible-mode/v1",
        gratis::dialect::Base::Root => "",
    };
    assert_eq!(found.upstream_path, path.strip_prefix(below).unwrap(), "{name}");
    found
}

/// What the pools of a vector are counted in.
fn unit(vector: &Value) -> Unit {
    serde_json::from_value(vector["state"]["quota"][0]["unit"].clone()).unwrap()
}

fn headers(values: &Value) -> http::HeaderMap {
    let pairs = values.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap()))
        .collect()
}

/// Checks what is read of the request and what is sent on; gives whether the usage chunk is taken out.
fn request(name: &str, vector: &Value) -> bool {
    let (request, expected) = (&vector["request"], &vector["expected"]);
    let Metering::Call(api) = found(name, vector).metering else { return false };
    let body = Bytes::from(bytes_of(request));
    let mut facts = Facts::read(api, &body).unwrap_or_else(|e| panic!("{name}: {e}"));
    facts.heed(&headers(&request["headers"]));
    if let Some(model) = expected["model"].as_str() {
        assert_eq!(facts.model, model, "{name}");
    }
    assert_eq!(facts.surcharges.is_empty(), expected.get("not_covered").is_none(), "{name}: {:?}", facts.surcharges);
    let include_usage = facts.adds_usage();
    let sent = facts.splice(&body, &Clamp { include_usage, ..Clamp::default() });
    if let Some(part) = expected["upstream_request"].get("body_json_contains") {
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert!(contains(&sent, part), "{name}: {sent}");
    } else {
        assert_eq!(sent, body, "{name}");
    }
    include_usage
}

/// Checks what a poll of a task tells.
fn task(name: &str, vector: &Value) {
    let outcome = gratis::dialect::TaskOutcome::read(&bytes_of(&vector["upstream"]), unit(vector));
    let expected = &vector["expected"]["usage"];
    let units = ["images", "seconds"].iter().find_map(|unit| expected[*unit].as_u64());
    let wanted = match units {
        Some(input) => gratis::dialect::TaskOutcome::Used(gratis::ledger::Usage { input, output: 0 }),
        None => gratis::dialect::TaskOutcome::Failed,
    };
    assert_eq!(outcome, wanted, "{name}");
}

/// Checks what is seen of the response, whole and at every split.
fn response(name: &str, vector: &Value, watch: Watch, strip: bool) {
    let (upstream, expected) = (&vector["upstream"], &vector["expected"]);
    let header = |key: &str| upstream["headers"].get(key).and_then(Value::as_str);
    let body = Bytes::from(bytes_of(upstream));
    let clean = upstream["delivery"]["end"] != "reset";
    let observe = |cuts: &[usize]| {
        let encoding = Encoding::of(header("content-encoding"));
        let mut observer = Observer::new(watch, header("content-type"), encoding, strip);
        let (mut out, mut mark) = (Vec::new(), None);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([body.len()]) {
            let seen = observer.observe(body.slice(from..cut));
            if let Some(at) = seen.end_at {
                assert_eq!(mark.replace(out.len() + at), None, "{name}: two end marks");
                assert!(observer.finding().complete, "{name}");
            }
            out.extend_from_slice(&seen.bytes);
            from = cut;
        }
        out.extend_from_slice(&observer.end(clean));
        (out, observer.finding())
    };
    let (out, finding) = observe(&[]);
    client(name, &expected["client"], &body, &out);
    usage(name, &expected["usage"], &finding);
    effect(name, expected, &finding);
    let remembered = expected["remember_task"]["task_id"].as_str();
    assert_eq!(finding.task.as_deref(), remembered, "{name}");
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
    let usage = match finding.reading {
        Reading::Exact(usage) if expected["partial"].is_null() => usage,
        Reading::AtLeast(usage) if expected["partial"] == Value::Bool(true) => usage,
        _ => panic!("{name}: {finding:?}"),
    };
    let number = |key: &str| expected.get(key).and_then(Value::as_u64);
    match number("images").or(number("seconds")) {
        Some(units) => assert_eq!((usage.input, usage.output), (units, 0), "{name}"),
        None => {
            assert_eq!(Some(usage.input), number("input_tokens"), "{name}");
            assert_eq!(Some(usage.output), number("output_tokens"), "{name}");
            assert_eq!(Some(usage.total()), number("total_tokens"), "{name}");
        }
    }
    if let Some(cached) = number("cache_read_tokens") {
        assert_eq!(finding.details.cached, Some(cached), "{name}");
    }
    if let Some(reasoning) = number("reasoning_tokens") {
        assert_eq!(finding.details.reasoning, Some(reasoning), "{name}");
    }
}

fn effect(name: &str, expected: &Value, finding: &Finding) {
    let wanted = &expected["upstream_error"];
    if let Some(code) = wanted["code"].as_str().or(wanted["type"].as_str()) {
        assert_eq!(finding.error.as_ref().map(|e| e.code.as_str()), Some(code), "{name}");
        assert!(!finding.only_error, "{name}: content came first");
    }
    let Some(effect) = expected["effect"].as_str() else { return };
    let signal = finding.error.as_ref().map(|e| e.signal).unwrap();
    assert!(finding.only_error, "{name}");
    match effect {
        "upstream_model_exhausted" => assert_eq!(signal, UpstreamSignal::FreeTierOnly, "{name}"),
        "upstream_overdue" | "upstream_not_activated" => assert_eq!(signal, UpstreamSignal::Arrearage, "{name}"),
        "none" => assert!(matches!(signal, UpstreamSignal::RateLimited | UpstreamSignal::Other), "{name}"),
        other => panic!("{name}: an effect that nobody judges: {other}"),
    }
}

/// Renders the refusal from its own parts: the shape must come out, member for member.
fn refusal(name: &str, vector: &Value) {
    let (request, client) = (&vector["request"], &vector["expected"]["client"]);
    let body = match client["body_text"].as_str() {
        Some(events) => serde_json::from_str(events.split("data:").nth(1).unwrap()).unwrap(),
        None => client["body_json"].clone(),
    };
    let error = if body["error"].is_object() { &body["error"] } else { &body };
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let code = text("code");
    let message = text("message").strip_prefix(&format!("{code}: ")).unwrap_or(text("message"));
    let envelope = ErrorEnvelope {
        status: u16::try_from(client["status"].as_u64().unwrap()).unwrap(),
        code,
        kind: if code == "invalid_api_key" { text("type") } else { code },
        message,
        param: None,
        gateway: code == "invalid_api_key",
        request_id: "{{request_id}}",
    };
    let shape = ErrorShape::of(request["path"].as_str().unwrap(), &headers(&request["headers"]));
    let rendered = render_error(shape, &envelope);
    if let Some(kind) = client["headers"]["content-type"].as_str() {
        assert_eq!(rendered.content_type, kind, "{name}");
    }
    if let Some(events) = client["body_text"].as_str() {
        assert_eq!(rendered.bytes, events, "{name}");
        return;
    }
    let rendered: Value = serde_json::from_slice(&rendered.bytes).unwrap();
    if body.get("request_id").is_none() {
        let kept = error.get("message").is_some();
        assert!(!kept || contains(&rendered, &body), "{name}: {rendered}");
        return;
    }
    assert_eq!(keys(&rendered), keys(&body), "{name}");
    assert_eq!(rendered["error"], body["error"], "{name}");
}
