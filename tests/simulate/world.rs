//! The world of one schedule: its clock, its queue of events, and everything that takes part.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gratis::ledger::{
    AccountState, Ask, Book, Command, GrantId, Key, KeyState, Operation, Outcome, SwitchOff, Timestamp,
};
use gratis::store::StoreErrorKind;

use crate::books::Books;
use crate::bugs::Bug;
use crate::calls::{Call, Question};
use crate::calm::{Broken, Tally};
use crate::dice::Dice;
use crate::disk::{Disk, End, Need};
use crate::tasks::Task;
use crate::upstream::Quota;

/// The true time, in ms.
pub type Millis = u64;

pub const KEY: &str = "k";
pub const TOKENS: usize = 0;
pub const PICTURES: usize = 1;
pub const POOLS: [&str; 2] = ["m", "pictures"];

/// Far enough from 0 for a clock that is behind.
pub const START: Millis = 1_000_000;

#[derive(Clone, Debug)]
pub enum Event {
    Arrive(usize),
    AtStore(Box<Question>),
    Answer(Box<Question>, Result<Outcome, StoreErrorKind>),
    LookAgain(usize),
    Send(usize),
    AtUpstream(usize),
    Piece(usize),
    TooLong(usize),
    ClientGone(usize),
    ResolveAgain(usize),
    TaskEnds(usize),
    Poll(usize),
    Commit,
    Flush,
    Sweep,
    Crash(usize, End),
    Restart(usize),
    Pause(usize, Millis),
    Jump,
    DiskFails,
    Operate,
    Carry(Box<Operation>),
}

struct Due {
    at: Millis,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub enum Store {
    /// One book behind a network, for several replicas.
    Shared(Box<Books>),
    /// One process with its own disk.
    Embedded(Box<Disk>),
}

pub struct Replica {
    pub up: bool,
    /// Of its processes.
    pub life: u32,
    pub paused: Millis,
    pub skew: i64,
    /// Settlements on its disk that the store has not acknowledged.
    pub parked: Vec<usize>,
}

pub struct World {
    pub dice: Dice,
    pub bug: Option<Bug>,
    told: bool,
    pub now: Millis,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    pub store: Store,
    pub store_skew: i64,
    /// Whose clock is never behind the true time: the store's, or those of the replicas.
    pub store_is_honest: bool,
    pub replicas: Vec<Replica>,
    pub calls: Vec<Call>,
    pub tasks: Vec<Task>,
    pub upstream: [Quota; 2],
    /// The ledger's numbers of the upstream's grants.
    pub grants: [Vec<GrantId>; 2],
    /// Answers of the embedded store that wait for a commit.
    pub waiting: Vec<(Question, Outcome)>,
    /// 0 = nothing goes wrong.
    pub level: u64,
    /// How long calls keep coming.
    pub lasts: Millis,
    pub calm: bool,
    pub lost_power: bool,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let books = Books::new(Book::new("acme".into(), "here", AccountState::Active, true));
        let embedded = dice.chance(40);
        let store = if embedded { Store::Embedded(Box::new(Disk::new(books))) } else { Store::Shared(Box::new(books)) };
        let count = if embedded { 1 } else { dice.between(1, 3) };
        let replica = |_| Replica { up: true, life: 0, paused: 0, skew: 0, parked: Vec::new() };
        let level = if dice.chance(8) { 0 } else { dice.between(1, 3) };
        let mut world = Self {
            store_is_honest: dice.chance(50),
            lasts: dice.between(1_000, 40_000),
            dice,
            bug,
            told,
            now: START,
            queue: BinaryHeap::new(),
            number: 0,
            store,
            store_skew: 0,
            replicas: (0..count).map(replica).collect(),
            calls: Vec::new(),
            tasks: Vec::new(),
            upstream: Default::default(),
            grants: Default::default(),
            waiting: Vec::new(),
            level,
            calm: false,
            lost_power: false,
            tally: Tally::default(),
        };
        world.furnish();
        world
    }

    fn furnish(&mut self) {
        let key = Key {
            id: KEY.into(),
            name: String::new(),
            state: KeyState::Active,
            models: [].into(),
            workspace: None,
            last4: String::new(),
            created: Timestamp(0),
        };
        self.carry(Operation::PutKey(key));
        let (tokens, pictures) = (self.dice.between(100, 3_000), self.dice.between(5, 60));
        let end = self.dice.chance(30).then(|| START + self.dice.between(20_000, 60_000));
        self.add_grant(TOKENS, tokens, end);
        self.add_grant(PICTURES, pictures, None);
        if end.is_some() && self.dice.chance(30) {
            self.add_grant(TOKENS, tokens, None);
        }
        for pool in POOLS {
            let (pool, rule) = (pool.into(), SwitchOff::AnyTime);
            self.carry(Operation::SetSwitch { pool, on: true, rule, default_on: true });
        }
        for _ in 0..self.dice.between(3, 30) {
            let pool = if self.dice.chance(75) { TOKENS } else { PICTURES };
            let ask = self.some_ask(pool);
            let call = self.add_call(pool, ask);
            let at = self.dice.between(0, self.lasts);
            self.later(at, Event::Arrive(call));
        }
        self.later(1_000, Event::Flush);
        self.later(5_000, Event::Sweep);
        self.plan_faults();
    }

    pub fn add_call(&mut self, pool: usize, ask: Ask) -> usize {
        self.calls.push(Call::new(self.calls.len(), pool, ask));
        self.calls.len() - 1
    }

    fn some_ask(&mut self, pool: usize) -> Ask {
        if pool == PICTURES {
            return Ask { input: self.dice.between(1, 4), ..Ask::default() };
        }
        let (named, silent) = if self.dice.chance(50) { (self.dice.between(0, 80), 0) } else { (0, 400) };
        let least = if named > 0 && self.dice.chance(50) { named } else { 1.min(named + silent) };
        Ask { input: self.dice.between(1, 60), named, silent, least, share_of: 8, share_floor: 20, ..Ask::default() }
    }

    /// Runs the schedule, then the calm after it.
    pub fn run(mut self) -> Result<Tally, Broken> {
        self.drain()?;
        self.come_to_rest()?;
        Ok(self.tally)
    }

    /// Carries out everything that is due, in order.
    pub fn drain(&mut self) -> Result<(), Broken> {
        while let Some(Reverse(due)) = self.queue.pop() {
            self.now = due.at;
            self.tally.events += 1;
            self.happen(due.event);
            self.always()?;
        }
        Ok(())
    }

    pub fn later(&mut self, pause: Millis, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Due { at: self.now + pause, number: self.number, event }));
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{:>8}  {}", self.now - START, what());
        }
    }

    /// The process to which an event happens.
    fn process(&self, event: &Event) -> Option<(usize, u32)> {
        match event {
            Event::Answer(question, _) => Some((question.replica, question.life)),
            Event::LookAgain(call)
            | Event::Send(call)
            | Event::Piece(call)
            | Event::TooLong(call)
            | Event::ClientGone(call)
            | Event::ResolveAgain(call) => Some((self.calls[*call].replica, self.calls[*call].life)),
            Event::Commit if self.is_embedded() => Some((0, self.replicas[0].life)),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some((replica, life)) = self.process(&event) {
            let process = &self.replicas[replica];
            if !process.up || process.life != life {
                return;
            }
            if process.paused > self.now {
                let pause = process.paused - self.now;
                return self.later(pause, event);
            }
        }
        self.say(|| format!("{event:?}"));
        match event {
            Event::Arrive(call) => self.arrive(call),
            Event::AtStore(question) => self.at_store(*question),
            Event::Answer(question, answer) => self.answer(&question, answer),
            Event::LookAgain(call) => self.look_again(call),
            Event::Send(call) => self.send(call),
            Event::AtUpstream(call) => self.at_upstream(call),
            Event::Piece(call) => self.piece(call),
            Event::TooLong(call) => self.too_long(call),
            Event::ClientGone(call) => self.client_gone(call),
            Event::ResolveAgain(call) => self.resolve_again(call),
            Event::TaskEnds(task) => self.task_ends(task),
            Event::Poll(task) => self.poll(task),
            Event::Commit => self.commit(),
            Event::Flush => self.flush(),
            Event::Sweep => self.sweep(),
            Event::Crash(replica, end) => self.crash(replica, end),
            Event::Restart(replica) => self.restart(replica),
            Event::Pause(replica, pause) => self.replicas[replica].paused = self.now + pause,
            Event::Jump => self.jump(),
            Event::DiskFails => self.disk_fails(),
            Event::Operate => self.operate(),
            Event::Carry(operation) => {
                self.carry(*operation);
            }
        }
    }

    /// Nothing goes wrong.
    pub fn is_quiet(&self) -> bool {
        self.calm || self.level == 0
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self.store, Store::Embedded(_))
    }

    /// The store's clock. That of an embedded store is its process's.
    pub fn store_now(&self) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.store_skew))
    }

    pub fn books(&self) -> &Books {
        match &self.store {
            Store::Shared(books) => books,
            Store::Embedded(disk) => &disk.live,
        }
    }

    /// A replica that is there, if any.
    pub fn any_replica(&mut self) -> Option<usize> {
        let first = self.dice.place(self.replicas.len());
        let all = (0..self.replicas.len()).map(|place| (first + place) % self.replicas.len());
        all.into_iter().find(|place| self.replicas[*place].up && self.replicas[*place].paused <= self.now)
    }

    /// Carries a command out in the store; `true` = the answer waits for a commit.
    pub fn tell(&mut self, now: Timestamp, command: Command, need: Need) -> (Outcome, bool) {
        match &mut self.store {
            Store::Shared(books) => (books.tell(self.bug, now, command).0, false),
            Store::Embedded(disk) => disk.tell(self.bug, now, command, need),
        }
    }

    /// A replica asks the store.
    pub fn ask(&mut self, question: Question) {
        let Store::Embedded(disk) = &self.store else { return self.send_question(&question) };
        if disk.poisoned {
            return self.later(0, Event::Answer(Box::new(question), Err(StoreErrorKind::Unavailable)));
        }
        let need = if matches!(question.command, Command::Reserve(_)) { Need::Admission } else { Need::Memory };
        let now = self.store_now();
        let (outcome, waits) = self.tell(now, question.command.clone(), need);
        if waits {
            self.waiting.push((question, outcome));
        } else {
            self.later(0, Event::Answer(Box::new(question), Ok(outcome)));
        }
        let pause = self.dice.between(1, 30);
        self.later(pause, Event::Commit);
    }

    fn at_store(&mut self, question: Question) {
        let now = self.store_now();
        let (outcome, _) = self.tell(now, question.command.clone(), Need::Memory);
        self.say(|| format!("call {}: {outcome:?}", question.call));
        match self.travel() {
            Some(pause) => self.later(pause, Event::Answer(Box::new(question), Ok(outcome))),
            None => self.lose(&question),
        }
    }

    pub fn commit(&mut self) {
        let Store::Embedded(disk) = &mut self.store else { return };
        if disk.poisoned || !disk.has_work() {
            return;
        }
        disk.commit(self.bug);
        for (question, outcome) in std::mem::take(&mut self.waiting) {
            self.later(0, Event::Answer(Box::new(question), Ok(outcome)));
        }
    }

    fn flush(&mut self) {
        let up = self.replicas[0].up;
        let Store::Embedded(disk) = &mut self.store else { return };
        if up && !disk.poisoned {
            disk.flush();
            self.commit();
        }
        if !self.calm && self.now < START + self.lasts + 60_000 {
            self.later(1_000, Event::Flush);
        }
    }

    fn sweep(&mut self) {
        let now = self.store_now();
        if !matches!(&self.store, Store::Embedded(disk) if disk.poisoned || !self.replicas[0].up) {
            self.tell(now, Command::Expire { limit: 8 }, Need::Memory);
        }
        if !self.calm && self.now < START + self.lasts + 60_000 {
            self.later(5_000, Event::Sweep);
        }
    }
}
