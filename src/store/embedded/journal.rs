//! The journal, and what it is folded into: where packed records are kept, each with its checksum.
//!
//! A commit writes one row into `journal`: all that its calls changed. From time to time the journal is folded: open holds, balances,
//! entries and finals go to their own tables, and the journal begins anew. So a call costs a few bytes in one row instead of a row in
//! each of five tables, and a hold that is settled before the journal is folded never has a row of its own.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::load::{Loaded, broken};
use super::record::Record;
use super::rows::int;
use super::sum::Sum;
use super::unpack::Records;
use crate::ledger::{Entry, HoldId, HoldState, PoolId, Timestamp};

/// So many of the lowest bits of a hold's id do not count for its span: an id begins with its milliseconds in 48 bits, a span is
/// 2^14 of them.
const SPAN_BITS: u32 = 128 - 48 + 14;

/// The span of time in which a hold was made, by its id.
pub(super) fn span(id: HoldId) -> i64 {
    i64::try_from(id.0 >> SPAN_BITS).unwrap_or(i64::MAX)
}

/// What vouches for a commit's row in the journal.
pub(super) fn journal_sum(number: u64, body: &[u8]) -> i64 {
    Sum::new(b'j').amount(number).block(body).end()
}

/// What vouches for a page of an account's entries.
pub(super) fn page_sum(account: i64, body: &[u8]) -> i64 {
    Sum::new(b'e').int(account).block(body).end()
}

/// What vouches for a sheaf of an account's finals.
pub(super) fn finals_sum(account: i64, span: i64, newest: Timestamp, body: &[u8]) -> i64 {
    Sum::new(b'f').int(account).int(span).amount(newest.0).block(body).end()
}

/// Something that is kept here is damaged; says what.
pub(super) fn damaged(what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, what.into())
}

/// Hands on the journal's rows, oldest first: the commit's number, and its body unless that is damaged.
pub(super) fn commits(connection: &Connection, mut each: impl FnMut(u64, Option<&[u8]>) -> Result<()>) -> Result<()> {
    let mut statement = connection.prepare_cached("SELECT number, body, sum FROM journal ORDER BY number")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        let body = row.get_ref(1)?.as_blob().ok();
        let sum = row.get::<_, i64>(2).ok();
        each(number, body.filter(|body| sum == Some(journal_sum(number, body))))?;
    }
    Ok(())
}

/// The number of the last commit, where the journal goes on after the commit `base`. None is missing, each is sound.
pub(super) fn last_commit(connection: &Connection, base: u64) -> Loaded<u64> {
    let mut last = base;
    let mut wrong = None;
    commits(connection, |number, body| {
        last += 1;
        if wrong.is_none() && number != last {
            wrong = Some(format!("commit {last} of the journal is missing"));
        } else if wrong.is_none() && body.is_none() {
            wrong = Some(format!("commit {number} of the journal is damaged"));
        }
        Ok(())
    })?;
    wrong.map_or(Ok(last), broken)
}

/// Hands on the pages of entries, oldest first: its number, its account, and its body unless that is damaged.
pub(super) fn pages(
    connection: &Connection,
    mut each: impl FnMut(i64, i64, Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare("SELECT seq, account, body, sum FROM page ORDER BY seq")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (seq, account) = (row.get(0)?, row.get(1)?);
        let body = row.get_ref(2)?.as_blob().ok();
        let sum = row.get::<_, i64>(3).ok();
        each(seq, account, body.filter(|body| sum == Some(page_sum(account, body))))?;
    }
    Ok(())
}

/// The newest entries of an account, newest first: from the journal, then from the pages. Run within one transaction.
pub(super) fn newest_entries(
    connection: &Connection,
    account: i64,
    pool: Option<&PoolId>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let mut newest = Vec::new();
    for sql in [
        "SELECT body FROM journal WHERE ?1 IS NOT NULL ORDER BY number DESC",
        "SELECT body FROM page WHERE account = ?1 ORDER BY seq DESC",
    ] {
        let mut bodies = connection.prepare_cached(sql)?;
        let mut rows = bodies.query([account])?;
        while newest.len() < limit {
            let Some(row) = rows.next()? else { break };
            let here = entries_of(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, account, pool)?;
            newest.extend(here.into_iter().rev().take(limit - newest.len()));
        }
    }
    Ok(newest)
}

/// The entries of a body that belong to an account, and to a pool where one is named.
pub(super) fn entries_of(body: &[u8], account: i64, pool: Option<&PoolId>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for record in Records::of(body) {
        match record? {
            Record::Entry { account: whose, entry } => {
                if whose == account && pool.is_none_or(|pool| *pool == entry.pool) {
                    entries.push(entry);
                }
            }
            Record::Hold { .. } | Record::Ended { .. } | Record::Forgotten { .. } | Record::Balance { .. } => {}
        }
    }
    Ok(entries)
}

/// What became of a hold that is final, where that was folded.
pub(super) fn final_of(connection: &Connection, account: i64, id: HoldId) -> Result<Option<(HoldState, Timestamp)>> {
    let sql = "SELECT newest, body, sum FROM finals WHERE account = ?1 AND span = ?2 ORDER BY seq DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, span(id)])?;
    while let Some(row) = rows.next()? {
        let newest = Timestamp(row.get::<_, i64>(0)?.cast_unsigned());
        let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if finals_sum(account, span(id), newest, body) != row.get::<_, i64>(2)? {
            return Err(damaged(format!("a sheaf of finals of account number {account} is damaged")));
        }
        if let Some((_, state, since)) = ended(body)?.into_iter().rfind(|(ended, ..)| *ended == id) {
            return Ok(Some((state, since)));
        }
    }
    Ok(None)
}

/// The highest id of an account's finals.
pub(super) fn highest_final(connection: &Connection, account: i64) -> Result<Option<HoldId>> {
    let sql = "SELECT body FROM finals
               WHERE account = ?1 AND span = (SELECT max(span) FROM finals WHERE account = ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([account])?;
    let mut highest = None;
    while let Some(row) = rows.next()? {
        let ended = ended(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        highest = highest.max(ended.into_iter().map(|(id, ..)| id).max());
    }
    Ok(highest)
}

/// The numbers of the sheaves of finals that are damaged.
pub(super) fn damaged_finals(connection: &Connection) -> Result<Vec<i64>> {
    let mut statement = connection.prepare("SELECT seq, account, span, newest, body, sum FROM finals")?;
    let mut rows = statement.query(())?;
    let mut damaged = Vec::new();
    while let Some(row) = rows.next()? {
        let (account, span, newest) = (row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?.cast_unsigned());
        let body = row.get_ref(4)?.as_blob().ok();
        let sum = row.get::<_, i64>(5).ok();
        let sound = body.filter(|body| sum == Some(finals_sum(account, span, Timestamp(newest), body)));
        if sound.is_none_or(|body| ended(body).is_err()) {
            damaged.push(row.get(0)?);
        }
    }
    Ok(damaged)
}

/// The finals of a sheaf.
fn ended(body: &[u8]) -> Result<Vec<(HoldId, HoldState, Timestamp)>> {
    let mut finals = Vec::new();
    for record in Records::of(body) {
        match record? {
            Record::Ended { id, state, since, .. } => finals.push((id, state, since)),
            Record::Hold { .. } | Record::Forgotten { .. } | Record::Entry { .. } | Record::Balance { .. } => {}
        }
    }
    Ok(finals)
}

/// The number of the last commit in the journal, sound or not.
pub(super) fn last_number(connection: &Connection) -> Result<Option<u64>> {
    let number = connection.query_row("SELECT max(number) FROM journal", (), |row| row.get::<_, Option<i64>>(0));
    Ok(number.optional()?.flatten().map(i64::cast_unsigned))
}

/// Writes a commit's row.
pub(super) fn write(connection: &Connection, number: u64, body: &[u8]) -> Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3)")?;
    insert.execute(params![int(number), body, journal_sum(number, body)]).map(drop)
}
