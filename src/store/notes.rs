//! What is kept beside the books: the audit log, and small named values. No counter of a grant is ever here.
//!
//! The shapes are those of a few commands of a shared store: append and read back; set, set if absent, get, list, delete. A note
//! is a text that its owner understands.

use super::Answer;

/// A log: lines are appended, never changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Log {
    /// Every change that an operator asked for.
    Audit,
}

impl Log {
    /// Its name in a store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
        }
    }
}

/// A line of a log with its number. Numbers grow and are never used twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// What was appended.
    pub text: String,
}

/// A shelf: values by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shelf {
    /// What an account has beside its book: `ACCOUNT`.
    Standing,
    /// Users of an account: `ACCOUNT/USER`.
    Users,
    /// Workspaces of an account: `ACCOUNT/WORKSPACE`.
    Workspaces,
    /// Whose a key is: `ACCOUNT/KEY`.
    KeyOwners,
    /// Who flipped a switch last, and when: `ACCOUNT/POOL`.
    Switches,
    /// Which notices an account wants: `ACCOUNT` or `ACCOUNT/POOL`.
    Notices,
    /// Notices that were claimed, each once: `ACCOUNT/POOL/...`.
    Crossings,
    /// Answers to changes that may be repeated, by the hash of their key.
    Idempotency,
    /// How calls were decided, by request id.
    Traces,
    /// Upstreams that said that their account is overdue: `UPSTREAM`, and the tries since, `UPSTREAM#...`.
    Closures,
    /// What shadow mode counted: `ACCOUNT/REASON/MODEL`.
    Shadow,
    /// What a key may fall back to: `ACCOUNT` or `ACCOUNT/KEY`.
    Fallbacks,
}

const DAY_MS: u64 = 86_400_000;

impl Shelf {
    /// Every shelf.
    pub const ALL: [Self; 12] = [
        Self::Standing,
        Self::Users,
        Self::Workspaces,
        Self::KeyOwners,
        Self::Switches,
        Self::Notices,
        Self::Crossings,
        Self::Idempotency,
        Self::Traces,
        Self::Closures,
        Self::Shadow,
        Self::Fallbacks,
    ];

    /// Its name in a store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standing => "standing",
            Self::Users => "users",
            Self::Workspaces => "workspaces",
            Self::KeyOwners => "key_owners",
            Self::Switches => "switches",
            Self::Notices => "notices",
            Self::Crossings => "crossings",
            Self::Idempotency => "idempotency",
            Self::Traces => "traces",
            Self::Closures => "closures",
            Self::Shadow => "shadow",
            Self::Fallbacks => "fallbacks",
        }
    }

    /// How long a value is kept after it was last set, in ms; `None` = until it is removed.
    #[must_use]
    pub fn keep_ms(self) -> Option<u64> {
        match self {
            Self::Idempotency => Some(DAY_MS),
            Self::Traces => Some(7 * DAY_MS),
            Self::Standing
            | Self::Users
            | Self::Workspaces
            | Self::KeyOwners
            | Self::Switches
            | Self::Notices
            | Self::Crossings
            | Self::Closures
            | Self::Shadow
            | Self::Fallbacks => None,
        }
    }
}

impl Shelf {
    /// How many values it keeps at most, the newest by name; `None` = all.
    #[must_use]
    pub fn most(self) -> Option<usize> {
        // A trace is named by the id of its request, which begins with the time.
        (self == Self::Traces).then_some(200_000)
    }
}

/// Notes: everything that is durable on return, except traces, which may be lost with the machine's power.
pub trait NoteStore: Send + Sync {
    /// Appends a line; answers its number.
    fn append(&self, log: Log, text: String) -> Answer<'_, u64>;

    /// Removes the oldest lines of a log until at most `most` are left; answers how many went. Their numbers are not used again.
    fn shorten(&self, log: Log, most: usize) -> Answer<'_, u64>;

    /// The newest lines, newest first, at most `limit`; only those with a number below `before`, where it is given.
    fn newest(&self, log: Log, before: Option<u64>, limit: usize) -> Answer<'_, Vec<Line>>;

    /// The value of a name.
    fn get<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, Option<String>>;

    /// Sets values, all or none.
    fn put(&self, shelf: Shelf, values: Vec<(String, String)>) -> Answer<'_, ()>;

    /// Sets a value where the name has none. Answers the value that was there; `None` = this one was set.
    fn put_if_absent<'a>(&'a self, shelf: Shelf, name: &'a str, value: String) -> Answer<'a, Option<String>>;

    /// Sets a value, or removes it (`None`), where what is there now is still `was` (`None` = nothing). Answers whether that was so.
    fn put_if<'a>(
        &'a self,
        shelf: Shelf,
        name: &'a str,
        was: Option<&'a str>,
        value: Option<String>,
    ) -> Answer<'a, bool>;

    /// Removes a name; answers whether it was there.
    fn remove<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, bool>;

    /// The names that begin with `prefix`, and come after `after`, by name, at most `limit`.
    fn list<'a>(
        &'a self,
        shelf: Shelf,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, String)>>;
}
