//! Grants and their balances.

use serde::{Deserialize, Serialize};

use super::ids::{Amount, GrantId, PoolId, Timestamp};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Model tokens, input and output.
    Tokens,
    /// Images made.
    Images,
    /// Seconds of audio or video.
    Seconds,
    /// Characters spoken.
    Characters,
    /// Voices made.
    Voices,
}

/// Which part of a call a grant pays for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Input and output together, the usual case.
    Both,
    /// Input alone (W 4: older vision models count the two apart).
    Input,
    /// Output alone.
    Output,
}

/// An amount of free quota of one pool. Never changes once made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Its number within the account.
    pub id: GrantId,
    /// The pool that draws on it.
    pub pool: PoolId,
    /// What part of a call it pays.
    pub side: Side,
    /// What it counts.
    pub unit: Unit,
    /// How much was granted.
    pub amount: Amount,
    /// From when on it can be used.
    pub start: Timestamp,
    /// From when on it can no longer be used; `None` = it does not end.
    pub end: Option<Timestamp>,
}

/// The counters of one grant. `available` is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    /// The grant's amount, with later corrections of it.
    pub granted: Amount,
    /// Set aside for calls in progress.
    pub held: Amount,
    /// Known to be used.
    pub spent: Amount,
    /// Taken as used because nobody knows.
    pub presumed: Amount,
}

impl Balance {
    /// Everything that is not available: held + spent + presumed.
    #[must_use]
    pub fn taken(&self) -> Amount {
        self.held.saturating_add(self.spent).saturating_add(self.presumed)
    }

    /// granted - held - spent - presumed; negative when a call used more than its hold.
    #[must_use]
    pub fn available(&self) -> i64 {
        signed(self.granted).saturating_sub(signed(self.taken()))
    }

    /// What could be available once every hold is resolved at nothing: granted - spent - presumed.
    #[must_use]
    pub fn unspent(&self) -> i64 {
        signed(self.granted).saturating_sub(signed(self.spent.saturating_add(self.presumed)))
    }
}

/// An amount as a signed number; amounts stay far below the limit, so nothing is cut.
pub(crate) fn signed(amount: Amount) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
