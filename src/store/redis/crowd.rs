//! Calls of one account that are ready at the same time go to the store as one script.
//!
//! A script costs the server more than the few fields that it changes, and what calls share, the account's state and the pool, is
//! read and written once. Only the usual part of the rules is in that script (`usual.lua`); what it does not decide is asked alone.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ledger::HoldId;

use super::args::{Numbers, Usual};
use super::books::Place;
use super::keys::AccountKeys;
use super::link::{Link, LinkError, Script};
use super::scripts;

/// So many go together at most: everybody else's calls wait while a script runs.
const TOGETHER: usize = 64;

/// What came of a call that went with others.
#[derive(Debug)]
pub(super) enum Sent {
    /// The store's answer to it, in this epoch.
    Answered { epoch: u64, value: Value },
    /// Nothing was done for it: it has to be asked alone.
    Undecided,
}

#[derive(Debug)]
struct Waiting {
    usual: Arc<Usual>,
    answer: oneshot::Sender<Result<Sent, LinkError>>,
}

/// The calls of an account that are about to be sent.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Vec<Waiting>>);

impl Crowd {
    /// `true` = nobody is about to send yet.
    fn join(&self, waiting: Waiting) -> bool {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        crowd.push(waiting);
        crowd.len() == 1
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The duty to send a crowd. Dropped undone, nobody waits for it in vain.
struct Lead {
    place: Arc<Place>,
    done: bool,
}

impl Lead {
    fn take(mut self) -> Vec<Waiting> {
        self.done = true;
        self.place.crowd.take()
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.done {
            drop(self.place.crowd.take());
        }
    }
}

/// What sends the calls of accounts; tasks that send for several callers share it.
pub(super) struct Sender {
    pub(super) link: Link,
    /// What this replica is called in an account's hash.
    pub(super) count_field: String,
    /// Instead of the server's clock: tests turn it.
    pub(super) given: Option<Clock>,
    /// Those that send for several.
    pub(super) tasks: TaskTracker,
}

impl Sender {
    /// A call of a script up to the arguments that all have.
    pub(super) fn begin(&self, script: &Script, place: &Place, holds: impl IntoIterator<Item = HoldId>) -> Cmd {
        let AccountKeys { hash, due, presumed, hold } = &place.keys;
        let holds: Vec<String> = holds.into_iter().map(|id| format!("{hold}{id}")).collect();
        let keys = [hash, due, presumed].into_iter().chain(&holds).map(String::as_bytes);
        let mut cmd = script.call(&keys.collect::<Vec<_>>());
        cmd.arg(self.count_field.as_str()).arg(hold.as_str());
        cmd
    }

    /// The numbers that every script takes.
    pub(super) fn numbers(&self, place: &Place, epoch: u64) -> Numbers {
        Numbers::new(self.given.as_ref().map(Clock::now), place.acknowledged(epoch))
    }

    /// One call, with those of its account that are ready before this one's task runs again.
    pub(super) async fn together(self: &Arc<Self>, place: &Arc<Place>, usual: &Arc<Usual>) -> Result<Sent, LinkError> {
        let (answer, answered) = oneshot::channel();
        if place.crowd.join(Waiting { usual: Arc::clone(usual), answer }) {
            let (sender, lead) = (Arc::clone(self), Lead { place: Arc::clone(place), done: false });
            // A task of its own: whoever began it may leave while others wait for the answer.
            self.tasks.spawn(async move {
                tokio::task::yield_now().await;
                let place = Arc::clone(&lead.place);
                let (mut rest, mut sendings) = (lead.take(), Vec::new());
                while !rest.is_empty() {
                    let crowd = rest.drain(..rest.len().min(TOGETHER)).collect();
                    sendings.push(sender.send(&place, crowd));
                }
                join_all(sendings).await;
            });
        }
        answered.await.unwrap_or_else(|_| Err(LinkError::Unknown("this process is going down".to_owned())))
    }

    async fn send(&self, place: &Place, mut crowd: Vec<Waiting>) {
        // Nothing is held for a caller who has left.
        crowd.retain(|waiting| !waiting.answer.is_closed());
        let script = match crowd.as_slice() {
            [] => return,
            [alone] => alone.usual.script(),
            [_, _, ..] => &scripts::USUAL,
        };
        let epoch = self.link.epoch();
        let mut cmd = self.begin(script, place, crowd.iter().filter_map(|waiting| waiting.usual.asked().hold()));
        for waiting in &crowd {
            waiting.usual.append(&mut cmd, self.numbers(place, epoch));
        }
        let answered = self.link.run(script, &place.keys.hash, cmd).await;
        let answers = answers(answered, crowd.len(), epoch);
        for (waiting, answer) in crowd.into_iter().zip(answers) {
            // Who has left since is not told; what was held for him ends by its lease.
            let _ = waiting.answer.send(answer);
        }
    }
}

/// What each of so many is told.
fn answers(answer: Result<Value, LinkError>, count: usize, epoch: u64) -> Vec<Result<Sent, LinkError>> {
    let answered = |value| if value == Value::Nil { Sent::Undecided } else { Sent::Answered { epoch, value } };
    match answer {
        answer if count == 1 => vec![answer.map(answered)],
        Ok(Value::Array(values)) if values.len() == count => {
            values.into_iter().map(|value| Ok(answered(value))).collect()
        }
        // Nothing was done, and one of them may be the reason.
        Ok(_) | Err(LinkError::Unavailable(_) | LinkError::Script { .. } | LinkError::Corrupt(_)) => {
            (0..count).map(|_| Ok(Sent::Undecided)).collect()
        }
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}
