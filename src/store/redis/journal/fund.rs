//! What this replica moved of one grant in all, and what its disk promises of it.

use std::sync::Arc;

use crate::ledger::{AccountId, Amount, Balance, Entry, GrantId, PoolId, Usage};
use crate::store::embedded::queue::Group;
use crate::store::embedded::rows::int;
use crate::store::embedded::sum::Sum;
use crate::store::embedded::watermark::Mark;

/// The sum of entries. Signed: a replica may settle or expire what another one held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sums {
    pub(super) granted: i64,
    pub(super) held: i64,
    pub(super) spent: i64,
    pub(super) presumed: i64,
    pub(super) billed: Usage,
}

impl Sums {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.granted = self.granted.saturating_add(entry.granted);
        self.held = self.held.saturating_add(entry.held);
        self.spent = self.spent.saturating_add(entry.spent);
        self.presumed = self.presumed.saturating_add(entry.presumed);
        self.billed.input = self.billed.input.saturating_add(entry.billed.input);
        self.billed.output = self.billed.output.saturating_add(entry.billed.output);
    }

    /// held + spent + presumed. Negative where this replica gave back more than it took, of what others took.
    pub(super) fn taken(&self) -> i64 {
        self.held.saturating_add(self.spent).saturating_add(self.presumed)
    }
}

/// A row of the table of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FundRow {
    pub(super) number: i64,
    pub(super) account: AccountId,
    pub(super) pool: PoolId,
    /// `None`: what no grant covered.
    pub(super) grant: Option<GrantId>,
    pub(super) sums: Sums,
    /// W: what counts as taken by this replica if it does not stop cleanly. Never below the sum.
    pub(super) watermark: i64,
    /// What earlier stops that were not clean may have lost.
    pub(super) doubt: Amount,
}

impl FundRow {
    /// What is promised beyond the sum.
    pub(super) fn ahead(&self) -> Amount {
        u64::try_from(self.watermark.saturating_sub(self.sums.taken())).unwrap_or(0)
    }

    pub(super) fn sum(&self) -> i64 {
        let Sums { granted, held, spent, presumed, billed } = self.sums;
        Sum::new(b'f')
            .int(self.number)
            .text(self.account.as_str())
            .text(self.pool.as_str())
            .int(self.grant.map_or(-1, |grant| i64::from(grant.0)))
            .int(granted)
            .int(held)
            .int(spent)
            .int(presumed)
            .int(int(billed.input))
            .int(int(billed.output))
            .int(self.watermark)
            .amount(self.doubt)
            .end()
    }
}

/// One grant as this replica moves it.
#[derive(Debug)]
pub(super) struct Fund {
    row: FundRow,
    /// The promise and the sum are counted from here, so that both are amounts.
    base: i64,
    mark: Mark,
    /// What the store said is left of the grant, over all replicas.
    remaining: Amount,
    /// The promise that is known to be durable.
    safe: Amount,
    /// A higher promise on its way to the disk.
    rising: Option<(Arc<Group>, Amount)>,
    /// So many looks at the promise are left before the grant is left alone.
    restless: u8,
    /// The disk says something else.
    changed: bool,
    /// Its row is part of the next batch.
    queued: bool,
}

/// Looks at a promise after the last call: enough for it to follow refunds down.
const LOOKS: u8 = 3;

impl Fund {
    pub(super) fn new(row: FundRow) -> Self {
        let (base, safe) = (row.sums.taken(), row.ahead());
        Self {
            row,
            base,
            mark: Mark::new(safe),
            remaining: 0,
            safe,
            rising: None,
            restless: 0,
            changed: false,
            queued: false,
        }
    }

    pub(super) fn is(&self, pool: &PoolId, grant: Option<GrantId>) -> bool {
        self.row.grant == grant && self.row.pool == *pool
    }

    /// The row as it is to be written now.
    pub(super) fn write(&mut self) -> FundRow {
        (self.changed, self.queued) = (false, false);
        FundRow { watermark: self.base.saturating_add_unsigned(self.mark.promised), ..self.row.clone() }
    }

    /// Claims a place in the next batch. `false` = it has one already.
    pub(super) fn enqueue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn number(&self) -> i64 {
        self.row.number
    }

    /// Takes in an entry; `available` is what the store then has left of the grant.
    pub(super) fn add(&mut self, entry: &Entry, available: i64) {
        self.row.sums.add(entry);
        self.remaining = u64::try_from(available).unwrap_or(0);
        self.changed = true;
    }

    /// Notes that it moved. `true` = it was at rest.
    pub(super) fn stir(&mut self) -> bool {
        std::mem::replace(&mut self.restless, LOOKS) == 0
    }

    fn balance(&self) -> Balance {
        let taken = u64::try_from(self.row.sums.taken().saturating_sub(self.base)).unwrap_or(0);
        Balance { granted: taken.saturating_add(self.remaining), held: taken, spent: 0, presumed: 0 }
    }

    /// Raises the promise where the sum passed it: it then goes with `next`. Answers whose commit has to be waited for, because
    /// the sum is above what is durable.
    pub(super) fn promise(&mut self, next: &Arc<Group>, block_max: Amount) -> Option<Arc<Group>> {
        if let Some((_, promised)) = self.rising.take_if(|(group, _)| group.is_done()) {
            self.safe = promised;
        }
        let balance = self.balance();
        if self.mark.rise(&balance, block_max) {
            self.rising = Some((next.clone(), self.mark.promised));
        }
        let (group, _) = self.rising.as_ref()?;
        (balance.taken() > self.safe).then(|| group.clone())
    }

    /// Lets the promise follow refunds down. `true` = it fell, and has to be written durably.
    pub(super) fn settle_down(&mut self, block_max: Amount) -> bool {
        self.restless = self.restless.saturating_sub(1);
        if self.rising.as_ref().is_some_and(|(group, _)| !group.is_done()) {
            return false;
        }
        let below = u64::try_from(self.base.saturating_sub(self.row.sums.taken())).unwrap_or(0);
        if below > 0 {
            self.base = self.row.sums.taken();
            self.mark = Mark::new(self.mark.promised.saturating_add(below));
            (self.rising, self.safe) = (None, self.mark.promised);
        }
        if !self.mark.fall(&self.balance(), block_max) {
            return false;
        }
        (self.rising, self.safe, self.changed) = (None, self.mark.promised, true);
        true
    }

    pub(super) fn is_restless(&self) -> bool {
        self.restless > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{EntryKind, Timestamp};

    fn entry(held: i64) -> Entry {
        let (at, pool) = (Timestamp(0), PoolId::from("p"));
        let (kind, billed) = (EntryKind::Reserve, Usage::default());
        Entry { at, kind, pool, grant: Some(GrantId(1)), hold: None, granted: 0, held, spent: 0, presumed: 0, billed }
    }

    fn fund() -> Fund {
        let (account, pool, grant, sums) = ("a".into(), "p".into(), Some(GrantId(1)), Sums::default());
        Fund::new(FundRow { number: 1, account, pool, grant, sums, watermark: 0, doubt: 0 })
    }

    #[test]
    fn whoever_comes_while_a_promise_is_on_its_way_waits_for_it_too() {
        let mut fund = fund();
        let (first, second) = (Arc::new(Group::default()), Arc::new(Group::default()));
        fund.add(&entry(10), 16_000);
        assert!(fund.promise(&first, 100).is_some());
        fund.add(&entry(10), 16_000);
        assert!(fund.promise(&second, 100).is_some_and(|group| Arc::ptr_eq(&group, &first)));
        first.finish(Ok(()));
        fund.add(&entry(10), 16_000);
        assert!(fund.promise(&second, 100).is_none(), "the promise is durable now");
    }

    #[test]
    fn a_promise_whose_commit_failed_is_none() {
        let mut fund = fund();
        let first = Arc::new(Group::default());
        fund.add(&entry(10), 16_000);
        fund.promise(&first, 100);
        first.finish(Err("the disk".to_owned()));
        fund.add(&entry(1), 16_000);
        assert!(fund.promise(&Arc::new(Group::default()), 100).is_some());
    }

    #[test]
    fn what_was_given_back_for_others_is_not_promised() {
        let mut fund = fund();
        fund.add(&entry(-500), 16_000);
        assert!(fund.promise(&Arc::new(Group::default()), 100).is_none());
        assert!(fund.settle_down(100));
        let row = fund.write();
        assert_eq!((row.sums.taken(), row.ahead()), (-500, 100));
        fund.add(&entry(100), 16_000);
        assert!(fund.promise(&Arc::new(Group::default()), 100).is_none());
        fund.add(&entry(1), 16_000);
        assert!(fund.promise(&Arc::new(Group::default()), 100).is_some());
        assert_eq!(fund.write().watermark, -399 + 100);
    }
}
