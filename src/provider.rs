//! What the provider says of accounts and upstreams, kept in the store so that it holds for the next call on every replica
//! (C10, B5 to B8).
//!
//! *Standing*: what happened to an account, and the state that follows from it. *Closures*: what a refusal of the provider's
//! closes, who tries again, and what opens it. The ledger holds the outcome, so that a reservation sees it in the same step in
//! which it holds; how it came about stands in the notes and in the audit log.

mod closures;
mod standing;

pub use closures::{ClosedUpstream, Overdue, Provider, Sites, Trial};
pub use standing::{Event, EventKind, Impossible, RefusedBy, Standing};
