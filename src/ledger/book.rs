//! One account's book: everything that a decision depends on, in one value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::balance::{Balance, Grant};
use super::ids::{AccountId, Amount, GrantId, HoldId, KeyId, ModelCode, PoolId, Timestamp};

/// The state of an account (S0-S2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AccountState {
    /// The service was never activated: every call is refused.
    NotActivated,
    /// Verified and in good standing.
    Active,
    /// Not verified: behaves as free quota only whatever the switch says (S2).
    Unverified,
    /// A bill is unpaid. Calls go on until `grace_until`, then every model is refused (S0).
    Overdue {
        /// From this instant on calls are refused.
        grace_until: Timestamp,
    },
    /// Closed for good.
    Closed,
}

/// The state of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Usable.
    Active,
    /// Switched off; can be switched on again.
    Disabled,
    /// Deleted; final.
    Deleted,
}

/// One API key of the account, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Its public name.
    pub id: KeyId,
    /// The operator's label.
    pub name: String,
    /// Whether it may be used.
    pub state: KeyState,
    /// The only models it may ask for; empty = all.
    pub models: BTreeSet<ModelCode>,
    /// The workspace it belongs to.
    pub workspace: Option<String>,
    /// The last four characters of the secret, to recognise it by.
    pub last4: String,
    /// When it was made.
    pub created: Timestamp,
}

/// The *free quota only* switch of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Never touched: the site's default applies.
    #[default]
    Unset,
    /// Calls are refused once the quota is used up.
    On,
    /// What exceeds the quota is paid for.
    Off,
}

/// What happens when the grant is used up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingMode {
    /// The call is refused.
    FreeQuotaOnly,
    /// The excess is paid for.
    PayAsYouGo,
}

/// Why the provider no longer serves a pool from its free quota.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closure {
    /// It answered `AllocationQuota.FreeTierOnly` or "Free allocated quota exceeded." (W 1.1).
    FreeTierOnly,
    /// It answered `Arrearage` or one of the overdue 429s (W 1.1).
    Arrearage,
    /// Both: the end of the one is not the end of the other.
    Both,
}

impl Closure {
    /// Whether the upstream is overdue: nobody is served, whoever pays.
    #[must_use]
    pub fn is_overdue(self) -> bool {
        match self {
            Self::Arrearage | Self::Both => true,
            Self::FreeTierOnly => false,
        }
    }

    /// What is closed once the provider has said this as well.
    pub(super) fn and(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before != self => Self::Both,
            Some(_) | None => self,
        }
    }

    /// What is closed still once the upstream serves again.
    pub(super) fn once_served(self) -> Option<Self> {
        match self {
            Self::FreeTierOnly | Self::Both => Some(Self::FreeTierOnly),
            Self::Arrearage => None,
        }
    }
}

/// Units that no grant covered: what pay-as-you-go calls have to pay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Billed {
    /// Input units.
    pub input: Amount,
    /// Output units.
    pub output: Amount,
}

/// A pool of the account: its switch, its grants, what was billed beside them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pool {
    /// The switch.
    pub switch: Switch,
    /// The grants, soonest-ending first (those without an end last; then by number).
    pub grants: Vec<Fund>,
    /// Set when the provider itself refused; the next call is refused until it is cleared.
    pub closed: Option<Closure>,
    /// Set once a call used more than its hold: later ones are held at the model's window (LEDGER 2).
    pub overran: bool,
    /// What no grant covered.
    pub billed: Billed,
}

/// A grant with its balance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fund {
    /// The grant, as it was made.
    pub grant: Grant,
    /// Its counters.
    pub balance: Balance,
}

/// One line of a hold: how much it sets aside of which grant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The grant.
    pub grant: GrantId,
    /// How much of it.
    pub amount: Amount,
}

/// What became of a hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// A call is in progress.
    Open,
    /// What it used is known. Final.
    Settled,
    /// It used nothing. Final.
    Released,
    /// Posted in full as used; a late settlement may still correct it.
    Presumed,
    /// Presumed first, then corrected. Final.
    Corrected,
}

impl HoldState {
    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Open | Self::Presumed => false,
            Self::Settled | Self::Released | Self::Corrected => true,
        }
    }
}

/// Allowance set aside for one physical upstream attempt: a record, never a bare increment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The pool it draws on.
    pub pool: PoolId,
    /// The model that was asked for.
    pub model: ModelCode,
    /// The key that asked.
    pub key: KeyId,
    /// What is set aside, in the order in which it is used. Empty for a paid call without quota.
    pub lines: Vec<Line>,
    /// The whole amount that the call may cost; above the lines' sum only in pay-as-you-go and for a last call. Once presumed in
    /// pay-as-you-go: the lines and what was billed, so that a correction bills no more than the rest.
    pub amount: Amount,
    /// The mode under which it was admitted; a later flip of the switch does not change it.
    pub mode: BillingMode,
    /// What became of it.
    pub state: HoldState,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// When it became what it is now.
    pub since: Timestamp,
}

/// Everything that decides about one account's calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Book {
    /// Whose it is.
    pub account: AccountId,
    /// The provider site whose rules apply.
    pub site: String,
    /// The account's state.
    pub state: AccountState,
    /// Every model behaves as free quota only, also those without a grant (C13).
    pub never_pay: bool,
    /// Its keys.
    pub keys: BTreeMap<KeyId, Key>,
    /// Its pools.
    pub pools: BTreeMap<PoolId, Pool>,
    /// Holds that are open, presumed, or final and still kept to recognise a repeat.
    pub holds: HashMap<HoldId, Hold>,
    /// Open holds by the end of their lease.
    pub due: BTreeSet<(Timestamp, HoldId)>,
    /// The number that the next grant gets.
    pub next_grant: u32,
}

impl Book {
    /// A new account: nothing granted, nothing spent, no keys.
    #[must_use]
    pub fn new(account: AccountId, site: &str, state: AccountState, never_pay: bool) -> Self {
        Self {
            account,
            site: site.to_owned(),
            state,
            never_pay,
            keys: BTreeMap::new(),
            pools: BTreeMap::new(),
            holds: HashMap::new(),
            due: BTreeSet::new(),
            next_grant: 1,
        }
    }

    /// The fund of a grant.
    #[must_use]
    pub fn fund(&self, pool: &PoolId, grant: GrantId) -> Option<&Fund> {
        self.pools.get(pool)?.grants.iter().find(|fund| fund.grant.id == grant)
    }
}
