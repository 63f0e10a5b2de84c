//! Grants and balances.

use serde_json::{Value, json};

use super::office::{DAY, Office};

const GRANTS: &str = "/admin/v1/accounts/default/grants";
const BALANCES: &str = "/admin/v1/accounts/default/balances";

#[tokio::test]
async fn a_grant_follows_the_catalogue_where_the_body_is_silent() {
    let office = Office::new().await;
    let reply = office.call("POST", GRANTS, json!({ "model": "qwen-max", "amount": 1_000_000, "spent": 10 })).await;
    assert_eq!(reply.status, 201);
    assert_eq!(
        reply.json,
        json!({
            "account": "default", "model": "qwen-max", "models": ["qwen-max"], "pool": "qwen-max", "grant": 1,
            "side": "both", "unit": "tokens", "granted": 1_000_000, "held": 0, "spent": 10, "presumed": 0,
            "available": 999_990, "start": "2026-11-21T00:00:00Z", "end": "2027-02-19T00:00:00Z", "status": "available",
        })
    );
    assert_eq!(office.get(GRANTS).await["items"], json!([reply.json]));
    // The shorter of the model's and the site's validity.
    let shorter = office.call("POST", GRANTS, json!({ "model": "qwen-turbo", "amount": 1 })).await.ok();
    assert_eq!(shorter["end"], "2026-12-21T00:00:00Z");
}

#[tokio::test]
async fn a_grant_is_made_as_it_is_described() {
    let office = Office::new().await;
    let cases = [
        (json!({ "model": "qwen-max", "amount": 5, "end": "never" }), json!({ "end": null, "status": "available" })),
        (json!({ "model": "qwen-max", "amount": 5, "valid_days": 7 }), json!({ "end": "2026-11-28T00:00:00Z" })),
        (
            json!({ "model": "qwen-max", "amount": 5, "start": "2026-12-01", "end": "2027-01-01T00:00:00Z" }),
            json!({ "start": "2026-11-30T16:00:00Z", "end": "2027-01-01T00:00:00Z", "status": "not_started" }),
        ),
        (
            json!({ "model": "qwen-max", "amount": 5, "start": "2026-01-01", "valid_days": 30 }),
            json!({ "status": "expired" }),
        ),
        (json!({ "model": "qwen-max", "amount": 5, "spent": 5 }), json!({ "status": "used_up", "available": 0 })),
        (json!({ "model": "qwen-vl", "amount": 5, "side": "output" }), json!({ "side": "output" })),
        (json!({ "pool": "shared", "amount": 5 }), json!({ "models": ["shared", "shared-latest"], "model": "shared" })),
        (json!({ "model": "wan", "amount": 5, "unit": "images" }), json!({ "unit": "images" })),
        (json!({ "model": "vendor/slashed", "amount": 5 }), json!({ "pool": "vendor/slashed" })),
    ];
    for (body, expected) in cases {
        let made = office.call("POST", GRANTS, body.clone()).await.ok();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&made[name], value, "{name} of {body}");
        }
    }
}

#[tokio::test]
async fn a_grant_that_makes_no_sense_is_refused() {
    let office = Office::new().await;
    for (body, status, code) in [
        (json!({ "model": "qwen", "amount": 1 }), 404, "unknown_model"),
        (json!({ "model": "QWEN-MAX", "amount": 1 }), 404, "unknown_model"),
        (json!({ "pool": "nothing", "amount": 1 }), 404, "unknown_pool"),
        (json!({ "model": "wan", "amount": 1, "unit": "tokens" }), 400, "wrong_unit"),
        (json!({ "model": "qwen-max", "amount": 1, "spent": 2 }), 400, "too_large"),
        (json!({ "model": "qwen-max", "amount": u64::MAX }), 400, "too_large"),
        (json!({ "model": "qwen-max", "amount": 1, "valid_days": 0 }), 400, "ends_before_start"),
        (
            json!({ "model": "qwen-max", "amount": 1, "start": "2026-12-01", "end": "2026-11-30" }),
            400,
            "ends_before_start",
        ),
        (json!({ "model": "qwen-max", "amount": 1, "start": "yesterday" }), 400, "invalid_time"),
    ] {
        let reply = office.call("POST", GRANTS, body.clone()).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{body}");
        reply.is_problem(status, code);
    }
    assert_eq!(office.get(GRANTS).await["items"], json!([]));
}

#[tokio::test]
async fn changing_the_amount_leaves_what_is_spent() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    let grant = office.grant("qwen-max").await;
    office.spend(&key, "qwen-max", 1_000, Some(700)).await;
    let path = format!("{GRANTS}/{grant}");
    let less = office.call("PATCH", &path, json!({ "amount": 500 })).await.ok();
    assert_eq!([&less["granted"], &less["spent"], &less["available"]], [500, 700, -200]);
    let more = office.call("PATCH", &path, json!({ "amount": 2_000 })).await.ok();
    assert_eq!([&more["granted"], &more["spent"], &more["available"]], [2_000, 700, 1_300]);
    office.call("PATCH", &path, json!({ "amount": u64::MAX })).await.is_problem(400, "too_large");
    office.call("PATCH", &format!("{GRANTS}/99"), json!({ "amount": 1 })).await.is_problem(404, "unknown_grant");
    office.call("PATCH", &format!("{GRANTS}/x"), json!({ "amount": 1 })).await.is_problem(400, "invalid_path");
}

#[tokio::test]
async fn balances_have_exactly_the_agreed_shape() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    office.spend(&key, "qwen-max", 1_000, Some(700)).await;
    office.spend(&key, "qwen-max", 300, None).await;
    let row = json!({
        "account": "default", "model": "qwen-max", "pool": "qwen-max", "grant": 1, "side": "both", "unit": "tokens",
        "granted": 1_000_000, "held": 300, "spent": 700, "presumed": 0, "available": 999_000,
        "start": "2026-11-21T00:00:00Z", "end": "2027-02-19T00:00:00Z", "status": "available",
    });
    let whole = json!({ "balances": [row], "lease_ms": 600_000 });
    for path in ["/admin/v1/balances", "/admin/v1/balances?account=default&model=qwen-max", BALANCES] {
        assert_eq!(office.get(path).await, whole, "{path}");
    }
    office.clock.advance(600_000);
    let after = office.get(BALANCES).await;
    assert_eq!([&after["balances"][0]["held"], &after["balances"][0]["presumed"]], [0, 300]);
}

#[tokio::test]
async fn a_row_a_grant_so_that_a_shared_pool_is_not_counted_twice() {
    let office = Office::new().await;
    office.grant("shared").await;
    office.grant("qwen-max").await;
    let models = |answer: &Value| -> Vec<String> {
        let rows = answer["balances"].as_array().unwrap();
        rows.iter().map(|row| row["model"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(models(&office.get("/admin/v1/balances").await), ["qwen-max", "shared"]);
    assert_eq!(models(&office.get("/admin/v1/balances?model=shared-latest").await), ["shared-latest"]);
    assert_eq!(models(&office.get("/admin/v1/balances?model=qwen-turbo").await), Vec::<String>::new());
    office.call("GET", "/admin/v1/balances?model=shared-pool", None).await.is_problem(404, "unknown_model");
}

#[tokio::test]
async fn a_status_follows_time_and_use() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office
        .call(
            "POST",
            GRANTS,
            json!({ "model": "qwen-max", "amount": 100, "start": "2026-11-22T00:00:00Z", "valid_days": 10 }),
        )
        .await
        .ok();
    let status = async || office.get(BALANCES).await["balances"][0]["status"].clone();
    assert_eq!(status().await, "not_started");
    office.clock.advance(DAY);
    assert_eq!(status().await, "available");
    office.spend(&key, "qwen-max", 100, None).await;
    // Held is not used: the call may cost nothing yet.
    assert_eq!(status().await, "available");
    office.clock.advance(600_000);
    assert_eq!(status().await, "used_up");
    office.clock.advance(10 * DAY);
    assert_eq!(status().await, "expired");
}

#[tokio::test]
async fn the_models_of_an_account_read_like_the_providers_console() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    office.grant("shared").await;
    office.spend(&key, "qwen-max", 1_000, Some(700)).await;
    let answer = office.get("/admin/v1/accounts/default/models").await;
    let items = answer["items"].as_array().unwrap();
    let codes: Vec<&str> = items.iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(codes, ["qwen-max", "shared", "shared-latest"]);
    assert_eq!(
        items[0],
        json!({
            "model": "qwen-max", "pool": "qwen-max", "unit": "tokens", "granted": 1_000_000, "held": 0, "spent": 700,
            "presumed": 0, "available": 999_300, "expires": "2027-02-19T00:00:00Z", "status": "available",
            "switch": "unset", "billing": "pay_as_you_go", "closed": null, "overran": false,
            "billed": { "input": 0, "output": 0 },
        })
    );
    office.call("PATCH", "/admin/v1/accounts/default", json!({ "never_pay": true })).await.ok();
    office.clock.advance(90 * DAY);
    let expired = &office.get("/admin/v1/accounts/default/models").await["items"][0];
    assert_eq!([&expired["status"], &expired["billing"]], ["no_free_quota", "free_quota_only"]);
    assert_eq!([&expired["granted"], &expired["available"]], [0, 0]);
}
