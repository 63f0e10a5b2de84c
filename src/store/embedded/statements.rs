//! The statements of whoever writes, prepared once a connection.

use rusqlite::{Connection, Result, params};

use super::fold::{Fold, Folding};
use super::journal;
use super::queue::Batch;
use super::rows::{AccountRow, PoolRow, Write, body_sum, int, meta_sum, pulse_sum, word};
use crate::ledger::{Grant, Key};
use crate::store::KeyDigest;

/// How many prepared statements the connection keeps: all that are here.
const KEPT: usize = 32;

/// What carries a batch to the tables.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    /// Open and presumed holds in their table.
    pub(super) live: u64,
    /// Whether commits wait for an fsync as the connection is set now.
    pub(super) full: bool,
    /// The records that the journal has after what was put.
    pub(super) records: usize,
}

impl<'c> Statements<'c> {
    /// For a connection that was just opened, with what its file says of `live`.
    pub(super) fn prepare(connection: &'c Connection, live: u64) -> Result<Self> {
        connection.set_prepared_statement_cache_capacity(KEPT);
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(Self::resume(connection, (live, false, 0)))
    }

    /// Goes on where other statements of this connection stopped, with their `live`, `full` and `records`.
    pub(super) fn resume(connection: &'c Connection, (live, full, records): (u64, bool, usize)) -> Self {
        Self { connection, live, full, records }
    }

    /// Writes a batch as the commit of this number.
    pub(super) fn commit_batch(&mut self, batch: &Batch, number: u64, folding: Folding) -> Result<()> {
        if self.full != batch.full {
            let level = if batch.full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.connection.execute_batch(level)?;
            self.full = batch.full;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        self.put(batch, number, folding)?;
        self.connection.prepare_cached("COMMIT")?.execute(())?;
        Ok(())
    }

    /// Writes a batch as part of a transaction.
    pub(super) fn put(&mut self, batch: &Batch, number: u64, folding: Folding) -> Result<()> {
        for write in &batch.writes {
            self.write(write)?;
        }
        if folding == Folding::None {
            self.records += batch.body.records();
            return journal::write(self.connection, number, batch.body.bytes());
        }
        let mut fold = Fold::of(self.connection)?;
        fold.add(batch.body.bytes())?;
        let carried = fold.write(self.connection, folding, &mut self.live)?;
        self.records = carried.records();
        if carried.records() == 0 {
            return self.pulse(number);
        }
        journal::write(self.connection, number, carried.bytes())?;
        self.pulse(number.saturating_sub(1))
    }

    /// Folds the whole journal without a commit of its own: `last` is the last that it has.
    pub(super) fn fold_all(&mut self, last: u64) -> Result<()> {
        Fold::of(self.connection)?.write(self.connection, Folding::Whole, &mut self.live)?;
        self.records = 0;
        self.pulse(last)
    }

    /// Says after which commit the journal begins.
    pub(super) fn pulse(&self, base: u64) -> Result<()> {
        let mut pulse =
            self.connection.prepare_cached("UPDATE pulse SET commits = ?1, live = ?2, sum = ?3 WHERE one = 1")?;
        pulse.execute(params![int(base), int(self.live), pulse_sum(base, self.live)]).map(drop)
    }

    fn write(&self, write: &Write) -> Result<()> {
        match write {
            Write::Prune { seq } => {
                self.connection.prepare_cached("DELETE FROM finals WHERE seq = ?1")?.execute([seq]).map(drop)
            }
            Write::Account(row) => self.account(row),
            Write::Grant { account, grant } => self.grant(*account, grant),
            Write::Pool { account, row } => self.pool(*account, row),
            Write::Key { account, key, digest } => self.key(*account, key, digest.as_ref()),
            Write::Meta { name, value } => {
                let mut meta = self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)")?;
                meta.execute(params![name, value, meta_sum(name, value)]).map(drop)
            }
        }
    }

    fn account(&self, row: &AccountRow) -> Result<()> {
        let mut account =
            self.connection.prepare_cached("INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        account.execute(params![row.number, row.id, row.site, word(&row.state), row.never_pay, row.sum()]).map(drop)
    }

    fn grant(&self, account: i64, grant: &Grant) -> Result<()> {
        let body =
            serde_json::to_string(grant).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let sum = body_sum(b'g', account, &grant.id.0.to_string(), &body, None);
        let mut insert = self.connection.prepare_cached("INSERT INTO grants VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![account, grant.id.0, body, sum]).map(drop)
    }

    fn pool(&self, account: i64, row: &PoolRow) -> Result<()> {
        let mut pool =
            self.connection.prepare_cached("INSERT OR REPLACE INTO pool VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        pool.execute(params![
            account,
            row.id.as_str(),
            word(&row.switch),
            row.closed.as_ref().map(word),
            row.overran,
            int(row.billed.input),
            int(row.billed.output),
            row.sum(account)
        ])
        .map(drop)
    }

    fn key(&self, account: i64, key: &Key, digest: Option<&KeyDigest>) -> Result<()> {
        let body = serde_json::to_string(key).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let sum = body_sum(b'k', account, key.id.as_str(), &body, digest);
        let mut insert = self.connection.prepare_cached("INSERT OR REPLACE INTO key VALUES (?1, ?2, ?3, ?4, ?5)")?;
        insert.execute(params![account, key.id.as_str(), body, digest.map(|digest| digest.0), sum]).map(drop)
    }
}

/// Copies the log into the file as far as `mode` says; answers how many frames are left to copy.
pub(in crate::store) fn checkpoint(connection: &Connection, mode: &'static str) -> Result<i64> {
    let mut statement = connection.prepare_cached(mode)?;
    statement.query_row((), |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

/// Copies nothing.
pub(in crate::store) const LOOK: &str = "PRAGMA wal_checkpoint(NOOP)";
/// Copies what nobody is in the way of.
pub(in crate::store) const COPY: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Copies everything and empties the log.
pub(in crate::store) const EMPTY: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
