//! What a journal knows in memory: the sums of every grant that it moved, and what it keeps beside them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::fund::{Fund, FundRow, Sums};
use super::kept::{Parked, Remembered};
use super::queue::{Batch, Write};
use crate::ledger::{AccountId, Amount, Entry, EntryKind, GrantId, HoldId, PoolId};
use crate::store::embedded::queue::Group;

/// What is known of one account.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its funds.
    funds: Vec<usize>,
    /// The highest sequence number of this replica that the store acknowledged.
    pub(super) seen: u64,
    seen_queued: bool,
    /// The revision of its configuration.
    pub(super) revision: Option<u64>,
}

/// Everything, as it is after the last call.
#[derive(Debug, Default)]
pub(super) struct Books {
    funds: Vec<Fund>,
    pub(super) accounts: HashMap<AccountId, Known>,
    pub(super) parked: HashMap<HoldId, Parked>,
    pub(super) peers: BTreeSet<String>,
    pub(super) remembered: Remembered,
    /// The number of the newest fund.
    newest: i64,
    /// Funds that moved lately.
    restless: Vec<usize>,
    pub(super) block_max: Amount,
}

impl Books {
    /// Puts in a fund that was read from the disk.
    pub(super) fn place(&mut self, row: FundRow) {
        self.newest = self.newest.max(row.number);
        let at = self.funds.len();
        self.known(&row.account).funds.push(at);
        self.funds.push(Fund::new(row));
    }

    pub(super) fn known(&mut self, account: &AccountId) -> &mut Known {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.clone(), Known::default());
        }
        self.accounts.entry(account.clone()).or_default()
    }

    /// The place of a fund; makes one for what was never moved here.
    fn find(&mut self, account: &AccountId, pool: &PoolId, grant: Option<GrantId>) -> usize {
        let known = self.accounts.get(account);
        let found = known.and_then(|known| {
            known.funds.iter().copied().find(|at| self.funds.get(*at).is_some_and(|fund| fund.is(pool, grant)))
        });
        found.unwrap_or_else(|| {
            let number = self.newest.saturating_add(1);
            let (account, pool, sums) = (account.clone(), pool.clone(), Sums::default());
            self.place(FundRow { number, account, pool, grant, sums, watermark: 0, doubt: 0 });
            self.funds.len() - 1
        })
    }

    /// Takes in what a call moved. Answers whose commit has to be waited for.
    pub(super) fn append(
        &mut self,
        account: &AccountId,
        entries: Vec<(Entry, i64)>,
        batch: &mut Batch,
    ) -> Option<Arc<Group>> {
        let mut touched: smallvec::SmallVec<[usize; 4]> = smallvec::SmallVec::new();
        for (entry, available) in entries {
            let at = self.find(account, &entry.pool, entry.grant);
            let Some(fund) = self.funds.get_mut(at) else { continue };
            fund.add(&entry, available);
            batch.full |= is_operators(entry.kind);
            // What only sets aside is recorded by the promise, and by the sum when it is written next.
            let moves = entry.granted != 0 || entry.spent != 0 || entry.presumed != 0;
            if moves || entry.held < 0 || entry.billed.total() > 0 {
                if fund.enqueue() {
                    batch.funds.push(at);
                }
                batch.writes.push(Write::Entry { fund: fund.number(), entry });
            }
            if !touched.contains(&at) {
                touched.push(at);
            }
        }
        let mut waits = None;
        for at in touched {
            waits = self.promise(at, batch).or(waits);
        }
        if batch.full { Some(batch.group.clone()) } else { waits }
    }

    fn promise(&mut self, at: usize, batch: &mut Batch) -> Option<Arc<Group>> {
        let fund = self.funds.get_mut(at)?;
        if fund.stir() {
            self.restless.push(at);
        }
        let group = fund.promise(&batch.group, self.block_max)?;
        if Arc::ptr_eq(&group, &batch.group) {
            batch.full = true;
            if fund.enqueue() {
                batch.funds.push(at);
            }
        }
        Some(group)
    }

    /// Notes a sequence number; goes along with the next batch.
    /// Forgets what was acknowledged: an operator has said that what the store holds now is the truth.
    pub(super) fn forget_seen(&mut self, batch: &mut Batch) {
        for (account, known) in self.accounts.iter_mut().filter(|(_, known)| known.seen > 0) {
            known.seen = 0;
            if !std::mem::replace(&mut known.seen_queued, true) {
                batch.seen.push(account.clone());
            }
        }
    }

    pub(super) fn note_seen(&mut self, account: &AccountId, seq: u64, batch: &mut Batch) {
        let known = self.known(account);
        if seq <= known.seen {
            return;
        }
        known.seen = seq;
        if !std::mem::replace(&mut known.seen_queued, true) {
            batch.seen.push(account.clone());
        }
    }

    /// Once a second: lets promises follow refunds down, and puts what is only in memory into the batch.
    pub(super) fn look_after(&mut self, batch: &mut Batch) {
        let mut restless = std::mem::take(&mut self.restless);
        restless.retain(|at| {
            let Some(fund) = self.funds.get_mut(*at) else { return false };
            batch.full |= fund.settle_down(self.block_max);
            if fund.is_changed() && fund.enqueue() {
                batch.funds.push(*at);
            }
            fund.is_restless()
        });
        self.restless = restless;
    }

    /// Whether something has to be looked after.
    pub(super) fn is_restless(&self) -> bool {
        !self.restless.is_empty()
    }

    /// The rows of the batch, as they are now.
    pub(super) fn rows(&mut self, batch: &mut Batch) -> (Vec<FundRow>, Vec<(AccountId, u64)>) {
        let funds = batch.funds.drain(..).filter_map(|at| self.funds.get_mut(at).map(Fund::write)).collect();
        let seen = std::mem::take(&mut batch.seen)
            .into_iter()
            .map(|account| {
                let known = self.known(&account);
                known.seen_queued = false;
                let seen = known.seen;
                (account, seen)
            })
            .collect();
        (funds, seen)
    }

    /// The peers as the file keeps them.
    pub(super) fn peers_text(&self) -> String {
        self.peers.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn seen(&self) -> BTreeMap<AccountId, u64> {
        let seen = self.accounts.iter().filter(|(_, known)| known.seen > 0);
        seen.map(|(account, known)| (account.clone(), known.seen)).collect()
    }
}

/// What an operator did, or what a recovery posted, is durable before it is answered (LEDGER 4).
fn is_operators(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Grant | EntryKind::Sync | EntryKind::Recover => true,
        EntryKind::Reserve
        | EntryKind::Settle
        | EntryKind::Release
        | EntryKind::Presume
        | EntryKind::Expire
        | EntryKind::Correct
        | EntryKind::Unknown => false,
    }
}
