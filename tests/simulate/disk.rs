//! The embedded store: memory in front of a disk, of which a kill takes what was not committed, and a power loss what was not synced.

use gratis::ledger::{Command, Outcome, Resolution, Timestamp};

use crate::books::Books;
use crate::bugs::Bug;
use crate::dice::Dice;

/// What the writer writes.
#[derive(Clone)]
enum Written {
    Told(Timestamp, Command),
    Fallen,
}

/// When a command may be answered (as `store::embedded` has it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Memory,
    Admission,
    Durable,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Kill,
    PowerLoss,
}

pub struct Disk {
    pub live: Books,
    /// What survives a power loss, and what was committed and written after it.
    synced: Books,
    committed: Vec<Written>,
    fresh: Vec<Written>,
    /// The next commit is durable.
    full: bool,
    /// A write failed: nothing is written any more.
    pub poisoned: bool,
    end: End,
}

impl Disk {
    pub fn new(books: Books) -> Self {
        let (synced, live) = (books.clone(), books);
        Self { live, synced, committed: Vec::new(), fresh: Vec::new(), full: false, poisoned: false, end: End::Kill }
    }

    /// Carries out a command in memory. `true` = its answer waits for the next commit.
    pub fn tell(&mut self, bug: Option<Bug>, now: Timestamp, command: Command, need: Need) -> (Outcome, bool) {
        self.fresh.push(Written::Told(now, command.clone()));
        let (outcome, rises) = self.live.tell(bug, now, command);
        let rises = rises && bug != Some(Bug::WatermarkBehind);
        self.full |= rises || need == Need::Durable;
        let waits = match need {
            Need::Memory => false,
            Need::Admission => matches!(outcome, Outcome::Admitted(_)) && bug != Some(Bug::AnswersBeforeCommit),
            Need::Durable => true,
        };
        (outcome, waits || (rises && bug != Some(Bug::AnswersBeforeCommit)))
    }

    pub fn has_work(&self) -> bool {
        !self.fresh.is_empty() || self.full
    }

    /// Once a second: promises follow refunds down, and what was committed becomes durable.
    pub fn flush(&mut self) {
        self.live.fall();
        self.fresh.push(Written::Fallen);
        self.full = true;
    }

    pub fn commit(&mut self, bug: Option<Bug>) {
        self.committed.append(&mut self.fresh);
        if std::mem::take(&mut self.full) {
            for written in std::mem::take(&mut self.committed) {
                replay(&mut self.synced, bug, written);
            }
        }
    }

    /// The process ends. What is found on the disk is what the next one begins with.
    pub fn end(&mut self, bug: Option<Bug>, dice: &mut Dice, end: End) {
        let kept = match end {
            End::Kill => self.committed.len(),
            End::PowerLoss => dice.place(self.committed.len() + 1),
        };
        for written in self.committed.drain(..).take(kept) {
            replay(&mut self.synced, bug, written);
        }
        self.fresh.clear();
        self.live = self.synced.clone();
        (self.full, self.end) = (false, end);
    }

    /// The next process: open holds are presumed, then what the watermarks promise beyond that.
    pub fn start(&mut self, bug: Option<Bug>, now: Timestamp) {
        for hold in self.live.open_holds() {
            let gives_back = bug == Some(Bug::RestartGivesBack);
            let resolution = if gives_back { Resolution::Release } else { Resolution::Presume(None) };
            self.live.tell(bug, now, Command::Resolve { hold, resolution, origin: None });
        }
        if self.end == End::PowerLoss && bug != Some(Bug::WatermarkIgnored) {
            self.live.recover(now);
        }
        self.synced = self.live.clone();
        (self.poisoned, self.end) = (false, End::Kill);
    }
}

fn replay(books: &mut Books, bug: Option<Bug>, written: Written) {
    match written {
        Written::Told(now, command) => {
            books.tell(bug, now, command);
        }
        Written::Fallen => books.fall(),
    }
}
