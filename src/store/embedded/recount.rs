//! Counting every balance again from its entries.

use std::collections::HashMap;

use rusqlite::Connection;

use super::journal;
use super::load::{Books, Loaded, broken};
use crate::ledger::{AccountId, Amount, Entry, Fund, GrantId, PoolId};

/// The sums of the entries of one grant, or of what no grant of a pool covered.
pub(super) type Sums = (i64, i64, i64, i64, i64);

/// Sums by account, pool and grant.
pub(super) type Counted = HashMap<(i64, PoolId, Option<GrantId>), Sums>;

/// Adds up all entries of the pages. Hands on the number of each page that is damaged.
pub(super) fn count(connection: &Connection, mut damaged: impl FnMut(i64)) -> Loaded<Counted> {
    let mut counted = Counted::new();
    journal::pages(connection, |seq, account, body| {
        let entries: Option<Vec<Entry>> = body.and_then(|body| journal::entries_of(body, account, None).ok());
        let Some(entries) = entries else {
            damaged(seq);
            return Ok(());
        };
        // Entries come in runs of the same pool: their sums are looked up once a run.
        for run in entries.chunk_by(|one, next| one.grant == next.grant && one.pool == next.pool) {
            let Some(Entry { pool, grant, .. }) = run.first() else { continue };
            let sums = counted.entry((account, pool.clone(), *grant)).or_default();
            for entry in run {
                sums.0 = sums.0.saturating_add(entry.granted);
                sums.1 = sums.1.saturating_add(entry.spent);
                sums.2 = sums.2.saturating_add(entry.presumed);
                sums.3 = sums.3.saturating_add(signed(entry.billed.input));
                sums.4 = sums.4.saturating_add(signed(entry.billed.output));
            }
        }
        Ok(())
    })?;
    Ok(counted)
}

/// Every balance must be the sum of its entries.
pub(super) fn recount(connection: &Connection, books: &Books) -> Loaded<()> {
    let mut damaged = None;
    let mut counted = count(connection, |seq| damaged = damaged.or(Some(seq)))?;
    if let Some(seq) = damaged {
        return broken(format!("page {seq} of the entries is damaged"));
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
