//! What callers say and what opens their door is kept nowhere: canaries go through, and then everything that is written or
//! shown is searched for them.

use std::path::Path;

use gratis::simulator;
use serde_json::{Value, json};

use crate::support::binary::{Gratis, Home, PROVIDER_KEY};
use crate::support::plug::{Plug, chat_head, chat_request};
use crate::support::wire::{get_json, h2, request, send, whole};

/// What a caller wrote; every place where a body can carry text has one that begins so.
const PROMPT: &str = "canary7prompt";
/// A key that nobody knows.
const WRONG_KEY: &str = "sk-canary7wrong";
/// What stands in a header that is not passed on.
const HEADER: &str = "canary7header";
/// What an upstream says in its errors and answers.
const ANSWER: &str = "canary7answer";

/// A body with a canary wherever text can stand.
fn body(stream: bool) -> Value {
    json!({
        "model": "qwen-max", "stream": stream, "max_tokens": 64, "user": format!("{PROMPT}-user"),
        "messages": [
            {"role": "system", "content": format!("{PROMPT}-system")},
            {"role": "user", "name": format!("{PROMPT}-name"), "content": [
                {"type": "text", "text": format!("{PROMPT}-text")},
            ]},
        ],
        "tools": [{"type": "function", "function": {
            "name": "f", "description": format!("{PROMPT}-tool"), "parameters": {"type": "object"},
        }}],
        "metadata": {"a": format!("{PROMPT}-metadata")}, "stop": [format!("{PROMPT}-stop")],
    })
}

async fn behave(simulator: &simulator::Running, rule: Value) {
    let url = format!("{}/behave", simulator.origin());
    let (status, _, body) = crate::support::wire::post(&url, &[], rule.to_string().into_bytes()).await;
    assert_eq!(status, 200, "{body:?}");
}

/// Sends a request and answers what came back, whatever it was.
async fn say(gratis: &Gratis, request: impl AsRef<[u8]>) -> String {
    let mut plug = Plug::to(&gratis.origin).await;
    plug.write(request).await;
    String::from_utf8_lossy(&plug.rest().await).into_owned()
}

/// Calls of every kind. Answers the error bodies that are ours.
async fn calls(gratis: &Gratis, simulator: &simulator::Running, key: &str) -> Vec<String> {
    let more = format!("connection: close\r\ncookie: {HEADER}\r\nx-custom: {HEADER}\r\nuser-agent: {HEADER}\r\n");
    for stream in [false, true] {
        let answer = say(gratis, chat_request("1.1", key, &more, &body(stream).to_string())).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let url = format!("{}/v1/chat/completions", gratis.origin);
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("cookie", HEADER)];
        let request = request(http::Method::POST, &url, &headers, body(stream).to_string().into());
        let response = h2(&gratis.origin).await.send_request(request).await.unwrap();
        assert_eq!(whole(response).await.unwrap().0, 200);
    }
    // A client that leaves.
    let mut left = Plug::to(&gratis.origin).await;
    left.write(chat_request("1.1", key, "", &body(true).to_string())).await;
    left.until("data: ").await;
    drop(left);
    for mode in [
        "bad-request",
        "rate-limit",
        "internal-error",
        "error-html",
        "reset-before-head",
        "reset-mid-stream",
        "truncate",
        "error-mid-stream",
        "no-usage",
        "string-usage",
        "negative-usage",
        "invalid-utf8",
        "garbage",
        "big-line",
        "gzip-stream",
    ] {
        behave(simulator, json!({"mode": mode})).await;
        for stream in [false, true] {
            say(gratis, chat_request("1.1", key, &more, &body(stream).to_string())).await;
        }
    }
    // An upstream that says the prompt and the key back, where a code, a model or a usage should be.
    for status in [200, 400, 500] {
        let said = json!({
            "error": {"message": format!("{ANSWER} {PROMPT} {key}"), "code": "x", "type": format!("{ANSWER}"), "param": ANSWER},
            "model": ANSWER, "usage": {"prompt_tokens": ANSWER, "completion_tokens": PROMPT},
        });
        let headers = json!({"content-type": "application/json", "x-canary": ANSWER});
        let reply = json!({"status": status, "headers": headers, "body": said.to_string()});
        behave(simulator, json!({"mode": "echo", "reply": reply})).await;
        say(gratis, chat_request("1.1", key, &more, &body(false).to_string())).await;
    }
    behave(simulator, json!({"mode": "none"})).await;
    refusals(gratis, key, &more).await
}

async fn refusals(gratis: &Gratis, key: &str, more: &str) -> Vec<String> {
    let good = body(false).to_string();
    let bodies = [
        PROMPT.to_owned(),
        format!("{{\"model\":\"qwen-max\",\"{PROMPT}\":1,\"{PROMPT}\":2}}"),
        format!("{{\"model\":\"qwen-max\",\"messages\":\"{PROMPT}\"}}"),
        format!("{{\"model\":\"qwen-max\",\"messages\":[{{\"role\":\"{PROMPT}\",\"content\":{{\"{PROMPT}\":1}}}}]}}"),
        good.replacen("64", &format!("\"{PROMPT}\""), 1),
        good.replacen("\"f\"", &format!("{{\"{PROMPT}\":[]}}"), 1).replacen('}', "", 1),
        good.replacen("false", &format!("\"{PROMPT}\""), 1),
        good.replacen("qwen-max", "qwen-plus", 1),
        good.replacen("\"stop\"", "\"enable_search\"", 1),
        format!("{good}{PROMPT}"),
    ];
    let mut said = Vec::new();
    for body in &bodies {
        said.push(say(gratis, chat_request("1.1", key, more, body)).await);
    }
    said.push(say(gratis, chat_request("1.1", WRONG_KEY, more, &good)).await);
    let both = format!("{more}x-api-key: {WRONG_KEY}\r\n");
    said.push(say(gratis, chat_request("1.1", key, &both, &good)).await);
    let encoded = format!("{more}content-encoding: {HEADER}\r\n");
    said.push(say(gratis, chat_request("1.1", key, &encoded, &good)).await);
    let large = format!("{more}content-length: 99999999\r\n");
    said.push(say(gratis, chat_head("1.1", key, &large)).await);
    for line in
        [format!("GET /{PROMPT}?key={WRONG_KEY}"), format!("PUT /v1/chat/completions?{PROMPT}"), "GET bad".to_owned()]
    {
        let head = format!("{line} HTTP/1.1\r\nhost: {HEADER}\r\nauthorization: Bearer {key}\r\n{more}\r\n");
        said.push(say(gratis, head).await);
    }
    for answer in &said {
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    said
}

/// Every page of the operators' listener.
async fn admin_pages(home: &Home, gratis: &Gratis) -> String {
    let mut pages = String::new();
    let bearer = format!("Bearer {}", home.token());
    for path in [
        "/metrics",
        "/readyz?verbose",
        "/admin/v1/accounts",
        "/admin/v1/accounts/default",
        "/admin/v1/accounts/default/keys",
        "/admin/v1/accounts/default/grants",
        "/admin/v1/accounts/default/models",
        "/admin/v1/accounts/default/balances",
        "/admin/v1/accounts/default/holds",
        "/admin/v1/accounts/default/entries",
        "/admin/v1/balances",
        "/admin/v1/coverage",
        "/admin/v1/models",
        "/admin/v1/version",
    ] {
        let url = format!("{}{path}", gratis.admin);
        let request = request(http::Method::GET, &url, &[("authorization", bearer.as_str())], Vec::new());
        let (status, _, body) = whole(send(request).await).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        pages.push_str(&text);
    }
    assert!(pages.contains("qwen-max"), "{pages}");
    pages
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

fn search(place: &str, bytes: &[u8], canaries: &[&str]) {
    let text = String::from_utf8_lossy(bytes);
    for canary in canaries {
        if let Some(at) = text.find(canary) {
            let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
            panic!("{place} has {canary:?} behind: {around}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_prompt_and_no_key_is_in_the_log_the_metrics_the_pages_the_errors_or_the_files() {
    let simulator = simulator::start(simulator::Settings::default()).await.unwrap();
    let home = Home::new(&simulator.origin(), "[quota]\npresumed_breaker = 1_000_000\n");
    let key = home.init("qwen-max=900,000,000/1,000,000,000");
    let mut gratis = home.serve_with(&[("GRATIS_LOG__FILTER", "trace")]);
    let errors = calls(&gratis, &simulator, &key).await;
    let pages = admin_pages(&home, &gratis).await;
    gratis.signal("TERM");
    assert_eq!(gratis.ended().await.code(), Some(0), "{}", gratis.said());

    // The canaries did pass: otherwise nothing below would say anything.
    let seen = get_json(&format!("{}/requests?last=64", simulator.origin())).await.to_string();
    for passed in ["-user", "-system", "-name", "-text", "-tool", "-metadata", "-stop"] {
        assert!(seen.contains(&format!("{PROMPT}{passed}")), "{passed} never went upstream");
    }
    search("what went upstream", seen.as_bytes(), &[&key, WRONG_KEY]);

    let token = home.token();
    let random = key.strip_prefix("sk-gratis-").unwrap();
    let canaries = [PROMPT, WRONG_KEY, HEADER, ANSWER, random, PROVIDER_KEY, &token];
    let log = gratis.said();
    assert!(log.contains("TRACE"), "the log does not tell everything: {log}");
    assert!(
        log.lines().filter(|line| line.contains("gratis::request")).count() > 40,
        "a line a request is missing: {log}"
    );
    search("the log", log.as_bytes(), &canaries);
    search("the operators' pages", pages.as_bytes(), &canaries);
    search("the error bodies", errors.concat().as_bytes(), &canaries);
    let files = files(&home.path().join("state"));
    assert!(files.iter().any(|(name, bytes)| name.ends_with("ledger.db") && bytes.len() > 1_000));
    for (name, bytes) in files {
        let token = if name.ends_with("admin-token") { 6 } else { 7 };
        search(&name, &bytes, &canaries[..token]);
    }
}
