//! Counting every balance again from its entries.

use std::collections::HashMap;

use rusqlite::Connection;

use super::load::{Books, Loaded, broken};
use crate::ledger::{AccountId, Amount, Fund, GrantId, PoolId};

/// The sums of the entries of one grant, or of what no grant of a pool covered.
pub(super) type Sums = (i64, i64, i64, i64, i64);

/// Sums by account, pool and grant.
pub(super) type Counted = HashMap<(i64, PoolId, Option<GrantId>), Sums>;

/// Adds up all entries.
pub(super) fn count(connection: &Connection) -> Loaded<Counted> {
    let sql = "SELECT account, pool, grant_id, granted, spent, presumed, billed_input, billed_output FROM entry";
    let mut counted = Counted::new();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    // Entries come in runs of the same pool: its name is made once a run.
    let mut last: Option<(i64, PoolId, Option<GrantId>)> = None;
    while let Some(row) = rows.next()? {
        let (account, grant) = (row.get(0)?, row.get::<_, Option<u32>>(2)?.map(GrantId));
        let pool = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let key = match last.take() {
            Some(key) if key.0 == account && key.2 == grant && key.1.as_str() == pool => key,
            Some(_) | None => (account, PoolId::from(pool), grant),
        };
        let sums = match counted.get_mut(&key) {
            Some(sums) => sums,
            None => counted.entry(key.clone()).or_default(),
        };
        let figure = |column| row.get::<_, i64>(column);
        sums.0 = sums.0.saturating_add(figure(3)?);
        sums.1 = sums.1.saturating_add(figure(4)?);
        sums.2 = sums.2.saturating_add(figure(5)?);
        sums.3 = sums.3.saturating_add(figure(6)?);
        sums.4 = sums.4.saturating_add(figure(7)?);
        last = Some(key);
    }
    Ok(counted)
}

/// Every balance must be the sum of its entries.
pub(super) fn recount(connection: &Connection, books: &Books) -> Loaded<()> {
    let mut counted = count(connection)?;
    for (account, live) in books {
        for (id, pool) in &live.book.pools {
            for Fund { grant, balance } in &pool.grants {
                let sums = counted.remove(&(*account, id.clone(), Some(grant.id))).unwrap_or_default();
                let figures = (signed(balance.granted), signed(balance.spent), signed(balance.presumed), 0, 0);
                differ(&live.book.account, &format!("grant {} of pool {id}", grant.id.0), sums, figures)?;
            }
            let sums = counted.remove(&(*account, id.clone(), None)).unwrap_or_default();
            let billed = (0, 0, 0, signed(pool.billed.input), signed(pool.billed.output));
            differ(&live.book.account, &format!("pool {id}"), sums, billed)?;
        }
    }
    match counted.keys().next() {
        Some((account, pool, grant)) => broken(format!(
            "entries of account number {account}, pool {pool}, grant {:?} belong to nothing",
            grant.map(|grant| grant.0)
        )),
        None => Ok(()),
    }
}

fn differ(account: &AccountId, what: &str, entries: Sums, written: Sums) -> Loaded<()> {
    if entries == written {
        return Ok(());
    }
    let say = |(granted, spent, presumed, input, output): Sums| {
        format!("granted {granted}, spent {spent}, presumed {presumed}, billed {input} + {output}")
    };
    broken(format!("{what} of account {account}: its entries say {}; its balance says {}", say(entries), say(written)))
}

fn signed(amount: Amount) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
