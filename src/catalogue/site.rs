//! Provider sites: whose rules apply to an account.

use crate::ledger::{Overrun, SwitchOff};

/// The rule set of one provider site. Each rule's source stands beside it in `config/sites/`.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// Its name, `qwen-cloud` for example.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// The zone in which its dates are meant.
    pub time_zone: String,
    /// Regions that have a free quota (C3).
    pub regions: Vec<String>,
    /// How long a grant is valid, in days, where nothing else is said.
    pub validity_days: u32,
    /// Whether the switch is on where nobody touched it (C7).
    pub switch_default_on: bool,
    /// When a switch that is on may be turned off (C7).
    pub switch_off: SwitchOff,
    /// Whether a call may exceed the quota while the mode is on.
    pub overrun: Overrun,
    /// Days between an unpaid bill and the refusal of calls (B7).
    pub overdue_grace_days: u32,
    /// Whether an unverified account is free quota only whatever the switch says (B6).
    pub unverified_is_free_only: bool,
}
