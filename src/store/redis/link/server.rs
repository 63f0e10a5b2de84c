//! One server that takes writes: its connections, and one exchange with it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, Pipeline, Value};

use super::address::Address;
use super::class::Class;
use super::facts::{self, Facts};
use super::fault::Fault;
use super::layout::Seat;
use super::script::Script;

/// Connections for calls that wait for replicas: while one waits, whatever else is on its connection waits too.
const WAITING: usize = 8;

/// How often a script that the server forgot is loaded for one call: somebody may just be flushing them.
const LOADS: usize = 3;

/// After so many calls in a row without an answer nobody is sent there until a look says that it answers again.
const SILENT_AFTER: u32 = 3;

/// A server with its connections.
pub(super) struct Server {
    pub(super) seat: Seat,
    /// What it said of itself at the last look, and what it promises.
    pub(super) facts: Facts,
    pub(super) class: Class,
    calls: MultiplexedConnection,
    waits: Vec<MultiplexedConnection>,
    turn: AtomicUsize,
    lost: AtomicBool,
    unanswered: AtomicU32,
}

impl Server {
    /// Connects, loads the scripts, and asks what the server says of itself.
    pub(super) async fn dial(
        address: &Address,
        seat: Seat,
        scripts: &[&Script],
        within: Duration,
    ) -> Result<Self, String> {
        let mut calls = address.dial(&seat.address, within).await?;
        let (facts, class) = examine(address, &seat, &mut calls).await?;
        let mut waits = Vec::new();
        if matches!(class, Class::Wait { .. }) {
            for _ in 0..WAITING {
                waits.push(address.dial(&seat.address, within).await?);
            }
        }
        for script in scripts {
            let loaded = calls.req_packed_command(&script.load()).await.and_then(Value::extract_error);
            loaded.map_err(|error| format!("{} does not take the script {}: {error}", seat.address, script.name))?;
        }
        let (turn, lost, unanswered) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU32::new(0));
        Ok(Self { seat, facts, class, calls, waits, turn, lost, unanswered })
    }

    /// The same server with the same connections, as it says it is now; `None` where it has to be dialled anew.
    pub(super) async fn again(&self, address: &Address, seat: Seat) -> Result<Option<Self>, String> {
        if self.lost.load(Ordering::Acquire) || self.seat.address != seat.address {
            return Ok(None);
        }
        let mut calls = self.calls.clone();
        let (facts, class) = examine(address, &seat, &mut calls).await?;
        let waits = matches!(class, Class::Wait { .. });
        if facts.run != self.facts.run || waits == self.waits.is_empty() {
            return Ok(None);
        }
        let (turn, lost, unanswered) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU32::new(0));
        Ok(Some(Self { seat, facts, class, calls, waits: self.waits.clone(), turn, lost, unanswered }))
    }

    /// Sends nobody there any more; the next look dials anew.
    pub(super) fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether calls are sent here.
    pub(super) fn answers(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && self.unanswered.load(Ordering::Acquire) < SILENT_AFTER
    }

    /// Notes that a call was not answered in time. `true` = from now on nobody is sent here.
    pub(super) fn unanswered(&self) -> bool {
        self.unanswered.fetch_add(1, Ordering::AcqRel) + 1 >= SILENT_AFTER
    }

    /// One exchange, acknowledged as the class promises where it writes; without a time-out of its own.
    pub(super) async fn exchange(
        &self,
        script: Option<&Script>,
        cmd: &Cmd,
        write: bool,
        within: Duration,
    ) -> Result<Value, Fault> {
        let mut answer = self.once(cmd, write, within).await;
        for _ in 0..LOADS {
            let (Err(Fault::NoScript), Some(script)) = (&answer, script) else { break };
            self.calls.clone().req_packed_command(&script.load()).await.map_err(|error| Fault::of(&error))?;
            answer = self.once(cmd, write, within).await;
        }
        match &answer {
            Err(Fault::Lost(_)) => self.lost.store(true, Ordering::Release),
            Ok(_) | Err(_) => self.unanswered.store(0, Ordering::Release),
        }
        answer
    }

    async fn once(&self, cmd: &Cmd, write: bool, within: Duration) -> Result<Value, Fault> {
        let fault = |error| Fault::of(&error);
        let Class::Wait { replicas } = self.class else {
            let answer = self.calls.clone().req_packed_command(cmd).await;
            return answer.and_then(Value::extract_error).map_err(fault);
        };
        if !write {
            let answer = self.calls.clone().req_packed_command(cmd).await;
            return answer.and_then(Value::extract_error).map_err(fault);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.waits.len().max(1);
        let mut connection = self.waits.get(turn).unwrap_or(&self.calls).clone();
        let mut pipe = Pipeline::with_capacity(2);
        pipe.add_command(cmd.clone());
        let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        pipe.cmd("WAIT").arg(replicas).arg(ms.saturating_sub(20).max(1));
        let answers = connection.req_packed_commands(&pipe, 0, 2).await.map_err(fault)?;
        let Ok([answer, acknowledged]) = <[Value; 2]>::try_from(answers) else {
            return Err(Fault::Other("a pipeline of two was not answered by two".to_owned()));
        };
        let answer = answer.extract_error().map_err(fault)?;
        let Value::Int(count) = acknowledged.extract_error().map_err(fault)? else {
            return Err(Fault::Other("WAIT was not answered by a number".to_owned()));
        };
        if count < i64::from(replicas) {
            return Err(Fault::Short(format!("{count} of {replicas} replicas acknowledged it")));
        }
        Ok(answer)
    }
}

/// What a server says of itself, and what it promises; an error where it does not take writes now.
async fn examine(
    address: &Address,
    seat: &Seat,
    connection: &mut MultiplexedConnection,
) -> Result<(Facts, Class), String> {
    let questions = facts::questions();
    let asked = connection.req_packed_commands(&questions, 0, 3).await;
    let answers = asked.map_err(|error| format!("{}: {error}", seat.address))?;
    let facts = Facts::read(&answers).map_err(|what| format!("{}: {what}", seat.address))?;
    if facts.loading {
        return Err(format!("{} is still loading its data", seat.address));
    }
    if facts.role != "master" {
        return Err(format!("{} is no primary", seat.address));
    }
    let class = Class::of(&address.topology, &facts, seat.replicas);
    Ok((facts, class))
}
