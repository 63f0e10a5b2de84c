//! Provider sites: whose rules apply to an account.

use crate::ledger::{Overrun, SwitchOff, Timestamp};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

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
    /// How long a grant is valid, in days, where nobody says when the account was activated.
    pub validity_days: u32,
    /// The same by the time of the activation, the latest first.
    pub cohorts: Vec<Cohort>,
    /// What a grant pays for beside plain calls.
    pub covers: Covers,
    /// Which notices an account gets unless it says otherwise (E5).
    pub notices: Notices,
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
    /// Hosts of the provider's other products, by how they begin: no grant holds there (W 2.1, W 4).
    pub other_products: Vec<String>,
    /// How the keys of those products begin.
    pub other_keys: Vec<String>,
}

/// Accounts that were activated from some instant on, until the next cohort begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cohort {
    /// From when on.
    pub activated_from: Timestamp,
    /// How long a grant of theirs is valid, in days.
    pub validity_days: u32,
}

/// What a grant pays for beside plain calls in real time (C2). Batch calls, tool fees and models of one's own are covered nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Covers {
    /// Cache blocks that a request marks itself (`cache_control`).
    pub explicit_cache: bool,
}

/// Which notices an account gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notices {
    /// Whether it gets any.
    pub on: bool,
    /// At which shares of a grant that are left, in percent; 0 = used up.
    pub remaining_percent: Vec<u8>,
    /// How many days before a grant ends.
    pub days_before_end: Vec<u32>,
}

/// When a grant began: the latest of these counts (C1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beginnings {
    /// The account was activated.
    pub activated: Option<Timestamp>,
    /// The model was released.
    pub released: Option<Timestamp>,
    /// The application for the model was approved.
    pub approved: Option<Timestamp>,
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
    /// How long a grant is valid that an account of this activation gets, in days.
    #[must_use]
    pub fn validity_days(&self, activated: Option<Timestamp>) -> u32 {
        let cohort = activated.and_then(|at| self.cohorts.iter().find(|cohort| cohort.activated_from <= at));
        cohort.map_or(self.validity_days, |cohort| cohort.validity_days)
    }

    /// When a grant begins and ends. Where two rules differ, the one that ends sooner: a grant that ends too early costs nothing.
    /// `model_days` is what the catalogue says of the model, `silent` the beginning where nothing is known.
    #[must_use]
    pub fn validity(&self, known: Beginnings, model_days: u32, silent: Timestamp) -> (Timestamp, Timestamp) {
        let Beginnings { activated, released, approved } = known;
        let start = [activated, released, approved].into_iter().flatten().max().unwrap_or(silent);
        let days = self.validity_days(activated).min(model_days);
        (start, start.plus(u64::from(days) * DAY_MS))
    }

    /// From when on an account's calls are refused whose bill is unpaid since then (B7).
    #[must_use]
    pub fn grace_until(&self, unpaid_since: Timestamp) -> Timestamp {
        unpaid_since.plus(u64::from(self.overdue_grace_days) * DAY_MS)
    }

    /// Why no grant of this site holds at a host; `None` = one may.
    #[must_use]
    pub fn uncovered_host(&self, host: &str) -> Option<&'static str> {
        if self.other_products.iter().any(|product| host.starts_with(product.as_str())) {
            return Some("a host of another product");
        }
        let here = |endpoint: &&Endpoint| {
            let url = endpoint.openai_base_url.as_str();
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let rest = rest.and_then(|rest| rest.strip_prefix(host));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        };
        let endpoint = self.endpoints.iter().find(here)?;
        (!self.regions.contains(&endpoint.region)).then_some("a region without a free quota")
    }

    /// Whether a provider's key belongs to another product.
    #[must_use]
    pub fn is_other_key(&self, key: &str) -> bool {
        self.other_keys.iter().any(|begin| key.starts_with(begin.as_str()))
    }

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
