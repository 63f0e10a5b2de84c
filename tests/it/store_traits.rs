//! Every method of the store's traits, and what is still there after a restart.

use std::task::{Context, Poll, Waker};

use gratis::ledger::{
    AccountId, EntryKind, HoldId, HoldState, KeyId, KeyState, Operation, Outcome, Refusal, Resolution, Timestamp,
};
use gratis::store::embedded::{Absent, Embedded, OpenError};
use gratis::store::{KeyStore, LedgerStore, StoreErrorKind};
use tempfile::TempDir;

use crate::store_support::*;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_call_is_held_settled_and_still_known_after_a_clean_stop() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    let admitted = admit(&store, 1, 400).await;
    assert_eq!((admitted.output, admitted.available), (400, 9_600));
    assert_eq!(balance(&store).await, figures(10_000, 400, 0, 0));
    assert!(matches!(resolve(&store, 1, used(123)).await, Outcome::Resolved(_)));
    admit(&store, 2, 100).await;
    assert_eq!(resolve(&store, 2, Resolution::Release).await, resolved(HoldState::Released));
    admit(&store, 3, 50).await;
    assert_eq!(resolve(&store, 3, Resolution::Presume(None)).await, resolved(HoldState::Presumed));
    let before = book(&store).await;
    assert_eq!(balance_of(&before), figures(10_000, 0, 123, 50));
    store.close().await.unwrap();
    drop(store);

    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    assert_eq!(store.opening().recovery, None);
    assert_eq!(book(&store).await, before);
    let caller = store.caller(&digest(1)).await.unwrap().unwrap();
    assert_eq!((caller.account, caller.key.id.clone()), (account(), KeyId::from("key-1")));
}

fn resolved(state: HoldState) -> Outcome {
    Outcome::Resolved(gratis::ledger::Resolved {
        state,
        covered: gratis::ledger::Usage::default(),
        billed: gratis::ledger::Usage::default(),
        over_hold: 0,
        overspent: 0,
    })
}

#[tokio::test]
async fn a_settlement_is_answered_at_the_first_poll() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    admit(&store, 1, 400).await;
    let id = account();
    let mut settle = store.resolve(&id, HoldId(1), used(400), None);
    let polled = settle.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(Outcome::Resolved(_)))), "{polled:?}");
    let digest = digest(1);
    let mut caller = store.caller(&digest);
    assert!(caller.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[tokio::test]
async fn a_settlement_beyond_the_watermark_waits_for_a_durable_commit() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 160_000).await;
    admit(&store, 1, 400).await;
    let before = store.figures().durable;
    resolve(&store, 1, used(100_000)).await;
    assert_eq!(store.figures().durable, before + 1);
    assert_eq!(balance(&store).await.spent, 100_000);
}

#[tokio::test]
async fn repeats_are_named_also_when_memory_has_forgotten_them() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 1_000_000).await;
    admit(&store, 7, 10).await;
    assert!(matches!(store.reserve(&account(), ask(7, 10)).await.unwrap(), Outcome::Admitted(_)));
    resolve(&store, 7, used(5)).await;
    assert_eq!(resolve(&store, 7, used(9)).await, Outcome::NotOpen(HoldState::Settled));
    for forget in [false, true] {
        if forget {
            clock.advance(120_000);
            for hold in 100..103 {
                admit(&store, hold, 10).await;
                resolve(&store, hold, Resolution::Release).await;
                // What follows waits for the commits before it.
                store.entries(&account(), None, 1).await.unwrap();
            }
        }
        assert_eq!(resolve(&store, 7, used(9)).await, Outcome::NotOpen(HoldState::Settled));
        let again = store.reserve(&account(), ask(7, 10)).await.unwrap();
        assert_eq!(again, Outcome::AlreadyResolved(HoldState::Settled));
    }
    store.close().await.unwrap();
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    assert_eq!(resolve(&store, 7, used(9)).await, Outcome::NotOpen(HoldState::Settled));
    let again = store.reserve(&account(), ask(7, 10)).await.unwrap();
    assert_eq!(again, Outcome::AlreadyResolved(HoldState::Settled));
    assert_eq!(balance(&store).await.spent, 5);
}

#[tokio::test]
async fn a_released_hold_that_was_never_made_leaves_a_tombstone() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 1_000).await;
    assert!(matches!(resolve(&store, 9, Resolution::Release).await, Outcome::Unknown(_)));
    store.close().await.unwrap();
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    let late = store.reserve(&account(), ask(9, 10)).await.unwrap();
    assert_eq!(late, Outcome::AlreadyResolved(HoldState::Released));
}

#[tokio::test]
async fn an_open_hold_of_a_dead_process_is_presumed_and_can_still_be_corrected() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 1_000).await;
    admit(&store, 1, 300).await;
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock.clone()).unwrap();
    assert_eq!((store.opening().presumed_holds, store.opening().recovery), (1, None));
    assert_eq!(balance(&store).await, figures(1_000, 0, 0, 300));
    assert_eq!(state_of(&book(&store).await, 1), Some(HoldState::Presumed));
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    assert!(matches!(resolve(&store, 1, used(20)).await, Outcome::Resolved(_)));
    assert_eq!(balance(&store).await, figures(1_000, 0, 20, 0));
}

#[tokio::test]
async fn due_holds_are_posted_before_a_book_is_read() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    for hold in 1..=70 {
        admit(&store, hold, 100).await;
    }
    clock.advance(600_000);
    assert_eq!(balance(&store).await, figures(10_000, 0, 0, 7_000));
}

#[tokio::test]
async fn entries_come_newest_first_and_by_pool() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    admit(&store, 1, 100).await;
    resolve(&store, 1, used(40)).await;
    let entries = store.entries(&account(), Some(&pool()), 10).await.unwrap();
    let kinds: Vec<EntryKind> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Settle, EntryKind::Grant]);
    assert_eq!((entries[0].held, entries[0].spent, entries[0].hold), (-100, 40, Some(HoldId(1))));
    assert_eq!(store.entries(&account(), None, 1).await.unwrap().len(), 1);
    assert!(store.entries(&account(), Some(&"other".into()), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_revoked_key_is_seen_at_once_and_stays_revoked() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    let revoke = Operation::SetKeyState { key: "key-1".into(), state: KeyState::Disabled };
    store.operate(&account(), revoke).await.unwrap();
    assert_eq!(store.caller(&digest(1)).await.unwrap().unwrap().key.state, KeyState::Disabled);
    let refused = store.reserve(&account(), ask(1, 10)).await.unwrap();
    assert_eq!(refused, Outcome::Refused(Refusal::KeyNotActive, None));
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    assert_eq!(store.caller(&digest(1)).await.unwrap().unwrap().key.state, KeyState::Disabled);
}

#[tokio::test]
async fn a_key_with_a_new_digest_is_no_longer_found_by_the_old_one() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    store.add_key(&account(), key("key-1"), digest(2)).await.unwrap();
    store.add_key(&account(), key("key-2"), digest(3)).await.unwrap();
    let taken = store.add_key(&account(), key("key-3"), digest(3)).await.unwrap_err();
    assert!(taken.detail.contains("digest"), "{taken}");
    let mut near = digest(3);
    near.0[31] = 0;
    assert_eq!(store.caller(&near).await.unwrap(), None);
    found_by_their_newest(&store).await;
    drop(store);
    found_by_their_newest(&Embedded::open(settings(dir.path()), clock).unwrap()).await;
}

async fn found_by_their_newest(store: &Embedded) {
    assert_eq!(store.caller(&digest(1)).await.unwrap(), None);
    assert_eq!(store.caller(&digest(2)).await.unwrap().unwrap().key.id, "key-1".into());
    assert_eq!(store.caller(&digest(3)).await.unwrap().unwrap().key.id, "key-2".into());
}

#[tokio::test]
async fn accounts_are_made_once_and_kept() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    assert!(!store.open_account(new_account(&account())).await.unwrap());
    let other = AccountId::from("away");
    assert!(store.open_account(new_account(&other)).await.unwrap());
    assert_eq!(store.accounts().await.unwrap(), [other.clone(), account()]);
    let unknown = store.reserve(&"nobody".into(), ask(1, 1)).await.unwrap_err();
    assert_eq!(unknown.kind, StoreErrorKind::UnknownAccount);
    drop(store);
    let store = Embedded::open(settings(dir.path()), clock).unwrap();
    assert_eq!(store.accounts().await.unwrap(), [other, account()]);
    assert_eq!(balance(&store).await, figures(10_000, 0, 0, 0));
    assert!(!store.open_account(new_account(&account())).await.unwrap());
}

#[tokio::test]
async fn a_closed_store_refuses_and_says_so() {
    let (dir, clock) = (dir(), clock());
    let store = funded(dir.path(), &clock, 10_000).await;
    assert_eq!(store.now(), Timestamp(1_800_000_000_000));
    store.check().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.check().await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(store.reserve(&account(), ask(1, 1)).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert!(store.resolve(&account(), HoldId(1), used(1), None).await.is_err());
}

#[tokio::test]
async fn opening_never_makes_a_ledger_and_making_never_replaces_one() {
    let (dir, clock) = (dir(), clock());
    for missing in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let error = Embedded::open(settings(&missing), clock.clone()).unwrap_err();
        assert!(matches!(error, OpenError::NotInitialised { .. }), "{error}");
        assert!(error.to_string().contains("gratis init"), "{error}");
    }
    let store = Embedded::create(settings(&dir.path().join("new")), clock.clone()).unwrap();
    drop(store);
    let error = Embedded::create(settings(&dir.path().join("new")), clock.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Exists { .. }), "{error}");
}

#[tokio::test]
async fn without_a_ledger_everything_says_so() {
    let store = Absent::new("no ledger in /srv: `gratis init` makes one".to_owned(), clock());
    let error = store.reserve(&account(), ask(1, 1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotInitialised);
    assert!(error.detail.contains("gratis init"));
    assert_eq!(store.check().await.unwrap_err().kind, StoreErrorKind::NotInitialised);
    assert_eq!(store.caller(&digest(1)).await.unwrap_err().kind, StoreErrorKind::NotInitialised);
    assert_eq!(store.book(&account()).await.unwrap_err().kind, StoreErrorKind::NotInitialised);
    assert_eq!(store.now(), Timestamp(1_800_000_000_000));
}
