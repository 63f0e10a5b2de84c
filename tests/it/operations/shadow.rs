//! E6: refuse nothing for quota, count what would have been refused.

use gratis::ledger::{GrantId, Operation};
use gratis::store::Shelf;
use serde_json::{Value, json};

use super::{call, hi, notes, plan, trace, until};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_refused_is_served_booked_and_counted() {
    let notes = notes();
    let mut plan = plan(&notes);
    plan.quota.shadow = true;
    let world = World::new(plan).await;
    let sync = Operation::Sync { pool: "qwen-max".into(), grant: GrantId(1), remaining: 0, raise: false };
    world.operate(sync).await;
    for stream in [false, true] {
        let mut body = hi("qwen-max");
        body["stream"] = json!(stream);
        let (status, headers, _) = call(&world, &body).await;
        assert_eq!((status, headers["x-gratis-billing"].to_str().unwrap()), (200, "paid"));
        let trace = trace(&notes, &headers).await;
        assert_eq!((&trace["shadow"], &trace["refusal"]), (&json!(true), &json!("used_up")));
    }
    let counted = until("two calls counted", async || {
        let kept = notes.get(Shelf::Shadow, "default/used_up/qwen-max").await.unwrap()?;
        let kept: Value = serde_json::from_str(&kept).unwrap();
        (kept["calls"] == 2).then_some(kept)
    })
    .await;
    let charged = world.charged("qwen-max").await;
    assert_eq!(counted["input"].as_u64().unwrap() + counted["output"].as_u64().unwrap(), charged);
    let balance = world.balance("qwen-max").await;
    assert_eq!(balance.spent, 1_000_000 + charged, "the ledger knows what it cost");
    assert_eq!(balance.available(), -i64::try_from(charged).unwrap());
    // What fits is free, and no shadow.
    let (_, headers, _) = call(&world, &hi("qwen-plus")).await;
    assert_eq!(headers["x-gratis-billing"], "free");
    // What is refused for another reason than quota stays refused.
    assert_eq!(call(&world, &hi("qwen-unknown")).await.0, 404);
    world.operate(Operation::SetNeverPay(true)).await;
    assert_eq!(call(&world, &hi("qwen-max")).await.0, 403, "an account that never pays pays in no mode");
    assert_eq!(world.charged("qwen-max").await, charged);
}
