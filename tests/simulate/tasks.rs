//! Tasks: calls that go on at the upstream after their reply, and whose hold is resolved by whoever sees their end.

use gratis::dialect::TaskOutcome;
use gratis::ledger::{Command, Resolution, Unit, Usage};

use crate::calls::{LEASE_TASK, Question};
use crate::world::{Event, Millis, PICTURES, World};

/// One task at the upstream, and what is remembered of it.
#[derive(Clone, Debug)]
pub struct Task {
    pub call: usize,
    ends: Millis,
    images: u64,
    pub charged: bool,
    /// What the upstream says once it is over.
    ending: &'static str,
    /// The store knows of it.
    known: bool,
    /// It was settled.
    pub closed: bool,
    polls: u32,
}

/// How often a task is asked about.
const POLL_EVERY: Millis = 5_000;

/// Nobody asks for ever.
const POLLS_AT_MOST: u32 = 60;

impl World {
    /// The upstream takes a task on.
    pub fn take_on(&mut self, call: usize, images: u64) -> usize {
        let ending = match self.dice.between(0, 9) {
            _ if self.is_quiet() => "SUCCEEDED",
            0 => "FAILED",
            1 => "CANCELED",
            2 => "UNREADABLE",
            _ => "SUCCEEDED",
        };
        let longest = if self.is_quiet() { 2_000 } else { LEASE_TASK + 30_000 };
        let ends = self.now + self.dice.between(500, longest);
        let used = if self.is_quiet() { images } else { self.dice.between(0, images) };
        self.tasks.push(Task {
            call,
            ends,
            images: used,
            charged: false,
            ending,
            known: false,
            closed: false,
            polls: 0,
        });
        let task = self.tasks.len() - 1;
        self.later(ends - self.now, Event::TaskEnds(task));
        task
    }

    /// It is over, and charged where it made something.
    pub fn task_ends(&mut self, task: usize) {
        let (call, images, ending) = (self.tasks[task].call, self.tasks[task].images, self.tasks[task].ending);
        if matches!(ending, "SUCCEEDED" | "UNREADABLE") {
            self.upstream[PICTURES].charge(self.now, images);
            self.tasks[task].charged = true;
            self.calls[call].charged = Some(Usage { input: images, output: 0 });
        }
    }

    /// The replica that made it remembers it in the store; where that fails its hold is presumed.
    pub fn remember(&mut self, task: usize) {
        let call = self.tasks[task].call;
        if !self.is_quiet() && self.dice.chance(10) {
            self.resolve(call, Resolution::Presume(None));
            return;
        }
        self.calls[call].leave();
        self.tasks[task].known = true;
        self.later(POLL_EVERY, Event::Poll(task));
    }

    /// A replica asks what became of it.
    pub fn poll(&mut self, task: usize) {
        let Task { call, ends, images, ending, closed, .. } = self.tasks[task];
        self.tasks[task].polls += 1;
        if closed || self.tasks[task].polls > POLLS_AT_MOST {
            return;
        }
        self.later(POLL_EVERY, Event::Poll(task));
        let Some(replica) = self.any_replica() else { return };
        let over = ends <= self.now;
        let status = match (over, ending) {
            (false, _) => "RUNNING",
            (true, "UNREADABLE") => "SUCCEEDED",
            (true, ending) => ending,
        };
        let usage = if status != "SUCCEEDED" || ending == "UNREADABLE" {
            String::new()
        } else {
            format!(r#","usage":{{"image_count":{images}}}"#)
        };
        let body = format!(r#"{{"output":{{"task_status":"{status}","task_id":"task-{task}"}}{usage}}}"#);
        let resolution = match TaskOutcome::read(body.as_bytes(), Unit::Images) {
            TaskOutcome::Running => return,
            TaskOutcome::Used(usage) => Resolution::Settle(usage),
            TaskOutcome::Unread => Resolution::Presume(None),
            TaskOutcome::Failed => Resolution::Release,
        };
        self.say(|| format!("task {task} is {status}: {resolution:?}"));
        let (hold, origin) = (self.calls[call].hold, Some(self.calls[call].origin()));
        let command = Command::Resolve { hold, resolution, origin };
        let life = self.replicas[replica].life;
        self.ask(Question { call, replica, life, attempt: 0, command, task: Some(task) });
    }
}
