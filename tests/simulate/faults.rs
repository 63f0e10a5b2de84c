//! What goes wrong, and what an operator does meanwhile.

use gratis::ledger::{Closure, Command, GrantId, KeyState, Operation, Outcome, Side, SwitchOff, Timestamp, Unit};

use crate::calls::{Question, Stage};
use crate::disk::End;
use crate::world::{Event, KEY, Millis, POOLS, Store, TOKENS, World};

/// Clocks are never further off.
const SKEW_AT_MOST: i64 = 120_000;

/// Decides the details of a fault.
type Make = fn(&mut World) -> Event;

impl World {
    /// Spreads a schedule's faults over its time.
    pub fn plan_faults(&mut self) {
        let (level, lasts) = (self.level, self.lasts);
        let count = |world: &mut Self, most: u64| if level == 0 { 0 } else { world.dice.between(0, most * level) };
        let plan: [(u64, Make); 6] = [
            (2, |world| Event::Crash(world.dice.place(world.replicas.len()), End::Kill)),
            (1, |world| Event::Crash(0, [End::Kill, End::PowerLoss][world.dice.place(2)])),
            (2, |world| Event::Pause(world.dice.place(world.replicas.len()), world.dice.between(100, 60_000))),
            (2, |_| Event::Jump),
            (1, |_| Event::DiskFails),
            (3, |_| Event::Operate),
        ];
        for (most, make) in plan {
            for _ in 0..count(self, most) {
                let event = make(self);
                let at = self.dice.between(0, lasts);
                self.later(at, event);
            }
        }
    }

    pub fn crash(&mut self, replica: usize, end: End) {
        if !self.replicas[replica].up {
            return;
        }
        self.tally.crashes += 1;
        (self.replicas[replica].up, self.replicas[replica].paused) = (false, 0);
        self.replicas[replica].life += 1;
        for call in self.calls.iter_mut().filter(|call| call.replica == replica && call.stage != Stage::New) {
            call.die();
        }
        if let Store::Embedded(disk) = &mut self.store {
            self.waiting.clear();
            disk.end(self.bug, &mut self.dice, end);
            self.lost_power |= end == End::PowerLoss;
            self.tally.power_losses += u64::from(end == End::PowerLoss);
        }
        let pause = self.dice.between(50, 5_000);
        self.later(pause, Event::Restart(replica));
    }

    pub fn restart(&mut self, replica: usize) {
        if self.replicas[replica].up {
            return;
        }
        self.replicas[replica].up = true;
        let (life, now) = (self.replicas[replica].life, self.store_now());
        if let Store::Embedded(disk) = &mut self.store {
            disk.start(self.bug, now);
        }
        // What was parked on its disk is carried out by the next process.
        for call in std::mem::take(&mut self.replicas[replica].parked) {
            self.calls[call].revive(life);
            self.ask_to_resolve(call);
        }
    }

    /// A clock that may not be behind only jumps ahead (LEDGER: the later of the two clocks is never behind the true time).
    pub fn jump(&mut self) {
        let embedded = matches!(self.store, Store::Embedded(_));
        let whose = if embedded { 0 } else { self.dice.place(self.replicas.len() + 1) };
        let honest = embedded || (whose == 0) == self.store_is_honest;
        let by = self.dice.between(0, 2 * SKEW_AT_MOST.unsigned_abs()).cast_signed() - SKEW_AT_MOST;
        let least = if honest { 0 } else { -SKEW_AT_MOST };
        let skew = if whose == 0 { &mut self.store_skew } else { &mut self.replicas[whose - 1].skew };
        // One that must not go back goes on by less.
        *skew = if honest { (*skew + by.abs() / 4).clamp(0, SKEW_AT_MOST) } else { by.clamp(least, SKEW_AT_MOST) };
        let shown = *skew;
        self.tally.jumps += 1;
        self.say(|| format!("clock {whose} is off by {shown} ms"));
    }

    pub fn disk_fails(&mut self) {
        let Store::Embedded(disk) = &mut self.store else { return };
        disk.poisoned = true;
        self.waiting.clear();
        let pause = self.dice.between(100, 3_000);
        self.later(pause, Event::Crash(0, End::Kill));
    }

    pub fn operate(&mut self) {
        let place = self.dice.place(POOLS.len());
        let pool = POOLS[place];
        let number = self.dice.place(self.upstream[place].given.len());
        let grant = self.grants[place][number];
        let given = self.upstream[place].given[number].clone();
        let operation = match self.dice.between(0, 7) {
            0 => {
                let more = given.amount + self.dice.between(0, given.amount / 4);
                self.upstream[place].given[number].amount = more;
                Operation::Regrant { pool: pool.into(), grant, amount: more }
            }
            1 => {
                let amount = self.dice.between(given.amount / 2, given.amount);
                Operation::Regrant { pool: pool.into(), grant, amount }
            }
            2 => {
                let amount = self.dice.between(5, 200);
                self.add_grant(place, amount, None);
                return;
            }
            3 => {
                let remaining = given.amount - given.used;
                Operation::Sync { pool: pool.into(), grant, remaining, raise: false }
            }
            4 => {
                let open = Operation::SetKeyState { key: KEY.into(), state: KeyState::Active };
                self.later(1_000, Event::Carry(Box::new(open)));
                Operation::SetKeyState { key: KEY.into(), state: KeyState::Disabled }
            }
            5 => Operation::SetSwitch {
                pool: pool.into(),
                on: self.dice.chance(50),
                rule: SwitchOff::AnyTime,
                default_on: true,
            },
            6 => {
                let reopen = Operation::ReopenPool { pool: pool.into() };
                self.later(1_500, Event::Carry(Box::new(reopen)));
                Operation::ClosePool { pool: pool.into(), closure: Closure::FreeTierOnly }
            }
            _ => Operation::ReopenPool { pool: pool.into() },
        };
        self.carry(operation);
    }

    /// The upstream grants first, then the operator puts it in.
    pub fn add_grant(&mut self, place: usize, amount: u64, end: Option<Millis>) {
        let (unit, end_at) = (if place == TOKENS { Unit::Tokens } else { Unit::Images }, end.map(Timestamp));
        let grant = Operation::AddGrant {
            pool: POOLS[place].into(),
            side: Side::Both,
            unit,
            amount,
            spent: 0,
            start: Timestamp(0),
            end: end_at,
        };
        let before = self.books().book.next_grant;
        if self.carry(grant) {
            self.upstream[place].give(amount, end);
            self.grants[place].push(GrantId(before));
        }
    }

    /// An operator's command. `false` = it could not be carried out.
    pub fn carry(&mut self, operation: Operation) -> bool {
        self.say(|| format!("operator: {operation:?}"));
        let now = self.store_now();
        if matches!(&self.store, Store::Embedded(disk) if disk.poisoned || !self.replicas[0].up) {
            return false;
        }
        let outcome = self.tell(now, Command::Operate(operation), crate::disk::Need::Durable).0;
        // The operator waits for the commit, and does nothing until then.
        self.commit();
        matches!(outcome, Outcome::Done(_))
    }

    /// How long a message travels; `None` = it is lost.
    pub fn travel(&mut self) -> Option<Millis> {
        if self.is_quiet() {
            return Some(self.dice.between(0, 3));
        }
        match self.dice.between(0, 99) {
            0..3 => None,
            3..6 => Some(self.dice.between(100, 2_000)),
            6 => Some(self.dice.between(2_000, 40_000)),
            _ => Some(self.dice.between(0, 20)),
        }
    }

    /// A question goes to the shared store, perhaps twice.
    pub fn send_question(&mut self, question: &Question) {
        let copies = if !self.is_quiet() && self.dice.chance(4) { 2 } else { 1 };
        for _ in 0..copies {
            match self.travel() {
                Some(pause) => self.later(pause, Event::AtStore(Box::new(question.clone()))),
                None => self.lose(question),
            }
        }
    }

    /// A message is lost: with its connection, which is noticed at once, or in silence.
    pub fn lose(&mut self, question: &Question) {
        self.tally.lost += 1;
        if self.dice.chance(50) {
            let pause = self.dice.between(1, 50);
            self.later(pause, Event::Answer(Box::new(question.clone()), Err(gratis::store::StoreErrorKind::TimedOut)));
        }
    }
}
