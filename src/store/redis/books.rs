//! The books: each command is one script call.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redis::{Cmd, Value};

use crate::ledger::{
    AccountId, Book, Done, Entry, HoldId, Operation, Origin, Outcome, PoolId, Reserve, Resolution, Timestamp,
};
use crate::store::{Answer, LedgerStore, NewAccount, StoreError, StoreErrorKind};

use super::args::{Numbers, Usual};
use super::crowd::{Crowd, Sent};
use super::journal::Kept;
use super::keys::{AccountKeys, Keys};
use super::link::{LinkError, Script};
use super::reading::{self, Reading};
use super::reply::{self, Asked, Said, Unreadable, What};
use super::{Redis, args, scripts};

/// An account as this replica knows it: where it is kept, and how much of what was written there came from here.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) keys: AccountKeys,
    pub(super) crowd: Crowd,
    acknowledged: Mutex<Acknowledged>,
}

/// The highest count that was acknowledged within an epoch: the store must never show a lower one. An operator's word begins a new
/// epoch, in which what was before counts no more.
#[derive(Debug)]
struct Acknowledged {
    epoch: u64,
    count: u64,
}

impl Place {
    fn new(keys: AccountKeys, epoch: u64, count: u64) -> Self {
        Self { keys, crowd: Crowd::default(), acknowledged: Mutex::new(Acknowledged { epoch, count }) }
    }

    /// What the store must at least show in this epoch.
    pub(super) fn acknowledged(&self, epoch: u64) -> u64 {
        self.noted(epoch, 0)
    }

    /// Notes a count that was acknowledged to a call of this epoch; answers the highest one. Both at once, so that no call takes the
    /// count of the epoch before into this one. An answer that comes late, after an operator's word, counts for nothing.
    fn noted(&self, epoch: u64, count: u64) -> u64 {
        let mut known = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch > known.epoch {
            *known = Acknowledged { epoch, count: 0 };
        }
        if epoch < known.epoch {
            return 0;
        }
        known.count = known.count.max(count);
        known.count
    }
}

/// The accounts that were heard of since the start, or that the journal knows.
#[derive(Debug)]
pub(super) struct Places(RwLock<HashMap<AccountId, Arc<Place>>>);

impl Places {
    /// Those that the journal knows, with what it saw acknowledged.
    pub(super) fn known(seen: BTreeMap<AccountId, u64>, keys: &Keys, epoch: u64) -> Self {
        let place = |(account, count): (AccountId, u64)| {
            let place = Place::new(keys.account(&account), epoch, count);
            (account, Arc::new(place))
        };
        Self(RwLock::new(seen.into_iter().map(place).collect()))
    }
}

impl Redis {
    pub(super) fn place(&self, account: &AccountId) -> Arc<Place> {
        let places = self.places.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(account) {
            return Arc::clone(place);
        }
        drop(places);
        let mut places = self.places.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Place::new(self.keys.account(account), self.sender.link.epoch(), 0));
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
        let epoch = self.sender.link.epoch();
        let mut cmd = self.sender.begin(script, &place, asked.hold());
        fill(&mut cmd, self.sender.numbers(&place, epoch));
        match self.sender.link.run(script, &place.keys.hash, cmd).await {
            Ok(value) => self.heard(&place, epoch, value, asked),
            Err(error) => Err(self.refused(account, error).await),
        }
    }

    /// What a script said, and the counts and the clock that come with it.
    fn heard(&self, place: &Place, epoch: u64, value: Value, asked: Asked<'_>) -> Result<Said, StoreError> {
        let said = reply::said(value, asked).map_err(unreadable)?;
        place.noted(epoch, said.count);
        self.set_clock(said.now);
        Ok(said)
    }

    async fn refused(&self, account: &AccountId, error: LinkError) -> StoreError {
        if let LinkError::Script { code, detail } = &error {
            match code.as_str() {
                "ROLLEDBACK" => self.sender.link.roll_back(detail).await,
                "NOACCOUNT" => {
                    if let Err(lost) = self.is_there().await {
                        return lost;
                    }
                }
                _ => {}
            }
        }
        self.failure(account, error)
    }

    /// A reservation or a resolution: together with those of the account that are ready at the same time, and by itself where it is
    /// not a usual one.
    async fn usual(&self, account: &AccountId, usual: Usual) -> Result<Outcome, StoreError> {
        let (place, usual) = (self.place(account), Arc::new(usual));
        let said = match self.sender.together(&place, &usual).await {
            Ok(Sent::Answered { epoch, value }) => self.heard(&place, epoch, value, usual.asked())?,
            Ok(Sent::Undecided) => {
                let fill = |cmd: &mut Cmd, numbers: Numbers| usual.append(cmd, numbers);
                self.call(usual.script(), account, usual.asked(), fill).await?
            }
            Err(error) => return Err(self.refused(account, error).await),
        };
        self.recorded(account, said).await?.outcome().map_err(unreadable)
    }

    /// What was said, once it is in the journal: on return a promise that had to rise is durable.
    async fn recorded(&self, account: &AccountId, said: Said) -> Result<What, StoreError> {
        if !said.entries.is_empty()
            && let Some(wait) = self.journal.append(account, said.entries, said.count)?
        {
            wait.done().await?;
        }
        Ok(said.what)
    }

    /// An operator's change; `digest` goes with a key that is put.
    pub(super) async fn change(
        &self,
        account: &AccountId,
        operation: &Operation,
        digest: Option<&str>,
    ) -> Result<Outcome, StoreError> {
        let fill = |cmd: &mut Cmd, numbers: Numbers| args::operate(cmd, numbers, operation, digest);
        let said = self.call(&scripts::OPERATE, account, Asked::Other, fill).await?;
        let outcome = self.recorded(account, said).await?.outcome().map_err(unreadable)?;
        if !matches!(outcome, Outcome::Done(Done::Unchanged) | Outcome::Declined(_)) {
            self.keep(account).await?;
        }
        Ok(outcome)
    }

    /// Puts how the account is configured now into the journal.
    async fn keep(&self, account: &AccountId) -> Result<(), StoreError> {
        let reading = self.read(account).await?;
        self.journal.keep(account, reading.revision, &Kept::of(&reading.book, &reading.digests))?;
        self.journal.sync().await
    }

    async fn read(&self, account: &AccountId) -> Result<Reading, StoreError> {
        loop {
            let fill = |cmd: &mut Cmd, numbers: Numbers| {
                cmd.arg(numbers);
            };
            let said = self.call(&scripts::BOOK, account, Asked::Other, fill).await?;
            let reading = reading::book(account, self.recorded(account, said).await?).map_err(unreadable)?;
            if !reading.more {
                return Ok(reading);
            }
        }
    }

    pub(super) fn failure(&self, account: &AccountId, error: LinkError) -> StoreError {
        let (kind, detail) = match error {
            LinkError::Unavailable(detail) => (StoreErrorKind::Unavailable, detail),
            LinkError::Unknown(detail) => (StoreErrorKind::TimedOut, detail),
            LinkError::NotInitialised(detail) => (StoreErrorKind::NotInitialised, detail),
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
        Box::pin(self.usual(account, Usual::Reserve(reserve)))
    }

    fn resolve<'a>(
        &'a self,
        account: &'a AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Answer<'a, Outcome> {
        Box::pin(async move {
            match self.usual(account, Usual::Resolve(hold, resolution, origin.clone())).await {
                Ok(outcome) => {
                    self.journal.unpark(hold)?;
                    Ok(outcome)
                }
                // It is on this machine's disk before anybody is told that it is not in the store.
                Err(error) => {
                    self.journal.park(account, hold, resolution, origin).await?;
                    Err(StoreError { kind: StoreErrorKind::Deferred, ..error })
                }
            }
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
            let what = self.recorded(&account, said).await?;
            let (key, mut list) = (self.keys.accounts(), redis::cmd("SADD"));
            list.arg(&key).arg(account.as_str());
            self.ask(&key, &list, true).await?;
            self.keep(&account).await?;
            Ok(matches!(what, What::Named(name, _) if name == "opened"))
        })
    }

    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book> {
        Box::pin(async move { Ok(self.read(account).await?.book) })
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        Box::pin(async move {
            let (key, mut list) = (self.keys.accounts(), redis::cmd("SMEMBERS"));
            list.arg(&key);
            let names = reply::list(self.ask(&key, &list, false).await?).map_err(unreadable)?;
            let names: Result<Vec<AccountId>, _> =
                names.iter().map(|name| reply::text(name).map(AccountId::from)).collect();
            let mut names = names.map_err(unreadable)?;
            names.sort_unstable();
            Ok(names)
        })
    }

    /// Those that this replica wrote: the others' are in their own journals.
    fn entries<'a>(&'a self, account: &'a AccountId, pool: Option<&'a PoolId>, limit: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(self.journal.entries(account, pool, limit))
    }

    fn now(&self) -> Timestamp {
        self.store_now()
    }

    fn check(&self) -> Answer<'_, ()> {
        let link = self.sender.link.check().map_err(|error| self.failure(&AccountId::from(""), error));
        Box::pin(std::future::ready(link.and_then(|()| self.journal.check())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_before_an_operators_word_counts_no_more() {
        let place = Place::new(Keys::new("gratis").account(&"a".into()), 1, 7);
        assert_eq!((place.acknowledged(1), place.noted(1, 9), place.noted(1, 8)), (7, 9, 9));
        assert_eq!((place.acknowledged(2), place.noted(2, 3)), (0, 3));
        // An answer to a call of the epoch before.
        assert_eq!((place.noted(1, 50), place.acknowledged(2)), (0, 3));
    }
}
