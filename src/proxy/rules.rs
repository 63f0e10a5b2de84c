//! What the request path decides of what comes back to it: values in, a value out. The path carries it out, and the simulation
//! (`tests/simulate`) drives the same rules through a million schedules.

use std::time::Duration;

use crate::dialect::{Finding, Reading};
use crate::ledger::{Admitted, Outcome, Refusal, Shortfall, Usage};
use crate::store::{StoreError, StoreErrorKind};

/// What becomes of a call's hold once its reply is over (LEDGER 8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on as a task with this id: the hold stays open for whoever sees the task's end.
    Task(String),
    /// The upstream refused it as a whole, which is free.
    Refused,
    /// It used this much, for certain.
    Used(Usage),
    /// Nobody knows what it used; at least this much where a figure was seen.
    Unknown(Option<Usage>),
}

impl Verdict {
    /// The verdict on a reply that is over; `success` = its status was a 2xx.
    #[must_use]
    pub fn of(finding: &Finding, success: bool) -> Self {
        if let Some(task) = finding.task.as_ref().filter(|_| success) {
            return Self::Task(task.clone());
        }
        if finding.only_error && finding.complete {
            return Self::Refused;
        }
        match finding.counted() {
            // A figure in a reply that is an error all the same is not trusted to be the whole of it.
            Reading::Exact(usage) if success => Self::Used(usage),
            Reading::Exact(usage) | Reading::AtLeast(usage) => Self::Unknown(Some(usage)),
            Reading::None => Self::Unknown(None),
        }
    }
}

/// What the store's answer to a reservation means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// The call goes on.
    Admitted(Admitted),
    /// The ledger said no, with its figures where the call does not fit.
    Refused(Refusal, Option<Shortfall>),
    /// Nobody knows whether something is held: nothing is sent, and what may be held is given back.
    Unknown(StoreError),
    /// Nothing is held, and nothing is sent.
    Failed(StoreError),
}

impl Answered {
    /// Reads the last answer to a reservation.
    #[must_use]
    pub fn of(answer: Result<Outcome, StoreError>) -> Self {
        let failed = |kind, detail| Self::Failed(StoreError { kind, detail });
        match answer {
            Ok(Outcome::Admitted(admitted)) => Self::Admitted(admitted),
            Ok(Outcome::Refused(refusal, shortfall)) => Self::Refused(refusal, shortfall),
            Ok(Outcome::AlreadyResolved(state)) => {
                failed(StoreErrorKind::Unavailable, format!("the hold is {state:?} before its call was sent"))
            }
            Ok(
                other @ (Outcome::Resolved(_)
                | Outcome::NotOpen(_)
                | Outcome::Unknown(_)
                | Outcome::Expired { .. }
                | Outcome::Forgotten(_)
                | Outcome::Done(_)
                | Outcome::Declined(_)),
            ) => failed(StoreErrorKind::Corrupt, format!("a reservation was answered by {other:?}")),
            Err(error) if error.kind == StoreErrorKind::TimedOut => Self::Unknown(error),
            Err(error) => Self::Failed(error),
        }
    }
}

/// An answer that failed this soon was lost on the way: the store is asked once more, with the same id.
const LOST_WITHIN: Duration = Duration::from_millis(100);

/// Whether a reservation is asked about once more, after it failed within `elapsed`. A store that is silent is not asked again, so
/// that a client learns of it within one time-out.
#[must_use]
pub fn asks_again(failure: StoreErrorKind, elapsed: Duration) -> bool {
    failure == StoreErrorKind::TimedOut && elapsed < LOST_WITHIN
}

/// Whether an admitted call may still go up, `elapsed` after it began. A grant that ends within `max_call` was not used for it, so
/// what begins late (a process that was stopped in between) could be charged after the end. The other half is the upstream's time.
#[must_use]
pub fn may_be_sent(elapsed: Duration, max_call: Duration) -> bool {
    elapsed < max_call / 2
}

/// The pauses between the tries of a settlement while the store is unavailable.
const PAUSES_MS: [u64; 6] = [50, 200, 1_000, 5_000, 15_000, 30_000];

/// The longest pause for one that is on this machine's disk: the tries go on until the store has it.
const DEFERRED_MS: u64 = 1_000;

/// How long a settlement waits before it is tried again, after it failed `failures` times before this one. `None` = never again; its
/// hold will be presumed.
#[must_use]
pub fn tries_again_after(failure: StoreErrorKind, failures: usize) -> Option<Duration> {
    let pause = PAUSES_MS.get(failures).copied();
    let ms = match failure {
        StoreErrorKind::Unavailable | StoreErrorKind::TimedOut => pause,
        StoreErrorKind::Deferred => Some(pause.unwrap_or(DEFERRED_MS).min(DEFERRED_MS)),
        StoreErrorKind::Corrupt | StoreErrorKind::NotInitialised | StoreErrorKind::UnknownAccount => None,
    };
    ms.map(Duration::from_millis)
}
