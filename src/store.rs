//! Where books are kept: the traits, and the stores behind them.
//!
//! A store carries out the commands of [`crate::ledger`] atomically and durably; it adds no rule of its own.

pub mod embedded;
pub mod keys;
mod measured;
mod notes;
pub mod redis;
mod resources;

pub use keys::Pepper;
pub use measured::Measured;
pub use notes::{Line, Log, NoteStore, Shelf};
pub use resources::{Resource, ResourceStore, TaskHold};

use std::pin::Pin;
use std::sync::Arc;

use crate::ledger::{
    AccountId, AccountState, Book, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve, Resolution,
    Timestamp,
};

/// A boxed future: the traits are used behind `dyn`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store could not answer, by what the caller can do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct StoreError {
    /// What the caller can do.
    pub kind: StoreErrorKind,
    /// What happened, for the log; never shown to a client.
    pub detail: String,
}

/// What the caller of a store can do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// Nothing was done. Try later.
    #[error("store unavailable")]
    Unavailable,
    /// It may or may not have been done. Ask again with the same id.
    #[error("store timed out")]
    TimedOut,
    /// It could not be stored now. It is on this machine's disk, and is carried out once the store answers.
    #[error("kept until the store answers")]
    Deferred,
    /// What is stored cannot be trusted. Only an operator can go on.
    #[error("store corrupt")]
    Corrupt,
    /// There is no ledger yet: `gratis init` makes one.
    #[error("no ledger")]
    NotInitialised,
    /// No such account.
    #[error("unknown account")]
    UnknownAccount,
}

/// Who a credential turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Whose allowance is used.
    pub account: AccountId,
    /// The account's site.
    pub site: Arc<str>,
    /// The key.
    pub key: Arc<Key>,
}

/// The keyed hash of an API key; the key itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyDigest(pub [u8; 32]);

/// A new account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAccount {
    /// Its id.
    pub account: AccountId,
    /// The site whose rules apply.
    pub site: String,
    /// Its state.
    pub state: AccountState,
    /// The account guard (C13).
    pub never_pay: bool,
}

/// Books of accounts: the four verbs, and what an operator does.
pub trait LedgerStore: Send + Sync {
    /// Carries out a reservation; on return an admitted hold survives the death of this process.
    fn reserve<'a>(&'a self, account: &'a AccountId, reserve: Reserve) -> Answer<'a, Outcome>;

    /// Resolves a hold. On return every reader of this store sees the new counters.
    fn resolve<'a>(
        &'a self,
        account: &'a AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Answer<'a, Outcome>;

    /// An operator's change; durable on return, also against power loss.
    fn operate<'a>(&'a self, account: &'a AccountId, operation: Operation) -> Answer<'a, Outcome>;

    /// Makes an account; `false` when it exists, which is then left as it is.
    fn open_account(&self, account: NewAccount) -> Answer<'_, bool>;

    /// A copy of an account's book after its due holds were expired; finals are left out.
    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book>;

    /// All accounts.
    fn accounts(&self) -> Answer<'_, Vec<AccountId>>;

    /// The newest entries of an account, newest first, at most `limit`. A store may leave out what a reservation wrote: its record
    /// is the hold.
    fn entries<'a>(&'a self, account: &'a AccountId, pool: Option<&'a PoolId>, limit: usize) -> Answer<'a, Vec<Entry>>;

    /// The store's clock.
    fn now(&self) -> Timestamp;

    /// Whether calls can be admitted, for readiness; the error says why not.
    fn check(&self) -> Answer<'_, ()>;
}

/// From a credential to the caller.
pub trait KeyStore: Send + Sync {
    /// Who the digest belongs to. A key that is disabled or deleted is found, and its state says so.
    fn caller<'a>(&'a self, digest: &'a KeyDigest) -> Answer<'a, Option<Caller>>;

    /// Adds a key to an account; durable on return.
    fn add_key<'a>(&'a self, account: &'a AccountId, key: Key, digest: KeyDigest) -> Answer<'a, ()>;
}

/// All of them, as the rest of the program holds it.
pub trait Store: LedgerStore + KeyStore + ResourceStore {}
impl<T: LedgerStore + KeyStore + ResourceStore> Store for T {}
