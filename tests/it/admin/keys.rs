//! API keys.

use gratis::ledger::KeyState;
use gratis::store::KeyStore;
use gratis::store::keys::is_well_formed;
use serde_json::json;

use super::office::Office;

const KEYS: &str = "/admin/v1/accounts/default/keys";

#[tokio::test]
async fn the_secret_is_shown_once_and_found_by_its_digest() {
    let office = Office::new().await;
    let body = json!({ "name": "ci", "models": ["qwen-max", "shared"], "workspace": "w1" });
    let reply = office.call("POST", KEYS, body).await;
    assert_eq!(reply.status, 201);
    let secret = reply.json["secret"].as_str().unwrap().to_owned();
    assert!(is_well_formed(&secret));
    let shown = json!({
        "id": reply.json["id"], "name": "ci", "state": "active", "user": null, "models": ["qwen-max", "shared"], "workspace": "w1",
        "last4": secret[secret.len() - 4..], "created": "2026-11-21T00:00:00Z",
    });
    let list = office.call("GET", KEYS, None).await;
    assert_eq!(list.json["items"], json!([shown]));
    assert!(!list.text.contains(&secret));
    let caller = office.store.caller(&office.state.pepper.digest(&secret)).await.unwrap().unwrap();
    assert_eq!((caller.account.as_str(), caller.key.state), ("default", KeyState::Active));
}

#[tokio::test]
async fn a_key_is_disabled_enabled_and_deleted_for_good() {
    let office = Office::new().await;
    let (id, secret) = office.key().await;
    let path = format!("{KEYS}/{id}");
    let digest = office.state.pepper.digest(&secret);
    for (method, body, state) in [
        ("PATCH", Some(json!({ "state": "disabled" })), "disabled"),
        ("PATCH", Some(json!({ "state": "disabled" })), "disabled"),
        ("PATCH", Some(json!({ "state": "active" })), "active"),
        ("DELETE", None, "deleted"),
        ("DELETE", None, "deleted"),
    ] {
        assert_eq!(office.call(method, &path, body).await.ok()["state"], state);
        let caller = office.store.caller(&digest).await.unwrap().unwrap();
        assert_eq!(json!(caller.key.state), state);
    }
    office.call("PATCH", &path, json!({ "state": "active" })).await.is_problem(409, "key_deleted");
    office.call("PATCH", &path, json!({ "state": "deleted" })).await.is_problem(400, "invalid_body");
    office.call("DELETE", &format!("{KEYS}/key-none"), None).await.is_problem(404, "unknown_key");
}

#[tokio::test]
async fn a_mistyped_model_would_lock_a_key_out_and_is_refused() {
    let office = Office::new().await;
    office.call("POST", KEYS, json!({ "models": ["qwen-max", "qwen-mxa"] })).await.is_problem(400, "unknown_model");
    for name in ["x".repeat(129), "a\nb".to_owned()] {
        office.call("POST", KEYS, json!({ "name": name })).await.is_problem(400, "invalid_name");
        office.call("POST", KEYS, json!({ "workspace": name })).await.is_problem(400, "invalid_name");
    }
    assert_eq!(office.get(KEYS).await["items"], json!([]));
}
