//! The traits, answered from memory and made durable by the writer.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::account::{Account, Live, Need};
use super::keys::Placed;
use super::queue::unavailable;
use super::rows::Write;
use super::{Embedded, Inner};
use crate::ledger::{
    AccountId, Book, Command, EXPIRE_AT_MOST, Entry, HoldId, Key, Operation, Origin, Outcome, PoolId, Reserve,
    Resolution, Timestamp,
};
use crate::store::{Answer, Caller, KeyDigest, KeyStore, LedgerStore, NewAccount, StoreError, StoreErrorKind};

impl Inner {
    fn account(&self, id: &AccountId) -> Result<Arc<Account>, StoreError> {
        match self.accounts.load().get(id) {
            Some(account) => Ok(account.clone()),
            None => Err(StoreError { kind: StoreErrorKind::UnknownAccount, detail: format!("no account {id}") }),
        }
    }
}

impl Embedded {
    async fn carry_out(&self, id: &AccountId, command: Command, need: Need) -> Result<Outcome, StoreError> {
        let account = self.inner.account(id)?;
        match &command {
            Command::Reserve(Reserve { hold, .. }) | Command::Resolve { hold, .. } => {
                self.recall(&account, *hold).await?;
            }
            Command::Expire { .. } | Command::Forget { .. } | Command::Operate(_) => {}
        }
        let room = self.inner.queue.room().await?;
        let now = self.inner.clock.now();
        let step = account.lock()?.step(&self.inner.queue, &self.inner.keys, Some(room), now, command, need)?;
        if let Some(group) = step.group {
            self.inner.wait(&group).await?;
        }
        Ok(step.outcome)
    }

    /// A final that memory has forgotten is read back before a command that names it.
    async fn recall(&self, account: &Account, id: HoldId) -> Result<(), StoreError> {
        let number = {
            let live = account.lock()?;
            if !live.may_be_forgotten(id) {
                return Ok(());
            }
            live.number
        };
        if let Some((state, since)) = self.reader.final_of(number, id).await? {
            account.lock()?.recall(id, state, since, self.inner.clock.now());
        }
        Ok(())
    }

    /// Waits until everything that was changed so far is on the disk.
    async fn barrier(&self) -> Result<(), StoreError> {
        let room = self.inner.queue.room().await?;
        let group = self.inner.queue.push(Some(room), true, false, |_| {})?;
        self.inner.wait(&group).await
    }

    async fn make_account(&self, new: NewAccount) -> Result<bool, StoreError> {
        let room = self.inner.queue.room().await?;
        let group = {
            let mut next = self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
            let known = self.inner.accounts.load();
            if known.contains_key(&new.account) {
                return Ok(false);
            }
            let book = Book::new(new.account.clone(), &new.site, new.state, new.never_pay);
            let live = Live::new(*next, book, self.inner.settings.block_max);
            let row = Box::new(live.row());
            let group =
                self.inner.queue.push(Some(room), true, true, |batch| batch.writes.push(Write::Account(row)))?;
            let mut accounts = HashMap::clone(&known);
            accounts.insert(new.account, Arc::new(Account::new(live)));
            self.inner.accounts.store(Arc::new(accounts));
            *next += 1;
            group
        };
        group.wait().await?;
        Ok(true)
    }

    async fn place_key(&self, id: &AccountId, key: Key, digest: KeyDigest) -> Result<(), StoreError> {
        let account = self.inner.account(id)?;
        let room = self.inner.queue.room().await?;
        let (queue, keys) = (&self.inner.queue, &self.inner.keys);
        let group = {
            let _one_at_a_time = self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.owner(&digest).is_some_and(|(owner, known)| owner != *id || known.id != key.id) {
                return Err(unavailable("another key has this digest"));
            }
            let mut live = account.lock()?;
            let now = self.inner.clock.now();
            let command = Command::Operate(Operation::PutKey(key.clone()));
            let step = live.step(queue, keys, Some(room), now, command, Need::Durable)?;
            if let Outcome::Declined(decline) = step.outcome {
                return Err(unavailable(&format!("the key was not added: {decline:?}")));
            }
            if let Some(before) = live.digests.insert(key.id.clone(), digest).filter(|before| *before != digest) {
                keys.remove(&before);
            }
            let site = Arc::<str>::from(live.book.site.as_str());
            let group = queue.push(None, true, true, |batch| live.key(&key.id, keys, batch))?;
            keys.place(vec![Placed { digest, account: id.clone(), site, key }]);
            group
        };
        group.wait().await
    }

    /// A copy of the book once nothing is due in it.
    async fn copy(&self, id: &AccountId) -> Result<Book, StoreError> {
        let account = self.inner.account(id)?;
        let command = Command::Expire { limit: EXPIRE_AT_MOST };
        while let Outcome::Expired { more: true, .. } = self.carry_out(id, command.clone(), Need::Memory).await? {}
        let live = account.lock()?;
        let mut book = live.book.clone();
        drop(live);
        book.holds.retain(|_, hold| !hold.state.is_final());
        Ok(book)
    }
}

impl LedgerStore for Embedded {
    fn reserve<'a>(&'a self, account: &'a AccountId, reserve: Reserve) -> Answer<'a, Outcome> {
        Box::pin(self.carry_out(account, Command::Reserve(reserve), Need::Admission))
    }

    fn resolve<'a>(
        &'a self,
        account: &'a AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Answer<'a, Outcome> {
        Box::pin(self.carry_out(account, Command::Resolve { hold, resolution, origin }, Need::Memory))
    }

    fn operate<'a>(&'a self, account: &'a AccountId, operation: Operation) -> Answer<'a, Outcome> {
        Box::pin(self.carry_out(account, Command::Operate(operation), Need::Durable))
    }

    fn open_account(&self, account: NewAccount) -> Answer<'_, bool> {
        Box::pin(self.make_account(account))
    }

    fn book<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Book> {
        Box::pin(self.copy(account))
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountId>> {
        let mut ids: Vec<AccountId> = self.inner.accounts.load().keys().cloned().collect();
        ids.sort_unstable();
        Box::pin(std::future::ready(Ok(ids)))
    }

    fn entries<'a>(&'a self, account: &'a AccountId, pool: Option<&'a PoolId>, limit: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            let number = self.inner.account(account)?.lock()?.number;
            self.barrier().await?;
            self.reader.entries(number, pool.cloned(), limit).await
        })
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(self.inner.queue.check()))
    }
}

impl KeyStore for Embedded {
    fn caller<'a>(&'a self, digest: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        Box::pin(std::future::ready(Ok(self.inner.keys.caller(digest))))
    }

    fn add_key<'a>(&'a self, account: &'a AccountId, key: Key, digest: KeyDigest) -> Answer<'a, ()> {
        Box::pin(self.place_key(account, key, digest))
    }
}
