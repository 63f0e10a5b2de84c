//! What the provider itself says closes what it speaks of, for whoever uses it and on every replica (C10): the ledger holds the
//! closure, so the very next reservation sees it.
//!
//! *Free quota used up* closes the model's pool in every account. Nobody tries again by himself: what made the provider refuse may
//! have been its own switch, and once that is off a try would be charged. An operator clears it.
//!
//! *Overdue* closes all pools that the upstream serves. After a pause one call tries, chosen among the replicas by
//! put-if-absent; a readable reply reopens what was closed, another refusal begins a longer pause. No account is ever closed: none
//! of them is known to own the upstream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parts::ProxyParts;
use super::settings::Shared;
use super::upstream::Upstream;
use crate::ledger::{AccountId, Closure, Operation, PoolId, Timestamp};
use crate::store::{NoteStore, Shelf, Store, StoreError};

/// The longest pause is this many times doubled.
const DOUBLED_AT_MOST: u32 = 7;

/// That an upstream is closed: since when, how often it refused in a row, and what was closed for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Closed {
    attempt: u32,
    at: Timestamp,
    pools: Vec<(AccountId, PoolId)>,
}

impl Closed {
    fn next_try(&self, pause: Duration) -> Timestamp {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.at.plus(pause.saturating_mul(1 << self.attempt.saturating_sub(1).min(DOUBLED_AT_MOST)))
    }
}

async fn note_of(notes: &dyn NoteStore, upstream: &str) -> Result<Option<Closed>, StoreError> {
    let kept = notes.get(Shelf::Closures, upstream).await?;
    Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()))
}

/// The name under which a try is claimed. It holds the time of the closure, so that each closure has tries of its own.
fn try_name(upstream: &str, closed: &Closed) -> String {
    format!("{upstream}#{}.{}", closed.at.0, closed.attempt)
}

/// Closes a pool in every account: the provider says that its free quota is used up.
pub(super) async fn used_up(store: &dyn Store, first: &AccountId, pool: &PoolId) -> Result<(), StoreError> {
    // The caller's own account first: its next call may be on its way.
    close(store, first, pool, Closure::FreeTierOnly).await?;
    for account in store.accounts().await?.iter().filter(|account| *account != first) {
        if store.book(account).await?.pools.contains_key(pool) {
            close(store, account, pool, Closure::FreeTierOnly).await?;
        }
    }
    Ok(())
}

async fn close(store: &dyn Store, account: &AccountId, pool: &PoolId, closure: Closure) -> Result<(), StoreError> {
    store.operate(account, Operation::ClosePool { pool: pool.clone(), closure }).await.map(drop)
}

/// Closes everything that an upstream serves: it says that its account is overdue.
pub(super) async fn overdue(parts: &ProxyParts, shared: &Shared, upstream: &Arc<Upstream>) -> Result<(), StoreError> {
    let Some(notes) = parts.notes() else { return Ok(()) };
    let served = shared.catalogue.models().filter(|model| Arc::ptr_eq(shared.upstreams.of(&model.code), upstream));
    let served: BTreeSet<&PoolId> = served.map(|model| &model.pool).collect();
    let before = note_of(&**notes, upstream.name()).await?;
    let mut closed = Closed {
        attempt: before.as_ref().map_or(1, |before| before.attempt.saturating_add(1)),
        at: parts.clock.now(),
        pools: before.map(|before| before.pools).unwrap_or_default(),
    };
    for account in parts.store.accounts().await? {
        let book = parts.store.book(&account).await?;
        // One that was closed for its quota stays closed for that.
        for (pool, _) in book.pools.iter().filter(|(pool, of)| served.contains(pool) && of.closed.is_none()) {
            close(&*parts.store, &account, pool, Closure::Arrearage).await?;
            closed.pools.push((account.clone(), pool.clone()));
        }
    }
    closed.pools.sort();
    closed.pools.dedup();
    let value = serde_json::to_string(&closed).unwrap_or_default();
    notes.put(Shelf::Closures, vec![(upstream.name().to_owned(), value)]).await
}

/// Whether this call may try an upstream that is closed; its own pool is then open.
pub(super) async fn may_try(
    parts: &ProxyParts,
    upstream: &Upstream,
    (account, pool): (&AccountId, &PoolId),
    pause: Duration,
) -> Result<bool, StoreError> {
    let Some(notes) = parts.notes() else { return Ok(false) };
    let Some(closed) = note_of(&**notes, upstream.name()).await? else { return Ok(false) };
    if parts.clock.now() < closed.next_try(pause) {
        return Ok(false);
    }
    let book = parts.store.book(account).await?;
    if book.pools.get(pool).and_then(|pool| pool.closed) != Some(Closure::Arrearage) {
        return Ok(false);
    }
    let name = try_name(upstream.name(), &closed);
    if notes.put_if_absent(Shelf::Closures, &name, "{}".to_owned()).await?.is_some() {
        return Ok(false);
    }
    parts.store.operate(account, Operation::ReopenPool { pool: pool.clone() }).await?;
    Ok(true)
}

/// The upstream serves again: what was closed for it is opened.
pub(super) async fn well_again(parts: &ProxyParts, upstream: &str) -> Result<(), StoreError> {
    let Some(notes) = parts.notes() else { return Ok(()) };
    let Some(closed) = note_of(&**notes, upstream).await? else { return Ok(()) };
    for (account, pool) in &closed.pools {
        let book = parts.store.book(account).await?;
        if book.pools.get(pool).and_then(|pool| pool.closed) == Some(Closure::Arrearage) {
            parts.store.operate(account, Operation::ReopenPool { pool: pool.clone() }).await?;
        }
    }
    for (name, _) in notes.list(Shelf::Closures, &format!("{upstream}#"), None, usize::MAX).await? {
        notes.remove(Shelf::Closures, &name).await?;
    }
    notes.remove(Shelf::Closures, upstream).await.map(drop)
}
