//! What several replicas see of one another through a shared store: every decision is made on the state of that instant.

use std::sync::Arc;
use std::time::Duration;

use gratis::clock::Clock;
use gratis::ledger::{
    AccountState, Admitted, BillingMode, Closure, Done, GrantId, HoldId, HoldState, KeyState, Operation, Outcome,
    Refusal, SwitchOff, Timestamp,
};
use gratis::store::redis::{Redis, Settings};
use gratis::store::{KeyStore as _, LedgerStore as _, StoreErrorKind};

use crate::store_support::{account, ask, balance_of, digest, figures, grant, key, new_account, pool, used};
use crate::support::redis::Server;

/// Replicas of one ledger, each with a state folder of its own.
struct Replicas {
    stores: Vec<Arc<Redis>>,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Replicas {
    /// With one account, one key and one grant.
    async fn start(count: usize, amount: u64) -> Self {
        let (server, dir) = (Server::start(&["save ''", "appendonly no"]), tempfile::tempdir().unwrap());
        let settings = |replica: usize| {
            let mut settings = Settings::new(server.url().parse().unwrap(), dir.path().join(replica.to_string()));
            (settings.accept_loss, settings.timeout) = (true, Duration::from_secs(30));
            settings
        };
        let first = Redis::create(settings(0), Clock::system()).await.unwrap();
        assert!(first.open_account(new_account(&account())).await.unwrap());
        first.add_key(&account(), key("key-1"), digest(1)).await.unwrap();
        assert!(matches!(first.operate(&account(), grant(amount)).await.unwrap(), Outcome::Done(_)));
        first.complete().await.unwrap();
        let mut stores = vec![Arc::new(first)];
        for replica in 1..count {
            stores.push(Arc::new(Redis::open(settings(replica), Clock::system()).await.unwrap()));
        }
        Self { stores, server, _dir: dir }
    }

    async fn change(&self, replica: usize, operation: Operation) {
        let outcome = self.stores[replica].operate(&account(), operation.clone()).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(Done::Changed | Done::Balance { .. })), "{operation:?}: {outcome:?}");
    }

    /// What each replica answers to a new reservation.
    async fn each(&self, hold: u128) -> Vec<Outcome> {
        let mut answers = Vec::new();
        for (replica, store) in self.stores.iter().enumerate() {
            answers.push(store.reserve(&account(), ask(hold + replica as u128, 100)).await.unwrap());
        }
        answers
    }
}

fn admitted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Admitted(Admitted { mode: BillingMode::FreeQuotaOnly, .. }))
}

#[tokio::test]
async fn what_one_replica_is_told_stops_the_next_call_on_every_other() {
    let replicas = Replicas::start(3, 100_000).await;
    assert!(replicas.each(1).await.iter().all(admitted));
    let key_state = |state| Operation::SetKeyState { key: "key-1".into(), state };
    let overdue = AccountState::Overdue { grace_until: Timestamp(1) };
    let close = |closure| Operation::ClosePool { pool: pool(), closure };
    let cases = [
        (key_state(KeyState::Disabled), key_state(KeyState::Active), Refusal::KeyNotActive),
        (Operation::SetState(overdue), Operation::SetState(AccountState::Active), Refusal::Arrearage),
        (close(Closure::FreeTierOnly), Operation::ReopenPool { pool: pool() }, Refusal::ClosedByProvider),
        (close(Closure::Arrearage), Operation::ReopenPool { pool: pool() }, Refusal::Arrearage),
    ];
    for (number, (stop, go, refusal)) in cases.into_iter().enumerate() {
        let hold = 100 * (number as u128 + 1);
        replicas.change(number % 3, stop).await;
        let answers = replicas.each(hold).await;
        assert!(answers.iter().all(|answer| *answer == Outcome::Refused(refusal)), "{refusal:?}: {answers:?}");
        replicas.change((number + 1) % 3, go).await;
        assert!(replicas.each(hold + 10).await.iter().all(admitted), "after {refusal:?}");
    }
}

#[tokio::test]
async fn a_switch_that_is_flipped_on_one_replica_holds_for_the_next_call_on_every_other() {
    let replicas = Replicas::start(3, 50).await;
    replicas.change(0, Operation::SetNeverPay(false)).await;
    let switch = |on| Operation::SetSwitch { pool: pool(), on, rule: SwitchOff::AnyTime, default_on: true };
    // The site's default is on: what does not fit is refused.
    assert!(replicas.each(1).await.iter().all(|answer| *answer == Outcome::Refused(Refusal::UsedUp)));
    replicas.change(1, switch(false)).await;
    for answer in replicas.each(10).await {
        let Outcome::Admitted(Admitted { mode, may_cost, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!((mode, may_cost), (BillingMode::PayAsYouGo, true));
    }
    replicas.change(2, switch(true)).await;
    assert!(replicas.each(20).await.iter().all(|answer| *answer == Outcome::Refused(Refusal::UsedUp)));
}

#[tokio::test]
async fn a_key_that_one_replica_made_is_known_to_every_other_at_once() {
    let replicas = Replicas::start(2, 1_000).await;
    replicas.stores[1].add_key(&account(), key("key-2"), digest(2)).await.unwrap();
    let caller = replicas.stores[0].caller(&digest(2)).await.unwrap().unwrap();
    assert_eq!((caller.account, caller.key.id.clone()), (account(), "key-2".into()));
    // A new secret for the same key: the old one is no longer anybody's, also where it was just looked up.
    assert!(replicas.stores[0].caller(&digest(1)).await.unwrap().is_some());
    replicas.stores[0].add_key(&account(), key("key-1"), digest(3)).await.unwrap();
    assert_eq!(replicas.stores[0].caller(&digest(1)).await.unwrap(), None);
    let taken = replicas.stores[1].add_key(&account(), key("key-4"), digest(3)).await.unwrap_err();
    assert!(taken.detail.contains("digest"), "{taken}");
}

/// How often two replicas race.
const ROUNDS: u128 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_that_race_for_the_last_token_one_gets_it() {
    let replicas = Replicas::start(2, 0).await;
    let (mut first, mut second) = (0, 0);
    for round in 1..=ROUNDS {
        let amount = 100 * u64::try_from(round).unwrap();
        replicas.change(0, Operation::Regrant { pool: pool(), grant: GrantId(1), amount }).await;
        let race = |replica: usize| {
            let store = Arc::clone(&replicas.stores[replica]);
            tokio::spawn(async move { store.reserve(&account(), ask(2 * round + replica as u128, 100)).await.unwrap() })
        };
        let (one, other) = tokio::join!(race(0), race(1));
        let winner = match (one.unwrap(), other.unwrap()) {
            (Outcome::Admitted(_), Outcome::Refused(Refusal::Busy)) => 0,
            (Outcome::Refused(Refusal::Busy), Outcome::Admitted(_)) => 1,
            both => panic!("round {round}: {both:?}"),
        };
        *[&mut first, &mut second][winner] += 1;
        // Whoever lost may settle for the winner: a hold belongs to the store.
        let (hold, home) = (HoldId(2 * round + winner as u128), account());
        let settled = replicas.stores[1 - winner].resolve(&home, hold, used(100), None).await.unwrap();
        assert!(matches!(settled, Outcome::Resolved(_)));
    }
    println!("{ROUNDS} races: the first replica won {first}, the second {second}");
    assert!(first > 0 && second > 0, "there was no race");
    let book = replicas.stores[0].book(&account()).await.unwrap();
    let all = 100 * u64::try_from(ROUNDS).unwrap();
    assert_eq!(balance_of(&book), figures(all, 0, all, 0));
}

#[tokio::test]
async fn out_of_memory_stops_reservations_and_no_settlement() {
    let replicas = Replicas::start(1, 100_000).await;
    let store = &replicas.stores[0];
    for hold in 1..=3 {
        assert!(admitted(&store.reserve(&account(), ask(hold, 100)).await.unwrap()));
    }
    replicas.server.config("maxmemory", "1");
    let refused = store.reserve(&account(), ask(9, 100)).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Unavailable, "{refused}");
    for (hold, resolution) in [(1, used(60)), (2, gratis::ledger::Resolution::Release)] {
        let outcome = store.resolve(&account(), HoldId(hold), resolution, None).await.unwrap();
        assert!(matches!(outcome, Outcome::Resolved(_)), "{outcome:?}");
    }
    let presumed = store.resolve(&account(), HoldId(3), gratis::ledger::Resolution::Presume(None), None).await.unwrap();
    assert!(matches!(presumed, Outcome::Resolved(_)), "{presumed:?}");
    replicas.server.config("maxmemory", "0");
    let book = store.book(&account()).await.unwrap();
    assert_eq!(balance_of(&book), figures(100_000, 0, 60, 100));
    assert!(book.holds.values().all(|hold| hold.state == HoldState::Presumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_and_logs_are_one_for_all_replicas() {
    use gratis::store::{Log, NoteStore, Shelf};
    let replicas = Replicas::start(2, 1_000).await;
    let [one, two] = &replicas.stores[..] else { panic!("two replicas") };
    let change = async |store: &Redis, was: Option<&str>, to: Option<&str>| {
        store.put_if(Shelf::Fallbacks, "n", was, to.map(str::to_owned)).await.unwrap()
    };
    assert!(!change(one, Some("a"), Some("b")).await);
    assert!(change(one, None, Some("a")).await);
    assert!(!change(two, None, Some("b")).await);
    assert!(change(two, Some("a"), Some("b")).await);
    assert!(!change(one, Some("a"), None).await);
    assert!(change(one, Some("b"), None).await);
    assert_eq!(two.get(Shelf::Fallbacks, "n").await.unwrap(), None);
    for line in 1..=10 {
        let store = if line % 2 == 0 { one } else { two };
        assert_eq!(store.append(Log::Audit, line.to_string()).await.unwrap(), line);
    }
    assert_eq!(one.shorten(Log::Audit, 20).await.unwrap(), 0);
    assert_eq!(one.shorten(Log::Audit, 3).await.unwrap(), 7);
    assert_eq!(two.append(Log::Audit, "11".to_owned()).await.unwrap(), 11);
    let newest = async |before, limit| {
        let lines = two.newest(Log::Audit, before, limit).await.unwrap();
        lines.into_iter().map(|line| (line.number, line.text)).collect::<Vec<_>>()
    };
    let line = |number: u64| (number, number.to_string());
    assert_eq!(newest(None, 100).await, [line(11), line(10), line(9), line(8)]);
    assert_eq!(newest(None, 1).await, [line(11)]);
    assert_eq!(newest(Some(10), 5).await, [line(9), line(8)]);
    assert_eq!(newest(Some(8), 5).await, []);
    assert_eq!(newest(Some(1), 5).await, []);
    assert_eq!(newest(Some(0), 5).await, []);
}
