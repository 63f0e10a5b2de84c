//! What can be said of a shared store.

use serde::Serialize;

use crate::ledger::Timestamp;

/// Whether there is a ledger in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    /// There is none under this prefix.
    Absent,
    /// One was begun and never completed: nothing was ever admitted on it.
    Incomplete,
    /// There is one.
    Ready,
}

/// What an operator sees of a shared store. Read from the store itself, without the journal of any replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    /// What runs there: `Redis 7.0.15, one server`.
    pub server: String,
    /// The durability class: `redis-always` (LEDGER 4).
    pub class: String,
    /// What the class promises: its bound first.
    pub promise: Vec<String>,
    /// Whether there is a ledger.
    pub ledger: LedgerState,
    /// The run id of the server that holds the ledger's beat; empty where it is not known.
    pub run_id: String,
    /// How often an operator has said to go on.
    pub epoch: u64,
    /// The replicas that were seen, by name.
    pub replicas: Vec<Replica>,
    /// Why nothing is admitted until an operator says to go on; `None` = it is not suspended.
    pub suspended: Option<String>,
}

/// A replica as the store remembers it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Replica {
    /// Its name: that of its journal.
    pub name: String,
    /// When it last beat.
    #[serde(serialize_with = "rfc3339")]
    pub seen: Timestamp,
    /// Why it admitted nothing then.
    pub suspended: Option<String>,
}

/// How much older the word of a replica may be than that of the one that was seen last, in ms; what is older is of one that is gone.
const STALE_MS: u64 = 10_000;

/// Why nothing is admitted, where each replica that is there says so; one alone may only be set up wrongly.
pub(super) fn suspended(replicas: &[Replica]) -> Option<String> {
    let last = replicas.iter().map(|replica| replica.seen.0).max()?;
    let present = replicas.iter().filter(|replica| replica.seen.0.saturating_add(STALE_MS) >= last);
    let why: Option<Vec<&String>> = present.map(|replica| replica.suspended.as_ref()).collect();
    why?.first().map(|why| (*why).clone())
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339())
}

/// How one replica stands with the store, from its own memory: nobody is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Why nothing is admitted until an operator says to go on.
    pub suspended: Option<String>,
    /// Whether calls are refused without asking, because the last ones were not answered.
    pub breaker_open: bool,
    /// Settlements that are in the journal and not yet in the store.
    pub parked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_suspended_when_every_replica_that_is_there_says_so() {
        let replica = |seen: u64, why: Option<&str>| Replica {
            name: seen.to_string(),
            seen: Timestamp(seen),
            suspended: why.map(str::to_owned),
        };
        let (well, ill, gone) = (replica(100_000, None), replica(100_500, Some("why")), replica(1, None));
        assert_eq!(suspended(&[]), None);
        assert_eq!(suspended(&[ill.clone(), gone]).as_deref(), Some("why"));
        assert_eq!(suspended(&[ill, well]), None);
    }
}
