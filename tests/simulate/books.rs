//! A book as a store keeps it: with the sum of what was written, and with its watermarks.

use std::collections::{BTreeMap, HashMap};

use gratis::ledger::{
    Amount, Balance, Book, Change, Command, EntryKind, Fund, GrantId, HoldId, HoldState, Outcome, PoolId, Timestamp,
    apply, recover_presumed,
};
use gratis::store::embedded::watermark::Mark;

use crate::bugs::{self, Bug};

/// How far a promise is ahead at most.
const BLOCK_MAX: Amount = 40;

/// The books of the one account.
#[derive(Clone)]
pub struct Books {
    pub book: Book,
    /// The sum of the entries of each grant: granted, held, spent, presumed.
    folded: BTreeMap<GrantId, [i64; 4]>,
    /// What was posted as spent for each hold.
    pub spent: HashMap<HoldId, i64>,
    /// What was posted after a power loss.
    recovered: BTreeMap<GrantId, i64>,
    marks: BTreeMap<GrantId, Mark>,
    entries: u64,
}

impl Books {
    pub fn new(book: Book) -> Self {
        let (folded, recovered, marks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { book, folded, spent: HashMap::new(), recovered, marks, entries: 0 }
    }

    /// Carries out a command. `true` = a watermark rose.
    pub fn tell(&mut self, bug: Option<Bug>, now: Timestamp, mut command: Command) -> (Outcome, bool) {
        let hidden = bug.map(|bug| bugs::before(bug, &mut self.book, now, &mut command));
        let mut changes = Vec::new();
        let outcome = apply(&mut self.book, now, command, &mut changes);
        if let (Some(bug), Some(hidden)) = (bug, hidden) {
            bugs::after(bug, &mut self.book, &hidden, &outcome);
        }
        let rises = self.follow(bug, &changes);
        (outcome, rises)
    }

    fn follow(&mut self, bug: Option<Bug>, changes: &[Change]) -> bool {
        let mut rises = false;
        for change in changes {
            let Change::Entry(entry) = change else { continue };
            let Some(grant) = entry.grant else { continue };
            self.entries += 1;
            if bug == Some(Bug::EntryLost) && self.entries.is_multiple_of(50) {
                continue;
            }
            let sums = self.folded.entry(grant).or_default();
            for (sum, moved) in sums.iter_mut().zip([entry.granted, entry.held, entry.spent, entry.presumed]) {
                *sum += moved;
            }
            if let Some(hold) = entry.hold {
                *self.spent.entry(hold).or_default() += entry.spent;
            }
            if entry.kind == EntryKind::Recover {
                *self.recovered.entry(grant).or_default() += entry.presumed;
            }
            if let Some(fund) = self.book.fund(&entry.pool, grant) {
                rises |= self.marks.entry(grant).or_default().rise(&fund.balance, BLOCK_MAX);
            }
        }
        rises
    }

    /// Lets the watermarks follow refunds down.
    pub fn fall(&mut self) {
        for fund in self.book.pools.values().flat_map(|pool| &pool.grants) {
            self.marks.entry(fund.grant.id).or_default().fall(&fund.balance, BLOCK_MAX);
        }
    }

    /// After a power loss: what the watermarks promise beyond what was found counts as used.
    pub fn recover(&mut self, now: Timestamp) {
        let funds: Vec<(PoolId, GrantId, Balance)> =
            self.funds().map(|fund| (fund.grant.pool.clone(), fund.grant.id, fund.balance)).collect();
        let mut changes = Vec::new();
        for (pool, grant, balance) in funds {
            let promised = self.marks.get(&grant).map_or(0, |mark| mark.promised);
            let amount = promised.saturating_sub(balance.spent + balance.presumed);
            if amount > 0 {
                recover_presumed(&mut self.book, now, &pool, grant, amount, &mut changes);
            }
        }
        self.follow(None, &changes);
    }

    pub fn open_holds(&self) -> Vec<HoldId> {
        let mut open: Vec<HoldId> = self.book.due.iter().map(|(_, hold)| *hold).collect();
        open.sort_unstable();
        open
    }

    fn funds(&self) -> impl Iterator<Item = &Fund> {
        self.book.pools.values().flat_map(|pool| &pool.grants)
    }

    /// The sum of a pool's balances.
    pub fn balance(&self, pool: &str) -> Balance {
        let mut sum = Balance::default();
        for fund in self.book.pools.get(pool).into_iter().flat_map(|pool| &pool.grants) {
            sum.granted += fund.balance.granted;
            sum.held += fund.balance.held;
            sum.spent += fund.balance.spent;
            sum.presumed += fund.balance.presumed;
        }
        sum
    }

    /// Every balance is the sum of its entries, what is held is in open holds, and what is presumed in presumed ones.
    pub fn adds_up(&self) -> Result<(), String> {
        for Fund { grant, balance } in self.funds() {
            let figures = [balance.granted, balance.held, balance.spent, balance.presumed].map(|n| n as i64);
            let folded = self.folded.get(&grant.id).copied().unwrap_or_default();
            if folded != figures {
                return Err(format!("grant {}: entries {folded:?}, balance {figures:?}", grant.id.0));
            }
            let lines = |state: HoldState| -> Amount {
                let holds = self.book.holds.values().filter(|hold| hold.state == state);
                holds.flat_map(|hold| &hold.lines).filter(|l| l.grant == grant.id).map(|l| l.amount).sum()
            };
            let recovered = self.recovered.get(&grant.id).copied().unwrap_or_default();
            let (open, presumed) = (lines(HoldState::Open), lines(HoldState::Presumed) as i64 + recovered);
            if (open, presumed) != (balance.held, balance.presumed as i64) {
                return Err(format!("grant {}: holds {open} open, {presumed} presumed, {balance:?}", grant.id.0));
            }
        }
        Ok(())
    }
}
