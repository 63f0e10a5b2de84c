//! The books: each command is one script call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redis::Cmd;

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Book, Entry, HoldId, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::store::{Answer, LedgerStore, NewAccount, StoreError, StoreErrorKind};

use super::args::Numbers;
use super::keys::{AccountKeys, count_field};
use super::link::{LinkError, Script};
use super::reply::{self, Asked, Said, Unreadable, What};
use super::{Redis, args, reading, scripts};

/// An account as this replica knows it: where it is kept, and how much of what was written there came from here.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) keys: AccountKeys,
    /// The highest count that was acknowledged: the store must never show a lower one.
    acknowledged: AtomicU64,
}

/// The accounts that were heard of since the start.
#[derive(Debug, Default)]
pub(super) struct Places(RwLock<HashMap<AccountId, Arc<Place>>>);

impl Redis {
    pub(super) fn place(&self, account: &AccountId) -> Arc<Place> {
        let places = self.places.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(account) {
            return Arc::clone(place);
        }
        drop(places);
        let mut places = self.places.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Place { keys: self.keys.account(account), acknowledged: AtomicU64::new(0) });
        Arc::clone(places.entry(account.clone()).or_insert_with(new))
    }

    /// Runs a script of an account; `fill` appends the numbers and what else follows the arguments that all scripts have.
    pub(super) async fn call(
        &self,
        script: &'static Script,
        account: &AccountId,
        asked: Asked<'_>,
        fill: impl FnOnce(&mut Cmd, Numbers),
    ) -> Result<Said, StoreError> {
        let place = self.place(account);
        let AccountKeys { hash, due, presumed, hold } = &place.keys;
        let mut cmd = script.call(&[hash.as_bytes(), due.as_bytes(), presumed.as_bytes()]);
        cmd.arg(self.count_field.as_str()).arg(hold.as_str());
        let given = self.given.as_ref().map(Clock::now);
        fill(&mut cmd, Numbers::new(given, place.acknowledged.load(Ordering::Acquire)));
        let value = self.link.run(script, cmd).await.map_err(|error| self.failure(account, error))?;
        let said = reply::said(value, asked).map_err(unreadable)?;
        place.acknowledged.fetch_max(said.count, Ordering::AcqRel);
        self.heard(said.now);
        Ok(said)
    }

    /// An operator's change; `digest` goes with a key that is put.
    pub(super) async fn change(
        &self,
        account: &AccountId,
        operation: &Operation,
        digest: Option<&str>,
    ) -> Result<Outcome, StoreError> {
        let fill = |cmd: &mut Cmd, numbers: Numbers| args::operate(cmd, numbers, operation, digest);
        self.call(&scripts::OPERATE, account, Asked::Other, fill).await?.outcome().map_err(unreadable)
    }

    pub(super) fn failure(&self, account: &AccountId, error: LinkError) -> StoreError {
        let (kind, detail) = match error {
            LinkError::Unavailable(detail) => (StoreErrorKind::Unavailable, detail),
            LinkError::Unknown(detail) => (StoreErrorKind::TimedOut, detail),
            LinkError::Script { code, .. } if code == "NOACCOUNT" => {
                (StoreErrorKind::UnknownAccount, format!("there is no account `{account}`"))
            }
            LinkError::Script { code, detail } => (StoreErrorKind::Corrupt, format!("{code} {detail}")),
            LinkError::Corrupt(detail) => (StoreErrorKind::Corrupt, detail),
        };
        StoreError { kind, detail }
    }
}

pub(super) fn unreadable(Unreadable(what): Unreadable) -> StoreError {
    StoreError { kind: StoreErrorKind::Corrupt, detail: format!("the store's answer cannot be read: {what}") }
}

impl LedgerStore for Redis {
    fn reserve<'a>(&'a self, account: &'a AccountId, reserve: Reserve) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let asked = Asked::Reserve(reserve.hold, &reserve.pool);
            let fill = |cmd: &mut Cmd, numbers: Numbers| args::reserve(cmd, numbers, &reserve);
            self.call(&scripts::RESERVE, account, asked, fill).await?.outcome().map_err(unreadable)
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
            let asked = Asked::Resolve(hold, origin.as_ref().map(|origin| &origin.pool));
            let fill = |cmd: &mut Cmd, numbers: Numbers| args::resolve(cmd, numbers, hold, resolution, origin.as_ref());
            self.call(&scripts::RESOLVE, account, asked, fill).await?.outcome().map_err(unreadable)
        })
    }

    fn operate<'a>(&'a self, account: &'a AccountId, operation: Operation) -> Answer<'a, Outcome> {
        Box::pin(async move { self.change(account, &operation, None).await })
    }

    fn open_account(&self, new: NewAccount) -> Answer<'_, bool> {
        Box::pin(async move {
            let NewAccount { account, site, state, never_pay } = new;
            let fill = |cmd: &mut Cmd, numbers: Numbers| {
                cmd.arg(numbers).arg(args::account_field(state, never_pay)).arg(site);
            };
            let said = self.call(&scripts::OPEN, &account, Asked::Other, fill).await?;
            let mut list = redis::cmd("SADD");
            list.arg(self.keys.accounts()).arg(account.as_str());
            self.ask(list, true).await?;
            Ok(matches!(said.what, What::Named(name, _) if name == "opened"))
        })
    }

    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book> {
        Box::pin(async move {
            loop {
                let fill = |cmd: &mut Cmd, numbers: Numbers| {
                    cmd.arg(numbers);
                };
                let said = self.call(&scripts::BOOK, account, Asked::Other, fill).await?;
                let (more, book) = reading::book(account, said.what).map_err(unreadable)?;
                if !more {
                    return Ok(book);
                }
            }
        })
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        Box::pin(async move {
            let mut list = redis::cmd("SMEMBERS");
            list.arg(self.keys.accounts());
            let names = reply::list(self.ask(list, false).await?).map_err(unreadable)?;
            let names: Result<Vec<AccountId>, _> =
                names.iter().map(|name| reply::text(name).map(AccountId::from)).collect();
            let mut names = names.map_err(unreadable)?;
            names.sort_unstable();
            Ok(names)
        })
    }

    fn entries<'a>(&'a self, _: &'a AccountId, _: Option<&'a PoolId>, _: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn now(&self) -> Timestamp {
        self.store_now()
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The field of the account's hash that counts what a replica wrote.
pub(super) fn field_of(replica: &str) -> String {
    count_field(replica)
}
