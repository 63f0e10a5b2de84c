//! Every decision leaves a trace that explains it.

use gratis::ledger::Operation;
use serde_json::{Value, json};

use super::{call, hi, notes, plan, trace};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_call_is_explained() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    let (status, headers, _) = call(&world, &hi("qwen-max")).await;
    assert_eq!(status, 200);
    let trace = trace(&notes, &headers).await;
    let text = |name: &str| trace[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [text("model"), text("account"), text("key"), text("ending")],
        ["qwen-max", "default", "key-1", "settled"]
    );
    assert_eq!(
        (&trace["status"], &trace["usage_from"], &trace["upstream"]),
        (&json!(200), &json!("exact"), &json!("simulator"))
    );
    let count = |place: &str| trace.pointer(place).and_then(Value::as_i64).unwrap();
    let (before, beside, after) = (
        count("/counters/available_before"),
        count("/counters/available_beside_hold"),
        count("/counters/available_after"),
    );
    let held = count("/hold/input") + count("/hold/output");
    assert_eq!((before, beside), (1_000_000, 1_000_000 - held));
    assert_eq!(after, 1_000_000 - i64::try_from(world.charged("qwen-max").await).unwrap());
    assert_eq!((count("/bound/output"), count("/sent/max_tokens")), (64, 64));
    assert_eq!(trace["sent"]["lowered"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_explained_with_the_counters() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    let sync =
        Operation::Sync { pool: "qwen-max".into(), grant: gratis::ledger::GrantId(1), remaining: 100, raise: false };
    world.operate(sync).await;
    let (status, headers, _) = call(&world, &hi("qwen-max")).await;
    assert_eq!(status, 403);
    let refused = trace(&notes, &headers).await;
    assert_eq!((&refused["refusal"], &refused["ending"]), (&json!("used_up"), &json!("none")));
    assert_eq!(refused["grants_after_refusal"][0]["available"], 100);
    let least = refused["bound"]["input"].as_u64().unwrap() + refused["bound"]["least_output"].as_u64().unwrap();
    assert_eq!(refused["shortfall"], json!({"needed": least, "available": 100, "held": 0, "grant": 1}));
    let mut body = hi("qwen-plus");
    body["enable_search"] = json!(true);
    let (_, headers, _) = call(&world, &body).await;
    let beside = trace(&notes, &headers).await;
    assert_eq!((&beside["refusal"], &beside["beside_the_quota"]), (&json!("not_covered"), &json!(["enable_search"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_which_nobody_knows_the_end_is_explained() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    world.behave(json!({"mode": "no-usage"})).await;
    let (_, headers, _) = call(&world, &hi("qwen-max")).await;
    let trace = trace(&notes, &headers).await;
    assert_eq!((&trace["ending"], &trace["usage_from"]), (&json!("presumed"), &json!("none")));
    assert_eq!(trace["counters"]["available_after"], trace["counters"]["available_beside_hold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usual_call_stays_in_memory_and_costs_no_write() {
    let notes = notes();
    let mut plan = plan(&notes);
    plan.explain = gratis::proxy::Explain::Unusual;
    let world = World::new(plan).await;
    let recall = world.proxy.recall();
    let (_, headers, _) = call(&world, &hi("qwen-max")).await;
    let id = headers["x-gratis-request-id"].to_str().unwrap().to_owned();
    let recent = super::until("a trace in memory", async || recall(&id)).await;
    assert_eq!((&recent["request_id"], &recent["ending"]), (&json!(id), &json!("settled")));
    let (_, headers, _) = call(&world, &hi("qwen-unknown")).await;
    assert!(recall(headers["x-gratis-request-id"].to_str().unwrap()).is_none(), "no model, no decision");
    let mut body = hi("qwen-plus");
    body["enable_search"] = json!(true);
    let (_, headers, _) = call(&world, &body).await;
    assert_eq!(trace(&notes, &headers).await["refusal"], "not_covered");
    assert_eq!(notes.list(gratis::store::Shelf::Traces, "", None, 9).await.unwrap().len(), 1);
    assert!(recall("nothing").is_none());
}
