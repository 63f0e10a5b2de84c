//! What stands in for a ledger that has not been made yet.

use crate::clock::Clock;
use crate::dialect::Kind;
use crate::ledger::{
    AccountId, Book, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::store::{
    Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, Resource, ResourceStore, StoreError, StoreErrorKind,
};

/// A store without a ledger: everything that needs one is answered with [`StoreErrorKind::NotInitialised`] and the reason, so that
/// the program can run, say what is missing, and refuse metered calls.
#[derive(Clone, Debug)]
pub struct Absent {
    reason: String,
    clock: Clock,
}

impl Absent {
    /// A store that says why there is no ledger.
    #[must_use]
    pub fn new(reason: String, clock: Clock) -> Self {
        Self { reason, clock }
    }

    fn refuse<T: Send + 'static>(&self) -> Answer<'static, T> {
        let error = StoreError { kind: StoreErrorKind::NotInitialised, detail: self.reason.clone() };
        Box::pin(std::future::ready(Err(error)))
    }
}

impl LedgerStore for Absent {
    fn reserve<'a>(&'a self, _: &'a AccountId, _: Reserve) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn resolve<'a>(&'a self, _: &'a AccountId, _: HoldId, _: Resolution, _: Option<Origin>) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn operate<'a>(&'a self, _: &'a AccountId, _: Operation) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn open_account(&self, _: NewAccount) -> Answer<'_, bool> {
        self.refuse()
    }

    fn book<'a>(&'a self, _: &'a AccountId) -> Answer<'a, Book> {
        self.refuse()
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        self.refuse()
    }

    fn entries<'a>(&'a self, _: &'a AccountId, _: Option<&'a PoolId>, _: usize) -> Answer<'a, Vec<Entry>> {
        self.refuse()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn check(&self) -> Answer<'_, ()> {
        self.refuse()
    }
}

impl KeyStore for Absent {
    fn caller<'a>(&'a self, _: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        self.refuse()
    }

    fn add_key<'a>(&'a self, _: &'a AccountId, _: Key, _: KeyDigest) -> Answer<'a, ()> {
        self.refuse()
    }
}

impl ResourceStore for Absent {
    fn remember(&self, _: Resource) -> Answer<'_, ()> {
        self.refuse()
    }

    fn resource<'a>(&'a self, _: Kind, _: &'a str) -> Answer<'a, Option<Resource>> {
        self.refuse()
    }

    fn open_tasks(&self, _: usize) -> Answer<'_, Vec<Resource>> {
        self.refuse()
    }

    fn close_task<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        self.refuse()
    }

    fn forget(&self, _: Kind, _: Timestamp) -> Answer<'_, ()> {
        self.refuse()
    }
}
