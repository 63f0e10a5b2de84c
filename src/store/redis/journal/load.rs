//! Reading a journal's file: every row is checked by its sum.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rusqlite::{Connection, OptionalExtension};

use super::fund::{FundRow, Sums};
use super::kept::{Kept, Parked, Remembered};
use super::writer::{kept_sum, parked_sum, seen_sum};
use crate::ledger::{AccountId, GrantId, HoldId, PoolId, Usage};
use crate::store::embedded::load::{Facts, Loaded, broken};
use crate::store::embedded::reader::amount;
use crate::store::embedded::rows::meta_sum;

/// What each grant was moved by.
pub(super) fn funds(connection: &Connection) -> Loaded<Vec<FundRow>> {
    let mut statement = connection.prepare(
        "SELECT number, account, pool, grant_id, granted, held, spent, presumed, billed_input, billed_output, watermark, doubt, sum
         FROM fund ORDER BY number",
    )?;
    let mut rows = statement.query(())?;
    let (mut funds, mut names) = (Vec::new(), HashSet::new());
    while let Some(row) = rows.next()? {
        let found = FundRow {
            number: row.get(0)?,
            account: AccountId::from(row.get::<_, String>(1)?),
            pool: PoolId::from(row.get::<_, String>(2)?),
            grant: row.get::<_, Option<u32>>(3)?.map(GrantId),
            sums: Sums {
                granted: row.get(4)?,
                held: row.get(5)?,
                spent: row.get(6)?,
                presumed: row.get(7)?,
                billed: Usage { input: amount(row, 8)?, output: amount(row, 9)? },
            },
            watermark: row.get(10)?,
            doubt: amount(row, 11)?,
        };
        if found.sum() != row.get::<_, i64>(12)? {
            return broken(format!("the sums of pool {:?} of account {:?} are damaged", found.pool, found.account));
        }
        if !names.insert((found.account.clone(), found.pool.clone(), found.grant)) {
            return broken(format!("pool {:?} of account {:?} is there twice", found.pool, found.account));
        }
        funds.push(found);
    }
    Ok(funds)
}

/// Whether as many entries are there as were written. They are only ever appended, so the last number is their count.
pub(super) fn count_entries(connection: &Connection, facts: &Facts) -> Loaded<()> {
    let last: Option<i64> = connection.query_row("SELECT max(seq) FROM entry", (), |row| row.get(0))?;
    let found = last.unwrap_or(0);
    if u64::try_from(found) != Ok(facts.live) {
        return broken(format!("{found} entries are there, {} were written", facts.live));
    }
    Ok(())
}

/// Adds up the entries again and compares; what is held has no entries of its own when it is made, so it is left out.
pub(super) fn recount(connection: &Connection, funds: &[FundRow]) -> Loaded<()> {
    let mut statement = connection.prepare(
        "SELECT fund, count(*), sum(granted), sum(spent), sum(presumed), sum(billed_input), sum(billed_output)
         FROM entry GROUP BY fund",
    )?;
    let mut rows = statement.query(())?;
    let mut counted = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let billed = Usage { input: amount(row, 5)?, output: amount(row, 6)? };
        let sums = (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?, row.get::<_, i64>(4)?, billed);
        counted.insert(row.get::<_, i64>(0)?, sums);
    }
    for fund in funds {
        let written = (fund.sums.granted, fund.sums.spent, fund.sums.presumed, fund.sums.billed);
        let added = counted.remove(&fund.number).unwrap_or_default();
        if added != written {
            return broken(format!(
                "the entries of pool {:?} of account {:?} add up to granted {}, spent {}, presumed {}, but granted {}, spent {}, \
                 presumed {} are written",
                fund.pool, fund.account, added.0, added.1, added.2, written.0, written.1, written.2
            ));
        }
    }
    match counted.into_keys().next() {
        Some(number) => broken(format!("entries belong to fund {number}, which is missing")),
        None => Ok(()),
    }
}

pub(super) fn seen(connection: &Connection) -> Loaded<Vec<(AccountId, u64)>> {
    let mut statement = connection.prepare("SELECT account, seq, sum FROM seen")?;
    let mut rows = statement.query(())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (account, seq): (String, i64) = (row.get(0)?, row.get(1)?);
        if seen_sum(&account, seq) != row.get::<_, i64>(2)? {
            return broken(format!("the last sequence number of account {account:?} is damaged"));
        }
        found.push((AccountId::from(account), amount(row, 1)?));
    }
    Ok(found)
}

/// The revisions, without the bodies: they are only needed for a rebuild.
pub(super) fn revisions(connection: &Connection) -> Loaded<Vec<(AccountId, u64)>> {
    let mut statement = connection.prepare("SELECT account, revision FROM kept")?;
    let mut rows = statement.query(())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((AccountId::from(row.get::<_, String>(0)?), amount(row, 1)?));
    }
    Ok(found)
}

pub(super) fn kept(connection: &Connection) -> Loaded<BTreeMap<AccountId, (u64, Kept)>> {
    let mut statement = connection.prepare("SELECT account, revision, body, sum FROM kept")?;
    let mut rows = statement.query(())?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (account, revision, body): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let sound = kept_sum(&account, revision, &body) == row.get::<_, i64>(3)?;
        let Some(kept) = serde_json::from_str(&body).ok().filter(|_: &Kept| sound) else {
            return broken(format!("the configuration of account {account:?} is damaged"));
        };
        found.insert(AccountId::from(account), (amount(row, 1)?, kept));
    }
    Ok(found)
}

pub(super) fn parked(connection: &Connection) -> Loaded<Vec<Parked>> {
    let mut statement = connection.prepare("SELECT hold, body, sum FROM parked")?;
    let mut rows = statement.query(())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (hold, body): ([u8; 16], String) = (row.get(0)?, row.get(1)?);
        let id = HoldId(u128::from_be_bytes(hold));
        let sound = parked_sum(&hold, &body) == row.get::<_, i64>(2)?;
        let Some(parked) = Parked::read(id, &body).filter(|_| sound) else {
            return broken(format!("the waiting settlement of hold {id} is damaged"));
        };
        found.push(parked);
    }
    Ok(found)
}

fn fact(connection: &Connection, name: &str) -> Loaded<Option<String>> {
    let mut statement = connection.prepare("SELECT value, sum FROM meta WHERE name = ?1")?;
    let found: Option<(String, i64)> = statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match found {
        Some((value, sum)) if meta_sum(name, &value) == sum => Ok(Some(value)),
        Some(_) => broken(format!("the fact {name:?} is damaged")),
        None => Ok(None),
    }
}

/// The replicas that were seen in the store.
pub(super) fn peers(connection: &Connection) -> Loaded<BTreeSet<String>> {
    let text = fact(connection, PEERS)?.unwrap_or_default();
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

pub(super) fn remembered(connection: &Connection) -> Loaded<Remembered> {
    let Some(text) = fact(connection, REMEMBERED)? else { return Ok(Remembered::default()) };
    match serde_json::from_str(&text) {
        Ok(remembered) => Ok(remembered),
        Err(error) => broken(format!("what is remembered of the store cannot be read: {error}")),
    }
}

/// Names of facts.
pub(super) const PEERS: &str = "peers";
pub(super) const REMEMBERED: &str = "remembered";
