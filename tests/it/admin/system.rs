//! Health, readiness, metrics, coverage, the catalogue, reload.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gratis::admin::Reloaded;
use gratis::store::embedded::Absent;
use serde_json::json;

use super::office::Office;

#[tokio::test]
async fn readiness_follows_the_ledger_and_the_drain() {
    let office = Office::new().await;
    let ready = async |path: &str| {
        let reply = office.call("GET", path, None).await;
        (reply.status, reply.text)
    };
    assert_eq!(ready("/readyz").await, (200, "ok\n".to_owned()));
    let detail = "[+] ledger ok\n[+] accepting ok\n    redis-always: nothing is forgotten\nready\n";
    assert_eq!(ready("/readyz?verbose").await, (200, detail.to_owned()));
    office.draining.store(true, Ordering::SeqCst);
    assert_eq!(ready("/readyz").await, (503, "accepting: draining\n".to_owned()));
    office.store.down.store(true, Ordering::SeqCst);
    let detail = "[-] ledger failed: store unavailable\n[-] accepting failed: draining\n    redis-always: nothing is forgotten\n\
                  not ready\n";
    assert_eq!(ready("/readyz?verbose=true").await, (503, detail.to_owned()));
    // The process itself is well all the same: nobody should kill it for a store that is down.
    assert_eq!(ready("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(ready("/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn without_a_ledger_the_command_that_makes_one_is_said() {
    let office = Office::new().await;
    let absent = Arc::new(Absent::new("nothing there".into(), office.clock.clone()));
    let office = Office::on(absent, Arc::clone(&office.store), office.clock.clone());
    let reply = office.call("GET", "/readyz", None).await;
    assert_eq!(reply.status, 503);
    assert!(reply.text.starts_with("ledger: ") && reply.text.contains("gratis init --assume-full"), "{}", reply.text);
    for (method, path, body) in [
        ("GET", "/admin/v1/accounts", None),
        ("GET", "/admin/v1/balances", None),
        ("POST", "/admin/v1/accounts", Some(json!({ "id": "a" }))),
        ("POST", "/admin/v1/accounts/default/keys", Some(json!({}))),
    ] {
        let reply = office.call(method, path, body).await;
        reply.is_problem(503, "no_ledger");
        assert!(reply.text.contains("gratis init --balance qwen-max=362,917/1,000,000"));
    }
    assert_eq!(office.call("GET", "/livez", None).await.status, 200);
    assert!(office.get("/admin/v1/models").await["items"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn a_suspended_store_says_why_and_goes_on_when_told() {
    let office = Office::new().await;
    assert_eq!(office.get("/admin/v1/store").await["suspended"], json!(null));
    *office.suspended.lock().unwrap() = Some("the run id changed".to_owned());
    let reply = office.call("GET", "/readyz", None).await;
    assert_eq!(reply.status, 503);
    assert!(reply.text.contains("the run id changed") && reply.text.contains("gratis store resume"), "{}", reply.text);
    let store = office.get("/admin/v1/store").await;
    assert_eq!(store["kind"], "shared");
    assert_eq!(store["promise"], json!(["redis-always: nothing is forgotten"]));
    assert_eq!(store["suspended"], "the run id changed");
    let after = office.call("POST", "/admin/v1/store/resume", None).await.ok();
    assert_eq!(after["suspended"], json!(null));
    assert_eq!(office.call("GET", "/readyz", None).await.status, 200);
}

#[tokio::test]
async fn an_embedded_store_has_nothing_to_resume() {
    let mut office = Office::new().await;
    office.state.resume = None;
    office.call("POST", "/admin/v1/store/resume", None).await.is_problem(409, "not_shared");
}

#[tokio::test]
async fn metrics_come_as_they_are() {
    let office = Office::new().await;
    let reply = office.call("GET", "/metrics", None).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "# EOF\n"));
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn coverage_version_and_catalogue_are_shown() {
    let office = Office::new().await;
    let coverage = office.get("/admin/v1/coverage").await;
    let row = json!({
        "method": "POST", "path": "/compatible-mode/v1/chat/completions", "dialect": "openai-chat", "metering": "tokens",
        "source": "W 2.4",
    });
    assert_eq!(coverage, json!([row]));
    assert_eq!(office.get("/admin/v1/version").await, json!({ "version": "0.0.0-test" }));
    let models = office.get("/admin/v1/models").await;
    let rows = models["items"].as_array().unwrap();
    let codes: Vec<&str> = rows.iter().map(|row| row["code"].as_str().unwrap()).collect();
    assert!(codes.is_sorted() && codes.contains(&"no-quota"), "{codes:?}");
    let row = rows.iter().find(|row| row["code"] == "qwen-max").unwrap();
    assert_eq!([&row["free_quota"], &row["bounds"]["window"]], [1_000_000, 131_072]);
    assert_eq!([&row["type"], &row["confidence"], &row["bounds_confidence"]], ["text", "ok", "ok"]);
    assert_eq!(row["prices"], json!([{ "input_up_to": null, "rates": { "in": "1", "out": "4" } }]));
    let split = rows.iter().find(|row| row["code"] == "qwen-vl").unwrap();
    assert_eq!(split["free_quota"], json!({ "input": 100, "output": 50 }));
}

#[tokio::test]
async fn a_reload_is_taken_over_or_says_why_not() {
    let office = Office::new().await;
    let reload = async || office.call("POST", "/admin/v1/config/reload", None).await;
    *office.reload.lock().unwrap() = Ok(Reloaded { notes: vec!["server.listen needs a restart".to_owned()] });
    assert_eq!(reload().await.ok(), json!({ "notes": ["server.listen needs a restart"] }));
    *office.reload.lock().unwrap() = Err("gratis.toml:4: unknown key".to_owned());
    let reply = reload().await;
    reply.is_problem(422, "invalid_config");
    assert!(reply.text.contains("gratis.toml:4"));
}

#[tokio::test]
async fn a_panic_ends_its_request_alone() {
    let mut office = Office::new().await;
    office.state.metrics = Arc::new(|| panic!("a secret of the process"));
    let reply = office.call("GET", "/metrics", None).await;
    reply.is_problem(500, "internal");
    assert!(!reply.text.contains("secret"));
    assert_eq!(office.call("GET", "/livez", None).await.status, 200);
}
