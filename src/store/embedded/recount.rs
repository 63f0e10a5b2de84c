//! Counting every balance again from its entries.

use std::collections::HashMap;

use rusqlite::Connection;

use super::load::{Books, Loaded, broken};
use crate::ledger::{AccountId, Amount, Fund, GrantId, PoolId};

/// The sums of the entries of one grant, or of what no grant of a pool covered.
type Sums = (i64, i64, i64, i64, i64);

/// Every balance must be the sum of its entries.
pub(super) fn recount(connection: &Connection, books: &Books) -> Loaded<()> {
    let sql =
        "SELECT account, pool, grant_id, sum(granted), sum(spent), sum(presumed), sum(billed_input), sum(billed_output)
               FROM entry GROUP BY account, pool, grant_id";
    let mut counted: HashMap<(i64, PoolId, Option<GrantId>), Sums> = HashMap::new();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, PoolId::from(row.get::<_, String>(1)?), row.get::<_, Option<u32>>(2)?.map(GrantId));
        counted.insert(key, (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?));
    }
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
