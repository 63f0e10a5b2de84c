//! What every change goes through: roles, the audit log, idempotency keys, ETags, pages, the OpenAPI document.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::office::{Office, READ_TOKEN, Reply, TOKEN};

const ACCOUNT: &str = "/admin/v1/accounts/default";

async fn with(office: &Office, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    office.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_read_token_looks_and_does_not_change() {
    let office = Office::new().await;
    let token = format!("Bearer {READ_TOKEN}");
    let read = [("authorization", token.as_str())];
    with(&office, "GET", ACCOUNT, &read, Value::Null).await.ok();
    with(&office, "GET", "/admin/openapi.json", &read, Value::Null).await.ok();
    for (method, path) in [("PATCH", ACCOUNT), ("POST", "/admin/v1/accounts"), ("DELETE", "/admin/v1/nothing")] {
        with(&office, method, path, &read, json!({ "never_pay": true })).await.is_problem(403, "read_only_token");
    }
    assert_eq!(office.get(ACCOUNT).await["never_pay"], false);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_what_it_changed() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    let who = [("x-gratis-actor", "mei"), ("content-type", "application/json")];
    with(&office, "PATCH", ACCOUNT, &who, json!({ "never_pay": true })).await.ok();
    with(&office, "PUT", &format!("{ACCOUNT}/models/qwen-max/switch"), &who, json!({ "free_quota_only": true }))
        .await
        .ok();
    with(&office, "PATCH", ACCOUNT, &who, json!({ "state": "moon" })).await.is_problem(400, "invalid_body");
    let audit = office.get("/admin/v1/audit").await;
    let lines = audit["items"].as_array().unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!([&lines[0]["status"], &lines[1]["status"]], [400, 200]);
    assert_eq!((&lines[0]["before"], &lines[0]["after"]), (&json!({}), &json!({})));
    assert_eq!(lines[1]["before"]["switch:qwen-max"], "unset");
    assert_eq!(lines[1]["after"]["switch:qwen-max"], "on");
    assert_eq!(lines[2]["before"], json!({ "never_pay": false }));
    assert_eq!(lines[2]["after"], json!({ "never_pay": true }));
    assert_eq!(lines[2]["actor"], json!({ "role": "operate", "name": "mei" }));
    assert_eq!([&lines[2]["account"], &lines[2]["at"]], ["default", "2026-11-21T00:00:00Z"]);
    assert!(lines[3]["after"].as_object().unwrap().keys().any(|name| name.starts_with("grant:")));
    let numbers: Vec<u64> = lines.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
    assert_eq!(office.get("/admin/v1/audit?account=nobody").await["items"], json!([]));
}

#[tokio::test]
async fn no_secret_is_written_down() {
    let office = Office::new().await;
    let key = [("idempotency-key", "k1")];
    let made = with(&office, "POST", &format!("{ACCOUNT}/keys"), &key, json!({})).await.ok();
    let secret = made["secret"].as_str().unwrap();
    let again = with(&office, "POST", &format!("{ACCOUNT}/keys"), &key, json!({})).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!((&again.json["id"], &again.json["secret"]), (&made["id"], &Value::Null));
    assert_eq!(office.get(&format!("{ACCOUNT}/keys")).await["items"].as_array().unwrap().len(), 1);
    let audit = office.get("/admin/v1/audit").await.to_string();
    assert!(!audit.contains(secret) && audit.contains(made["id"].as_str().unwrap()));
}

#[tokio::test]
async fn a_repeat_with_the_same_key_changes_nothing() {
    let office = Office::new().await;
    let key = [("idempotency-key", "one")];
    let grants = format!("{ACCOUNT}/grants");
    let body = json!({ "model": "qwen-max", "amount": 5 });
    let first = with(&office, "POST", &grants, &key, body.clone()).await;
    let again = with(&office, "POST", &grants, &key, body).await;
    assert_eq!((first.status, &first.json), (again.status, &again.json));
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(office.get(&grants).await["items"].as_array().unwrap().len(), 1);
    let other = with(&office, "POST", &grants, &key, json!({ "model": "qwen-max", "amount": 6 })).await;
    other.is_problem(422, "idempotency_key_reused");
    // A refusal is an answer too.
    let key = [("idempotency-key", "two")];
    for replayed in [false, true] {
        let refused = with(&office, "POST", &grants, &key, json!({ "model": "nope", "amount": 5 })).await;
        assert_eq!(refused.headers.contains_key("idempotent-replayed"), replayed);
        refused.is_problem(404, "unknown_model");
    }
    office.clock.advance(2 * super::office::DAY);
    let key = [("idempotency-key", "one")];
    with(&office, "POST", &grants, &key, json!({ "model": "qwen-max", "amount": 6 })).await.ok();
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_not_overwritten() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    for (path, method, change) in [
        (ACCOUNT.to_owned(), "PATCH", json!({ "never_pay": true })),
        (format!("{ACCOUNT}/models/qwen-max/switch"), "PUT", json!({ "free_quota_only": true })),
    ] {
        let read = office.call("GET", &path, None).await;
        let tag = read.headers["etag"].to_str().unwrap().to_owned();
        let first = with(&office, method, &path, &[("if-match", &tag)], change.clone()).await;
        let new = first.headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(new, tag);
        first.ok();
        let stale = with(&office, method, &path, &[("if-match", &tag)], change.clone()).await;
        assert_eq!(stale.json["etag"], new.as_str());
        stale.is_problem(412, "changed_meanwhile");
        with(&office, method, &path, &[("if-match", &new)], change.clone()).await.ok();
        with(&office, method, &path, &[("if-match", "*")], change).await.ok();
    }
}

#[tokio::test]
async fn a_switch_says_who_moved_it_and_why_it_is_locked() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    let path = format!("{ACCOUNT}/models/qwen-max/switch");
    let position = office.get(&path).await;
    assert_eq!(
        (&position["switch"], &position["locked"], &position["moved"]),
        (&json!("unset"), &Value::Null, &Value::Null)
    );
    with(&office, "PUT", &path, &[("x-gratis-actor", "mei")], json!({ "free_quota_only": true })).await.ok();
    let position = office.get(&path).await;
    assert_eq!([&position["switch"], &position["locked"]], ["on", "not_used_up"]);
    assert_eq!(position["moved"]["by"]["name"], "mei");
    assert_eq!(position["moved"]["at"], "2026-11-21T00:00:00Z");
    let body = json!({ "models": ["qwen-turbo"], "free_quota_only": true });
    office.grant("qwen-turbo").await;
    office.call("POST", &format!("{ACCOUNT}/switches"), body).await.ok();
    let position = office.get(&format!("{ACCOUNT}/models/qwen-turbo/switch")).await;
    assert_eq!(position["moved"]["by"], json!({ "role": "operate", "name": null }));
    let none = office.get(&format!("{ACCOUNT}/models/no-quota/switch")).await;
    assert_eq!(none["locked"], "no_grant");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let office = Office::new().await;
    for name in ["a", "b", "c", "d"] {
        office.call("POST", "/admin/v1/accounts", json!({ "id": name })).await.ok();
    }
    let mut seen = Vec::new();
    let mut path = "/admin/v1/accounts?limit=2".to_owned();
    loop {
        let page = office.get(&path).await;
        let ids = page["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/admin/v1/accounts?limit=2&cursor={next}");
        // What is added before the cursor shifts nothing.
        office.call("POST", "/admin/v1/accounts", json!({ "id": format!("a{}", seen.len()) })).await.ok();
    }
    assert_eq!(seen, ["a", "b", "c", "d", "default"]);
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    for _ in 0..3 {
        office.spend(&key, "qwen-max", 10, Some(5)).await;
    }
    let whole = office.get(&format!("{ACCOUNT}/entries")).await;
    let mut seen = Vec::new();
    let mut path = format!("{ACCOUNT}/entries?limit=1");
    loop {
        let page = office.get(&path).await;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{ACCOUNT}/entries?limit=1&cursor={next}");
    }
    assert_eq!(Value::Array(seen), whole["items"]);
    for (query, code) in
        [("limit=0", "invalid_parameter"), ("limit=1001", "invalid_parameter"), ("cursor=!", "invalid_cursor")]
    {
        for list in ["accounts", "models", "sites", "audit", "accounts/default/entries", "accounts/default/keys"] {
            office.call("GET", &format!("/admin/v1/{list}?{query}"), None).await.is_problem(400, code);
        }
    }
    office.call("GET", "/admin/v1/audit?cursor=YQ", None).await.is_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn what_the_configuration_owns_is_shown_and_not_changed() {
    let office = Office::new().await;
    assert_eq!(office.get("/admin/v1/sites/easy").await["switch_off"], "any-time");
    assert_eq!(office.get("/admin/v1/models/qwen-turbo").await["validity_days"], 30);
    office.call("GET", "/admin/v1/models/nope", None).await.is_problem(404, "unknown_model");
    office.call("GET", "/admin/v1/sites/nope", None).await.is_problem(404, "unknown_site");
    for path in ["/admin/v1/sites/easy", "/admin/v1/models/qwen-max"] {
        let refused = office.call("PATCH", path, json!({ "validity_days": 1 })).await;
        assert!(refused.json["setting"].as_str().unwrap().starts_with("[site]"));
        refused.is_problem(409, "owned_by_configuration");
    }
}

#[tokio::test]
async fn the_document_describes_every_route() {
    let office = Office::new().await;
    let document = office.get("/admin/openapi.json").await;
    assert_eq!(document["info"]["version"], "0.0.0-test");
    let paths = document["paths"].as_object().unwrap();
    let mut table = String::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: Vec<&String> = operation["responses"].as_object().unwrap().keys().collect();
            table.push_str(&format!("{:6} {path:58} {statuses:?}\n", method.to_uppercase()));
            let refused = &operation["responses"]["401"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(refused, "#/components/schemas/Problem", "{method} {path}");
        }
    }
    println!("{table}");
    assert!(paths.len() >= 20, "{table}");
    assert!(document["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
}

#[tokio::test]
async fn a_console_figure_is_audited_with_what_it_changed() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    office.call("POST", &format!("{ACCOUNT}/sync"), json!({ "model": "qwen-max", "remaining": 400_000 })).await.ok();
    let audit = office.get("/admin/v1/audit?limit=1").await;
    assert_eq!(audit["items"][0]["before"], json!({ "spent:1": { "spent": 0, "presumed": 0 } }));
    assert_eq!(audit["items"][0]["after"], json!({ "spent:1": { "spent": 600_000, "presumed": 0 } }));
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_says_so() {
    let mut office = Office::new().await;
    // Notes without a state folder: nothing can be written, and there is no ledger to change.
    let nowhere = std::path::Path::new("/nonexistent/state");
    let notes = gratis::store::embedded::Notes::open(nowhere, office.clock.clone()).unwrap();
    office.state.notes = std::sync::Arc::new(notes);
    office.call("POST", "/admin/v1/config/reload", None).await.ok();
    let key = [("idempotency-key", "k")];
    with(&office, "POST", "/admin/v1/config/reload", &key, Value::Null).await.is_problem(503, "no_ledger");
}

#[tokio::test]
async fn what_may_serve_instead_is_checked_and_kept_apart_for_a_key() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    let (account, own) = (format!("{ACCOUNT}/fallback"), format!("{ACCOUNT}/keys/{key}/fallback"));
    let policy = json!({ "models": ["qwen-turbo", "shared"], "order": "soonest_expiring" });
    assert_eq!(office.call("PUT", &account, policy.clone()).await.ok(), policy);
    assert_eq!(office.get(&own).await, json!({ "models": [], "order": "listed" }));
    office.call("PUT", &own, json!({ "models": ["shared"] })).await.ok();
    assert_eq!(office.get(&account).await, policy);
    office.call("PUT", &account, json!({ "models": ["nope"] })).await.is_problem(404, "unknown_model");
    office.call("PUT", &account, json!({ "models": vec!["shared"; 17] })).await.is_problem(400, "invalid_body");
    office.call("GET", &format!("{ACCOUNT}/keys/nobody/fallback"), None).await.is_problem(404, "unknown_key");
    let stale = with(&office, "PUT", &account, &[("if-match", "\"old\"")], json!({ "models": [] })).await;
    stale.is_problem(412, "changed_meanwhile");
    office.call("PUT", &account, json!({ "models": [] })).await.ok();
    assert_eq!(office.get(&account).await["models"], json!([]));
}

#[tokio::test]
async fn an_unknown_request_and_an_upstream_that_is_open_are_said() {
    let office = Office::new().await;
    office.call("GET", "/admin/v1/requests/nothing", None).await.is_problem(404, "unknown_request");
    office.call("POST", "/admin/v1/upstreams/default/reopen", None).await.is_problem(404, "not_closed");
    assert_eq!(office.get("/admin/v1/upstreams/closed").await, json!([]));
}

#[tokio::test]
async fn an_operator_clears_an_overdue_upstream() {
    use gratis::ledger::{AccountId, Closure, Command, Operation};
    use gratis::store::Shelf;
    let office = Office::new().await;
    office.grant("shared").await;
    office.grant("qwen-max").await;
    let close = |pool: &str, closure| Command::Operate(Operation::ClosePool { pool: pool.into(), closure });
    let account = AccountId::from("default");
    office.store.apply(&account, close("shared", Closure::Arrearage)).unwrap();
    office.store.apply(&account, close("qwen-max", Closure::FreeTierOnly)).unwrap();
    office.store.apply(&account, close("qwen-max", Closure::Arrearage)).unwrap();
    let pools = json!(["shared", "qwen-max"]);
    let closed = json!({ "attempt": 3, "at": super::office::NOW, "pools": pools, "owner": null }).to_string();
    let tries = [("default".to_owned(), closed), ("default#1.1".to_owned(), "{}".to_owned())];
    office.state.notes.put(Shelf::Closures, tries.to_vec()).await.unwrap();
    let listed = office.get("/admin/v1/upstreams/closed").await;
    let shown = json!({
        "upstream": "default", "since": "2026-11-21T00:00:00Z", "refusals": 3, "pools": 2, "account": null,
    });
    assert_eq!(listed[0], shown);
    office.call("POST", "/admin/v1/upstreams/default/reopen", None).await.ok();
    let models = office.get(&format!("{ACCOUNT}/models")).await;
    let closed: Vec<&Value> = models["items"].as_array().unwrap().iter().map(|row| &row["closed"]).collect();
    assert_eq!(
        closed,
        [&json!("free_tier_only"), &Value::Null, &Value::Null],
        "what was closed for its quota stays closed"
    );
    assert_eq!(office.state.notes.list(Shelf::Closures, "", None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_keep_a_change_from_the_log() {
    let office = Office::new().await;
    let mut call = Box::pin(office.call("PATCH", ACCOUNT, json!({ "never_pay": true })));
    let once = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(once.is_pending(), "it was answered at once");
    drop(call);
    office.state.changes.ended().await;
    assert_eq!(office.get(ACCOUNT).await["never_pay"], true);
    let audit = office.get("/admin/v1/audit").await;
    assert_eq!(audit["items"][0]["after"], json!({ "never_pay": true }));
}

#[tokio::test]
async fn the_log_keeps_as_many_lines_as_the_configuration_says() {
    use gratis::store::Log;
    let office = Office::new().await;
    for line in 1..1_088 {
        office.state.notes.append(Log::Audit, json!({ "number": line }).to_string()).await.unwrap();
    }
    office.call("PATCH", ACCOUNT, json!({ "never_pay": true })).await.ok();
    let lines = office.state.notes.newest(Log::Audit, None, 5_000).await.unwrap();
    assert_eq!((lines.len(), lines.first().unwrap().number, lines.last().unwrap().number), (1_000, 1_088, 89));
}
