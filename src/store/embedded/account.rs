//! One account in memory: its book, and what the disk promises of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::keys::KeyRing;
use super::queue::{Batch, Group, Queue, Room, unavailable};
use super::rows::{AccountRow, BalanceRow, PoolRow, Write};
use super::watermark::Mark;
use crate::ledger::{
    AccountId, Amount, Book, Change, Command, GrantId, Hold, HoldId, HoldState, KeyId, Outcome, PoolId, Timestamp,
    apply,
};
use crate::store::{KeyDigest, StoreError};

/// How long a final stays in memory, in ms: repeats come within seconds, later ones are looked up on the disk.
const FINALS_KEPT_MS: u64 = 60_000;

/// How many finals stay in memory at most.
const FINALS_AT_MOST: usize = 4_096;

/// After the last change so many flushes follow: one syncs, two let the watermarks fall.
pub(super) const FLUSHES_AFTER: u8 = 3;

/// An account behind its lock.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: AccountId,
    live: Mutex<Live>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) number: i64,
    pub(super) book: Book,
    pub(super) promises: BTreeMap<GrantId, Promise>,
    /// How many flushes still look at the watermarks.
    pub(super) restless: u8,
    pub(super) digests: BTreeMap<KeyId, KeyDigest>,
    pub(super) block_max: Amount,
    finals: VecDeque<Kept>,
    /// The highest id that is on the disk and perhaps no longer in memory.
    forgotten: Option<HoldId>,
    changes: Vec<Change>,
}

/// What the disk says of a balance, or will say once the queue has drained.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Promise {
    pub(super) mark: Mark,
    pub(super) written: Option<BalanceRow>,
}

/// A final that is still in memory.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: HoldId,
    since: Timestamp,
    batch: u64,
}

/// How a command is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Once it is in memory, unless a watermark rises.
    Memory,
    /// An admission waits for its commit, a refusal does not.
    Admission,
    /// It waits for a commit that survives a power loss.
    Durable,
}

/// A step that was carried out in memory.
pub(super) struct Step {
    pub(super) outcome: Outcome,
    /// What to wait for before it is answered.
    pub(super) group: Option<Arc<Group>>,
}

impl Account {
    pub(super) fn new(live: Live) -> Self {
        Self { id: live.book.account.clone(), live: Mutex::new(live) }
    }

    /// A panic while the book was changed leaves it half changed: then it is of no use.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Live>, StoreError> {
        self.live.lock().map_err(|_| unavailable("a panic left the account's book half changed"))
    }
}

impl Live {
    pub(super) fn new(number: i64, book: Book, block_max: Amount) -> Self {
        Self {
            number,
            book,
            promises: BTreeMap::new(),
            restless: FLUSHES_AFTER,
            digests: BTreeMap::new(),
            block_max,
            finals: VecDeque::new(),
            forgotten: None,
            changes: Vec::new(),
        }
    }

    /// Says that finals up to this id are on the disk.
    pub(super) fn forget_up_to(&mut self, id: Option<HoldId>) {
        self.forgotten = self.forgotten.max(id);
    }

    /// Whether a hold may be on the disk and not in memory. Ids that rise with time are never looked up in vain.
    pub(super) fn may_be_forgotten(&self, id: HoldId) -> bool {
        self.forgotten >= Some(id) && !self.book.holds.contains_key(&id)
    }

    /// Puts a final that was found on the disk back into the book.
    /// Kept as long as one that became final now, so that nobody forgets it before the command that asked for it.
    pub(super) fn recall(&mut self, id: HoldId, state: HoldState, since: Timestamp, now: Timestamp) {
        let hold = Hold {
            pool: "".into(),
            model: "".into(),
            key: "".into(),
            lines: Vec::new(),
            amount: 0,
            mode: crate::ledger::BillingMode::FreeQuotaOnly,
            state,
            deadline: since,
            since,
        };
        self.book.holds.entry(id).or_insert(hold);
        self.finals.push_back(Kept { id, since: now, batch: 0 });
    }

    /// Carries out a command in the book and sends what changed on its way.
    pub(super) fn step(
        &mut self,
        queue: &Queue,
        keys: &KeyRing,
        room: Option<Room<'_>>,
        now: Timestamp,
        command: Command,
        need: Need,
    ) -> Result<Step, StoreError> {
        queue.check()?;
        let mut changes = std::mem::take(&mut self.changes);
        let outcome = apply(&mut self.book, now, command, &mut changes);
        let waits = match need {
            Need::Memory => false,
            Need::Admission => matches!(outcome, Outcome::Admitted(_)),
            Need::Durable => true,
        };
        let group = self.send(queue, keys, room, (now, waits, need == Need::Durable), &mut changes);
        self.changes = changes;
        Ok(Step { outcome, group: group? })
    }

    /// Sends changes to the disk. Answers what to wait for: where the caller says so, and where a watermark rose.
    pub(super) fn send(
        &mut self,
        queue: &Queue,
        keys: &KeyRing,
        room: Option<Room<'_>>,
        (now, waits, full): (Timestamp, bool, bool),
        changes: &mut Vec<Change>,
    ) -> Result<Option<Arc<Group>>, StoreError> {
        let rises = self.rise(changes);
        let waits = waits || rises;
        if changes.is_empty() && !waits {
            return Ok(None);
        }
        let pushed = queue.push(room, waits, full || rises, |batch| {
            for change in changes.drain(..) {
                self.write(change, keys, batch);
            }
        });
        changes.clear();
        let group = pushed?;
        self.restless = FLUSHES_AFTER;
        self.sweep(queue.folded(), now);
        Ok(waits.then_some(group))
    }

    /// Raises the watermarks that the changes passed.
    fn rise(&mut self, changes: &[Change]) -> bool {
        let mut rises = false;
        for change in changes {
            let Change::Entry(entry) = change else { continue };
            let Some(grant) = entry.grant else { continue };
            let Some(balance) = self.book.fund(&entry.pool, grant).map(|fund| fund.balance) else { continue };
            let block_max = self.block_max;
            rises |= self.promises.entry(grant).or_default().mark.rise(&balance, block_max);
        }
        rises
    }

    /// Translates a change; the values stand in the book.
    fn write(&mut self, change: Change, keys: &KeyRing, batch: &mut Batch) {
        let account = self.number;
        match change {
            Change::Entry(entry) => {
                let moves = entry.granted != 0 || entry.spent != 0 || entry.presumed != 0;
                if let Some(grant) = entry.grant {
                    self.balance(&entry.pool, grant, batch);
                }
                // What only sets aside is recorded by the row of its hold.
                if moves || entry.held < 0 || entry.billed.total() > 0 {
                    batch.body.entry(account, &entry);
                }
            }
            Change::Hold(id) => self.hold(id, batch),
            Change::HoldForgotten(id) => batch.body.forgotten(account, id),
            Change::Grant(pool, grant) => {
                if let Some(fund) = self.book.fund(&pool, grant) {
                    batch.writes.push(Write::Grant { account, grant: Box::new(fund.grant.clone()) });
                }
                self.pool(&pool, batch);
            }
            Change::Pool(pool) => self.pool(&pool, batch),
            Change::Account => batch.writes.push(Write::Account(Box::new(self.row()))),
            Change::Key(id) => self.key(&id, keys, batch),
        }
    }

    /// Writes a balance down where the disk would otherwise say something else; what is held is not part of it.
    pub(super) fn balance(&mut self, pool: &PoolId, grant: GrantId, batch: &mut Batch) {
        let Some(balance) = self.book.fund(pool, grant).map(|fund| fund.balance) else { return };
        let account = self.number;
        let promise = self.promises.entry(grant).or_default();
        let row = BalanceRow::of(&balance, promise.mark.promised);
        if promise.written != Some(row) {
            promise.written = Some(row);
            batch.balances.insert((account, grant), row);
        }
    }

    fn hold(&mut self, id: HoldId, batch: &mut Batch) {
        let account = self.number;
        let Some(hold) = self.book.holds.get(&id) else { return };
        if hold.state.is_final() {
            batch.body.ended(account, id, hold.state, hold.since);
            self.finals.push_back(Kept { id, since: hold.since, batch: batch.number });
        } else {
            batch.body.hold(account, id, hold);
        }
    }

    fn pool(&self, id: &PoolId, batch: &mut Batch) {
        if let Some(pool) = self.book.pools.get(id) {
            batch.pools.insert((self.number, id.clone()), PoolRow::of(id, pool));
        }
    }

    pub(super) fn key(&self, id: &KeyId, keys: &KeyRing, batch: &mut Batch) {
        let Some(key) = self.book.keys.get(id) else { return };
        let digest = self.digests.get(id).copied();
        // Revocation is instant: who asks from now on sees the new state.
        if let Some(digest) = &digest {
            keys.refresh(digest, key);
        }
        batch.writes.push(Write::Key { account: self.number, key: Box::new(key.clone()), digest });
    }

    pub(super) fn row(&self) -> AccountRow {
        AccountRow {
            number: self.number,
            id: self.book.account.as_str().to_owned(),
            site: self.book.site.clone(),
            state: self.book.state,
            never_pay: self.book.never_pay,
        }
    }

    /// Forgets finals that can be looked up on the disk and are old, or too many: memory does not grow with the number of calls.
    fn sweep(&mut self, folded: u64, now: Timestamp) {
        while let Some(oldest) = self.finals.front().copied() {
            let old = oldest.since.plus(FINALS_KEPT_MS) <= now || self.finals.len() > FINALS_AT_MOST;
            if !old || oldest.batch > folded {
                break;
            }
            self.finals.pop_front();
            if self.book.holds.get(&oldest.id).is_some_and(|hold| hold.state.is_final()) {
                self.book.holds.remove(&oldest.id);
            }
            self.forgotten = self.forgotten.max(Some(oldest.id));
        }
    }
}
