//! C10: what the provider says stops the next call of everyone who uses what it spoke of, also on other replicas.

use std::sync::Arc;
use std::time::Duration;

use gratis::ledger::{AccountId, AccountState, Closure, Operation, Side, Timestamp, Unit};
use gratis::provider::{Provider, Standing};
use gratis::store::{LedgerStore, Log, NewAccount, NoteStore, Shelf};
use serde_json::{Value, json};

use super::{call, hi, notes, plan, until};
use crate::support::world::{World, site};

/// Two replicas on the same books and notes, each with a simulator of its own, and a second account.
async fn two(notes: &Arc<dyn NoteStore>, pause: Duration) -> (World, World) {
    owned(notes, pause, None).await
}

/// The same, where an account owns the upstream.
async fn owned(notes: &Arc<dyn NoteStore>, pause: Duration, owner: Option<&str>) -> (World, World) {
    let mut first = plan(notes);
    first.owner = owner.map(AccountId::from);
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
    second.owner = owner.map(AccountId::from);
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
    // Who has read the refusal finds the model closed.
    assert_eq!(closures(&one).await, [USED_UP, None, USED_UP, None]);
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
    assert_eq!(closures(&one).await, [OVERDUE; 4]);
    let before = two.received().await;
    for model in ["qwen-max", "qwen-plus"] {
        let (status, _, body) = call(&two, &hi(model)).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("Arrearage")));
    }
    assert_eq!(two.received().await, before, "the other replica asked although the first was refused");
    assert_eq!(
        one.book().await.state,
        AccountState::Active,
        "no account is closed for an upstream that it does not own"
    );
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

async fn state(world: &World, account: &str) -> AccountState {
    world.store.book(&AccountId::from(account)).await.unwrap().state
}

/// The lines of the audit log about an account, oldest first: what happened, and the state before and after.
async fn events(notes: &Arc<dyn NoteStore>) -> Vec<(String, String, String)> {
    let lines = notes.newest(Log::Audit, None, 100).await.unwrap();
    let told = lines.iter().rev().map(|line| {
        let line: Value = serde_json::from_str(&line.text).unwrap();
        assert_eq!(line["actor"], json!({"role": "provider", "name": "upstream simulator"}), "{line}");
        let text = |value: &Value| value["state"]["state"].as_str().unwrap().to_owned();
        (line["request"]["kind"].as_str().unwrap().to_owned(), text(&line["before"]), text(&line["after"]))
    });
    told.collect()
}

fn said(kind: &str, before: &str, after: &str) -> (String, String, String) {
    (kind.to_owned(), before.to_owned(), after.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_that_owns_an_overdue_upstream_is_overdue_until_a_try_is_served() {
    let notes = notes();
    let (one, two) = owned(&notes, Duration::from_millis(300), Some("default")).await;
    one.behave(json!({"mode": "arrearage"})).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 400);
    assert!(matches!(state(&one, "default").await, AccountState::Overdue { .. }));
    assert_eq!(state(&one, "other").await, AccountState::Active, "another account does not own it");
    assert_eq!(closures(&one).await, [OVERDUE; 4]);
    let kept: Value = serde_json::from_str(&notes.get(Shelf::Standing, "default").await.unwrap().unwrap()).unwrap();
    assert_eq!(kept["refused_by"]["upstream"], "simulator", "{kept}");
    let before = two.received().await;
    assert_eq!(call(&two, &hi("qwen-plus")).await.0, 400);
    assert_eq!(two.received().await, before, "the other replica asked");
    // The bill is paid: a call of the account itself may be the one that tries.
    one.behave(json!({"mode": "none"})).await;
    until("a try that is served", async || (call(&two, &hi("qwen-max")).await.0 == 200).then_some(())).await;
    until("active", async || (state(&one, "default").await == AccountState::Active).then_some(())).await;
    until("open everywhere", async || (closures(&one).await == [None; 4]).then_some(())).await;
    let told = [said("refused_by_provider", "active", "overdue"), said("tried_again", "overdue", "active")];
    assert_eq!(events(&notes).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_owes_a_bill_besides_is_not_let_through_by_a_try_or_by_the_upstream() {
    let notes = notes();
    let (one, _two) = owned(&notes, Duration::from_millis(1), Some("default")).await;
    one.behave(json!({"mode": "arrearage", "calls": 1})).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 400);
    let kept = notes.get(Shelf::Standing, "default").await.unwrap().unwrap();
    let mut standing: Standing = serde_json::from_str(&kept).unwrap();
    // A bill that is older than any grace.
    standing.unpaid_since = Some(Timestamp(0));
    let owes = serde_json::to_string(&standing).unwrap();
    notes.put(Shelf::Standing, vec![("default".to_owned(), owes)]).await.unwrap();
    let before = one.received().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 400);
    assert_eq!(one.received().await, before, "a call tried although the account owes a bill of its own");
    let site = Arc::new(site());
    let sites = move |_: &str| Some(Arc::clone(&site));
    let provider = Provider { store: &*one.store, notes: &*notes, sites: &sites };
    assert!(provider.serves("simulator", "an operator reopened it").await.unwrap().is_some());
    assert!(matches!(state(&one, "default").await, AccountState::Overdue { .. }), "the bill is still unpaid");
    assert_eq!(closures(&one).await, [None; 4]);
    assert!(provider.serves("simulator", "again").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_exist_hides_nothing() {
    let notes = notes();
    let (one, _two) = owned(&notes, Duration::from_secs(300), Some("nobody")).await;
    one.behave(json!({"mode": "arrearage"})).await;
    assert_eq!(call(&one, &hi("qwen-max")).await.0, 400);
    assert_eq!(closures(&one).await, [OVERDUE; 4], "what the upstream serves is closed all the same");
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
