//! What the tests of the replica's journal share.

use std::path::{Path, PathBuf};

use gratis::clock::Clock;
use gratis::ledger::{Entry, EntryKind, GrantId, HoldId, Timestamp, Usage};
use gratis::store::redis::journal::Journal;
use gratis::store::redis::journal::rebuild::{Figures, Plan, plan};

use crate::store_support::{account, pool};

pub(crate) const BLOCK: u64 = 50_000;
pub(crate) const DAY_MS: u64 = 24 * 3_600_000;

pub(crate) fn clock() -> Clock {
    Clock::by_hand(Timestamp(1_800_000_000_000))
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir, BLOCK, clock()).unwrap()
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("replica.db")
}

fn entry(kind: EntryKind, hold: u128) -> Entry {
    let (at, grant, hold) = (Timestamp(1_800_000_000_000), Some(GrantId(1)), Some(HoldId(hold)));
    Entry { at, kind, pool: pool(), grant, hold, granted: 0, held: 0, spent: 0, presumed: 0, billed: Usage::default() }
}

pub(crate) fn granted(amount: i64) -> Entry {
    Entry { granted: amount, hold: None, ..entry(EntryKind::Grant, 0) }
}

pub(crate) fn reserved(hold: u128, amount: i64) -> Entry {
    Entry { held: amount, ..entry(EntryKind::Reserve, hold) }
}

pub(crate) fn settled(hold: u128, amount: i64, used: i64) -> Entry {
    Entry { held: -amount, spent: used, ..entry(EntryKind::Settle, hold) }
}

pub(crate) fn expired(hold: u128, amount: i64) -> Entry {
    Entry { held: -amount, presumed: amount, ..entry(EntryKind::Expire, hold) }
}

/// Appends and says whether there was something to wait for.
pub(crate) async fn append(journal: &Journal, entries: &[Entry]) -> bool {
    match journal.append(&account(), with(500_000, entries), 0).unwrap() {
        Some(wait) => wait.done().await.map(|()| true).unwrap(),
        None => false,
    }
}

/// Entries, after each of which this much is available.
pub(crate) fn with(available: i64, entries: &[Entry]) -> Vec<(Entry, i64)> {
    entries.iter().map(|entry| (entry.clone(), available)).collect()
}

pub(crate) fn plan_of(dirs: &[&Path]) -> Plan {
    plan(&dirs.iter().map(|dir| file(dir)).collect::<Vec<_>>()).unwrap()
}

/// The figures of the one grant.
pub(crate) fn figures(plan: &Plan) -> Figures {
    plan.accounts[&account()].grants[&(pool(), GrantId(1))]
}
