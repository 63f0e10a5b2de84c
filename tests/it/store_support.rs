//! What the tests of the embedded store share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use gratis::clock::Clock;
use gratis::ledger::{
    AccountId, AccountState, Admitted, Ask, Balance, Book, Fund, GrantId, HoldId, HoldState, Key, KeyId, KeyState,
    Operation, Outcome, Overrun, PoolId, Reserve, ReserveRules, Resolution, Side, Timestamp, Unit, Usage,
};
use gratis::store::embedded::{Embedded, OpenError, Settings};
use gratis::store::{KeyDigest, KeyStore, LedgerStore, NewAccount};

pub(crate) const POOL: &str = "qwen-max";

pub(crate) fn account() -> AccountId {
    "home".into()
}

pub(crate) fn pool() -> PoolId {
    POOL.into()
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings { linger: Duration::from_millis(1), ..Settings::new(dir) }
}

pub(crate) fn clock() -> Clock {
    Clock::by_hand(Timestamp(1_800_000_000_000))
}

pub(crate) fn key(id: &str) -> Key {
    Key {
        id: id.into(),
        name: "a test".to_owned(),
        state: KeyState::Active,
        models: BTreeSet::new(),
        workspace: None,
        last4: "abcd".to_owned(),
        created: Timestamp(1),
    }
}

pub(crate) fn digest(byte: u8) -> KeyDigest {
    KeyDigest([byte; 32])
}

pub(crate) fn new_account(id: &AccountId) -> NewAccount {
    NewAccount { account: id.clone(), site: "test".to_owned(), state: AccountState::Active, never_pay: true }
}

pub(crate) fn grant(amount: u64) -> Operation {
    Operation::AddGrant {
        pool: pool(),
        side: Side::Both,
        unit: Unit::Tokens,
        amount,
        spent: 0,
        start: Timestamp(0),
        end: None,
    }
}

/// A ledger with one account, one key and one grant.
pub(crate) async fn funded(dir: &Path, clock: &Clock, amount: u64) -> Embedded {
    let store = Embedded::create(settings(dir), clock.clone()).unwrap();
    assert!(store.open_account(new_account(&account())).await.unwrap());
    store.add_key(&account(), key("key-1"), digest(1)).await.unwrap();
    let done = store.operate(&account(), grant(amount)).await.unwrap();
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    store
}

pub(crate) fn ask(hold: u128, amount: u64) -> Reserve {
    Reserve {
        hold: HoldId(hold),
        key: KeyId::from("key-1"),
        model: POOL.into(),
        pool: pool(),
        ask: Ask { named: amount, least: amount, ceiling_output: amount, ..Ask::default() },
        lease_ms: 600_000,
        max_call_ms: 300_000,
        caller_now: Timestamp(0),
        rules: ReserveRules {
            overrun: Overrun::Never,
            switch_default_on: true,
            priced: true,
            bounded: true,
            covered: true,
        },
    }
}

pub(crate) fn used(output: u64) -> Resolution {
    Resolution::Settle(Usage { input: 0, output })
}

pub(crate) async fn admit(store: &Embedded, hold: u128, amount: u64) -> Admitted {
    match store.reserve(&account(), ask(hold, amount)).await.unwrap() {
        Outcome::Admitted(admitted) => admitted,
        other => panic!("not admitted: {other:?}"),
    }
}

pub(crate) async fn resolve(store: &Embedded, hold: u128, resolution: Resolution) -> Outcome {
    store.resolve(&account(), HoldId(hold), resolution, None).await.unwrap()
}

pub(crate) async fn book(store: &Embedded) -> Book {
    store.book(&account()).await.unwrap()
}

pub(crate) fn balance_of(book: &Book) -> Balance {
    book.fund(&pool(), GrantId(1)).map(|fund: &Fund| fund.balance).unwrap()
}

pub(crate) async fn balance(store: &Embedded) -> Balance {
    balance_of(&book(store).await)
}

pub(crate) fn figures(granted: u64, held: u64, spent: u64, presumed: u64) -> Balance {
    Balance { granted, held, spent, presumed }
}

/// The book without what the embedded store may forget.
pub(crate) fn without_finals(mut book: Book) -> Book {
    book.holds.retain(|_, hold| !hold.state.is_final());
    book
}

pub(crate) fn state_of(book: &Book, hold: u128) -> Option<HoldState> {
    book.holds.get(&HoldId(hold)).map(|hold| hold.state)
}

pub(crate) const FILES: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.lock"];

/// The contents of a ledger's files.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

pub(crate) fn copy(dir: &Path) -> Files {
    FILES.iter().filter_map(|name| Some((*name, fs::read(dir.join(name)).ok()?))).collect()
}

/// Writes the files in place, so that they keep their inodes; what the copy does not have is removed.
pub(crate) fn put_back(dir: &Path, copy: &Files) {
    for name in FILES {
        match copy.get(name) {
            Some(bytes) => fs::write(dir.join(name), bytes).unwrap(),
            None => drop(fs::remove_file(dir.join(name))),
        }
    }
    // The index of the log is made anew, as after a restart of the machine.
    drop(fs::remove_file(dir.join("ledger.db-shm")));
}

pub(crate) fn slow(dir: &Path) -> Settings {
    Settings { flush_every: Duration::from_secs(3_600), ..settings(dir) }
}

pub(crate) fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(slow(dir), clock())
}

pub(crate) fn used_of(balance: Balance) -> u64 {
    balance.spent + balance.presumed
}
