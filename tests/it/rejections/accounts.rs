//! Refusals for what the account, its key and its quota are.

use std::sync::atomic::Ordering;

use gratis::ledger::{
    AccountId, AccountState, Closure, Key, KeyId, KeyState, Operation, Side, SwitchOff, Timestamp, Unit,
};
use gratis::store::{KeyStore, Pepper};
use serde_json::json;

use super::{Again, FREE_TIER_ONLY, INVALID_KEY, Wanted, bearer, chat, hi, plan, refused, request, with};
use crate::support::plug::Plug;
use crate::support::world::{World, model};

fn free_quota_only(pool: &str) -> Operation {
    Operation::SetSwitch { pool: pool.into(), on: true, rule: SwitchOff::AnyTime, default_on: false }
}

async fn status(world: &World, request: String) -> u16 {
    let mut plug = Plug::to(&world.origin).await;
    plug.write(request).await;
    plug.reply().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_that_is_not_there() {
    let mut plan = plan();
    for code in ["qwen-used", "qwen-ended", "qwen-none", "qwen-closed", "qwen-unbounded"] {
        plan.models.push(model(code, 32_768, 8_192));
    }
    plan.models.last_mut().unwrap().bounds = None;
    plan.grants.push(("qwen-used".to_owned(), 0));
    plan.grants.push(("qwen-closed".to_owned(), 1_000_000));
    plan.grants.push(("qwen-unbounded".to_owned(), 1_000_000));
    let world = World::new(plan).await;
    let past = Operation::AddGrant {
        pool: "qwen-ended".into(),
        side: Side::Both,
        unit: Unit::Tokens,
        amount: 1_000_000,
        spent: 0,
        start: Timestamp(0),
        end: Some(Timestamp(1_000)),
    };
    world.operate(past).await;
    world.operate(free_quota_only("qwen-unbounded")).await;
    // The switch cannot be turned on where nothing is left to protect; the account's guard holds there.
    world.operate(Operation::SetNeverPay(true)).await;
    world.operate(Operation::ClosePool { pool: "qwen-closed".into(), closure: Closure::FreeTierOnly }).await;
    for code in ["qwen-used", "qwen-ended", "qwen-none", "qwen-closed", "qwen-unbounded"] {
        for stream in [false, true] {
            let mut body = hi();
            body["model"] = json!(code);
            body["stream"] = json!(stream);
            refused(&world, code, chat(&body.to_string()), FREE_TIER_ONLY).await;
        }
    }
    assert_eq!(status(&world, request("GET /v1/models", &bearer(), "")).await, 200);
    assert_eq!(status(&world, chat(&hi().to_string())).await, 200, "the other model is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_an_account() {
    let world = World::new(plan()).await;
    let arrearage = Wanted::service(400, "Arrearage");
    let states = [
        ("overdue", AccountState::Overdue { grace_until: Timestamp(0) }, Some(arrearage)),
        ("closed", AccountState::Closed, Some(Wanted::service(403, "access_denied"))),
        ("not activated", AccountState::NotActivated, Some(Wanted::service(403, "AccessDenied.Unpurchased"))),
        ("in grace", AccountState::Overdue { grace_until: Timestamp(u64::MAX >> 12) }, None),
        ("unverified", AccountState::Unverified, None),
    ];
    for (name, state, wanted) in states {
        // Closed is final, so each state has a world where it is the first.
        let world = World::new({
            let mut plan = plan();
            plan.state = state;
            plan
        })
        .await;
        match wanted {
            Some(wanted) => {
                refused(&world, name, chat(&hi().to_string()), wanted).await;
            }
            None => assert_eq!(status(&world, chat(&hi().to_string())).await, 200, "{name}"),
        }
        assert_eq!(status(&world, request("GET /v1/models", &bearer(), "")).await, 200, "{name}");
    }
    // The very next call sees a change.
    assert_eq!(status(&world, chat(&hi().to_string())).await, 200);
    world.operate(Operation::SetState(AccountState::Overdue { grace_until: Timestamp(0) })).await;
    refused(&world, "overdue now", chat(&hi().to_string()), arrearage).await;
    world.operate(Operation::SetState(AccountState::Active)).await;
    assert_eq!(status(&world, chat(&hi().to_string())).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_may_not() {
    let mut plan = plan();
    plan.models.push(model("qwen-max", 32_768, 8_192));
    plan.grants.push(("qwen-max".to_owned(), 1_000_000));
    let world = World::new(plan).await;
    let key = Key {
        id: KeyId::from("key-2"),
        name: "narrow".into(),
        state: KeyState::Active,
        models: ["qwen-max".into()].into(),
        workspace: None,
        last4: "0002".into(),
        created: Timestamp(0),
    };
    let pepper = Pepper::from_bytes(&[7; 32]);
    world.store.add_key(&AccountId::from("default"), key, pepper.digest("sk-test-0002")).await.unwrap();
    let narrow = "authorization: Bearer sk-test-0002\r\n";
    let other = request("POST /v1/chat/completions", narrow, &hi().to_string());
    let unknown = request("POST /v1/chat/completions", narrow, &with("model", json!("qwen-nope")));
    let not_found = Wanted::gateway(404, "model_not_found");
    let allowed = request("POST /v1/chat/completions", narrow, &with("model", json!("qwen-max")));
    assert_eq!(status(&world, allowed.clone()).await, 200);
    let hidden = refused(&world, "a model of others", other, not_found).await.text();
    let absent = refused(&world, "no model", unknown, not_found).await.text();
    let message = |text: &str| text.split("\",\"type").next().unwrap().replace("qwen-plus", "qwen-nope");
    assert_eq!(message(&hidden), message(&absent), "a key cannot tell what exists beyond its models");

    for state in [KeyState::Disabled, KeyState::Deleted] {
        world.operate(Operation::SetKeyState { key: "key-2".into(), state }).await;
        refused(&world, "switched off", allowed.clone(), INVALID_KEY).await;
    }
    assert_eq!(status(&world, chat(&hi().to_string())).await, 200, "the other key goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down() {
    let world = World::new(plan()).await;
    world.store.down.store(true, Ordering::SeqCst);
    let wanted = Wanted::gateway(503, "gratis_store_unavailable").again(Again::After(1));
    refused(&world, "store down", chat(&hi().to_string()), wanted).await;
    world.store.down.store(false, Ordering::SeqCst);
    // What only an operator can change is not worth a repeat.
    world.store.corrupt.store(true, Ordering::SeqCst);
    refused(&world, "store suspended", chat(&hi().to_string()), Wanted::gateway(503, "gratis_store_unavailable")).await;
    world.store.corrupt.store(false, Ordering::SeqCst);
    assert_eq!(status(&world, chat(&hi().to_string())).await, 200);
}
