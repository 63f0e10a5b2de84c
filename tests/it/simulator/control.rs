//! Looking into the simulator and turning it.

use gratis::simulator::Settings;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

use super::{Bench, bytes_of, chat, json_of};

#[tokio::test]
async fn a_rule_holds_for_its_model_its_share_and_its_number_of_calls() {
    let bench = Bench::new(Settings::default()).await;
    let status = async |model: &str| bench.chat("hi", json!({"model": model})).await.status().as_u16();
    bench.behave(json!({"mode": "overloaded", "model": "a", "calls": 2})).await;
    bench.behave(json!({"mode": "rate-limit"})).await;
    assert_eq!([status("a").await, status("b").await, status("a").await], [503, 429, 503]);
    assert_eq!(status("a").await, 429, "its own rule is used up");
    bench.behave(json!({"mode": "none", "model": "b"})).await;
    bench.behave(json!({"mode": "none"})).await;
    assert_eq!(status("a").await, 200);
    bench.behave(json!({"mode": "rate-limit", "share": 0.3})).await;
    let mut refused = 0;
    for _ in 0..200 {
        refused += u32::from(status("a").await == 429);
    }
    assert!((30..=90).contains(&refused), "{refused} of 200 at 0.3");
}

#[tokio::test]
async fn a_rule_may_name_the_charge() {
    let bench = Bench::listed().await;
    bench.behave(json!({"mode": "internal-error", "charge": 77})).await;
    assert_eq!(bench.chat("hi", json!({})).await.status(), 500);
    assert_eq!(bench.charged().await, (1, 77));
    assert_eq!(bench.ledger().await["billed_errors"]["internal-error"]["charged"], 77);
}

#[tokio::test]
async fn a_bad_rule_is_refused_in_words() {
    let bench = Bench::listed().await;
    for rule in [
        json!({"mode": "nonsense"}),
        json!({"mode": "cut", "share": 1.5}),
        json!({"mode": "cut", "modle": "x"}),
        json!({"mode": "echo"}),
        json!({"mode": "echo", "reply": {"status": 20}}),
        json!({"mode": "echo", "reply": {"body_base64": "*"}}),
        json!({"mode": "echo", "reply": {"end": "maybe"}}),
    ] {
        let (status, body) = json_of(bench.post("/behave", &rule).await).await;
        assert_eq!(status, 400, "{rule}");
        assert!(body["problem"].is_string());
    }
    assert_eq!(bench.get("/behave").await.1["rules"], json!([]));
    assert_eq!(bench.chat("hi", json!({})).await.status(), 200);
}

#[tokio::test]
async fn an_echo_is_exact_for_every_route_and_costs_nothing() {
    let bench = Bench::listed().await;
    let body = "data: {\"a\":1}\r\n\r\n: x\n\ndata:[DONE]";
    bench
        .behave(json!({"mode": "echo", "reply": {"status": 203, "split_every": 4, "body": body,
            "headers": {"content-type": "text/event-stream;charset=UTF-8", "x-own": "1"}}}))
        .await;
    let response = bench.chat("hi", json!({"model": "not listed"})).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-own"]), (203, &"1".parse().unwrap()));
    assert!(!response.headers().contains_key("server"));
    assert_eq!(bytes_of(response).await, body);
    let request = Request::get(bench.url("/v1/models")).body(Full::default()).unwrap();
    assert_eq!(bytes_of(bench.client.request(request).await.unwrap()).await, body);
    assert_eq!(bench.charged().await, (0, 0));

    bench.behave(json!({"mode": "echo", "reply": {"body_base64": "/wA=", "end": "reset"}})).await;
    let mut response = bench.chat("hi", json!({})).await;
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap().as_ref(), [0xff, 0]);
    assert!(response.body_mut().frame().await.unwrap().is_err());
}

#[tokio::test]
async fn requests_are_shown_as_they_came() {
    let bench = Bench::new(Settings { keep_requests: 2, ..Settings::default() }).await;
    for name in ["one", "two", "three"] {
        let body = chat(name, json!({})).to_string();
        bench.send("/v1/chat/completions?x=1", body, &[("x-name", name)]).await.unwrap();
    }
    let (_, seen) = bench.get("/requests?last=5").await;
    assert_eq!(seen["count"], 3);
    let requests = seen["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2, "the ring keeps two");
    let last = &requests[1];
    assert_eq!((&last["number"], &last["method"]), (&json!(3), &json!("POST")));
    assert_eq!(last["path"], "/v1/chat/completions?x=1");
    assert_eq!(last["body"], chat("three", json!({})).to_string());
    assert!(last["headers"].as_array().unwrap().contains(&json!(["x-name", "three"])));
    assert_eq!(bench.get("/requests?last=1").await.1["requests"].as_array().unwrap().len(), 1);

    let request = Request::post(bench.url("/v1/other")).body(Full::from(vec![0xff_u8, 1])).unwrap();
    assert_eq!(bench.client.request(request).await.unwrap().status(), 404);
    let (_, seen) = bench.get("/requests?last=1").await;
    assert_eq!(seen["requests"][0]["body_base64"], "/wE=");
    assert_eq!(bench.ledger().await["requests"], 4);
}

#[tokio::test]
async fn a_reset_forgets_everything() {
    let bench = Bench::listed().await;
    bench.behave(json!({"mode": "cut"})).await;
    bytes_of(bench.chat("hi", json!({})).await).await;
    assert_eq!(bench.charged().await.0, 1);
    assert_eq!(bench.post("/reset", &json!({})).await.status(), 200);
    let ledger = bench.ledger().await;
    assert_eq!((&ledger["models"], &ledger["requests"]), (&json!({}), &json!(0)));
    assert_eq!(bench.get("/behave").await.1["rules"], json!([]));
    assert_eq!(bench.get("/reset").await.0, 405);
}
