//! What happened to an account, and the state that follows from it: activation, verification, top-ups, unpaid bills, a refusal of
//! the provider's. Pure.
//!
//! The ledger knows the state alone, because that decides about calls. What led to it is kept beside the book, so that a top-up
//! of an unverified account does not make it a verified one.

use serde::{Deserialize, Serialize};

use crate::catalogue::Site;
use crate::ledger::{AccountState, Timestamp};

/// What is known of an account beside its book.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Whether the service was ever activated.
    pub activated: bool,
    /// When, where that is known.
    pub activated_at: Option<Timestamp>,
    /// Whether the identity was verified.
    pub verified: bool,
    /// Whether money was ever paid in.
    pub topped_up: bool,
    /// Since when a bill is unpaid.
    pub unpaid_since: Option<Timestamp>,
    /// The upstream of its own that said that it is overdue: the provider refuses already, whatever the grace.
    #[serde(default)]
    pub refused_by: Option<RefusedBy>,
    /// Closed for good.
    pub closed: bool,
}

/// An upstream that refused because its account is overdue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusedBy {
    /// Its name in the configuration.
    pub upstream: String,
    /// When it refused first.
    pub at: Timestamp,
}

/// Something that happened to an account at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// With a top-up: a bill is unpaid all the same.
    pub still_unpaid: bool,
}

/// What can happen to an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// The service was activated: grants begin.
    Activated,
    /// The identity was verified.
    Verified,
    /// Money was paid in.
    ToppedUp,
    /// A bill could not be settled: the grace begins.
    BillUnpaid,
    /// The account was closed.
    Closed,
}

/// Why an event cannot have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Impossible {
    /// A closed account stays closed.
    AccountClosed,
    /// The account was never activated.
    NotActivated,
}

impl Standing {
    /// What a state says by itself.
    #[must_use]
    pub fn implied(state: AccountState, activated_at: Option<Timestamp>) -> Self {
        let good = |verified| Self {
            activated: true,
            activated_at,
            verified,
            topped_up: verified,
            unpaid_since: None,
            refused_by: None,
            closed: false,
        };
        match state {
            AccountState::NotActivated => Self { activated: false, activated_at: None, ..good(false) },
            AccountState::Active => good(true),
            AccountState::Unverified => good(false),
            AccountState::Overdue { grace_until } => Self { unpaid_since: Some(grace_until), ..good(true) },
            AccountState::Closed => Self { closed: true, ..good(true) },
        }
    }

    /// The state that follows (B5 to B8). An unpaid bill counts before a missing verification: it blocks more. Where the provider
    /// refuses already, no grace is left.
    #[must_use]
    pub fn state(&self, site: &Site) -> AccountState {
        let unpaid = self.unpaid_since.map(|since| site.grace_until(since));
        let refused = self.refused_by.as_ref().map(|refused| refused.at);
        if self.closed {
            AccountState::Closed
        } else if !self.activated {
            AccountState::NotActivated
        } else if let Some(grace_until) = unpaid.into_iter().chain(refused).min() {
            AccountState::Overdue { grace_until }
        } else if site.unverified_is_free_only && !(self.verified && self.topped_up) {
            AccountState::Unverified
        } else {
            AccountState::Active
        }
    }

    /// What is known after something happened.
    ///
    /// # Errors
    /// It cannot have happened.
    pub fn after(self, event: Event) -> Result<Self, Impossible> {
        if self.closed {
            return Err(Impossible::AccountClosed);
        }
        if !self.activated && !matches!(event.kind, EventKind::Activated | EventKind::Closed) {
            return Err(Impossible::NotActivated);
        }
        Ok(match event.kind {
            EventKind::Activated => {
                Self { activated: true, activated_at: self.activated_at.or(Some(event.at)), ..self }
            }
            EventKind::Verified => Self { verified: true, ..self },
            EventKind::ToppedUp => {
                let unpaid_since = self.unpaid_since.filter(|_| event.still_unpaid);
                let refused_by = self.refused_by.filter(|_| event.still_unpaid);
                Self { topped_up: true, unpaid_since, refused_by, ..self }
            }
            EventKind::BillUnpaid => Self { unpaid_since: self.unpaid_since.or(Some(event.at)), ..self },
            EventKind::Closed => Self { closed: true, ..self },
        })
    }

    /// What is known once an upstream of the account's own refused: the first refusal counts.
    #[must_use]
    pub fn refused(self, upstream: &str, at: Timestamp) -> Self {
        let first = || Some(RefusedBy { upstream: upstream.to_owned(), at });
        Self { refused_by: self.refused_by.or_else(first), ..self }
    }

    /// What is known once that upstream serves again.
    #[must_use]
    pub fn served(self, upstream: &str) -> Self {
        Self { refused_by: self.refused_by.filter(|refused| refused.upstream != upstream), ..self }
    }
}
