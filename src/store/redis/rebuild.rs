//! Making the live state again from the journals of the replicas: first shown, then written under the operator's eyes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redis::Value;
use serde::Serialize;
use serde_json::json;

use super::journal::rebuild::{Account, Plan as Sums, plan as sum};
use super::journal::{Kept, KeptKey, KeptPool};
use super::keys::hex;
use super::link::visit::Visit;
use super::{OpenError, Settings, args};
use crate::ledger::{AccountId, AccountState, Amount, GrantId, Key, PoolId, Side, Unit};

const RESTORE: &str = include_str!("restore.lua");

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
    Ok(shown(&sum(files)?))
}

/// Sums the journals and replaces what is under the prefix by the result. Every replica goes on from it.
///
/// # Errors
/// As [`plan`], and when the store cannot be reached, or the journals know no ledger.
pub async fn write(files: &[PathBuf], settings: &Settings) -> Result<Plan, OpenError> {
    let sums = sum(files)?;
    let Some(ledger) = &sums.ledger else {
        return Err(OpenError("none of the journals has seen a ledger: there is nothing to make again".to_owned()));
    };
    let visit = Visit::to(settings).await?;
    visit.erase().await?;
    visit.begin(ledger, settings.pepper_mark.as_deref()).await?;
    for (account, found) in &sums.accounts {
        if let Some((revision, kept)) = &found.kept {
            restore(&visit, account, found, *revision, kept).await?;
        }
    }
    visit.complete().await?;
    Ok(shown(&sums))
}

async fn restore(
    visit: &Visit,
    account: &AccountId,
    found: &Account,
    revision: u64,
    kept: &Kept,
) -> Result<(), OpenError> {
    let hash = visit.keys.account(account).hash;
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(RESTORE).arg(1).arg(&hash).arg(record(found, revision, kept).to_string());
    if visit.ask(&hash, &cmd).await? != Value::Int(1) {
        return Err(OpenError(format!(
            "the account {account} came back while it was made again: stop every replica first"
        )));
    }
    let (key, mut list) = (visit.keys.accounts(), redis::cmd("SADD"));
    list.arg(&key).arg(account.as_str());
    visit.ask(&key, &list).await?;
    for KeptKey { key: Key { id, .. }, digest } in &kept.keys {
        let Some(digest) = digest else { continue };
        let (place, mut set) = (visit.keys.digest(digest), redis::cmd("SET"));
        set.arg(&place).arg(format!("{account}\n{id}"));
        visit.ask(&place, &set).await?;
    }
    Ok(())
}

/// An account as `restore.lua` takes it: the fields of its hash and the numbers of its pools (see `common.lua`).
fn record(found: &Account, revision: u64, kept: &Kept) -> serde_json::Value {
    let mut fields = vec!["a".to_owned(), args::account_field(kept.state, kept.never_pay)];
    let next = kept.grants.iter().map(|grant| grant.id.0).max().unwrap_or(0) + 1;
    // One above the revision that is kept, so that every journal takes the account as it is now.
    let facts = [("site", kept.site.clone()), ("next", next.to_string()), ("rev", (revision + 1).to_string())];
    fields.extend(facts.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    for KeptKey { key, digest } in &kept.keys {
        fields.extend([format!("k:{}", key.id), args::key_field(key), format!("b:{}", key.id), args::key_body(key)]);
        fields.extend(digest.iter().flat_map(|digest| [format!("d:{}", key.id), hex(digest)]));
    }
    let mut pools: BTreeMap<&str, Vec<i128>> = BTreeMap::new();
    for (pool, KeptPool { switch, closed, overran }) in &kept.pools {
        let billed = found.billed.get(pool).copied().unwrap_or_default();
        let head = [args::switch_number(*switch), args::closure_number(*closed), u8::from(*overran)].map(i128::from);
        let billed = [billed.input, billed.output].map(i128::from);
        pools.insert(pool.as_str(), head.into_iter().chain(billed).collect());
    }
    let mut grants: Vec<_> = kept.grants.iter().collect();
    grants.sort_by_key(|grant| (grant.end.is_none(), grant.end, grant.id));
    for grant in grants {
        let figures = found.grants.get(&(grant.pool.clone(), grant.id)).copied().unwrap_or_default();
        let (side, unit) = (args::side_number(grant.side), args::unit_number(grant.unit));
        let end = grant.end.map_or(-1, |end| i128::from(end.0));
        let what = [i128::from(grant.id.0), side.into(), unit.into(), grant.start.0.into(), end];
        let counters = [figures.granted, 0, figures.spent, figures.presumed, grant.amount].map(i128::from);
        if let Some(numbers) = pools.get_mut(grant.pool.as_str()) {
            numbers.extend(what.into_iter().chain(counters));
        }
    }
    let pools: BTreeMap<&str, Vec<i64>> =
        pools.into_iter().map(|(pool, numbers)| (pool, numbers.into_iter().map(small).collect())).collect();
    json!({ "fields": fields, "pools": pools })
}

/// A number of the ledger as JSON takes it: none has more than 53 bits.
fn small(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn shown(sums: &Sums) -> Plan {
    let accounts = sums.accounts.iter().filter_map(|(account, found)| {
        let (_, kept) = found.kept.as_ref()?;
        let grants = kept.grants.iter().map(|grant| {
            let figures = found.grants.get(&(grant.pool.clone(), grant.id)).copied().unwrap_or_default();
            RebuiltGrant {
                pool: grant.pool.clone(),
                grant: grant.id,
                side: grant.side,
                unit: grant.unit,
                granted: figures.granted,
                spent: figures.spent,
                presumed: figures.presumed,
            }
        });
        Some(RebuiltAccount {
            account: account.clone(),
            site: kept.site.clone(),
            state: state(kept.state).to_owned(),
            never_pay: kept.never_pay,
            keys: kept.keys.len(),
            grants: grants.collect(),
        })
    });
    let unclean = sums.replicas.iter().filter_map(|(name, replica)| {
        let why = replica.unclean?;
        Some(format!("replica {name} was not stopped cleanly ({why}): what it may have taken beyond its entries counts as presumed"))
    });
    let parked = sums.replicas.iter().filter(|(_, replica)| !replica.parked.is_empty()).map(|(name, replica)| {
        format!(
            "replica {name} has {} settlements that wait: they are carried out when it starts",
            replica.parked.len()
        )
    });
    Plan {
        accounts: accounts.collect(),
        warnings: sums.complaints.iter().cloned().chain(unclean).chain(parked).collect(),
    }
}

fn state(state: AccountState) -> &'static str {
    match state {
        AccountState::NotActivated => "not_activated",
        AccountState::Active => "active",
        AccountState::Unverified => "unverified",
        AccountState::Overdue { .. } => "overdue",
        AccountState::Closed => "closed",
    }
}
