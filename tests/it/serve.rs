//! `gratis serve` as an operator runs it: the program itself, its files, its signals.

mod handover;
mod reload;
mod renewal;
mod tls;

use std::time::{Duration, Instant};

use gratis::simulator;
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::binary::{Gratis, Home, PROVIDER_KEY};
use crate::support::plug::{Plug, chat_request};
use crate::support::wire::{chat, get_json, request, send, whole};

fn hi(stream: bool) -> Value {
    json!({"model": "qwen-max", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "max_tokens": 64})
}

async fn upstream(chunk_delay: Duration) -> simulator::Running {
    simulator::start(simulator::Settings { chunk_delay, answer: 64..=64, ..simulator::Settings::default() })
        .await
        .unwrap()
}

async fn get(url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, _, body) = whole(send(request(Method::GET, url, headers, Vec::new())).await).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The only balance of the only account.
async fn balance(home: &Home, gratis: &Gratis) -> Value {
    let bearer = format!("Bearer {}", home.token());
    let (status, text) = get(&format!("{}/admin/v1/balances", gratis.admin), &[("authorization", &bearer)]).await;
    assert_eq!(status, 200, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let items = body["balances"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{text}");
    items[0].clone()
}

/// The balance once nothing is held.
async fn settled(home: &Home, gratis: &Gratis) -> Value {
    let begun = Instant::now();
    loop {
        let balance = balance(home, gratis).await;
        if balance["held"] == 0 {
            return balance;
        }
        assert!(begun.elapsed() < PATIENCE, "{balance}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn charged(simulator: &simulator::Running) -> u64 {
    let ledger = get_json(&format!("{}/ledger", simulator.origin())).await;
    ledger["models"]["qwen-max"]["charged"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_it_says_what_to_do_and_lets_nothing_through_that_costs() {
    let simulator = upstream(Duration::ZERO).await;
    let home = Home::new(&simulator.origin(), "");
    let gratis = home.serve();
    assert!(gratis.said().contains("gratis init --assume-full"), "{}", gratis.said());
    assert_eq!(get(&format!("{}/livez", gratis.admin), &[]).await.0, 200);
    let (status, text) = get(&format!("{}/readyz", gratis.admin), &[]).await;
    assert_eq!(status, 503, "{text}");
    let key = [("authorization", "Bearer sk-gratis-any")];
    for headers in [&[][..], &key[..]] {
        let (status, text) = get(&format!("{}/v1/models", gratis.origin), headers).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("\"data\""), "{text}");
        let body = hi(false).to_string().into_bytes();
        let url = format!("{}/v1/chat/completions", gratis.origin);
        let (status, _, body) = crate::support::wire::post(&url, headers, body).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["code"]), (503, &json!("gratis_no_ledger")), "{body}");
        assert!(body["error"]["message"].as_str().unwrap().contains("gratis init"), "{body}");
    }
    assert_eq!(charged(&simulator).await, 0);
    assert!(!home.path().join("state/ledger.db").exists(), "serve must not make a ledger");
    let (status, text) = get(&format!("{}/admin/v1/balances", gratis.admin), &key).await;
    assert_eq!(status, 401, "{text}");
    assert!(text.contains("admin_token_not_set"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_makes_is_served_with_its_balances_and_cannot_cost_money() {
    let simulator = upstream(Duration::ZERO).await;
    let home = Home::new(&simulator.origin(), "");
    let output = home.run(&["init", "--balance", "qwen-max=362,917/1,000,000", "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&made["never_pay"], &made["account"]), (&json!(true), &json!("default")), "{made}");
    let key = made["api_key"].as_str().unwrap();

    let again = home.run(&["init", "--assume-full"]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stdout));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("exists already"),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );

    let gratis = home.serve();
    assert_eq!(get(&format!("{}/readyz", gratis.admin), &[]).await.0, 200);
    let before = balance(&home, &gratis).await;
    assert_eq!((&before["granted"], &before["available"]), (&json!(1_000_000), &json!(362_917)), "{before}");
    let (status, headers, body) = chat(&gratis.origin, key, &hi(false)).await;
    assert_eq!((status, &headers["x-gratis-billing"]), (200, &"free".parse().unwrap()), "{body:?}");
    let spent = charged(&simulator).await;
    let after = balance(&home, &gratis).await;
    assert!(spent > 0);
    assert_eq!(after["available"], json!(362_917 - spent), "{after}");
    let last = get_json(&format!("{}/requests?last=1", simulator.origin())).await.to_string();
    assert!(last.contains(PROVIDER_KEY) && !last.contains(key), "{last}");

    let bearer = format!("Bearer {}", home.token());
    let (_, account) = get(&format!("{}/admin/v1/accounts/default", gratis.admin), &[("authorization", &bearer)]).await;
    assert_eq!(serde_json::from_str::<Value>(&account).unwrap()["never_pay"], json!(true), "{account}");
    // A model without a grant is refused, not paid for.
    let mut other = hi(false);
    other["model"] = json!("qwen-plus");
    let (status, _, body) = chat(&gratis.origin, key, &other).await;
    assert_eq!(status, 403, "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_ledger_is_refused_and_the_first_goes_on() {
    let simulator = upstream(Duration::ZERO).await;
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=500,000/1,000,000");
    let gratis = home.serve();
    let second = home.run(&["serve"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("state") && said.contains("process"), "{said}");
    assert_eq!(chat(&gratis.origin, &key, &hi(false)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_calls_end_refuses_new_ones_and_leaves_nothing_presumed() {
    let simulator = upstream(Duration::from_millis(20)).await;
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    let mut running = Plug::to(&gratis.origin).await;
    running.write(chat_request("1.1", &key, "", &hi(true).to_string())).await;
    running.until("data: ").await;
    // A client that leaves now is read to its end behind it.
    let mut left = Plug::to(&gratis.origin).await;
    left.write(chat_request("1.1", &key, "", &hi(true).to_string())).await;
    left.until("data: ").await;
    drop(left);
    gratis.signal("TERM");
    let address = gratis.origin.trim_start_matches("http://").to_owned();
    let begun = Instant::now();
    while TcpStream::connect(&address).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still accepts connections");
    }
    let rest = String::from_utf8(running.rest().await).unwrap();
    assert!(rest.contains("data: [DONE]\n\n"), "{rest}");
    let status = gratis.ended().await;
    assert_eq!(status.code(), Some(0), "{}", gratis.said());
    drop(gratis);

    let gratis = home.serve();
    assert!(!gratis.said().contains("presumed"), "{}", gratis.said());
    let balance = balance(&home, &gratis).await;
    let spent = charged(&simulator).await;
    assert_eq!((&balance["presumed"], &balance["held"]), (&json!(0), &json!(0)), "{balance}");
    assert_eq!(balance["available"], json!(500_000 - spent), "{balance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_presumes_what_was_in_progress_and_says_so() {
    let simulator = upstream(Duration::from_millis(20)).await;
    let home = Home::new(&simulator.origin(), "");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    let mut running = Plug::to(&gratis.origin).await;
    running.write(chat_request("1.1", &key, "", &hi(true).to_string())).await;
    running.until("data: ").await;
    gratis.signal("KILL");
    gratis.ended().await;
    drop(gratis);
    let gratis = home.serve();
    assert!(gratis.said().contains("presumed"), "{}", gratis.said());
    let balance = balance(&home, &gratis).await;
    let presumed = balance["presumed"].as_u64().unwrap();
    assert!(presumed >= charged(&simulator).await && presumed > 0, "{balance}");
    assert_eq!(balance["held"], 0, "{balance}");
    assert_eq!(settled(&home, &gratis).await["presumed"], balance["presumed"]);
}
