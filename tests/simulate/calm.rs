//! What must always be true, the calm after a schedule, and what must be true in it.

use std::fmt;

use gratis::ledger::{Ask, Command, EXPIRE_AT_MOST, HoldState, KeyState, Operation, Outcome, Refusal};

use crate::calls::{LEASE_TASK, Stage};
use crate::disk::Need;
use crate::world::{Event, KEY, POOLS, World};

/// The invariants by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invariant {
    /// The upstream charged nothing beyond its grants, and nothing after their end.
    Overspent,
    /// What was charged is covered by held + spent + presumed.
    Covered,
    /// No call was carried out twice.
    SentOnce,
    /// What a call was charged is booked as spent once, or presumed.
    BookedOnce,
    /// granted, held, spent and presumed are the sums of their entries and holds.
    FoldOfEntries,
    /// Where nothing went wrong, spent is what was charged, and nothing is presumed.
    Exact,
    /// When every call has ended and a lease has passed, nothing is held.
    NothingStaysHeld,
    /// In the end at least 95 in 100 of what was granted is spent or presumed: what is left is not refused.
    UsedUp,
}

impl Invariant {
    pub const ALL: [Self; 8] = [
        Self::Overspent,
        Self::Covered,
        Self::SentOnce,
        Self::BookedOnce,
        Self::FoldOfEntries,
        Self::Exact,
        Self::NothingStaysHeld,
        Self::UsedUp,
    ];
}

/// An invariant that does not hold.
#[derive(Debug)]
pub struct Broken {
    pub invariant: Invariant,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.invariant, self.what)
    }
}

fn broken<T>(invariant: Invariant, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { invariant, what: what.into() })
}

/// What happened in schedules.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    pub events: u64,
    pub calls: u64,
    pub admitted: u64,
    pub refused: u64,
    pub crashes: u64,
    pub power_losses: u64,
    pub jumps: u64,
    pub lost: u64,
    pub late: u64,
    pub settled: u64,
    pub corrected: u64,
    pub presumed: u64,
    pub tasks: u64,
    pub granted: u64,
    pub spent: u64,
    pub presumed_units: u64,
}

impl Tally {
    fn fields(&mut self) -> [(&'static str, &mut u64); 16] {
        [
            ("events", &mut self.events),
            ("calls", &mut self.calls),
            ("admitted", &mut self.admitted),
            ("refused", &mut self.refused),
            ("crashes", &mut self.crashes),
            ("power losses", &mut self.power_losses),
            ("jumps", &mut self.jumps),
            ("lost messages", &mut self.lost),
            ("calls that began too late", &mut self.late),
            ("settled", &mut self.settled),
            ("corrected", &mut self.corrected),
            ("presumed", &mut self.presumed),
            ("tasks", &mut self.tasks),
            ("granted", &mut self.granted),
            ("spent", &mut self.spent),
            ("presumed units", &mut self.presumed_units),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for ((_, sum), (_, part)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *part;
        }
    }

    /// What the schedules are meant to do and hardly ever did.
    pub fn rare(&self) -> Vec<&'static str> {
        self.clone().fields().into_iter().filter(|(_, count)| **count < 20).map(|(name, _)| name).collect()
    }
}

impl World {
    /// Checked after every event.
    pub fn always(&self) -> Result<(), Broken> {
        for (quota, pool) in self.upstream.iter().zip(POOLS) {
            if quota.overspent > 0 {
                return broken(
                    Invariant::Overspent,
                    format!("{} of pool {pool} at {}: {quota:?}", quota.overspent, self.now),
                );
            }
            let balance = self.books().balance(pool);
            // While the process is down its disk alone knows, and the next start adds what it promised.
            let known = !self.is_embedded() || self.replicas[0].up;
            if known && quota.charged > balance.taken() {
                return broken(Invariant::Covered, format!("{} charged of pool {pool}, {balance:?}", quota.charged));
            }
        }
        Ok(())
    }

    /// Everything heals; what was left behind is finished, and what is left of the grants is used.
    pub fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.calm = true;
        for _ in 0..2 {
            for replica in 0..self.replicas.len() {
                self.later(0, Event::Restart(replica));
            }
            self.drain()?;
        }
        (self.store_skew, self.now) = (0, self.now + 10 * LEASE_TASK);
        self.replicas.iter_mut().for_each(|replica| replica.skew = 0);
        let now = self.store_now();
        while let (Outcome::Expired { more: true, .. }, _) =
            self.tell(now, Command::Expire { limit: EXPIRE_AT_MOST }, Need::Memory)
        {}
        self.nothing_is_held()?;
        self.booked_once()?;
        if self.level == 0 {
            self.exact()?;
        }
        self.carry(Operation::SetKeyState { key: KEY.into(), state: KeyState::Active });
        for (place, pool) in POOLS.into_iter().enumerate() {
            self.carry(Operation::ReopenPool { pool: pool.into() });
            if self.upstream[place].given.iter().all(|given| given.end.is_none()) {
                self.use_up(place)?;
            }
        }
        self.nothing_is_held()?;
        self.booked_once()?;
        self.count();
        Ok(())
    }

    fn nothing_is_held(&self) -> Result<(), Broken> {
        for pool in POOLS {
            let balance = self.books().balance(pool);
            if balance.held > 0 {
                return broken(Invariant::NothingStaysHeld, format!("pool {pool}: {balance:?}"));
            }
        }
        self.books().adds_up().or_else(|what| broken(Invariant::FoldOfEntries, what))
    }

    /// Each call: what it was charged is spent, once, or presumed.
    fn booked_once(&self) -> Result<(), Broken> {
        for (number, call) in self.calls.iter().enumerate() {
            if call.executions > 1 {
                return broken(Invariant::SentOnce, format!("call {number} was carried out {} times", call.executions));
            }
            let charged = call.charged.map_or(0, |usage| usage.total());
            let hold = self.books().book.holds.get(&call.hold);
            let spent = self.books().spent.get(&call.hold).copied().unwrap_or(0);
            let held: u64 = hold.map_or(0, |hold| hold.lines.iter().map(|line| line.amount).sum());
            let right = match hold.map(|hold| hold.state) {
                Some(HoldState::Settled | HoldState::Corrected) => spent == charged as i64,
                Some(HoldState::Presumed) => spent == 0 && (charged <= held || self.lost_power),
                Some(HoldState::Released) => spent == 0 && charged == 0,
                // After a power loss the watermark stands for what was forgotten.
                None => spent == 0 && (charged == 0 || self.lost_power),
                Some(HoldState::Open) => false,
            };
            if !right {
                let what = format!("call {number}: charged {charged}, spent {spent}, {hold:?}");
                return broken(Invariant::BookedOnce, what);
            }
        }
        Ok(())
    }

    fn exact(&self) -> Result<(), Broken> {
        for (quota, pool) in self.upstream.iter().zip(POOLS) {
            let balance = self.books().balance(pool);
            if balance.spent != quota.charged || balance.presumed != 0 {
                return broken(Invariant::Exact, format!("pool {pool}: charged {}, {balance:?}", quota.charged));
            }
        }
        Ok(())
    }

    /// Calls until nothing is left: whatever fits is admitted.
    fn use_up(&mut self, place: usize) -> Result<(), Broken> {
        let pool = POOLS[place];
        while let Ok(left @ 1..) = u64::try_from(self.books().balance(pool).available()) {
            let call = self.add_call(place, Ask { input: (left / 3).max(1), ..Ask::default() });
            self.later(0, Event::Arrive(call));
            self.drain()?;
            let refused = self.calls[call].refused;
            if refused.is_some() || self.calls[call].stage != Stage::Done {
                let balance = self.books().balance(pool);
                let taken = balance.taken();
                if taken * 100 < balance.granted * 95 || refused != Some(Refusal::UsedUp) {
                    return broken(Invariant::UsedUp, format!("pool {pool}: {refused:?} with {balance:?}"));
                }
                break;
            }
        }
        let balance = self.books().balance(pool);
        if (balance.spent + balance.presumed) * 100 < balance.granted * 95 {
            return broken(Invariant::UsedUp, format!("pool {pool}: {balance:?}"));
        }
        Ok(())
    }

    fn count(&mut self) {
        let (mut settled, mut corrected, mut presumed) = (0, 0, 0);
        for hold in self.books().book.holds.values() {
            settled += u64::from(hold.state == HoldState::Settled);
            corrected += u64::from(hold.state == HoldState::Corrected);
            presumed += u64::from(hold.state == HoldState::Presumed);
        }
        (self.tally.settled, self.tally.corrected, self.tally.presumed) = (settled, corrected, presumed);
        self.tally.tasks = self.tasks.iter().filter(|task| task.charged).count() as u64;
        for pool in POOLS {
            let balance = self.books().balance(pool);
            self.tally.granted += balance.granted;
            self.tally.spent += balance.spent;
            self.tally.presumed_units += balance.presumed;
        }
    }
}
