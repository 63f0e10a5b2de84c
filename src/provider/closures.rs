//! What a refusal of the provider's closes, for whoever uses it and on every replica: the ledger holds the closure, so the very
//! next reservation sees it.
//!
//! *Free quota used up* closes the model's pool in every account. Nobody tries again by himself: what made the provider refuse may
//! have been its own switch, and once that is off a try would be charged. An operator clears it.
//!
//! *Overdue* closes all pools that the upstream serves, in every account, and the account that owns the upstream, where the
//! configuration names one. After a pause one call tries, chosen among the replicas by put-if-absent; a readable reply reopens what
//! was closed, another refusal begins a longer pause.
//!
//! The note of a closure is written before anything is closed, and removed after everything is open: what breaks off in between is
//! seen, and mended by a repeat.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::standing::Standing;
use crate::catalogue::Site;
use crate::ledger::{AccountId, AccountState, Book, Closure, Operation, PoolId, Timestamp};
use crate::store::{Answer, Log, NoteStore, Shelf, Store, StoreError, StoreErrorKind};

/// The longest pause is this many times doubled.
const DOUBLED_AT_MOST: u32 = 7;
/// Accounts that are closed or opened at once.
const AT_ONCE: usize = 16;
/// How often a note is read anew where somebody else changed it meanwhile.
const TRIES: usize = 16;
/// The most closures and tries that are looked at.
const NOTES_MAX: usize = 10_000;

/// The site of a name, where it is configured.
pub type Sites<'a> = &'a (dyn Fn(&str) -> Option<Arc<Site>> + Send + Sync);

/// The books and the notes in which it is kept.
#[derive(Clone, Copy)]
pub struct Provider<'a> {
    /// The books.
    pub store: &'a dyn Store,
    /// What is kept beside them.
    pub notes: &'a dyn NoteStore,
    /// The sites by name.
    pub sites: Sites<'a>,
}

/// That an upstream said that its account is overdue.
#[derive(Clone, Debug)]
pub struct Overdue<'a> {
    /// Its name.
    pub upstream: &'a str,
    /// The account that owns it.
    pub owner: Option<&'a AccountId>,
    /// The pools that it serves.
    pub pools: Vec<PoolId>,
    /// Whose call it refused: closed first, its next call may be on its way.
    pub caller: &'a AccountId,
    /// Whether that call tried a closed upstream.
    pub tried: bool,
    /// What it said.
    pub code: &'a str,
    /// The request that it refused.
    pub request: &'a str,
}

/// An upstream that is closed: since when, how often it refused in a row, and what was closed for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClosedUpstream {
    /// How often it refused in a row: at first and after each pause.
    pub attempt: u32,
    /// When it refused last.
    pub at: Timestamp,
    /// The pools that it serves.
    pub pools: Vec<PoolId>,
    /// The account that owns it.
    pub owner: Option<AccountId>,
}

/// A call that may be the one that tries.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The upstream that serves it.
    pub upstream: &'a str,
    /// Whose call it is.
    pub account: &'a AccountId,
    /// The pool that it draws on.
    pub pool: &'a PoolId,
    /// The first pause.
    pub pause: Duration,
}

impl ClosedUpstream {
    fn next_try(&self, pause: Duration) -> Timestamp {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.at.plus(pause.saturating_mul(1 << self.attempt.saturating_sub(1).min(DOUBLED_AT_MOST)))
    }

    /// The name under which a try is claimed. It holds the time of the closure, so that each closure has tries of its own.
    fn try_name(&self, upstream: &str) -> String {
        format!("{upstream}#{}.{}", self.at.0, self.attempt)
    }
}

impl Provider<'_> {
    /// The upstreams that are closed, by name.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub async fn closed(&self) -> Result<Vec<(String, ClosedUpstream)>, StoreError> {
        let notes = self.notes.list(Shelf::Closures, "", None, NOTES_MAX).await?;
        let read = |(name, value): (String, String)| Some((name, serde_json::from_str(&value).ok()?));
        Ok(notes.into_iter().filter(|(name, _)| !name.contains('#')).filter_map(read).collect())
    }

    async fn closure(&self, upstream: &str) -> Result<Option<ClosedUpstream>, StoreError> {
        let kept = self.notes.get(Shelf::Closures, upstream).await?;
        Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()))
    }

    /// Closes a pool in every account: the provider says that its free quota is used up.
    ///
    /// # Errors
    /// The store could not close it everywhere.
    pub async fn used_up(store: &dyn Store, caller: &AccountId, pool: &PoolId) -> Result<(), StoreError> {
        let close = Operation::ClosePool { pool: pool.clone(), closure: Closure::FreeTierOnly };
        store.operate(caller, close.clone()).await?;
        let others = others(store, caller).await?;
        let mut each: Vec<Answer<'_, ()>> = Vec::new();
        for account in &others {
            let close = close.clone();
            each.push(Box::pin(async move {
                if store.book(account).await?.pools.contains_key(pool) {
                    store.operate(account, close).await?;
                }
                Ok(())
            }));
        }
        all(each).await
    }

    /// Closes everything that an upstream serves, and the account that owns it.
    ///
    /// # Errors
    /// The store could not close it everywhere; what could be closed is closed.
    pub async fn overdue(&self, said: Overdue<'_>) -> Result<(), StoreError> {
        let before = self.closure(said.upstream).await?;
        let mut pools = before.as_ref().map(|before| before.pools.clone()).unwrap_or_default();
        pools.extend(said.pools.iter().cloned());
        pools.sort();
        pools.dedup();
        // Of the calls that were under way together, one counts.
        let attempt = before.map_or(1, |before| before.attempt.saturating_add(u32::from(said.tried)));
        let closed = ClosedUpstream { attempt, at: self.store.now(), pools, owner: said.owner.cloned() };
        let value = serde_json::to_string(&closed).unwrap_or_default();
        self.notes.put(Shelf::Closures, vec![(said.upstream.to_owned(), value)]).await?;
        let close = Operation::UpstreamOverdue { pools: closed.pools };
        let own = self.store.operate(said.caller, close.clone()).await.map(drop);
        let owner = match said.owner {
            Some(owner) => self.refuse(owner, &said).await,
            None => Ok(()),
        };
        let others = others(self.store, said.caller).await?;
        own.and(self.everywhere(&others, &close).await).and(owner)
    }

    /// Whether this call may try an upstream that is closed; what is in its way is then open.
    ///
    /// # Errors
    /// The store cannot answer.
    pub async fn may_try(&self, trial: Trial<'_>) -> Result<bool, StoreError> {
        let Some(closed) = self.closure(trial.upstream).await? else { return Ok(false) };
        if self.store.now() < closed.next_try(trial.pause) {
            return Ok(false);
        }
        let book = self.store.book(trial.account).await?;
        let of_pool = book.pools.get(trial.pool).and_then(|pool| pool.closed).is_some_and(Closure::is_overdue);
        let state = match closed.owner.as_ref() {
            Some(owner) if owner == trial.account => self.state_once_served(&book, trial.upstream).await?,
            Some(_) | None => book.state,
        };
        let stays_refused = matches!(state, AccountState::Overdue { grace_until } if grace_until <= self.store.now());
        if stays_refused || (!of_pool && state == book.state) {
            return Ok(false);
        }
        let name = closed.try_name(trial.upstream);
        if self.notes.put_if_absent(Shelf::Closures, &name, "{}".to_owned()).await?.is_some() {
            return Ok(false);
        }
        let event = json!({ "kind": "tried_again", "upstream": trial.upstream });
        self.set_state(&book, state, trial.upstream, &event).await?;
        self.store.operate(trial.account, Operation::UpstreamServes { pools: vec![trial.pool.clone()] }).await?;
        Ok(true)
    }

    /// The upstream serves again: what was closed for it is opened. Answers what it was; `None` = it was not closed.
    ///
    /// # Errors
    /// The store could not open everything; a repeat goes on.
    pub async fn serves(&self, upstream: &str, cause: &str) -> Result<Option<ClosedUpstream>, StoreError> {
        let Some(closed) = self.closure(upstream).await? else { return Ok(None) };
        if let Some(owner) = &closed.owner {
            self.admit(owner, upstream, cause).await?;
        }
        let open = Operation::UpstreamServes { pools: closed.pools.clone() };
        self.everywhere(&self.store.accounts().await?, &open).await?;
        for (name, _) in self.notes.list(Shelf::Closures, &format!("{upstream}#"), None, NOTES_MAX).await? {
            self.notes.remove(Shelf::Closures, &name).await?;
        }
        self.notes.remove(Shelf::Closures, upstream).await?;
        Ok(Some(closed))
    }

    /// Carries a change out in each of these accounts.
    async fn everywhere(&self, accounts: &[AccountId], change: &Operation) -> Result<(), StoreError> {
        let mut each: Vec<Answer<'_, ()>> = Vec::new();
        for account in accounts {
            let (store, change) = (self.store, change.clone());
            each.push(Box::pin(async move { store.operate(account, change).await.map(drop) }));
        }
        all(each).await
    }

    /// What is known of an account; where nothing was written down, what its state says.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub async fn standing(&self, book: &Book) -> Result<Standing, StoreError> {
        Ok(self.kept(book).await?.1)
    }

    async fn kept(&self, book: &Book) -> Result<(Option<String>, Standing), StoreError> {
        let kept = self.notes.get(Shelf::Standing, book.account.as_str()).await?;
        let standing = kept.as_ref().and_then(|kept| serde_json::from_str(kept).ok());
        Ok((kept, standing.unwrap_or_else(|| Standing::implied(book.state, None))))
    }

    /// Changes what is known of an account, in one step whoever else changes it. Answers what was known, and what is.
    ///
    /// # Errors
    /// The store cannot answer. The inner one is `change`'s own.
    pub async fn change<E>(
        &self,
        book: &Book,
        change: impl Fn(Standing) -> Result<Standing, E>,
    ) -> Result<Result<(Standing, Standing), E>, StoreError> {
        for _ in 0..TRIES {
            let (kept, before) = self.kept(book).await?;
            let after = match change(before.clone()) {
                Ok(after) => after,
                Err(no) => return Ok(Err(no)),
            };
            let value = serde_json::to_string(&after).unwrap_or_default();
            if self.notes.put_if(Shelf::Standing, book.account.as_str(), kept.as_deref(), Some(value)).await? {
                return Ok(Ok((before, after)));
            }
        }
        let detail = format!("what is known of the account `{}` changes all the time", book.account);
        Err(StoreError { kind: StoreErrorKind::Unavailable, detail })
    }

    /// An upstream of the account's own refused: the account is overdue, with no grace left.
    async fn refuse(&self, owner: &AccountId, said: &Overdue<'_>) -> Result<(), StoreError> {
        let book = self.store.book(owner).await?;
        let refused = |standing: Standing| Ok::<_, StoreError>(standing.refused(said.upstream, self.store.now()));
        let (_, after) = self.change(&book, refused).await??;
        let at = after.refused_by.as_ref().map_or(self.store.now(), |refused| refused.at);
        let state = match (self.sites)(&book.site) {
            Some(site) => after.state(&site),
            None => AccountState::Overdue { grace_until: at },
        };
        let event = json!({ "kind": "refused_by_provider", "upstream": said.upstream, "code": said.code, "request_id": said.request });
        self.set_state(&book, state, said.upstream, &event).await
    }

    /// That upstream serves again.
    async fn admit(&self, owner: &AccountId, upstream: &str, cause: &str) -> Result<(), StoreError> {
        let book = self.store.book(owner).await?;
        let served = |standing: Standing| Ok::<_, StoreError>(standing.served(upstream));
        let (_, after) = self.change(&book, served).await??;
        let Some(site) = (self.sites)(&book.site) else { return Ok(()) };
        let event = json!({ "kind": "serves_again", "upstream": upstream, "cause": cause });
        self.set_state(&book, after.state(&site), upstream, &event).await
    }

    /// The state that the account has once this upstream serves it.
    async fn state_once_served(&self, book: &Book, upstream: &str) -> Result<AccountState, StoreError> {
        let standing = self.standing(book).await?;
        let refused = standing.refused_by.as_ref().is_some_and(|refused| refused.upstream == upstream);
        match (self.sites)(&book.site).filter(|_| refused) {
            Some(site) => Ok(standing.served(upstream).state(&site)),
            None => Ok(book.state),
        }
    }

    /// Sets a state that follows from an event, with a line in the audit log that names the event.
    async fn set_state(
        &self,
        book: &Book,
        state: AccountState,
        upstream: &str,
        event: &serde_json::Value,
    ) -> Result<(), StoreError> {
        if book.state == state || book.state == AccountState::Closed {
            return Ok(());
        }
        self.store.operate(&book.account, Operation::SetState(state)).await?;
        let line = json!({
            "at": self.store.now().to_rfc3339(),
            "actor": { "role": "provider", "name": format!("upstream {upstream}") },
            "method": "EVENT",
            "path": format!("/accounts/{}/standing", book.account),
            "account": book.account,
            "status": 200,
            "request": event,
            "before": { "state": book.state },
            "after": { "state": state },
            "answer": null,
        });
        self.notes.append(Log::Audit, line.to_string()).await.map(drop)
    }
}

async fn others(store: &dyn Store, caller: &AccountId) -> Result<Vec<AccountId>, StoreError> {
    Ok(store.accounts().await?.into_iter().filter(|account| account != caller).collect())
}

/// Carries all of them out, some at once; the first failure is told when none is left.
async fn all(each: Vec<Answer<'_, ()>>) -> Result<(), StoreError> {
    let mut running = stream::iter(each).buffer_unordered(AT_ONCE);
    let mut all = Ok(());
    while let Some(one) = running.next().await {
        all = all.and(one);
    }
    all
}
