//! stub
use super::*;
/// What a step changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A line of the ledger.
    Entry(Entry),
    /// A hold was made or changed: see the book.
    Hold(HoldId),
    /// A hold is no longer in the book.
    HoldForgotten(HoldId),
    /// A grant was made.
    Grant(PoolId, GrantId),
    /// A pool's switch, closure, overrun mark or billed units changed.
    Pool(PoolId),
    /// The account's state or guard changed.
    Account,
    /// A key was added or changed.
    Key(KeyId),
}
