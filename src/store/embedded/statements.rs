//! The statements of whoever writes, prepared once a connection.

use rusqlite::{CachedStatement, Connection, Result, params};

use super::queue::Batch;
use super::rows::{
    AccountRow, BalanceRow, PoolRow, Write, body_sum, hold_sum, int, kind_word, lines_text, meta_sum, mode_word,
    pulse_sum, state_word, word,
};
use crate::ledger::{Entry, Grant, GrantId, Hold, HoldId, HoldState, Key, Timestamp};
use crate::store::KeyDigest;

/// How many prepared statements the connection keeps: all that are here.
const KEPT: usize = 32;

/// What carries a batch to the tables.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    begin: CachedStatement<'c>,
    commit: CachedStatement<'c>,
    hold_opened: CachedStatement<'c>,
    hold_posted: CachedStatement<'c>,
    hold_gone: CachedStatement<'c>,
    final_made: CachedStatement<'c>,
    entry: CachedStatement<'c>,
    balance: CachedStatement<'c>,
    pulse: CachedStatement<'c>,
    lines: String,
    /// Open and presumed holds on the disk.
    pub(super) live: u64,
    /// Whether commits wait for an fsync as the connection is set now.
    pub(super) full: bool,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection, live: u64) -> Result<Self> {
        connection.set_prepared_statement_cache_capacity(KEPT);
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        Self::resume(connection, live, false)
    }

    /// Goes on where other statements of this connection stopped, with their `live` and `full`.
    pub(super) fn resume(connection: &'c Connection, live: u64, full: bool) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare_cached(sql);
        Ok(Self {
            connection,
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            hold_opened: prepare("INSERT INTO hold VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?,
            hold_posted: prepare(
                "UPDATE hold SET lines = ?3, amount = ?4, state = ?5, since = ?6, sum = ?7 WHERE account = ?1 AND id = ?2",
            )?,
            hold_gone: prepare("DELETE FROM hold WHERE account = ?1 AND id = ?2")?,
            final_made: prepare("INSERT OR REPLACE INTO final VALUES (?1, ?2, ?3, ?4)")?,
            entry: prepare("INSERT INTO entry VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?,
            balance: prepare("INSERT OR REPLACE INTO balance VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?,
            pulse: prepare("UPDATE pulse SET commits = ?1, live = ?2, sum = ?3 WHERE one = 1")?,
            lines: String::new(),
            live,
            full,
        })
    }

    /// Writes a batch as the commit of this number.
    pub(super) fn commit_batch(&mut self, batch: &Batch, number: u64) -> Result<()> {
        self.commit_after(batch, number, |_| Ok(()))
    }

    /// Does something else first, in the same transaction.
    pub(super) fn commit_after(
        &mut self,
        batch: &Batch,
        number: u64,
        first: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<()> {
        self.begin(batch.full)?;
        first(self.connection)?;
        for write in &batch.writes {
            self.write(write)?;
        }
        for ((account, grant), row) in &batch.balances {
            self.balance(*account, *grant, row)?;
        }
        self.commit(number)
    }

    /// Begins a transaction; `full` = its commit is an fsync.
    fn begin(&mut self, full: bool) -> Result<()> {
        if self.full != full {
            let level = if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.connection.execute_batch(level)?;
            self.full = full;
        }
        self.begin.execute(())?;
        Ok(())
    }

    /// Ends the transaction as the commit of this number.
    fn commit(&mut self, number: u64) -> Result<()> {
        self.pulse.execute(params![int(number), int(self.live), pulse_sum(number, self.live)])?;
        self.commit.execute(())?;
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<()> {
        match write {
            Write::Hold { account, id, hold } => self.hold(*account, *id, hold),
            Write::Final { account, id, state, since } => self.finished(*account, *id, *state, *since),
            Write::Forget { account, id } => self.gone(*account, *id),
            Write::Prune { account, id } => {
                let mut prune = self.connection.prepare_cached("DELETE FROM final WHERE account = ?1 AND id = ?2")?;
                prune.execute(params![account, id.0.to_be_bytes()]).map(drop)
            }
            Write::Entry { account, entry } => self.entry(*account, entry),
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

    fn hold(&mut self, account: i64, id: HoldId, hold: &Hold) -> Result<()> {
        lines_text(&hold.lines, &mut self.lines);
        let sum = hold_sum(account, id, hold, &self.lines);
        let (state, since, key) = (state_word(hold.state), int(hold.since.0), id.0.to_be_bytes());
        if hold.state != HoldState::Open {
            let amount = int(hold.amount);
            let posted = self.hold_posted.execute(params![account, key, self.lines, amount, state, since, sum])?;
            if posted == 1 {
                return Ok(());
            }
            // A hold that was posted before anybody had seen it open: its figures may still come.
        }
        self.live += 1;
        let names = (hold.pool.as_str(), hold.model.as_str(), hold.key.as_str());
        self.hold_opened.execute(params![
            account,
            key,
            names.0,
            names.1,
            names.2,
            self.lines,
            int(hold.amount),
            mode_word(hold.mode),
            state,
            int(hold.deadline.0),
            since,
            sum
        ])?;
        Ok(())
    }

    fn finished(&mut self, account: i64, id: HoldId, state: HoldState, since: Timestamp) -> Result<()> {
        self.gone(account, id)?;
        self.final_made.execute(params![account, id.0.to_be_bytes(), state_word(state), int(since.0)]).map(drop)
    }

    fn gone(&mut self, account: i64, id: HoldId) -> Result<()> {
        let gone = self.hold_gone.execute(params![account, id.0.to_be_bytes()])?;
        self.live = self.live.saturating_sub(u64::try_from(gone).unwrap_or(0));
        Ok(())
    }

    fn entry(&mut self, account: i64, entry: &Entry) -> Result<()> {
        self.entry
            .execute(params![
                account,
                int(entry.at.0),
                kind_word(entry.kind),
                entry.pool.as_str(),
                entry.grant.map(|grant| grant.0),
                entry.hold.map(|hold| hold.0.to_be_bytes()),
                entry.granted,
                entry.held,
                entry.spent,
                entry.presumed,
                int(entry.billed.input),
                int(entry.billed.output)
            ])
            .map(drop)
    }

    fn balance(&mut self, account: i64, grant: GrantId, row: &BalanceRow) -> Result<()> {
        self.balance
            .execute(params![
                account,
                grant.0,
                int(row.granted),
                int(row.spent),
                int(row.presumed),
                int(row.watermark),
                row.sum(account, grant)
            ])
            .map(drop)
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
