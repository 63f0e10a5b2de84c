//! C10: what the provider says stops the next call of everyone who uses what it spoke of, also on other replicas.

use std::sync::Arc;
use std::time::Duration;

use gratis::ledger::{AccountId, AccountState, Closure, Operation, Side, Timestamp, Unit};
use gratis::store::{LedgerStore, NewAccount, NoteStore, Shelf};
use serde_json::json;

use super::{call, hi, notes, plan, until};
use crate::support::world::World;

/// Two replicas on the same books and notes, each with a simulator of its own, and a second account.
async fn two(notes: &Arc<dyn NoteStore>, pause: Duration) -> (World, World) {
    let mut first = plan(notes);
    first.quota.breaker_pause = pause;
    let one = World::new(first).await;
    let other =
        NewAccount { account: "other".into(), site: "test".into(), state: AccountState::Active, never_pay: false };
    one.store.open_account(other).await.unwrap();
    for pool in ["qwen-max", "qwen-plus"] {
        let grant = Operation::AddGrant {
            pool: pool.into(),
            side: Side::Both,
            unit: Unit::Tokens,
            amount: 1_000_000,
            spent: 0,
            start: Timestamp(0),
            end: None,
        };
        one.store.operate(&AccountId::from("other"), grant).await.unwrap();
    }
    let mut second = plan(notes);
    second.quota.breaker_pause = pause;
    second.store = Some(Arc::clone(&one.store));
    let two = World::new(second).await;
    (one, two)
}

async fn closures(world: &World) -> Vec<Option<Closure>> {
    let mut found = Vec::new();
    for account in ["default", "other"] {
        let book = world.store.book(&AccountId::from(account)).await.unwrap();
        found.extend(book.pools.values().map(|pool| pool.closed));
    }
    found
}

const USED_UP: Option<Closure> = Some(Closure::FreeTierOnly);
const OVERDUE: Option<Closure> = Some(Closure::Arrearage);

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_upstream_is_closed_for_every_account_and_nothing_else() {
    let notes = notes();
    let (one, two) = two(&notes, Duration::from_millis(20)).await;
    one.behave(json!({"mode": "free-tier-only", "calls": 1})).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 403);
    until("closed everywhere", async || (closures(&one).await == [USED_UP, None, USED_UP, None]).then_some(())).await;
    let (status, headers, _) = call(&two, &hi("qwen-max")).await;
    assert_eq!((status, headers["x-gratis-error-source"].to_str().unwrap()), (403, "gratis"));
    assert_eq!(call(&two, &hi("qwen-plus")).await.0, 200);
    // Nobody tries again by himself, however long it is.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(call(&two, &hi("qwen-max")).await.0, 403);
    let reopen = Operation::ReopenPool { pool: "qwen-max".into() };
    one.operate(reopen).await;
    assert_eq!(call(&two, &hi("qwen-max")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_upstream_is_closed_on_every_replica_and_one_call_tries_again() {
    let notes = notes();
    let pause = Duration::from_millis(300);
    let (one, two) = two(&notes, pause).await;
    one.behave(json!({"mode": "arrearage"})).await;
    two.behave(json!({"mode": "arrearage"})).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 400);
    until("closed everywhere", async || (closures(&one).await == [OVERDUE; 4]).then_some(())).await;
    let before = two.received().await;
    for model in ["qwen-max", "qwen-plus"] {
        let (status, _, body) = call(&two, &hi(model)).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("Arrearage")));
    }
    assert_eq!(two.received().await, before, "the other replica asked although the first was refused");
    assert_eq!(one.book().await.state, AccountState::Active, "no account is closed for its upstream");
    // The tries: one after each pause, each refused, with a pause that grows.
    let tried = until("a try", async || {
        call(&two, &hi("qwen-max")).await;
        let kept = notes.get(Shelf::Closures, "simulator").await.unwrap()?;
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        (kept["attempt"] == 2).then_some(two.received().await - before)
    })
    .await;
    assert_eq!(tried, 1);
    until("closed again", async || (closures(&one).await == [OVERDUE; 4]).then_some(())).await;
    // The bill is paid: the next try opens everything.
    one.behave(json!({"mode": "none"})).await;
    two.behave(json!({"mode": "none"})).await;
    until("a try that is served", async || (call(&two, &hi("qwen-max")).await.0 == 200).then_some(())).await;
    until("open everywhere", async || (closures(&one).await == [None; 4]).then_some(())).await;
    until("served by both", async || (call(&one, &hi("qwen-plus")).await.0 == 200).then_some(())).await;
    assert_eq!(notes.list(Shelf::Closures, "", None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_closes_nothing() {
    let notes = notes();
    let (one, two) = two(&notes, Duration::from_millis(20)).await;
    for mode in ["rate-limit", "insufficient-quota"] {
        one.behave(json!({"mode": mode, "calls": 1})).await;
        assert_eq!(call(&one, &hi("qwen-max")).await.0, 429);
        one.quiet_tasks().await;
        assert_eq!(closures(&one).await, [None; 4]);
        assert_eq!(call(&two, &hi("qwen-max")).await.0, 200);
    }
}
