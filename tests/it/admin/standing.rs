//! What happens to an account: activation, verification, top-ups, unpaid bills; its users and workspaces.

use serde_json::{Value, json};

use super::office::{DAY, Office};

const ACCOUNT: &str = "/admin/v1/accounts/default";

async fn event(office: &Office, body: Value) -> Value {
    office.call("POST", &format!("{ACCOUNT}/events"), body).await.ok()
}

#[tokio::test]
async fn an_account_from_activation_to_its_end() {
    let office = Office::new().await;
    let made = json!({ "id": "new", "state": "not_activated" });
    office.call("POST", "/admin/v1/accounts", made).await.ok();
    let at = |kind: &str| ("POST", "/admin/v1/accounts/new/events", json!({ "kind": kind }));
    let (method, path, body) = at("verified");
    office.call(method, path, body).await.is_problem(409, "not_activated");
    let mut states = Vec::new();
    for kind in ["activated", "verified", "topped_up", "bill_unpaid", "topped_up", "closed"] {
        let (method, path, body) = at(kind);
        let shown = office.call(method, path, body).await.ok();
        states.push(shown["state"]["state"].as_str().unwrap().to_owned());
        office.clock.advance(1_000);
    }
    assert_eq!(states, ["unverified", "unverified", "active", "overdue", "active", "closed"]);
    let (method, path, body) = at("topped_up");
    office.call(method, path, body).await.is_problem(409, "account_closed");
    let standing = office.get("/admin/v1/accounts/new/standing").await;
    assert_eq!(standing["activated_at"], "2026-11-21T00:00:00Z");
}

#[tokio::test]
async fn a_bill_that_stays_unpaid_refuses_after_the_grace() {
    let office = Office::new().await;
    let shown = event(&office, json!({ "kind": "bill_unpaid", "at": "2026-11-20T00:00:00Z" })).await;
    assert_eq!([&shown["unpaid_since"], &shown["refused_from"]], ["2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z"]);
    // A second unpaid bill does not begin a new grace, and a top-up that is too small changes nothing.
    office.clock.advance(DAY);
    event(&office, json!({ "kind": "bill_unpaid" })).await;
    let shown = event(&office, json!({ "kind": "topped_up", "still_unpaid": true })).await;
    assert_eq!(shown["refused_from"], "2026-11-23T00:00:00Z");
    let shown = event(&office, json!({ "kind": "topped_up" })).await;
    assert_eq!((&shown["state"]["state"], &shown["refused_from"]), (&json!("active"), &Value::Null));
    let future = json!({ "kind": "bill_unpaid", "at": "2027-01-01" });
    office.call("POST", &format!("{ACCOUNT}/events"), future).await.is_problem(400, "invalid_time");
    let odd = json!({ "kind": "verified", "still_unpaid": true });
    office.call("POST", &format!("{ACCOUNT}/events"), odd).await.is_problem(400, "invalid_body");
}

#[tokio::test]
async fn a_top_up_verifies_nobody() {
    let office = Office::new().await;
    office.call("PATCH", ACCOUNT, json!({ "state": "unverified" })).await.ok();
    assert_eq!(event(&office, json!({ "kind": "topped_up" })).await["state"]["state"], "unverified");
    assert_eq!(event(&office, json!({ "kind": "bill_unpaid" })).await["state"]["state"], "overdue");
    assert_eq!(event(&office, json!({ "kind": "topped_up" })).await["state"]["state"], "unverified");
    assert_eq!(event(&office, json!({ "kind": "verified" })).await["state"]["state"], "active");
}

#[tokio::test]
async fn a_grant_begins_with_the_account_or_later() {
    let office = Office::new().await;
    office.call("PATCH", ACCOUNT, json!({ "state": "not_activated" })).await.ok();
    event(&office, json!({ "kind": "activated", "at": "2026-11-01T00:00:00Z" })).await;
    let grants = format!("{ACCOUNT}/grants");
    let grant = |more: Value| {
        let mut body = json!({ "model": "qwen-max", "amount": 10 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let made = office.call("POST", &grants, grant(json!({}))).await.ok();
    assert_eq!([&made["start"], &made["end"]], ["2026-11-01T00:00:00Z", "2027-01-30T00:00:00Z"]);
    let later = grant(json!({ "approved": "2026-11-05T00:00:00Z", "released": "2026-10-01T00:00:00Z" }));
    let made = office.call("POST", &grants, later).await.ok();
    assert_eq!([&made["start"], &made["end"]], ["2026-11-05T00:00:00Z", "2027-02-03T00:00:00Z"]);
    let own = grant(json!({ "start": "2026-11-10T00:00:00Z", "valid_days": 10 }));
    let made = office.call("POST", &grants, own).await.ok();
    assert_eq!([&made["start"], &made["end"]], ["2026-11-10T00:00:00Z", "2026-11-20T00:00:00Z"]);
}

#[tokio::test]
async fn users_and_workspaces_share_the_account() {
    let office = Office::new().await;
    for (list, id) in [("users", "mei"), ("users", "jo"), ("workspaces", "ws-1")] {
        let made = office.call("POST", &format!("{ACCOUNT}/{list}"), json!({ "id": id, "name": "A name" })).await;
        assert_eq!(made.status, 201);
        office.call("POST", &format!("{ACCOUNT}/{list}"), json!({ "id": id })).await.is_problem(409, "exists");
    }
    let users = office.get(&format!("{ACCOUNT}/users?limit=1")).await;
    assert_eq!(users["items"][0]["id"], "jo");
    let next = users["next"].as_str().unwrap();
    assert_eq!(office.get(&format!("{ACCOUNT}/users?cursor={next}")).await["items"][0]["id"], "mei");
    let key = json!({ "user": "mei", "workspace": "ws-1" });
    let made = office.call("POST", &format!("{ACCOUNT}/keys"), key).await.ok();
    office
        .call("POST", &format!("{ACCOUNT}/keys"), json!({ "user": "nobody" }))
        .await
        .is_problem(400, "unknown_member");
    assert_eq!(office.get(&format!("{ACCOUNT}/keys")).await["items"][0]["user"], "mei");
    office.call("DELETE", &format!("{ACCOUNT}/users/mei"), None).await.ok();
    let keys = office.get(&format!("{ACCOUNT}/keys")).await;
    assert_eq!([&keys["items"][0]["id"], &keys["items"][0]["state"]], [&made["id"], &json!("deleted")]);
    office.call("DELETE", &format!("{ACCOUNT}/users/mei"), None).await.is_problem(404, "unknown_member");
    office.call("DELETE", &format!("{ACCOUNT}/workspaces/ws-1"), None).await.ok();
    office.call("GET", "/admin/v1/accounts/nobody/users", None).await.is_problem(404, "unknown_account");
}
