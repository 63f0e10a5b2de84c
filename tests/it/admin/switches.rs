//! The switches, and every way in which the ledger declines to flip one (C7).

use serde_json::{Value, json};

use super::office::{DAY, Office};

const SWITCHES: &str = "/admin/v1/accounts/default/switches";

fn switch(model: &str) -> String {
    format!("/admin/v1/accounts/default/models/{model}/switch")
}

async fn flip(office: &Office, model: &str, on: bool) -> super::office::Reply {
    office.call("PUT", &switch(model), json!({ "free_quota_only": on })).await
}

#[tokio::test]
async fn a_switch_is_turned_on_and_stays_until_the_quota_is_used_up() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    let on = json!({
        "model": "qwen-max", "pool": "qwen-max", "free_quota_only": true, "result": "changed", "billing": "free_quota_only",
    });
    assert_eq!(flip(&office, "qwen-max", true).await.ok(), on);
    assert_eq!(flip(&office, "qwen-max", true).await.ok()["result"], "unchanged");
    flip(&office, "qwen-max", false).await.is_problem(409, "not_used_up");
    office.spend(&key, "qwen-max", 1_000_000, Some(1_000_000)).await;
    let off = flip(&office, "qwen-max", false).await.ok();
    assert_eq!([&off["result"], &off["billing"]], ["changed", "pay_as_you_go"]);
    flip(&office, "qwen-max", true).await.is_problem(409, "used_up");
}

#[tokio::test]
async fn every_decline_has_its_code_and_says_what_to_do() {
    let office = Office::new().await;
    flip(&office, "qwen-max", true).await.is_problem(409, "no_grant");
    flip(&office, "qwen-max", false).await.is_problem(404, "unknown_pool");
    flip(&office, "qwen-mxa", true).await.is_problem(404, "unknown_model");
    office.grant("qwen-turbo").await;
    office.clock.advance(30 * DAY);
    flip(&office, "qwen-turbo", true).await.is_problem(409, "expired");
    office.call("PUT", &switch("qwen-max"), json!({ "on": true })).await.is_problem(400, "invalid_body");
}

#[tokio::test]
async fn the_sites_rule_decides_about_turning_off() {
    let office = Office::new().await;
    office.call("POST", "/admin/v1/accounts", json!({ "id": "easy", "site": "easy", "never_pay": false })).await.ok();
    office.call("POST", "/admin/v1/accounts/easy/grants", json!({ "model": "qwen-max", "amount": 9 })).await.ok();
    let path = "/admin/v1/accounts/easy/models/qwen-max/switch";
    for on in [true, false, true] {
        assert_eq!(office.call("PUT", path, json!({ "free_quota_only": on })).await.ok()["result"], "changed");
    }
}

#[tokio::test]
async fn a_model_with_a_slash_and_one_of_a_shared_pool() {
    let office = Office::new().await;
    office.grant("vendor/slashed").await;
    office.grant("shared").await;
    assert_eq!(flip(&office, "vendor%2Fslashed", true).await.ok()["model"], "vendor/slashed");
    assert_eq!(flip(&office, "shared-latest", true).await.ok()["result"], "changed");
    assert_eq!(flip(&office, "shared", true).await.ok()["result"], "unchanged");
}

#[tokio::test]
async fn never_pay_shows_through_a_switch_that_is_off() {
    let office = Office::new().await;
    office.call("PATCH", "/admin/v1/accounts/default", json!({ "never_pay": true })).await.ok();
    office
        .call("POST", "/admin/v1/accounts/default/grants", json!({ "model": "qwen-max", "amount": 1, "spent": 1 }))
        .await
        .ok();
    assert_eq!(flip(&office, "qwen-max", false).await.ok()["billing"], "free_quota_only");
}

fn verdicts(report: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let rows = report["results"].as_array().unwrap();
    rows.iter()
        .map(|row| (row["model"].as_str().unwrap(), row["result"].as_str().unwrap(), row["code"].as_str()))
        .collect()
}

#[tokio::test]
async fn several_are_reported_one_by_one() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    for model in ["qwen-max", "shared", "vendor/slashed", "qwen-vl"] {
        office.grant(model).await;
    }
    flip(&office, "vendor%2Fslashed", true).await.ok();
    office.spend(&key, "qwen-vl", 1_000_000, Some(1_000_000)).await;
    office.grant("qwen-turbo").await;
    office.clock.advance(30 * DAY);
    let models = [
        "qwen-max",
        "shared",
        "shared-latest",
        "vendor/slashed",
        "qwen-vl",
        "qwen-turbo",
        "no-quota",
        "nope",
        "qwen-max",
    ];
    let expected = vec![
        ("qwen-max", "changed", None),
        ("shared", "changed", None),
        ("shared-latest", "unchanged", None),
        ("vendor/slashed", "unchanged", None),
        ("qwen-vl", "refused", Some("used_up")),
        ("qwen-turbo", "refused", Some("expired")),
        ("no-quota", "refused", Some("no_grant")),
        ("nope", "refused", Some("unknown_model")),
    ];
    let ask = |dry| json!({ "models": models, "free_quota_only": true, "dry_run": dry });
    // The rehearsal says what the real thing then does, and changes nothing however often it is asked for.
    for _ in 0..2 {
        let rehearsal = office.call("POST", SWITCHES, ask(true)).await.ok();
        assert_eq!(verdicts(&rehearsal), expected);
        assert_eq!(rehearsal["dry_run"], true);
    }
    let report = office.call("POST", SWITCHES, ask(false)).await.ok();
    assert_eq!(verdicts(&report), expected);
    assert_eq!([&report["changed"], &report["unchanged"], &report["refused"]], [2, 2, 4]);
    let off = json!({ "models": ["qwen-max", "qwen-vl", "no-quota"], "free_quota_only": false });
    let report = office.call("POST", SWITCHES, off).await.ok();
    let expected = vec![
        ("qwen-max", "refused", Some("not_used_up")),
        ("qwen-vl", "unchanged", None),
        ("no-quota", "refused", Some("no_grant")),
    ];
    assert_eq!(verdicts(&report), expected);
}

#[tokio::test]
async fn all_eligible_are_those_with_usable_quota_that_nobody_set() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    for model in ["qwen-max", "shared", "vendor/slashed", "qwen-vl", "wan"] {
        office.grant(model).await;
    }
    // Set before, used up, and turned off by choice: none of them is eligible.
    flip(&office, "vendor%2Fslashed", true).await.ok();
    office.spend(&key, "qwen-vl", 1_000_000, Some(1_000_000)).await;
    flip(&office, "wan", true).await.ok();
    let all = json!({ "all_eligible": true, "free_quota_only": true });
    let report = office.call("POST", SWITCHES, all.clone()).await.ok();
    let expected =
        vec![("qwen-max", "changed", None), ("shared", "changed", None), ("shared-latest", "unchanged", None)];
    assert_eq!(verdicts(&report), expected);
    assert_eq!(office.call("POST", SWITCHES, all).await.ok()["results"], json!([]));
}

#[tokio::test]
async fn what_is_not_clear_changes_nothing() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    for wrong in [
        json!({ "free_quota_only": true }),
        json!({ "models": [], "free_quota_only": true }),
        json!({ "models": ["qwen-max"], "all_eligible": true, "free_quota_only": true }),
        json!({ "all_eligible": true, "free_quota_only": false }),
        json!({ "models": ["qwen-max"] }),
        json!({ "models": ["qwen-max"], "free_quota_only": true, "dryrun": true }),
    ] {
        office.call("POST", SWITCHES, wrong).await.is_problem(400, "invalid_body");
    }
    let standing = &office.get("/admin/v1/accounts/default/models").await["items"][0];
    assert_eq!(standing["switch"], "unset");
}
