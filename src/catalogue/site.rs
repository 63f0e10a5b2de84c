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
    /// How old a figure of its console may be, in minutes (W 0.17).
    pub console_lag_minutes: u32,
    /// Where its regions are reached (W 2.1), those without a free quota included.
    pub endpoints: Vec<Endpoint>,
}

/// Where one region of a site is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The region, `ap-southeast-1` for example.
    pub region: String,
    /// What a person reads.
    pub title: String,
    /// The base URL of its OpenAI dialect, with the path and without a slash at the end.
    pub openai_base_url: String,
}

impl Site {
    /// The endpoint of a region.
    #[must_use]
    pub fn endpoint(&self, region: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.region == region)
    }

    /// The endpoint of the first region that has a free quota.
    #[must_use]
    pub fn default_endpoint(&self) -> Option<&Endpoint> {
        self.regions.first().and_then(|region| self.endpoint(region))
    }
}
