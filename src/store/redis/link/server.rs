//! One server that takes writes: its connections, and one exchange with it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{Cmd, Pipeline, Value};

use super::address::Address;
use super::class::Class;
use super::connection::Connection;
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

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) cmd: &'a Cmd,
    /// It counts only when it is acknowledged as the class promises.
    pub(super) write: bool,
    /// Its slot is on its way to this server.
    pub(super) asking: bool,
}

/// A server with its connections.
pub(super) struct Server {
    pub(super) seat: Seat,
    /// What it said of itself at the last look, and what it promises.
    pub(super) facts: Facts,
    pub(super) class: Class,
    calls: Connection,
    waits: Vec<Connection>,
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
        let calls = address.dial(&seat.address, within).await?;
        let (facts, class) = examine(address, &seat, &calls).await?;
        let count = if class.replicas().is_some() { WAITING } else { 0 };
        let waits = try_join_all((0..count).map(|_| address.dial(&seat.address, within))).await?;
        for connection in &waits {
            // A server that was restarted in between would be judged as one process and used as another.
            if examine(address, &seat, connection).await?.0.run != facts.run {
                return Err(format!("{} was just restarted", seat.address));
            }
        }
        let mut load = redis::pipe();
        for script in scripts {
            load.add_command(script.load());
        }
        if !scripts.is_empty() {
            let loaded = calls.commands(&load).await;
            let loaded = loaded.map_err(|error| format!("{}: {error}", seat.address))?;
            for (script, answer) in scripts.iter().zip(loaded) {
                let refused = |error| format!("{} does not take the script {}: {error}", seat.address, script.name);
                answer.extract_error().map_err(refused)?;
            }
        }
        let (turn, lost, unanswered) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU32::new(0));
        Ok(Self { seat, facts, class, calls, waits, turn, lost, unanswered })
    }

    /// The same server with the same connections, as it says it is now; `None` where it has to be dialled anew.
    pub(super) async fn again(&self, address: &Address, seat: Seat) -> Result<Option<Self>, String> {
        if self.lost.load(Ordering::Acquire) || self.seat.address != seat.address {
            return Ok(None);
        }
        let calls = self.calls.clone();
        let (facts, class) = examine(address, &seat, &calls).await?;
        if facts.run != self.facts.run || class.replicas().is_some() == self.waits.is_empty() {
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
        call: Call<'_>,
        within: Duration,
    ) -> Result<Value, Fault> {
        let mut answer = self.once(call, within).await;
        for _ in 0..LOADS {
            let (Err(Fault::NoScript), Some(script)) = (&answer, script) else { break };
            self.calls.command(&script.load()).await.map_err(|error| Fault::of(&error))?;
            answer = self.once(call, within).await;
        }
        match &answer {
            Err(Fault::Lost(_)) => self.lost.store(true, Ordering::Release),
            Ok(_) | Err(_) => self.unanswered.store(0, Ordering::Release),
        }
        answer
    }

    async fn once(&self, Call { cmd, write, asking }: Call<'_>, within: Duration) -> Result<Value, Fault> {
        let fault = |error| Fault::of(&error);
        let replicas = self.class.replicas().filter(|_| write);
        if replicas.is_none() && !asking {
            return self.calls.command(cmd).await.map_err(fault);
        }
        let mut pipe = Pipeline::with_capacity(3);
        if asking {
            pipe.cmd("ASKING");
        }
        pipe.add_command(cmd.clone());
        let mut connection = &self.calls;
        if let Some(replicas) = replicas {
            let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            pipe.cmd("WAIT").arg(replicas).arg(ms.saturating_sub(20).max(1));
            let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.waits.len()).unwrap_or(0);
            connection = self.waits.get(turn).unwrap_or(&self.calls);
        }
        let answers = connection.commands(&pipe).await.map_err(fault)?;
        let mut answers = answers.into_iter().skip(usize::from(asking)).map(Value::extract_error);
        let missing = || Fault::Lost("an answer is missing".to_owned());
        let answer = answers.next().ok_or_else(missing)?.map_err(fault)?;
        // From here on it was done, whatever comes.
        match (replicas, answers.next()) {
            (None, _) => Ok(answer),
            (Some(replicas), Some(Ok(Value::Int(have)))) if have >= i64::from(replicas) => Ok(answer),
            (Some(replicas), Some(Ok(Value::Int(have)))) => {
                Err(Fault::Short(format!("{have} of {replicas} replicas acknowledged it")))
            }
            (Some(_), other) => Err(Fault::Short(format!("WAIT was not answered by a number: {other:?}"))),
        }
    }
}

/// What a server says of itself, and what it promises; an error where it does not take writes now.
async fn examine(address: &Address, seat: &Seat, connection: &Connection) -> Result<(Facts, Class), String> {
    let questions = facts::questions();
    let asked = connection.commands(&questions).await;
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
