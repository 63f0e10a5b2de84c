//! What the journals of all replicas add up to: the counters of a store that was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::super::OpenError;
use super::fund::FundRow;
use super::kept::{Kept, Parked};
use super::schema::JOURNAL;
use super::{load, opening};
use crate::ledger::{AccountId, Amount, Billed, GrantId, PoolId};
use crate::store::embedded::OpenError as FileError;
use crate::store::embedded::file::{check_pages, identify, loading};
use crate::store::embedded::load::{Facts, facts};
use crate::store::embedded::witness::{Place, Witness};

/// What a store that is made again from these files would hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The id of the ledger that the files belong to; `None` = none of them has seen one.
    pub ledger: Option<String>,
    /// The files, by replica id.
    pub replicas: BTreeMap<String, Replica>,
    /// Replicas that the files name and whose file was not given. What they took is not in the figures.
    pub missing: BTreeSet<String>,
    /// The accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// What contradicts itself or is incomplete, one sentence each, with figures.
    pub complaints: Vec<String>,
}

/// One of the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    /// The file.
    pub file: PathBuf,
    /// Why its last entries may be missing; `None` = it was stopped cleanly.
    pub unclean: Option<&'static str>,
    /// Settlements that wait in it, oldest first. What their holds set aside is in `presumed`; when they are replayed, what they used is
    /// recorded beside it.
    pub parked: Vec<Parked>,
}

/// An account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Its configuration at the highest revision that a file has; `None` = no file has one.
    pub kept: Option<(u64, Kept)>,
    /// Its grants.
    pub grants: BTreeMap<(PoolId, GrantId), Figures>,
    /// What no grant covered.
    pub billed: BTreeMap<PoolId, Billed>,
}

/// The counters of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// The granted amount.
    pub granted: Amount,
    /// Known to be used.
    pub spent: Amount,
    /// Taken as used: what was presumed, open holds, and what is in doubt.
    pub presumed: Amount,
    /// The part of `presumed` that open holds set aside.
    pub open: Amount,
    /// The part of `presumed` that files which were not stopped cleanly promised beyond their sums.
    pub doubt: Amount,
}

/// Sums of all files, before they are judged.
#[derive(Default)]
struct Total {
    granted: i64,
    held: i64,
    spent: i64,
    presumed: i64,
    doubt: Amount,
}

/// Adds the files up. Nothing is written.
///
/// A file belongs together with the `-wal` and the lock file beside it: without them it may be older than it was.
///
/// # Errors
/// When a file cannot be read, is in use, foreign, newer, older than its lock file says, contradicts itself, or is there twice.
pub fn plan(files: &[PathBuf]) -> Result<Plan, OpenError> {
    let mut plan = Plan::default();
    let mut totals: BTreeMap<(AccountId, PoolId, GrantId), Total> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for path in files {
        let file = read(path).map_err(|error| OpenError(opening::explain(&error)))?;
        if let Some(other) = plan.replicas.get(&file.replica) {
            let (one, two) = (other.file.display(), path.display());
            return Err(OpenError(format!("{one} and {two} are both of replica {}: give one of them", file.replica)));
        }
        match (&plan.ledger, file.ledger) {
            (Some(one), Some(two)) if *one != two => {
                let path = path.display();
                return Err(OpenError(format!("{path} belongs to the ledger {two}, and another file to {one}")));
            }
            (None, Some(ledger)) => plan.ledger = Some(ledger),
            (Some(_) | None, _) => {}
        }
        for fund in &file.funds {
            add(&mut plan, &mut totals, fund, file.unclean.is_some());
        }
        for (account, (revision, kept)) in file.kept {
            take_newer(&mut plan, account, revision, kept);
        }
        named.extend(file.peers);
        let replica = Replica { file: path.clone(), unclean: file.unclean, parked: file.parked };
        plan.replicas.insert(file.replica, replica);
    }
    plan.missing = named.into_iter().filter(|replica| !plan.replicas.contains_key(replica)).collect();
    for replica in &plan.missing {
        plan.complaints.push(format!(
            "replica {replica} wrote to the store, but its file was not given: what it took is not counted"
        ));
    }
    for ((account, pool, grant), total) in totals {
        let figures = judge(&mut plan.complaints, (&account, &pool, grant), &total);
        plan.accounts.entry(account).or_default().grants.insert((pool, grant), figures);
    }
    compare_grants(&mut plan);
    Ok(plan)
}

fn add(plan: &mut Plan, totals: &mut BTreeMap<(AccountId, PoolId, GrantId), Total>, fund: &FundRow, unclean: bool) {
    let sums = fund.sums;
    let Some(grant) = fund.grant else {
        let account = plan.accounts.entry(fund.account.clone()).or_default();
        let billed = account.billed.entry(fund.pool.clone()).or_default();
        billed.input = billed.input.saturating_add(sums.billed.input);
        billed.output = billed.output.saturating_add(sums.billed.output);
        return;
    };
    let total = totals.entry((fund.account.clone(), fund.pool.clone(), grant)).or_default();
    total.granted = total.granted.saturating_add(sums.granted);
    total.held = total.held.saturating_add(sums.held);
    total.spent = total.spent.saturating_add(sums.spent);
    total.presumed = total.presumed.saturating_add(sums.presumed);
    let promised = if unclean { fund.ahead() } else { 0 };
    total.doubt = total.doubt.saturating_add(fund.doubt).saturating_add(promised);
}

/// The counters that the sums stand for. Where files are missing or lost their last entries, a sum can be negative; it then counts
/// against what is presumed, never against what another grant or counter has.
fn judge(
    complaints: &mut Vec<String>,
    (account, pool, grant): (&AccountId, &PoolId, GrantId),
    total: &Total,
) -> Figures {
    let name = format!("grant {} of pool {pool} of account {account}", grant.0);
    let positive = |amount: i64| u64::try_from(amount).unwrap_or(0);
    for (what, amount) in [("granted", total.granted), ("spent", total.spent)] {
        if amount < 0 {
            complaints.push(format!("{name}: {what} adds up to {amount}; it counts as 0"));
        }
    }
    let known = total.held.saturating_add(total.presumed).saturating_add(total.spent.min(0));
    let least = positive(known.saturating_add_unsigned(total.doubt));
    if known < 0 && total.doubt == 0 {
        complaints.push(format!("{name}: held and presumed add up to {known}; they count as 0"));
    }
    Figures {
        granted: positive(total.granted),
        spent: positive(total.spent),
        presumed: least,
        open: positive(total.held).min(least),
        doubt: total.doubt.min(least),
    }
}

fn take_newer(plan: &mut Plan, account: AccountId, revision: u64, kept: Kept) {
    let known = &mut plan.accounts.entry(account.clone()).or_default().kept;
    match known {
        Some((other, theirs)) if *other == revision && *theirs != kept => {
            plan.complaints
                .push(format!("two files differ about account {account} at revision {revision}; the first one counts"));
        }
        Some((other, _)) if *other >= revision => {}
        Some(_) | None => *known = Some((revision, kept)),
    }
}

/// Whether the configuration and the entries know the same grants.
fn compare_grants(plan: &mut Plan) {
    let mut complaints = Vec::new();
    for (account, found) in &plan.accounts {
        let Some((_, kept)) = &found.kept else {
            complaints.push(format!("no file has the configuration of account {account}"));
            continue;
        };
        let configured: BTreeSet<_> = kept.grants.iter().map(|grant| (grant.pool.clone(), grant.id)).collect();
        for (pool, grant) in configured.iter().filter(|name| !found.grants.contains_key(*name)) {
            complaints.push(format!("no file has an entry of grant {} of pool {pool} of account {account}", grant.0));
        }
        for (pool, grant) in found.grants.keys().filter(|name| !configured.contains(*name)) {
            complaints
                .push(format!("grant {} of pool {pool} is not in the configuration of account {account}", grant.0));
        }
    }
    plan.complaints.append(&mut complaints);
}

/// A file as it was read.
struct Read {
    replica: String,
    ledger: Option<String>,
    unclean: Option<&'static str>,
    funds: Vec<FundRow>,
    kept: BTreeMap<AccountId, (u64, Kept)>,
    parked: Vec<Parked>,
    peers: BTreeSet<String>,
}

/// Reads a file and checks all of it. The lock is held meanwhile, where there is a lock file: a running replica is refused.
fn read(path: &Path) -> Result<Read, FileError> {
    let file = path.canonicalize().map_err(FileError::io("open", path))?;
    let mut witness = match file.with_file_name(JOURNAL.lock).exists() {
        true => Some(Witness::lock(&JOURNAL, &file)?),
        false => None,
    };
    let said = witness.as_mut().and_then(Witness::read);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file, flags).map_err(FileError::sql("open", &file))?;
    identify(&JOURNAL, &file, &connection)?;
    check_pages(&connection, &file)?;
    let facts = facts(&connection).map_err(loading(&file))?;
    opening::belongs(&facts, said.as_ref(), &file)?;
    let unclean = opening::standing(&facts, &Place::of(&file)?, said.as_ref(), &file)?;
    tables(&connection, facts, unclean).map_err(loading(&file))
}

fn tables(
    connection: &Connection,
    facts: Facts,
    unclean: Option<&'static str>,
) -> crate::store::embedded::load::Loaded<Read> {
    let funds = load::funds(connection)?;
    load::count_entries(connection, &facts)?;
    load::recount(connection, &funds)?;
    let mut parked = load::parked(connection)?;
    parked.sort_by_key(|parked| (parked.since, parked.hold));
    let (kept, peers, ledger) =
        (load::kept(connection)?, load::peers(connection)?, load::remembered(connection)?.ledger);
    Ok(Read { replica: facts.instance, ledger, unclean, funds, kept, parked, peers })
}
