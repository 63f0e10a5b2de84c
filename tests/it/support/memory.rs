//! A store in memory: the pure rules and nothing else. It can be told to fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gratis::clock::Clock;
use gratis::dialect::Kind;
use gratis::ledger::{
    AccountId, Book, Change, Command, EXPIRE_AT_MOST, Entry, HoldId, Key, KeyId, Operation, Origin, Outcome, PoolId,
    Reserve, Resolution, Timestamp, apply,
};
use gratis::store::{
    Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, Resource, ResourceStore, StoreError, StoreErrorKind,
};

pub struct MemoryStore {
    clock: Clock,
    inner: Mutex<Inner>,
    /// Refuse everything with `Unavailable`.
    pub down: AtomicBool,
    /// What is stored cannot be trusted.
    pub corrupt: AtomicBool,
    /// Calls of each verb, for tests that count them.
    pub reserves: AtomicU64,
    /// How many of them were admitted.
    pub admitted: AtomicU64,
    pub resolves: AtomicU64,
    /// Resolutions answer only after the next yield, as a store on the network does.
    pub slow_resolve: AtomicBool,
    /// A reservation is carried out, and then the caller's own code panics.
    pub panics: AtomicBool,
    /// While it is held for writing, nobody learns whose a thing is.
    pub whose: tokio::sync::RwLock<()>,
}

#[derive(Default)]
struct Inner {
    books: BTreeMap<AccountId, Book>,
    entries: HashMap<AccountId, Vec<Entry>>,
    keys: HashMap<[u8; 32], (AccountId, KeyId)>,
    resources: BTreeMap<(Kind, String), Resource>,
}

impl MemoryStore {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            inner: Mutex::default(),
            down: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            reserves: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            resolves: AtomicU64::new(0),
            slow_resolve: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            whose: tokio::sync::RwLock::default(),
        }
    }

    fn check_up(&self) -> Result<(), StoreError> {
        if self.corrupt.load(Ordering::SeqCst) {
            return Err(StoreError { kind: StoreErrorKind::Corrupt, detail: "told to be corrupt".into() });
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError { kind: StoreErrorKind::Unavailable, detail: "told to be down".into() });
        }
        Ok(())
    }

    pub fn apply(&self, account: &AccountId, command: Command) -> Result<Outcome, StoreError> {
        self.check_up()?;
        let mut inner = self.inner.lock().unwrap();
        let mut changes = Vec::new();
        let book = inner.books.get_mut(account).ok_or_else(|| unknown(account))?;
        let outcome = apply(book, self.clock.now(), command, &mut changes);
        let entries = inner.entries.entry(account.clone()).or_default();
        entries.extend(changes.into_iter().filter_map(|change| match change {
            Change::Entry(entry) => Some(entry),
            _ => None,
        }));
        Ok(outcome)
    }
}

fn unknown(account: &AccountId) -> StoreError {
    StoreError { kind: StoreErrorKind::UnknownAccount, detail: account.to_string() }
}

impl LedgerStore for MemoryStore {
    fn reserve<'a>(&'a self, account: &'a AccountId, reserve: Reserve) -> Answer<'a, Outcome> {
        self.reserves.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let outcome = self.apply(account, Command::Reserve(reserve))?;
            self.admitted.fetch_add(u64::from(matches!(outcome, Outcome::Admitted(_))), Ordering::SeqCst);
            assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
            Ok(outcome)
        })
    }

    fn resolve<'a>(
        &'a self,
        account: &'a AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if self.slow_resolve.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            self.resolves.fetch_add(1, Ordering::SeqCst);
            self.apply(account, Command::Resolve { hold, resolution, origin })
        })
    }

    fn operate<'a>(&'a self, account: &'a AccountId, operation: Operation) -> Answer<'a, Outcome> {
        Box::pin(async move { self.apply(account, Command::Operate(operation)) })
    }

    fn open_account(&self, new: NewAccount) -> Answer<'_, bool> {
        Box::pin(async move {
            self.check_up()?;
            let mut inner = self.inner.lock().unwrap();
            if inner.books.contains_key(&new.account) {
                return Ok(false);
            }
            let book = Book::new(new.account.clone(), &new.site, new.state, new.never_pay);
            inner.books.insert(new.account, book);
            Ok(true)
        })
    }

    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book> {
        Box::pin(async move {
            self.apply(account, Command::Expire { limit: EXPIRE_AT_MOST })?;
            let inner = self.inner.lock().unwrap();
            let mut book = inner.books.get(account).cloned().ok_or_else(|| unknown(account))?;
            book.holds.retain(|_, hold| !hold.state.is_final());
            Ok(book)
        })
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        Box::pin(async move {
            self.check_up()?;
            Ok(self.inner.lock().unwrap().books.keys().cloned().collect())
        })
    }

    fn entries<'a>(&'a self, account: &'a AccountId, pool: Option<&'a PoolId>, limit: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            self.check_up()?;
            let inner = self.inner.lock().unwrap();
            let entries = inner.entries.get(account).map(Vec::as_slice).unwrap_or_default();
            let wanted = entries.iter().rev().filter(|entry| pool.is_none_or(|pool| entry.pool == *pool));
            Ok(wanted.take(limit).cloned().collect())
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.check_up() })
    }
}

impl KeyStore for MemoryStore {
    fn caller<'a>(&'a self, digest: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            let Some((account, id)) = inner.keys.get(&digest.0) else { return Ok(None) };
            let book = inner.books.get(account).ok_or_else(|| unknown(account))?;
            let key = book.keys.get(id).cloned();
            Ok(key.map(|key| Caller { account: account.clone(), site: book.site.as_str().into(), key: key.into() }))
        })
    }

    fn add_key<'a>(&'a self, account: &'a AccountId, key: Key, digest: KeyDigest) -> Answer<'a, ()> {
        Box::pin(async move {
            let id = key.id.clone();
            self.apply(account, Command::Operate(Operation::PutKey(key)))?;
            self.inner.lock().unwrap().keys.insert(digest.0, (account.clone(), id));
            Ok(())
        })
    }
}

impl ResourceStore for MemoryStore {
    fn remember(&self, made: Resource) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check_up()?;
            self.inner.lock().unwrap().resources.entry((made.kind, made.id.clone())).or_insert(made);
            Ok(())
        })
    }

    fn resource<'a>(&'a self, kind: Kind, id: &'a str) -> Answer<'a, Option<Resource>> {
        Box::pin(async move {
            let _read = self.whose.read().await;
            self.check_up()?;
            Ok(self.inner.lock().unwrap().resources.get(&(kind, id.to_owned())).cloned())
        })
    }

    fn open_tasks(&self, limit: usize) -> Answer<'_, Vec<Resource>> {
        Box::pin(async move {
            self.check_up()?;
            let inner = self.inner.lock().unwrap();
            let mut open: Vec<_> = inner
                .resources
                .values()
                .filter(|made| made.task.as_ref().is_some_and(|task| task.open))
                .cloned()
                .collect();
            open.sort_by_key(|made| made.created);
            open.truncate(limit);
            Ok(open)
        })
    }

    fn close_task<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.check_up()?;
            let mut inner = self.inner.lock().unwrap();
            if let Some(task) =
                inner.resources.get_mut(&(Kind::Task, id.to_owned())).and_then(|made| made.task.as_mut())
            {
                task.open = false;
            }
            Ok(())
        })
    }

    fn forget(&self, kind: Kind, before: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check_up()?;
            let old = |made: &Resource| {
                made.kind == kind && made.created < before && made.task.as_ref().is_none_or(|task| !task.open)
            };
            self.inner.lock().unwrap().resources.retain(|_, made| !old(made));
            Ok(())
        })
    }
}
