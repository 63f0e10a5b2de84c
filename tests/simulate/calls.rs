//! A replica's side of a call: ask, send, watch the reply, resolve. What decides is the crate's own code.

use std::time::Duration;

use gratis::dialect::{Api, Encoding, Observer, Watch};
use gratis::ledger::{
    Admitted, Ask, BillingMode, Command, HoldId, Origin, Outcome, Overrun, Refusal, Reserve, ReserveRules, Resolution,
    Timestamp, Unit, Usage,
};
use gratis::proxy::rules::{Answered, Verdict, asks_again, may_be_sent};
use gratis::store::{StoreError, StoreErrorKind};

use crate::bugs::Bug;
use crate::replies::{self, Reply};
use crate::world::{Event, KEY, Millis, PICTURES, POOLS, Store, World};

pub const LEASE: Millis = 20_000;
pub const LEASE_TASK: Millis = 60_000;
const MAX_CALL: Millis = 15_000;
const STORE_TIMEOUT: Millis = 250;
const BUSY_WAIT: Millis = 2_000;
const LOOK_AGAIN: Millis = 100;

/// How far a replica is with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    New,
    Asking,
    Admitted,
    Up,
    Resolving,
    Done,
    /// Its process ended.
    Dead,
}

pub struct Call {
    pub replica: usize,
    pub life: u32,
    pub pool: usize,
    pub ask: Ask,
    pub hold: HoldId,
    pub stage: Stage,
    admitted: Option<Admitted>,
    began: Millis,
    pub asked_at: Millis,
    /// Of the questions to the store, so that a late answer is told from the awaited one.
    pub attempt: u32,
    asked_again: bool,
    lost: bool,
    pub observer: Option<Observer>,
    reply: Option<Reply>,
    next: usize,
    task: Option<usize>,
    pub resolution: Option<Resolution>,
    pub failures: usize,
    /// What the upstream charged, and how often it carried the call out.
    pub charged: Option<Usage>,
    pub executions: u32,
    pub refused: Option<Refusal>,
}

/// A command on its way to the store, and who waits for its answer.
#[derive(Clone, Debug)]
pub struct Question {
    pub call: usize,
    pub replica: usize,
    pub life: u32,
    pub attempt: u32,
    pub command: Command,
    pub task: Option<usize>,
}

impl Call {
    pub fn new(number: usize, pool: usize, ask: Ask) -> Self {
        Self {
            replica: 0,
            life: 0,
            pool,
            ask,
            hold: HoldId(number as u128 + 1),
            stage: Stage::New,
            admitted: None,
            began: 0,
            asked_at: 0,
            attempt: 0,
            asked_again: false,
            lost: false,
            observer: None,
            reply: None,
            next: 0,
            task: None,
            resolution: None,
            failures: 0,
            charged: None,
            executions: 0,
            refused: None,
        }
    }

    pub fn origin(&self) -> Origin {
        Origin { key: KEY.into(), model: POOLS[self.pool].into(), pool: POOLS[self.pool].into() }
    }

    pub fn die(&mut self) {
        (self.stage, self.observer) = (Stage::Dead, None);
    }

    /// A settlement that was parked goes on in the next process.
    pub fn revive(&mut self, life: u32) {
        (self.stage, self.life, self.failures) = (Stage::Resolving, life, 0);
    }

    /// The hold stays open for the task.
    pub fn leave(&mut self) {
        (self.stage, self.observer) = (Stage::Done, None);
    }
}

impl World {
    /// A client's call arrives at a replica that is there.
    pub fn arrive(&mut self, call: usize) {
        let Some(replica) = self.any_replica() else { return };
        self.tally.calls += 1;
        let life = self.replicas[replica].life;
        let now = self.now;
        let of = &mut self.calls[call];
        (of.replica, of.life, of.stage, of.began) = (replica, life, Stage::Asking, now);
        self.ask_to_reserve(call);
    }

    fn ask_to_reserve(&mut self, call: usize) {
        let now = self.now;
        let of = &mut self.calls[call];
        let (lease_ms, max_call_ms) = if of.pool == PICTURES { (LEASE_TASK, LEASE_TASK) } else { (LEASE, MAX_CALL) };
        of.attempt += 1;
        of.asked_at = now;
        let skew = self.replicas[of.replica].skew;
        let reserve = Reserve {
            hold: of.hold,
            key: KEY.into(),
            model: POOLS[of.pool].into(),
            pool: POOLS[of.pool].into(),
            ask: of.ask,
            lease_ms,
            max_call_ms,
            caller_now: Timestamp(now.saturating_add_signed(skew)),
            rules: ReserveRules {
                overrun: Overrun::Never,
                switch_default_on: true,
                priced: false,
                bounded: true,
                covered: true,
            },
        };
        self.ask_of(call, Command::Reserve(reserve));
    }

    pub fn ask_of(&mut self, call: usize, command: Command) {
        let Call { replica, life, attempt, .. } = self.calls[call];
        let question = Question { call, replica, life, attempt, command, task: None };
        if matches!(self.store, Store::Shared(_)) {
            self.later(STORE_TIMEOUT, Event::Answer(Box::new(question.clone()), Err(StoreErrorKind::TimedOut)));
        }
        self.ask(question);
    }

    /// The store answered, or did not in time.
    pub fn answer(&mut self, question: &Question, answer: Result<Outcome, StoreErrorKind>) {
        if let Some(task) = question.task {
            self.tasks[task].closed |= answer.is_ok();
            return;
        }
        let of = &self.calls[question.call];
        if of.attempt != question.attempt {
            return;
        }
        match of.stage {
            Stage::Asking => self.reserved(question.call, answer),
            Stage::Resolving => self.resolved(question.call, answer),
            Stage::New | Stage::Admitted | Stage::Up | Stage::Done | Stage::Dead => {}
        }
    }

    fn reserved(&mut self, call: usize, answer: Result<Outcome, StoreErrorKind>) {
        let (now, bug) = (self.now, self.bug);
        let of = &mut self.calls[call];
        if let Err(kind) = &answer
            && !std::mem::replace(&mut of.asked_again, true)
            && asks_again(*kind, Duration::from_millis(now - of.asked_at))
        {
            of.lost = true;
            self.ask_to_reserve(call);
            return;
        }
        // An answer that was not waited for any more is not taken when it comes.
        of.attempt += 1;
        match Answered::of(answer.map_err(|kind| StoreError { kind, detail: String::new() })) {
            Answered::Admitted(admitted) => self.admitted(call, admitted),
            Answered::Refused(Refusal::Busy, _) if now - of.began < BUSY_WAIT => {
                of.asked_again = false;
                self.later(LOOK_AGAIN, Event::LookAgain(call));
            }
            Answered::Refused(refusal, _) => {
                of.refused = Some(refusal);
                self.tally.refused += 1;
                self.void(call, false);
            }
            Answered::Unknown(_) if bug == Some(Bug::SendsUnasked) => {
                let (input, output) = (of.ask.input, of.ask.named + of.ask.silent);
                let (mode, expires, deadline) = (BillingMode::FreeQuotaOnly, None, Timestamp(0));
                self.admitted(call, Admitted { input, output, mode, may_cost: false, available: 0, expires, deadline });
            }
            Answered::Unknown(_) => self.void(call, true),
            Answered::Failed(_) => self.void(call, false),
        }
    }

    /// Nothing was sent: what may be held is given back.
    fn void(&mut self, call: usize, unknown: bool) {
        if unknown || self.calls[call].lost {
            self.resolve(call, Resolution::Release);
        } else {
            self.calls[call].stage = Stage::Done;
        }
    }

    pub fn look_again(&mut self, call: usize) {
        if self.calls[call].stage == Stage::Asking {
            self.ask_to_reserve(call);
        }
    }

    fn admitted(&mut self, call: usize, admitted: Admitted) {
        self.tally.admitted += 1;
        self.calls[call].stage = Stage::Admitted;
        self.calls[call].admitted = Some(admitted);
        let pause = self.dice.between(0, 5);
        self.later(pause, Event::Send(call));
        // The process may be stopped just here.
        if !self.is_quiet() && self.dice.chance(1) {
            let stopped = self.dice.between(100, 40_000);
            self.later(0, Event::Pause(self.calls[call].replica, stopped));
        }
    }

    pub fn send(&mut self, call: usize) {
        let of = &self.calls[call];
        let max_call = if of.pool == PICTURES { LEASE_TASK } else { MAX_CALL };
        let elapsed = Duration::from_millis(self.now - of.began);
        if !may_be_sent(elapsed, Duration::from_millis(max_call)) && self.bug != Some(Bug::SendsLate) {
            self.tally.late += 1;
            self.resolve(call, Resolution::Release);
            return;
        }
        self.calls[call].stage = Stage::Up;
        let trouble = if self.is_quiet() { 99 } else { self.dice.between(0, 99) };
        match trouble {
            // There was no connection.
            0..4 => return self.resolve(call, Resolution::Release),
            // It broke before anything arrived; nobody can know that.
            4..6 => return self.broken(call),
            _ => {}
        }
        let pause = if trouble < 9 { self.dice.between(500, 5_000) } else { self.dice.between(1, 50) };
        self.later(pause, Event::AtUpstream(call));
        self.later(MAX_CALL, Event::TooLong(call));
        if trouble < 14 {
            let pause = self.dice.between(0, 500);
            self.later(pause, Event::ClientGone(call));
        }
    }

    fn broken(&mut self, call: usize) {
        if self.bug == Some(Bug::SendsAgain) {
            self.later(10, Event::AtUpstream(call));
            self.later(20, Event::AtUpstream(call));
        }
        self.resolve(call, Resolution::Presume(None));
    }

    /// The upstream carries it out, whatever became of the replica.
    pub fn at_upstream(&mut self, call: usize) {
        let Some(admitted) = self.calls[call].admitted else { return };
        let (pool, now) = (self.calls[call].pool, self.now);
        self.calls[call].executions += 1;
        let reply = if pool == PICTURES {
            let task = self.take_on(call, admitted.input);
            self.calls[call].task = Some(task);
            replies::task(task)
        } else {
            let quiet = self.is_quiet();
            let (usage, reply) = replies::chat(&mut self.dice, &admitted, quiet);
            if let Some(usage) = usage {
                self.upstream[pool].charge(now, usage.total());
                self.calls[call].charged = Some(usage);
            }
            reply
        };
        self.say(|| format!("call {call} is answered by {}, charged {:?}", reply.kind, self.calls[call].charged));
        if self.calls[call].stage == Stage::Up {
            let watch = match pool {
                PICTURES => Watch { api: Api::Image, unit: Unit::Images },
                _ => Watch::default(),
            };
            let content_type = if reply.stream { "text/event-stream" } else { "application/json" };
            self.calls[call].observer = Some(Observer::new(watch, Some(content_type), Encoding::Identity, false));
            self.calls[call].reply = Some(reply);
            let pause = self.dice.between(1, 100);
            self.later(pause, Event::Piece(call));
        }
    }

    /// The next piece of the reply, or its end.
    pub fn piece(&mut self, call: usize) {
        let of = &mut self.calls[call];
        let (Stage::Up, Some(observer), Some(reply)) = (of.stage, &mut of.observer, &of.reply) else { return };
        match reply.pieces.get(of.next) {
            Some(piece) => {
                of.next += 1;
                if observer.observe(piece.clone()).end_at.is_some() {
                    return self.conclude(call);
                }
                let pause = self.dice.between(1, 300);
                self.later(pause, Event::Piece(call));
            }
            None => match reply.clean {
                Some(clean) => {
                    observer.end(clean);
                    self.conclude(call);
                }
                None => self.say(|| format!("call {call}: the upstream says no more")),
            },
        }
    }

    pub fn too_long(&mut self, call: usize) {
        let of = &mut self.calls[call];
        if of.stage != Stage::Up {
            return;
        }
        match &mut of.observer {
            Some(observer) => {
                observer.end(false);
                self.conclude(call);
            }
            None => self.resolve(call, Resolution::Presume(None)),
        }
    }

    /// Mostly what the client left is read on; where it is not, its hold is presumed.
    pub fn client_gone(&mut self, call: usize) {
        if self.calls[call].stage == Stage::Up && self.dice.chance(30) {
            self.resolve(call, Resolution::Presume(None));
        }
    }

    fn conclude(&mut self, call: usize) {
        let of = &self.calls[call];
        let (Some(observer), Some(reply)) = (&of.observer, &of.reply) else { return };
        let verdict = Verdict::of(&observer.finding(), reply.success);
        let resolution = match verdict {
            Verdict::Task(_) => {
                let Some(task) = of.task else { return };
                return self.remember(task);
            }
            Verdict::Refused => Resolution::Release,
            Verdict::Used(usage) => Resolution::Settle(usage),
            Verdict::Unknown(Some(seen)) if self.bug == Some(Bug::PartIsAll) => Resolution::Settle(seen),
            Verdict::Unknown(None) if self.bug == Some(Bug::CutIsFree) => Resolution::Release,
            Verdict::Unknown(seen) => Resolution::Presume(seen),
        };
        self.resolve(call, resolution);
    }
}
