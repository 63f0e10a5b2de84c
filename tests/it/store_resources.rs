//! Whose a thing is, and which hold a task still has: the same of every store, and across restarts of the embedded one.

use gratis::clock::Clock;
use gratis::dialect::Kind;
use gratis::ledger::{HoldId, HoldState, Origin, Outcome, Timestamp, Unit, Usage};
use gratis::ledger::{Resolution, Resolved};
use gratis::store::embedded::Embedded;
use gratis::store::redis::{self, Redis};
use gratis::store::{LedgerStore, Resource, ResourceStore, TaskHold};

use crate::store_support::*;
use crate::support::memory::MemoryStore;
use crate::support::redis::Server;

fn task(id: &str, created: u64, hold: u128) -> Resource {
    let origin = Origin { key: "key-1".into(), model: POOL.into(), pool: pool() };
    let task = Some(TaskHold { open: true, hold: HoldId(hold), origin, unit: Unit::Seconds });
    Resource { kind: Kind::Task, id: id.to_owned(), account: account(), created: Timestamp(created), task }
}

fn file(id: &str, whose: &str) -> Resource {
    Resource { kind: Kind::File, id: id.to_owned(), account: whose.into(), created: Timestamp(5), task: None }
}

fn ids(resources: &[Resource]) -> Vec<&str> {
    resources.iter().map(|one| one.id.as_str()).collect()
}

/// What every store must do.
async fn conforms(store: &dyn ResourceStore) {
    assert_eq!(store.resource(Kind::Task, "t-1").await.unwrap(), None);
    for made in [task("t-2", 20, u128::MAX), task("t-1", 10, 7), file("f-1", "home")] {
        store.remember(made).await.unwrap();
    }
    assert_eq!(store.resource(Kind::Task, "t-2").await.unwrap(), Some(task("t-2", 20, u128::MAX)));
    assert_eq!(store.resource(Kind::File, "t-2").await.unwrap(), None, "kinds are apart");
    // Who knows an id first has it.
    store.remember(file("f-1", "another")).await.unwrap();
    assert_eq!(store.resource(Kind::File, "f-1").await.unwrap(), Some(file("f-1", "home")));
    assert_eq!(ids(&store.open_tasks(9).await.unwrap()), ["t-1", "t-2"], "oldest first");
    assert_eq!(ids(&store.open_tasks(1).await.unwrap()), ["t-1"]);
    store.forget(Kind::Task, Timestamp(100)).await.unwrap();
    assert_eq!(store.open_tasks(9).await.unwrap().len(), 2, "what is open is not forgotten");
    for _ in 0..2 {
        store.close_task("t-1").await.unwrap();
    }
    store.close_task("t-unknown").await.unwrap();
    assert_eq!(ids(&store.open_tasks(9).await.unwrap()), ["t-2"]);
    let closed = store.resource(Kind::Task, "t-1").await.unwrap().unwrap();
    assert!(closed.account == account() && !closed.task.unwrap().open, "whose it is stays known");
    store.forget(Kind::Task, Timestamp(10)).await.unwrap();
    assert!(store.resource(Kind::Task, "t-1").await.unwrap().is_some(), "made before, not at");
    store.forget(Kind::Task, Timestamp(11)).await.unwrap();
    assert!(store.resource(Kind::Task, "t-1").await.unwrap().is_none());
    assert!(store.resource(Kind::File, "f-1").await.unwrap().is_some());
}

#[tokio::test]
async fn stores_know_whose_a_thing_is() {
    conforms(&MemoryStore::new(Clock::system())).await;
    let dir = tempfile::tempdir().unwrap();
    conforms(&funded(dir.path(), &clock(), 10).await).await;
    let server = Server::start(&["save ''", "appendonly no"]);
    let mut settings = redis::Settings::new(server.url().parse().unwrap(), dir.path().join("journal"));
    settings.accept_loss = true;
    conforms(&Redis::create(settings, Clock::system()).await.unwrap()).await;
}

#[tokio::test]
async fn a_task_is_settled_exactly_after_the_death_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 1_000).await;
    admit(&store, 7, 15).await;
    store.remember(task("t-1", 10, 7)).await.unwrap();
    // Dropped without being closed: like the death of the process.
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(balance(&store).await, figures(1_000, 0, 0, 15), "the hold of what was in progress is posted");
    let open_tasks = store.open_tasks(9).await.unwrap();
    assert_eq!(ids(&open_tasks), ["t-1"]);
    let hold = open_tasks[0].task.clone().unwrap();
    let settle = Resolution::Settle(Usage { input: 5, output: 0 });
    let outcome = store.resolve(&account(), hold.hold, settle, Some(hold.origin.clone())).await.unwrap();
    let Outcome::Resolved(Resolved { state, over_hold, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((state, over_hold), (HoldState::Corrected, 0));
    store.close_task("t-1").await.unwrap();
    assert_eq!(balance(&store).await, figures(1_000, 0, 5, 0));
    // Another poll that saw the same end changes nothing.
    let again = store.resolve(&account(), hold.hold, settle, Some(hold.origin)).await.unwrap();
    assert!(matches!(again, Outcome::NotOpen(HoldState::Corrected)), "{again:?}");
    assert_eq!(balance(&store).await, figures(1_000, 0, 5, 0));
    drop(store);
    let store: Embedded = open(dir.path()).unwrap();
    assert!(store.open_tasks(9).await.unwrap().is_empty());
    assert_eq!(store.resource(Kind::Task, "t-1").await.unwrap().unwrap().account, account());
}
