//! The rules of the free quota: what may be reserved, and what a settlement, a release or the end of a lease does.
//!
//! Pure: no clock, no I/O, no async, no locks. `now` is an argument, and every store is tested against [`apply`] with the same
//! commands (LEDGER 2). A step is carried out completely or not at all.

mod apply;
mod balance;
mod book;
mod command;
mod ids;
mod operate;
mod outcome;
mod plan;
mod reserve;
mod resolve;
mod spread;

pub use apply::{Change, EXPIRE_AT_MOST, apply, recover_presumed};
pub use balance::{Balance, Grant, Side, Unit};
pub use book::{
    AccountState, Billed, BillingMode, Book, Closure, Fund, Hold, HoldState, Key, KeyState, Line, Pool, Switch,
};
pub use command::{
    Ask, Command, Expect, Operation, Origin, Overrun, Reserve, ReserveRules, Resolution, SwitchOff, Usage,
};
pub use ids::{AccountId, Amount, GrantId, HoldId, KeyId, MAX_AMOUNT, ModelCode, PoolId, Timestamp};
pub use outcome::{Admitted, Decline, Done, Entry, EntryKind, Outcome, Refusal, Resolved};
