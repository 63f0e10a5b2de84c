//! Things that are kept at the provider and were made through Gratis: whose they are, and which hold a task still has.

use crate::dialect::Kind;
use crate::ledger::{AccountId, HoldId, Origin, Timestamp, Unit};

use super::Answer;

/// A thing kept at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// The provider's id of it.
    pub id: String,
    /// Who made it.
    pub account: AccountId,
    /// When.
    pub created: Timestamp,
    /// For a task: what it has to settle, and where.
    pub task: Option<TaskHold>,
}

/// What is needed to settle a task: a poll names neither its model nor its key (W 0.12).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskHold {
    /// Whether it is not known to be over.
    pub open: bool,
    /// Its hold.
    pub hold: HoldId,
    /// Whose usage it is.
    pub origin: Origin,
    /// What its model is counted in.
    pub unit: Unit,
}

/// Who made what. Each verb is one step, and a repeat of it changes nothing: every replica may do it.
pub trait ResourceStore: Send + Sync {
    /// Remembers a thing; durable on return. A thing that is known already keeps its owner.
    fn remember(&self, resource: Resource) -> Answer<'_, ()>;

    /// The thing of this id.
    fn resource<'a>(&'a self, kind: Kind, id: &'a str) -> Answer<'a, Option<Resource>>;

    /// Tasks that are not known to be over, oldest first, at most `limit`.
    fn open_tasks(&self, limit: usize) -> Answer<'_, Vec<Resource>>;

    /// A task is over and settled; whose it is stays known.
    fn close_task<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// Forgets the things of a kind that were made before this instant, tasks that are open apart.
    fn forget(&self, kind: Kind, before: Timestamp) -> Answer<'_, ()>;
}
