//! The provider's word, holds and entries.

use gratis::ledger::{AccountId, Closure, Command, Operation};
use serde_json::{Value, json};

use super::office::{DAY, Office};

const SYNC: &str = "/admin/v1/accounts/default/sync";

async fn sync(office: &Office, body: Value) -> super::office::Reply {
    office.call("POST", SYNC, body).await
}

#[tokio::test]
async fn the_consoles_figure_lowers_and_shows_the_drift() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    let reply = sync(&office, json!({ "model": "qwen-max", "remaining": "362,917/1,000,000" })).await.ok();
    assert_eq!([&reply["drift"], &reply["spent"], &reply["available"]], [637_083, 637_083, 362_917]);
    assert_eq!(reply["before"], json!({ "granted": 1_000_000, "held": 0, "spent": 0, "presumed": 0 }));
    let same = sync(&office, json!({ "model": "qwen-max", "remaining": 362_917, "total": 1_000_000 })).await.ok();
    assert_eq!(same["drift"], 0);
}

#[tokio::test]
async fn a_figure_raises_only_when_that_is_meant() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    sync(&office, json!({ "model": "qwen-max", "remaining": 100 })).await.ok();
    let reply = sync(&office, json!({ "model": "qwen-max", "remaining": 500 })).await;
    reply.is_problem(409, "would_raise");
    assert_eq!([&reply.json["left_here"], &reply.json["left_there"]], [100, 500]);
    let raised = sync(&office, json!({ "model": "qwen-max", "remaining": 500, "raise": true })).await.ok();
    assert_eq!([&raised["drift"], &raised["available"]], [-400, 500]);
}

#[tokio::test]
async fn a_total_that_differs_is_another_grant() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    for body in [
        json!({ "model": "qwen-max", "remaining": "1/500,000" }),
        json!({ "model": "qwen-max", "remaining": 1, "total": 500_000 }),
        json!({ "model": "qwen-max", "remaining": "1/1,000,000", "total": 500_000 }),
    ] {
        let reply = sync(&office, body).await;
        reply.is_problem(409, "total_differs");
        assert_eq!([&reply.json["granted_here"], &reply.json["granted_there"]], [1_000_000, 500_000]);
    }
}

#[tokio::test]
async fn which_grant_is_meant_has_to_be_clear() {
    let office = Office::new().await;
    sync(&office, json!({ "model": "qwen-max", "remaining": 1 })).await.is_problem(409, "no_grant");
    office.grant("qwen-turbo").await;
    office.grant("qwen-max").await;
    office.grant("qwen-max").await;
    let reply = sync(&office, json!({ "model": "qwen-max", "remaining": 1 })).await;
    reply.is_problem(409, "ambiguous_grant");
    assert_eq!(reply.json["grants"], json!([2, 3]));
    assert_eq!(sync(&office, json!({ "model": "qwen-max", "remaining": 1, "grant": 3 })).await.ok()["grant"], 3);
    sync(&office, json!({ "model": "qwen-max", "remaining": 1, "grant": 1 })).await.is_problem(404, "unknown_grant");
    sync(&office, json!({ "model": "qwen-max", "remaining": 1, "side": "input" }))
        .await
        .is_problem(404, "unknown_grant");
    office.clock.advance(31 * DAY);
    sync(&office, json!({ "model": "qwen-turbo", "remaining": 1 })).await.is_problem(409, "expired");
    // One that is named may have ended: its last figure can still be put in.
    assert_eq!(
        sync(&office, json!({ "model": "qwen-turbo", "remaining": 1, "grant": 1 })).await.ok()["status"],
        "expired"
    );
}

#[tokio::test]
async fn a_side_tells_split_grants_apart() {
    let office = Office::new().await;
    for side in ["input", "output"] {
        let body = json!({ "model": "qwen-vl", "amount": 100, "side": side });
        office.call("POST", "/admin/v1/accounts/default/grants", body).await.ok();
    }
    sync(&office, json!({ "model": "qwen-vl", "remaining": 1 })).await.is_problem(409, "ambiguous_grant");
    let reply = sync(&office, json!({ "model": "qwen-vl", "remaining": 1, "side": "output" })).await.ok();
    assert_eq!([&reply["side"], &reply["available"]], [&json!("output"), &json!(1)]);
}

#[tokio::test]
async fn a_figure_that_is_none_is_refused() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    for wrong in [json!("36,2917"), json!("2/1"), json!(-1), json!(1.5), json!(null), json!("1e3")] {
        sync(&office, json!({ "model": "qwen-max", "remaining": wrong })).await.is_problem(400, "invalid_body");
    }
    sync(&office, json!({ "model": "nope", "remaining": 1 })).await.is_problem(404, "unknown_model");
}

#[tokio::test]
async fn a_pool_that_the_provider_closed_is_reopened() {
    let office = Office::new().await;
    office.grant("shared").await;
    let path = "/admin/v1/accounts/default/pools/shared/reopen";
    assert_eq!(office.call("POST", path, None).await.ok()["was_closed"], json!(null));
    let close = Operation::ClosePool { pool: "shared".into(), closure: Closure::FreeTierOnly };
    office.store.apply(&AccountId::from("default"), Command::Operate(close)).unwrap();
    assert_eq!(office.get("/admin/v1/accounts/default/models").await["items"][0]["closed"], "free_tier_only");
    let reopened = office.call("POST", path, None).await.ok();
    assert_eq!(
        reopened,
        json!({ "pool": "shared", "models": ["shared", "shared-latest"], "was_closed": "free_tier_only" })
    );
    assert_eq!(office.get("/admin/v1/accounts/default/models").await["items"][0]["closed"], json!(null));
    let unknown = "/admin/v1/accounts/default/pools/nothing/reopen";
    office.call("POST", unknown, None).await.is_problem(404, "unknown_pool");
}

#[tokio::test]
async fn holds_and_entries_tell_the_story() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    let settled = office.spend(&key, "qwen-max", 1_000, Some(700)).await;
    office.clock.advance(1_000);
    let open = office.spend(&key, "qwen-max", 300, None).await;
    let holds = office.get("/admin/v1/accounts/default/holds").await;
    assert_eq!(
        holds["items"],
        json!([{
            "id": open.to_string(), "model": "qwen-max", "pool": "qwen-max", "key": key, "mode": "pay_as_you_go",
            "lines": [{ "grant": 1, "amount": 300 }], "amount": 300, "state": "open",
            "deadline": "2026-11-21T00:10:01Z", "since": "2026-11-21T00:00:01Z",
        }])
    );
    let entries = office.get("/admin/v1/accounts/default/entries").await;
    let kinds: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reserve", "settle", "reserve", "grant"]);
    assert_eq!(entries["items"][1]["hold"], settled.to_string());
    assert_eq!([&entries["items"][1]["held"], &entries["items"][1]["spent"]], [-1_000, 700]);
    office.clock.advance(600_000);
    let state = async |state: &str| office.get(&format!("/admin/v1/accounts/default/holds?state={state}")).await;
    assert_eq!(state("open").await["items"], json!([]));
    assert_eq!(state("presumed").await["items"][0]["id"], open.to_string());
    office.call("GET", "/admin/v1/accounts/default/holds?state=final", None).await.is_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn entries_are_filtered_and_bounded() {
    let office = Office::new().await;
    office.grant("qwen-max").await;
    office.grant("shared").await;
    let count = async |query: &str| {
        office.get(&format!("/admin/v1/accounts/default/entries{query}")).await["items"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("?limit=1").await, 1);
    assert_eq!(count("?pool=shared&limit=10").await, 1);
    assert_eq!(count("?pool=nothing").await, 0);
    for wrong in ["?limit=0", "?limit=1001", "?limit=x"] {
        let path = format!("/admin/v1/accounts/default/entries{wrong}");
        office.call("GET", &path, None).await.is_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn a_figure_raises_only_after_the_console_had_the_time() {
    let office = Office::new().await;
    let (key, _) = office.key().await;
    office.grant("qwen-max").await;
    office.spend(&key, "qwen-max", 5_000, Some(4_000)).await;
    let raise = || json!({ "model": "qwen-max", "remaining": 999_000, "raise": true });
    for minutes in [0, 59] {
        office.clock.advance(minutes * 60_000);
        let refused = sync(&office, raise()).await;
        assert_eq!(refused.json["not_before"], "2026-11-21T01:00:00Z");
        refused.is_problem(409, "console_lags");
        // A figure that lowers needs no wait: it is safe whatever it knows.
        sync(&office, json!({ "model": "qwen-max", "remaining": 996_000, "raise": true })).await.ok();
    }
    // A call of another pool does not matter; one of this pool begins the wait anew.
    office.grant("shared").await;
    office.clock.advance(60_000);
    office.spend(&key, "shared", 10, Some(5)).await;
    assert_eq!(sync(&office, raise()).await.ok()["available"], 999_000);
    office.spend(&key, "qwen-max", 10, None).await;
    let more = json!({ "model": "qwen-max", "remaining": 999_500, "raise": true });
    sync(&office, more).await.is_problem(409, "console_lags");
}

#[tokio::test]
async fn a_whole_table_is_put_in_line_by_line() {
    let office = Office::new().await;
    for model in ["qwen-max", "shared"] {
        office.grant(model).await;
    }
    let table = "Model\tFree quota\nqwen-max\t362,917/1,000,000\nshared\t5/500,000\nqwen-turbo\t1/2\nnope\t1/2\n";
    let path = "/admin/v1/accounts/default/sync/table";
    let report = office.call("POST", path, json!({ "table": table })).await.ok();
    assert_eq!((&report["changed"], &report["refused"], &report["skipped"]), (&json!(1), &json!(2), &json!([1, 5])));
    let lines = report["results"].as_array().unwrap();
    assert_eq!((&lines[0]["drift"], &lines[0]["available"]), (&json!(637_083), &json!(362_917)));
    assert_eq!([&lines[1]["code"], &lines[2]["code"]], ["total_differs", "no_grant"]);
    assert_eq!([&lines[1]["line"], &lines[2]["line"]], [3, 4]);
}
