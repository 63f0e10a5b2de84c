//! A store whose calls are counted and timed.

use std::sync::Arc;

use super::{
    Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, Resource, ResourceStore, Store, StoreError,
    StoreErrorKind,
};
use crate::clock::Clock;
use crate::dialect::Kind;
use crate::ledger::{
    AccountId, Book, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::telemetry::{Counter, Seconds, StoreMetrics};

/// Another store, with every call counted by verb and result. A call that its caller gave up is not counted: nobody learnt its result.
pub struct Measured {
    store: Arc<dyn Store>,
    reserve: Verb,
    resolve: Verb,
    operate: Verb,
    open_account: Verb,
    book: Verb,
    accounts: Verb,
    entries: Verb,
    check: Verb,
    caller: Verb,
    add_key: Verb,
    remember: Verb,
    resource: Verb,
    open_tasks: Verb,
    close_task: Verb,
    forget: Verb,
}

/// The handles of one verb.
struct Verb {
    seconds: Seconds,
    done: Counter,
    unavailable: Counter,
    timed_out: Counter,
    deferred: Counter,
    corrupt: Counter,
    no_ledger: Counter,
    unknown_account: Counter,
}

impl Verb {
    fn new(metrics: &StoreMetrics, verb: &'static str) -> Self {
        let calls = |result| metrics.calls(verb, result);
        Self {
            seconds: metrics.seconds(verb),
            done: calls("done"),
            unavailable: calls("unavailable"),
            timed_out: calls("timed_out"),
            deferred: calls("deferred"),
            corrupt: calls("corrupt"),
            no_ledger: calls("no_ledger"),
            unknown_account: calls("unknown_account"),
        }
    }

    fn counter<T>(&self, answer: &Result<T, StoreError>) -> &Counter {
        match answer {
            Ok(_) => &self.done,
            Err(error) => match error.kind {
                StoreErrorKind::Unavailable => &self.unavailable,
                StoreErrorKind::TimedOut => &self.timed_out,
                StoreErrorKind::Deferred => &self.deferred,
                StoreErrorKind::Corrupt => &self.corrupt,
                StoreErrorKind::NotInitialised => &self.no_ledger,
                StoreErrorKind::UnknownAccount => &self.unknown_account,
            },
        }
    }

    fn measure<'a, T: Send + 'a>(&'a self, call: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let since = Clock::stopwatch();
            let answer = call.await;
            self.seconds.observe(since.elapsed().as_secs_f64());
            self.counter(&answer).inc();
            answer
        })
    }
}

impl Measured {
    /// Measures this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: &StoreMetrics) -> Self {
        let verb = |name| Verb::new(metrics, name);
        Self {
            store,
            reserve: verb("reserve"),
            resolve: verb("resolve"),
            operate: verb("operate"),
            open_account: verb("open_account"),
            book: verb("book"),
            accounts: verb("accounts"),
            entries: verb("entries"),
            check: verb("check"),
            caller: verb("caller"),
            add_key: verb("add_key"),
            remember: verb("remember"),
            resource: verb("resource"),
            open_tasks: verb("open_tasks"),
            close_task: verb("close_task"),
            forget: verb("forget"),
        }
    }
}

impl LedgerStore for Measured {
    fn reserve<'a>(&'a self, account: &'a AccountId, reserve: Reserve) -> Answer<'a, Outcome> {
        self.reserve.measure(self.store.reserve(account, reserve))
    }

    fn resolve<'a>(
        &'a self,
        account: &'a AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Answer<'a, Outcome> {
        self.resolve.measure(self.store.resolve(account, hold, resolution, origin))
    }

    fn operate<'a>(&'a self, account: &'a AccountId, operation: Operation) -> Answer<'a, Outcome> {
        self.operate.measure(self.store.operate(account, operation))
    }

    fn open_account(&self, account: NewAccount) -> Answer<'_, bool> {
        self.open_account.measure(self.store.open_account(account))
    }

    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book> {
        self.book.measure(self.store.book(account))
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        self.accounts.measure(self.store.accounts())
    }

    fn entries<'a>(&'a self, account: &'a AccountId, pool: Option<&'a PoolId>, limit: usize) -> Answer<'a, Vec<Entry>> {
        self.entries.measure(self.store.entries(account, pool, limit))
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    fn check(&self) -> Answer<'_, ()> {
        self.check.measure(self.store.check())
    }
}

impl KeyStore for Measured {
    fn caller<'a>(&'a self, digest: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        self.caller.measure(self.store.caller(digest))
    }

    fn add_key<'a>(&'a self, account: &'a AccountId, key: Key, digest: KeyDigest) -> Answer<'a, ()> {
        self.add_key.measure(self.store.add_key(account, key, digest))
    }
}

impl ResourceStore for Measured {
    fn remember(&self, resource: Resource) -> Answer<'_, ()> {
        self.remember.measure(self.store.remember(resource))
    }

    fn resource<'a>(&'a self, kind: Kind, id: &'a str) -> Answer<'a, Option<Resource>> {
        self.resource.measure(self.store.resource(kind, id))
    }

    fn open_tasks(&self, limit: usize) -> Answer<'_, Vec<Resource>> {
        self.open_tasks.measure(self.store.open_tasks(limit))
    }

    fn close_task<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.close_task.measure(self.store.close_task(id))
    }

    fn forget(&self, kind: Kind, before: Timestamp) -> Answer<'_, ()> {
        self.forget.measure(self.store.forget(kind, before))
    }
}
