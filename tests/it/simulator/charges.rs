//! What each mode costs.

use std::time::Duration;

use gratis::simulator::{Mode, Settings};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{Bench, bytes_of, events_of, json_of, model};

/// What a call with twelve answer tokens is charged for its output.
const ANSWER: u64 = 12;

/// Sends a call of that mode, waits until the ledger has it, and goes away.
async fn ledger_after(mode: Mode, stream: bool) -> Value {
    let bench = Bench::listed().await;
    let text = format!("[[sim:{},answer={ANSWER}]]", mode.name());
    let call = async {
        if let Ok(response) =
            bench.send("/v1/chat/completions", super::chat(&text, json!({"stream": stream})).to_string(), &[]).await
        {
            let _ = response.into_body().collect().await;
        }
    };
    let noticed = async {
        loop {
            let ledger = bench.ledger().await;
            let counted =
                ledger["models"]["qwen-plus"]["calls"] == 1 || !ledger["refused"].as_object().unwrap().is_empty();
            if counted {
                return ledger;
            }
        }
    };
    tokio::select! {
        biased;
        ledger = noticed => ledger,
        () = async { call.await; std::future::pending().await } => unreachable!(),
    }
}

#[tokio::test]
async fn every_mode_charges_what_the_table_says() {
    for (name, mode) in Mode::ALL.iter().filter(|(_, mode)| *mode != Mode::Echo) {
        for stream in [true, false] {
            let ledger = ledger_after(*mode, stream).await;
            let charged = ledger["models"]["qwen-plus"]["charged"].as_u64().unwrap_or(0);
            let (answer, thinking) = (&ledger["tokens"]["answer"], &ledger["tokens"]["thinking"]);
            if mode.is_refusal() {
                assert_eq!(charged, 0, "{name}");
                assert_eq!(ledger["refused"][*name], 1, "{name}");
                continue;
            }
            let wanted = if *mode == Mode::IgnoreClamp { 2_000 } else { ANSWER };
            let thought = if *mode == Mode::ThinkPast { 1_181 } else { 0 };
            assert_eq!((answer, thinking), (&json!(wanted), &json!(thought)), "{name} {stream}");
            assert_eq!(ledger["tokens"]["prompt"].as_u64().unwrap() + wanted + thought, charged, "{name}");
            if *mode != Mode::None {
                assert_eq!(ledger["billed_errors"][*name]["charged"], charged, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_charged_for_everything() {
    let settings = Settings { chunk_delay: Duration::from_secs(3_600), models: vec![model()], ..Settings::default() };
    let bench = Bench::new(settings).await;
    let mut response = bench.chat("[[sim:answer=400]]", json!({"stream": true})).await;
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert!(first.is_data());
    drop(response);
    let ledger = bench.ledger().await;
    assert_eq!(ledger["tokens"]["answer"], 400);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_charged() {
    use tokio::io::AsyncWriteExt as _;
    let bench = Bench::listed().await;
    let mut socket = tokio::net::TcpStream::connect(bench.running.address).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"model\":";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest).await;
    let ledger = bench.ledger().await;
    assert_eq!((&ledger["models"], &ledger["requests"]), (&json!({}), &json!(0)));
}

#[tokio::test]
async fn refusals_are_complete_envelopes_with_the_providers_codes() {
    let bench = Bench::listed().await;
    for (mode, status, code) in [
        ("bad-request", 400, "invalid_parameter_error"),
        ("invalid-key", 401, "invalid_api_key"),
        ("free-tier-only", 403, "AllocationQuota.FreeTierOnly"),
        ("free-tier-only-new", 403, "AllocationQuota.FreeTierOnly"),
        ("access-denied", 403, "access_denied"),
        ("model-not-found", 404, "model_not_found"),
        ("rate-limit", 429, "limit_requests"),
        ("insufficient-quota", 429, "insufficient_quota"),
        ("free-allocated-quota", 429, "Throttling.AllocationQuota"),
        ("commodity-not-purchased", 429, "CommodityNotPurchased"),
        ("prepaid-bill-overdue", 429, "PrepaidBillOverdue"),
        ("postpaid-bill-overdue", 429, "PostpaidBillOverdue"),
        ("arrearage", 400, "Arrearage"),
        ("content-inspection", 400, "data_inspection_failed"),
        ("internal-error", 500, "internal_error"),
        ("overloaded", 503, "ModelUnavailable"),
        ("error-only-event", 200, "Throttling.AllocationQuota"),
    ] {
        let (got, body) = json_of(bench.chat(&format!("[[sim:{mode}]]"), json!({})).await).await;
        assert_eq!((got, body["error"]["code"].as_str()), (status, Some(code)), "{mode}");
        let by_gateway = ["invalid-key", "model-not-found", "insufficient-quota"].contains(&mode);
        assert_eq!(body.get("id").is_none(), by_gateway, "{mode}");
        assert_eq!(body["error"]["param"], Value::Null);
        assert_eq!(body["request_id"] == "", mode == "insufficient-quota", "{mode}");
    }
    let streamed = bench.chat("[[sim:free-tier-only]]", json!({"stream": true})).await;
    assert_eq!(streamed.headers()["content-type"], "application/json");
    let events = events_of(bench.chat("[[sim:error-only-event]]", json!({"stream": true})).await).await;
    assert_eq!(events.len(), 1);
    assert!(events[0]["error"]["code"].is_string());
}

#[tokio::test]
async fn lies_about_usage_do_not_change_the_charge() {
    for (mode, shown) in [("lie-low", 0.5), ("lie-high", 2.0)] {
        let bench = Bench::listed().await;
        let (_, body) = json_of(bench.chat(&format!("[[sim:{mode},answer=100]]"), json!({})).await).await;
        assert_eq!(body["usage"]["completion_tokens"].as_f64().unwrap(), 100.0 * shown, "{mode}");
        assert_eq!(bench.ledger().await["tokens"]["answer"], 100);
    }
    let bench = Bench::listed().await;
    let usage =
        async |mode: &str| json_of(bench.chat(&format!("[[sim:{mode}]]"), json!({})).await).await.1["usage"].clone();
    assert!(usage("negative-usage").await["completion_tokens"].as_i64().unwrap() < 0);
    assert!(usage("float-usage").await["completion_tokens"].is_f64());
    assert!(usage("string-usage").await["completion_tokens"].is_string());
    assert_eq!(usage("no-usage").await, Value::Null);
    let bytes = bytes_of(bench.chat("[[sim:double-usage]]", json!({})).await).await;
    assert_eq!(String::from_utf8_lossy(&bytes).matches("\"usage\":{").count(), 2);
}

#[tokio::test]
async fn bounds_are_passed_when_a_mode_says_so_and_reported() {
    let bench = Bench::listed().await;
    let text = "[[sim:ignore-clamp]]";
    let (_, body) = json_of(bench.chat(text, json!({"max_tokens": 500})).await).await;
    assert_eq!(body["usage"]["completion_tokens"], 1_000);
    let text = "[[sim:think-past,answer=5]]";
    let (_, body) = json_of(bench.chat(text, json!({"max_tokens": 16, "enable_thinking": false})).await).await;
    assert_eq!(body["usage"]["completion_tokens"], 5 + 1_181);
    let (_, body) = json_of(bench.chat(text, json!({"thinking_budget": 900})).await).await;
    assert_eq!(body["usage"]["completion_tokens"], 5 + 1_800);
}
