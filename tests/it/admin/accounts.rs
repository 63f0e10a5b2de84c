//! Accounts.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::office::Office;

#[tokio::test]
async fn an_account_is_made_shown_and_changed() {
    let office = Office::new().await;
    let reply = office.call("POST", "/admin/v1/accounts", json!({ "id": "team-a", "site": "easy" })).await;
    assert_eq!((reply.status, reply.headers["location"].to_str().unwrap()), (201, "/admin/v1/accounts/team-a"));
    let made = json!({
        "id": "team-a", "site": "easy", "state": "active", "grace_until": null, "never_pay": true,
        "keys": 0, "grants": 0, "open_holds": 0,
    });
    assert_eq!(reply.json, made);
    assert_eq!(office.get("/admin/v1/accounts/team-a").await, made);
    let list = office.get("/admin/v1/accounts").await;
    assert_eq!(list["next"], json!(null));
    let ids: Vec<&str> = list["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["default", "team-a"]);

    let change = json!({ "state": "unverified", "never_pay": false });
    let changed = office.call("PATCH", "/admin/v1/accounts/team-a", change).await.ok();
    assert_eq!((&changed["state"], &changed["never_pay"]), (&json!("unverified"), &json!(false)));
    // What is absent stays.
    let same = office.call("PATCH", "/admin/v1/accounts/team-a", json!({})).await.ok();
    assert_eq!(same, changed);
}

#[tokio::test]
async fn an_account_without_a_site_gets_the_default_and_never_pays() {
    let office = Office::new().await;
    let made = office.call("POST", "/admin/v1/accounts", json!({ "id": "a" })).await.ok();
    assert_eq!((&made["site"], &made["never_pay"]), (&json!("strict"), &json!(true)));
}

#[tokio::test]
async fn every_state_can_be_set() {
    let office = Office::new().await;
    for state in ["unverified", "not_activated", "active", "overdue", "closed"] {
        let changed = office.call("PATCH", "/admin/v1/accounts/default", json!({ "state": state })).await.ok();
        assert_eq!(changed["state"], state);
        // The site's grace of three days, where none is named.
        let grace = (state == "overdue").then_some("2026-11-24T00:00:00Z");
        assert_eq!(changed["grace_until"], json!(grace), "{state}");
    }
    let reply = office.call("PATCH", "/admin/v1/accounts/default", json!({ "state": "active" })).await;
    reply.is_problem(409, "account_closed");
}

#[tokio::test]
async fn a_grace_is_a_time_of_an_overdue_account() {
    let office = Office::new().await;
    let path = "/admin/v1/accounts/default";
    let overdue = json!({ "state": "overdue", "grace_until": "2026-12-01" });
    // The beginning of the day in the site's zone, UTC+8.
    assert_eq!(office.call("PATCH", path, overdue).await.ok()["grace_until"], "2026-11-30T16:00:00Z");
    let wrong = json!({ "state": "overdue", "grace_until": "soon" });
    office.call("PATCH", path, wrong).await.is_problem(400, "invalid_time");
    for wrong in [json!({ "grace_until": "2026-12-01" }), json!({ "state": "active", "grace_until": "2026-12-01" })] {
        office.call("PATCH", path, wrong).await.is_problem(400, "invalid_body");
    }
    office.call("PATCH", path, json!({ "state": "happy" })).await.is_problem(400, "invalid_body");
}

#[tokio::test]
async fn what_cannot_be_made_is_refused() {
    let office = Office::new().await;
    let make = async |body| office.call("POST", "/admin/v1/accounts", body).await;
    make(json!({ "id": "default" })).await.is_problem(409, "account_exists");
    make(json!({ "id": "a", "site": "mars" })).await.is_problem(400, "unknown_site");
    for id in ["", "a b", "a/b", "ü", "..", ".a", "a\n", &"x".repeat(65)] {
        make(json!({ "id": id })).await.is_problem(400, "invalid_name");
    }
    assert_eq!(office.get("/admin/v1/accounts").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_account_is_404_everywhere() {
    let office = Office::new().await;
    let key = json!({});
    let grant = json!({ "model": "qwen-max", "amount": 1 });
    let switch = json!({ "free_quota_only": true });
    let several = json!({ "free_quota_only": true, "all_eligible": true });
    let figure = json!({ "model": "qwen-max", "remaining": 1 });
    for (method, rest, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({ "never_pay": true }))),
        ("GET", "/keys", None),
        ("POST", "/keys", Some(key)),
        ("PATCH", "/keys/k", Some(json!({ "state": "active" }))),
        ("DELETE", "/keys/k", None),
        ("GET", "/grants", None),
        ("POST", "/grants", Some(grant)),
        ("PATCH", "/grants/1", Some(json!({ "amount": 1 }))),
        ("GET", "/models", None),
        ("PUT", "/models/qwen-max/switch", Some(switch)),
        ("POST", "/switches", Some(several)),
        ("GET", "/balances", None),
        ("GET", "/holds", None),
        ("GET", "/entries", None),
        ("POST", "/sync", Some(figure)),
        ("POST", "/pools/qwen-max/reopen", None),
    ] {
        let reply = office.call(method, &format!("/admin/v1/accounts/nobody{rest}"), body).await;
        assert_eq!((reply.status, reply.code()), (404, "unknown_account"), "{method} {rest}");
    }
    office.call("GET", "/admin/v1/balances?account=nobody", None).await.is_problem(404, "unknown_account");
}

#[tokio::test]
async fn a_store_that_is_down_is_said_with_when_to_try_again() {
    let office = Office::new().await;
    office.store.down.store(true, Ordering::SeqCst);
    for (method, path, body) in [
        ("GET", "/admin/v1/accounts", None),
        ("GET", "/admin/v1/balances", None),
        ("PATCH", "/admin/v1/accounts/default", Some(json!({ "never_pay": true }))),
        ("POST", "/admin/v1/accounts/default/keys", Some(json!({}))),
    ] {
        let reply = office.call(method, path, body).await;
        reply.is_problem(503, "store_unavailable");
        assert_eq!(reply.headers["retry-after"], "2");
        // What the store said is for the log.
        assert!(!reply.text.contains("told to be down"));
    }
}
