//! What a step came to. A repeat is a named outcome, never an error.

use serde::{Deserialize, Serialize};

use super::balance::Balance;
use super::book::{BillingMode, HoldState};
use super::command::Usage;
use super::ids::{Amount, GrantId, HoldId, PoolId, Timestamp};

/// What [`apply`](super::apply) answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The call may go on, within these bounds.
    Admitted(Admitted),
    /// The call must not go on.
    Refused(Refusal),
    /// A reserve with an id that is already in the book and cannot go on.
    AlreadyResolved(HoldState),
    /// A hold was resolved by this step.
    Resolved(Resolved),
    /// The hold was final before; nothing changed.
    NotOpen(HoldState),
    /// The hold was unknown: its usage was recorded, or a tombstone was written.
    Unknown(Resolved),
    /// So many holds were posted as presumed; `more` says that others are due.
    Expired {
        /// How many.
        posted: usize,
        /// Whether more are due.
        more: bool,
    },
    /// So many finals were forgotten.
    Forgotten(usize),
    /// An operator's change was carried out.
    Done(Done),
    /// An operator's change was refused; nothing changed.
    Declined(Decline),
}

/// An admission's bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// The input that is held.
    pub input: Amount,
    /// The output that is held: the most that may be asked of the upstream.
    pub output: Amount,
    /// The mode under which the call runs.
    pub mode: BillingMode,
    /// Whether part of the call may have to be paid for.
    pub may_cost: bool,
    /// What is left beside this hold, over the grants that are usable now.
    pub available: i64,
    /// When the soonest of the grants used ends.
    pub expires: Option<Timestamp>,
    /// When the hold's lease ends.
    pub deadline: Timestamp,
}

/// The ledger's "no". A decision, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The key is not in the book, disabled or deleted.
    KeyNotActive,
    /// The service was never activated.
    AccountNotActivated,
    /// The account is closed.
    AccountClosed,
    /// The account is overdue past its grace, or the provider said so of the upstream.
    Arrearage,
    /// The key may not ask for this model.
    ModelNotAllowed,
    /// Free quota only, and the pool has no grant.
    NoGrant,
    /// Free quota only, and every grant of the pool has ended, ends within the call, or has not begun.
    Ended,
    /// Free quota only, and what is left cannot carry the call.
    UsedUp,
    /// Free quota only, and only the holds of calls in progress are in the way.
    Busy,
    /// Free quota only, and the provider itself refused this pool.
    ClosedByProvider,
    /// Free quota only, and no sound bound of the call is known.
    Unbounded,
    /// Free quota only, and the call asks for something that is billed beside the quota.
    NotCovered,
    /// The quota is used up, and the model has no price, so it cannot be paid for.
    NotPayable,
    /// The ask is malformed: an amount above the limit.
    TooLarge,
}

/// What a resolution posted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// What the hold is now.
    pub state: HoldState,
    /// What was posted against grants.
    pub covered: Usage,
    /// What no grant covered.
    pub billed: Usage,
    /// By how much the usage exceeded the hold (an incident where the mode was free quota only).
    pub over_hold: Amount,
    /// By how much `available` of the grants used is below zero now.
    pub overspent: Amount,
}

impl Resolved {
    pub(super) fn nothing(state: HoldState) -> Self {
        Self { state, covered: Usage::default(), billed: Usage::default(), over_hold: 0, overspent: 0 }
    }
}

/// What an operator's change came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// A grant was added.
    GrantAdded(GrantId),
    /// A balance was changed; the drift is (ours - the console's) for a sync, 0 otherwise.
    Balance {
        /// The balance now.
        balance: Balance,
        /// Our remaining figure less the console's, before the change.
        drift: i64,
    },
    /// Something else was changed.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Why an operator's change was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    /// The switch cannot be turned on: the pool has no grant (S0).
    NoGrant,
    /// The switch cannot be turned on: every grant has ended (S0).
    Ended,
    /// The switch cannot be turned on: the quota is used up (S0).
    UsedUp,
    /// The switch can only be turned off once the quota is used up or has ended (S0, S2).
    NotUsedUp,
    /// No such grant.
    UnknownGrant,
    /// No such key.
    UnknownKey,
    /// No such pool.
    UnknownPool,
    /// A deleted key stays deleted.
    KeyDeleted,
    /// A closed account stays closed.
    AccountClosed,
    /// The figure would raise what is available, and that was not asked for.
    WouldRaise,
    /// An amount above the limit, or more spent than granted.
    TooLarge,
    /// The grant's end is not after its start.
    EndsBeforeStart,
    /// It is not what the change rests on any more.
    ChangedMeanwhile,
}

/// One immutable line of the ledger. A balance is the sum of its entries, plus its open holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub kind: EntryKind,
    /// The pool.
    pub pool: PoolId,
    /// The grant; `None` for what no grant covered.
    pub grant: Option<GrantId>,
    /// The hold that it belongs to.
    #[serde(skip)]
    pub hold: Option<HoldId>,
    /// Change of the granted amount.
    pub granted: i64,
    /// Change of what is held.
    pub held: i64,
    /// Change of what is spent.
    pub spent: i64,
    /// Change of what is presumed spent.
    pub presumed: i64,
    /// Billed beside the grants.
    pub billed: Usage,
}

impl Entry {
    /// An entry that changes nothing yet.
    pub(super) fn new(at: Timestamp, kind: EntryKind, pool: PoolId, grant: Option<GrantId>) -> Self {
        Self { at, kind, pool, grant, hold: None, granted: 0, held: 0, spent: 0, presumed: 0, billed: Usage::default() }
    }
}

/// Why an entry was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A grant was made or its amount changed.
    Grant,
    /// A hold was made.
    Reserve,
    /// A hold was settled.
    Settle,
    /// A hold was released.
    Release,
    /// A hold was posted in full, by an unknown outcome.
    Presume,
    /// A hold was posted in full, by the end of its lease.
    Expire,
    /// A presumed hold was corrected.
    Correct,
    /// Usage of a hold that was unknown.
    Unknown,
    /// The provider console's figure was put in.
    Sync,
    /// After a power loss the difference to the durable watermark was posted.
    Recover,
}
