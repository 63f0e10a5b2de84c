//! What can be asked of a book.

use serde::{Deserialize, Serialize};

use super::balance::{Side, Unit};
use super::book::{AccountState, Closure, Key, KeyState, Switch};
use super::ids::{Amount, GrantId, HoldId, KeyId, ModelCode, PoolId, Timestamp};

/// One step. [`apply`](super::apply) carries it out completely or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Set allowance aside for one call.
    Reserve(Reserve),
    /// Say what became of a hold.
    Resolve {
        /// The hold.
        hold: HoldId,
        /// What became of it.
        resolution: Resolution,
        /// For a hold that the book does not know: where its usage belongs. `None` = a tombstone only.
        origin: Option<Origin>,
    },
    /// Post the holds whose lease ran out, at most `limit` of them.
    Expire {
        /// How many at most.
        limit: usize,
    },
    /// Forget old holds: afterwards a repeat of them is no longer recognised.
    Forget {
        /// Finals that became final before this instant.
        finals_before: Timestamp,
        /// Presumed holds from before this instant: they stay presumed for good.
        presumed_before: Timestamp,
    },
    /// An operator's change.
    Operate(Operation),
}

/// A request for admission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserve {
    /// The hold's id; a repeat of the same id is recognised.
    pub hold: HoldId,
    /// The key that asks.
    pub key: KeyId,
    /// The model asked for.
    pub model: ModelCode,
    /// The pool that it draws on.
    pub pool: PoolId,
    /// What the call may cost.
    pub ask: Ask,
    /// How long the hold lives, in ms.
    pub lease_ms: u64,
    /// The route's own limit on a call, in ms: a grant that ends within it is not used.
    pub max_call_ms: u64,
    /// The caller's clock; the end of a grant is judged by the later of the two clocks.
    pub caller_now: Timestamp,
    /// What the site's rules say.
    pub rules: ReserveRules,
}

/// What a call may cost: a fixed input and an output that may be made smaller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// The bound of the input.
    pub input: Amount,
    /// The part of the output bound that the request named itself.
    pub named: Amount,
    /// The part of the output bound that the request left open: at most a share of what is left.
    pub silent: Amount,
    /// The least output with which the call is worth making; below it the call is refused.
    pub least: Amount,
    /// `silent` is at most `max(available / share_of, share_floor)`; 0 = no share, all of `silent`.
    pub share_of: u64,
    /// See `share_of`.
    pub share_floor: Amount,
    /// What is held once the pool has been overrun: the most that the model can ever cost.
    pub ceiling_input: Amount,
    /// The same for the output.
    pub ceiling_output: Amount,
}

/// Rules of the account's site, and facts of the catalogue, that decide about a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReserveRules {
    /// Whether a call may exceed the quota while the mode is on.
    pub overrun: Overrun,
    /// The switch's position where nobody touched it.
    pub switch_default_on: bool,
    /// Whether the model has a price; without one it cannot be pay-as-you-go.
    pub priced: bool,
    /// Whether the hold's bound is known to be sound; without one a call is refused in free quota only.
    pub bounded: bool,
    /// Whether the quota covers everything that the call may be billed for (C2, C11).
    pub covered: bool,
}

/// Whether a call may exceed the quota while free quota only is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overrun {
    /// Never: a call that could exceed what is available is made smaller or refused.
    #[default]
    Never,
    /// The platform's own behaviour (S0): a call that starts with quota left completes.
    LastCall,
}

/// What became of a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// It used this much, for certain.
    Settle(Usage),
    /// It used nothing, provably.
    Release,
    /// Nobody knows: post it in full. With usage that was seen, at least that.
    Presume(Option<Usage>),
}

/// Consumption of one call in the pool's unit, split as the grants may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Input units, cached ones included.
    pub input: Amount,
    /// Output units, reasoning included.
    pub output: Amount,
}

impl Usage {
    /// Input and output together.
    #[must_use]
    pub fn total(self) -> Amount {
        self.input.saturating_add(self.output)
    }
}

/// Where the usage of a hold belongs that the book has never seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The key that asked.
    pub key: KeyId,
    /// The model asked for.
    pub model: ModelCode,
    /// The pool it draws on.
    pub pool: PoolId,
}

/// An operator's change of a book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Add a grant; the book numbers it. `spent` is what was used of it before Gratis counted.
    AddGrant {
        /// The pool.
        pool: PoolId,
        /// The part of a call that it pays.
        side: Side,
        /// What it counts.
        unit: Unit,
        /// How much.
        amount: Amount,
        /// Already used elsewhere.
        spent: Amount,
        /// From when on it is usable.
        start: Timestamp,
        /// When it ends.
        end: Option<Timestamp>,
    },
    /// Change the granted amount of a grant; `spent` stays.
    Regrant {
        /// The pool.
        pool: PoolId,
        /// The grant.
        grant: GrantId,
        /// The new amount.
        amount: Amount,
    },
    /// Put in the provider console's figure of what is left of a grant.
    Sync {
        /// The pool.
        pool: PoolId,
        /// The grant.
        grant: GrantId,
        /// What the console says is left.
        remaining: Amount,
        /// Whether the figure may raise what is available; otherwise it only lowers it.
        raise: bool,
    },
    /// Flip the switch of a pool.
    SetSwitch {
        /// The pool.
        pool: PoolId,
        /// On = free quota only.
        on: bool,
        /// When it may be turned off.
        rule: SwitchOff,
        /// The switch's position where nobody touched it.
        default_on: bool,
    },
    /// Change the account's state.
    SetState(AccountState),
    /// Turn the account guard on or off.
    SetNeverPay(bool),
    /// Add a key, or replace one of the same id.
    PutKey(Key),
    /// Change a key's state.
    SetKeyState {
        /// The key.
        key: KeyId,
        /// Its new state.
        state: KeyState,
    },
    /// The provider refused the pool: refuse the next call. What closed it before holds as well.
    ClosePool {
        /// The pool.
        pool: PoolId,
        /// Why.
        closure: Closure,
    },
    /// Clear a closure.
    ReopenPool {
        /// The pool.
        pool: PoolId,
    },
    /// Carry a change out only where something is still as it was read: judged in the same step.
    If {
        /// What must be so.
        expect: Expect,
        /// The change.
        then: Box<Self>,
    },
    /// The upstream that serves these pools says that its account is overdue: each refuses the next call. Where the account can pay, models without a grant are among them.
    UpstreamOverdue {
        /// The pools.
        pools: Vec<PoolId>,
    },
    /// The upstream serves again: those that were closed for it are open. One that is closed for its quota stays closed.
    UpstreamServes {
        /// The pools.
        pools: Vec<PoolId>,
    },
}

/// What a change rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The account's settings.
    Account {
        /// Its state.
        state: AccountState,
        /// Its guard.
        never_pay: bool,
    },
    /// The switch of a pool; a pool that is not in the book has one that nobody touched.
    Switch {
        /// The pool.
        pool: PoolId,
        /// Its position.
        switch: Switch,
    },
}

/// When a switch that is on may be turned off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchOff {
    /// Only once the quota is used up or has ended (S0, S2).
    OnceUsedUp,
    /// At any time (newer documents, W 4).
    AnyTime,
}
