//! C12: a model with quota left serves where the first choice would be refused for quota; never one that could cost money.

use std::sync::Arc;

use gratis::ledger::{AccountId, GrantId, Operation, Side, SwitchOff, Timestamp, Unit};
use gratis::store::{LedgerStore, NoteStore, Shelf};
use serde_json::{Value, json};

use super::{call, hi, notes, plan, trace};
use crate::support::world::{World, model};

async fn set(notes: &Arc<dyn NoteStore>, name: &str, policy: Value) {
    notes.put(Shelf::Fallbacks, vec![(name.to_owned(), policy.to_string())]).await.unwrap();
}

async fn used_up(world: &World, pool: &str) {
    let book = world.book().await;
    let grant = book.pools[&gratis::ledger::PoolId::from(pool)].grants[0].grant.id;
    world.operate(Operation::Sync { pool: pool.into(), grant, remaining: 0, raise: false }).await;
}

fn switch(pool: &str, on: bool) -> Operation {
    Operation::SetSwitch { pool: pool.into(), on, rule: SwitchOff::AnyTime, default_on: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_serves_and_says_so() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    used_up(&world, "qwen-max").await;
    let (status, ..) = call(&world, &hi("qwen-max")).await;
    assert_eq!(status, 403, "nobody chose a fallback");
    set(&notes, "default", json!({ "models": ["qwen-nope", "qwen-plus"] })).await;
    for stream in [false, true] {
        let mut body = hi("qwen-max");
        body["stream"] = json!(stream);
        let (status, headers, _) = call(&world, &body).await;
        assert_eq!((status, headers["x-gratis-model"].to_str().unwrap()), (200, "qwen-plus"));
        assert_eq!(headers["x-gratis-billing"], "free");
        let trace = trace(&notes, &headers).await;
        assert_eq!((&trace["instead_of"], &trace["model"]), (&json!("qwen-max"), &json!("qwen-plus")));
        let sent = world.last_request().await;
        let sent: Value = serde_json::from_str(sent["body"].as_str().unwrap()).unwrap();
        assert_eq!((&sent["model"], &sent["messages"]), (&json!("qwen-plus"), &body["messages"]));
    }
    assert_eq!(world.charged("qwen-max").await, 0);
    assert!(world.charged("qwen-plus").await > 0);
    // The first choice serves where it can.
    let (_, headers, _) = call(&world, &hi("qwen-plus")).await;
    assert_eq!(headers["x-gratis-model"], "qwen-plus");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_cost_money_never_serves_instead() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    used_up(&world, "qwen-max").await;
    set(&notes, "default", json!({ "models": ["qwen-plus"] })).await;
    world.operate(switch("qwen-plus", false)).await;
    let (status, _, body) = call(&world, &hi("qwen-max")).await;
    assert_eq!((status, &body["error"]["code"]), (403, &json!("AllocationQuota.FreeTierOnly")));
    world.operate(switch("qwen-plus", true)).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.0, 200);
    used_up(&world, "qwen-plus").await;
    let received = world.received().await;
    assert_eq!(call(&world, &hi("qwen-max")).await.0, 403);
    assert_eq!(world.received().await, received);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_refusal_for_quota_leads_elsewhere() {
    let notes = notes();
    let world = World::new(plan(&notes)).await;
    set(&notes, "default", json!({ "models": ["qwen-plus"] })).await;
    let mut body = hi("qwen-max");
    body["enable_search"] = json!(true);
    assert_eq!(call(&world, &body).await.0, 403);
    assert_eq!(call(&world, &hi("qwen-unknown")).await.0, 404);
    let overdue = gratis::ledger::AccountState::Overdue { grace_until: Timestamp(0) };
    world.operate(Operation::SetState(overdue)).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.0, 400);
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_chooses_for_itself_and_the_soonest_end_can_come_first() {
    let notes = notes();
    let mut plan = plan(&notes);
    plan.models.push(model("qwen-turbo", 32_768, 8_192));
    let world = World::new(plan).await;
    used_up(&world, "qwen-max").await;
    let end = Timestamp(world.clock.now().0 + 30 * 86_400_000);
    let grant = Operation::AddGrant {
        pool: "qwen-turbo".into(),
        side: Side::Both,
        unit: Unit::Tokens,
        amount: 1_000_000,
        spent: 0,
        start: Timestamp(0),
        end: Some(end),
    };
    world.operate(grant).await;
    world.operate(switch("qwen-turbo", true)).await;
    set(&notes, "default", json!({ "models": ["qwen-plus", "qwen-turbo"] })).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.1["x-gratis-model"], "qwen-plus");
    set(&notes, "default", json!({ "models": ["qwen-plus", "qwen-turbo"], "order": "soonest_expiring" })).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.1["x-gratis-model"], "qwen-turbo");
    set(&notes, "default/key-1", json!({ "models": ["qwen-plus"] })).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.1["x-gratis-model"], "qwen-plus");
    let account = AccountId::from("default");
    assert_eq!(world.store.book(&account).await.unwrap().fund(&"qwen-max".into(), GrantId(1)).unwrap().balance.held, 0);
}
