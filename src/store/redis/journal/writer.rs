//! The thread that writes, and the statements that it writes with.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, Result, params};

use super::fund::FundRow;
use super::queue::{Shared, Taken, Work, Write};
use crate::clock::Clock;
use crate::ledger::Entry;
use crate::store::embedded::pen::Failure;
use crate::store::embedded::rows::{int, kind_word, meta_sum, pulse_sum};
use crate::store::embedded::statements::{COPY, EMPTY, LOOK, checkpoint};
use crate::store::embedded::sum::Sum;
use crate::store::embedded::witness::{Testimony, Witness};

/// The log is copied into the file beyond so many frames (of 4 KiB).
const FRAMES_AT_MOST: i64 = 4_000;

/// How many prepared statements the connection keeps: all that are here.
const STATEMENTS: usize = 24;

/// What is needed to write, and how far it is.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) connection: Connection,
    pub(super) witness: Witness,
    pub(super) testimony: Testimony,
    /// The rows of `entry`.
    pub(super) entries: u64,
    pub(super) file: PathBuf,
}

/// However the thread ends, nobody waits for it in vain.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.poison("the journal is closed");
        self.0.ended.finish(Err("the writer ended in a panic".to_owned()));
    }
}

/// Writes until the journal stops or a write fails.
pub(super) fn run(shared: Arc<Shared>, mut pen: Pen) {
    let ends = Ends(shared.clone());
    let result = work(&shared, &mut pen);
    if let Err(error) = &result {
        let file = pen.file.display();
        shared.poison(&failed(&pen, error));
        tracing::error!(%file, %error, "journal: a write failed");
        pen.testimony.poisoned = true;
        // The next start is careful if this note gets through; it is not needed for safety.
        let _ = pen.witness.note(&pen.testimony);
    }
    // The lock goes before whoever waits for the end is told.
    drop(pen);
    shared.ended.finish(result.map_err(|error| error.to_string()));
    drop(ends);
}

fn work(shared: &Shared, pen: &mut Pen) -> Result<(), Failure> {
    let mut since_flush = Clock::stopwatch();
    loop {
        let behind = pen.testimony.durable < pen.testimony.commits;
        match shared.next(&mut since_flush, behind)? {
            Work::Commit(taken) => {
                commit(shared, pen, &taken)?;
                if taken.full && checkpoint(&pen.connection, LOOK)? > FRAMES_AT_MOST {
                    checkpoint(&pen.connection, COPY)?;
                }
            }
            Work::Stop(_, false) => return Ok(()),
            Work::Stop(mut taken, true) => {
                taken.writes.push(Write::Fact { name: "clean", value: "1".to_owned() });
                commit(shared, pen, &taken)?;
                checkpoint(&pen.connection, EMPTY)?;
                return Ok(pen.witness.sync()?);
            }
        }
    }
}

fn failed(pen: &Pen, error: &Failure) -> String {
    format!("writing {} failed: {error}; nothing is written until a restart", pen.file.display())
}

fn commit(shared: &Shared, pen: &mut Pen, taken: &Taken) -> Result<(), Failure> {
    let written = pen.commit(taken);
    taken.group.finish(match &written {
        Ok(()) => Ok(()),
        Err(error) => {
            // First the journal, then those who wait: whoever was told finds that nothing is written any more.
            shared.poison(&failed(pen, error));
            Err(format!("the commit failed: {error}"))
        }
    });
    written
}

impl Pen {
    /// Writes a batch and notes it in the lock file.
    pub(super) fn commit(&mut self, taken: &Taken) -> Result<(), Failure> {
        let number = self.testimony.commits + 1;
        let mut statements = Statements::prepare(&self.connection, self.entries, taken.full)?;
        statements.write(taken, number)?;
        self.entries = statements.entries;
        self.testimony.commits = number;
        if taken.full {
            self.testimony.durable = number;
        }
        Ok(self.witness.note(&self.testimony)?)
    }
}

pub(super) fn seen_sum(account: &str, seq: i64) -> i64 {
    Sum::new(b's').text(account).int(seq).end()
}

pub(super) fn kept_sum(account: &str, revision: i64, body: &str) -> i64 {
    Sum::new(b'k').text(account).int(revision).text(body).end()
}

pub(super) fn parked_sum(hold: &[u8], body: &str) -> i64 {
    Sum::new(b'w').bytes(hold).text(body).end()
}

struct Statements<'c> {
    connection: &'c Connection,
    entry: CachedStatement<'c>,
    fund: CachedStatement<'c>,
    seen: CachedStatement<'c>,
    entries: u64,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection, entries: u64, full: bool) -> Result<Self> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let level = if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
        // Kept as a statement, so that it is not parsed anew; the level is that of the connection, outside a transaction.
        connection.execute_batch(level)?;
        Ok(Self {
            connection,
            entry: connection
                .prepare_cached("INSERT INTO entry VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?,
            fund: connection.prepare_cached(
                "INSERT OR REPLACE INTO fund VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            seen: connection.prepare_cached("INSERT OR REPLACE INTO seen VALUES (?1, ?2, ?3)")?,
            entries,
        })
    }

    /// Writes everything as one transaction, which is the commit of this number.
    fn write(&mut self, taken: &Taken, number: u64) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        for write in &taken.writes {
            self.change(write)?;
        }
        for row in &taken.funds {
            self.fund(row)?;
        }
        for (account, seq) in &taken.seen {
            let seq = int(*seq);
            self.seen.execute(params![account.as_str(), seq, seen_sum(account.as_str(), seq)])?;
        }
        let sum = pulse_sum(number, self.entries);
        self.connection
            .prepare_cached("UPDATE pulse SET commits = ?1, live = ?2, sum = ?3 WHERE one = 1")?
            .execute(params![int(number), int(self.entries), sum])?;
        self.connection.prepare_cached("COMMIT")?.execute(()).map(drop)
    }

    fn change(&mut self, write: &Write) -> Result<()> {
        let broken = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
        match write {
            Write::Entry { fund, entry } => self.entry(*fund, entry),
            Write::Kept { account, revision, body } => {
                let (account, revision) = (account.as_str(), int(*revision));
                self.connection
                    .prepare_cached("INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![account, revision, body, kept_sum(account, revision, body)])
                    .map(drop)
            }
            Write::Park(parked) => {
                let (hold, body) = (parked.hold.0.to_be_bytes(), parked.body().map_err(broken)?);
                self.connection
                    .prepare_cached("INSERT OR REPLACE INTO parked VALUES (?1, ?2, ?3)")?
                    .execute(params![hold, body, parked_sum(&hold, &body)])
                    .map(drop)
            }
            Write::Unpark(hold) => {
                let mut gone = self.connection.prepare_cached("DELETE FROM parked WHERE hold = ?1")?;
                gone.execute([hold.0.to_be_bytes()]).map(drop)
            }
            Write::Fact { name, value } => {
                let mut fact = self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)")?;
                fact.execute(params![name, value, meta_sum(name, value)]).map(drop)
            }
        }
    }

    fn entry(&mut self, fund: i64, entry: &Entry) -> Result<()> {
        self.entries += 1;
        let hold = entry.hold.map(|hold| hold.0.to_be_bytes());
        let billed = (int(entry.billed.input), int(entry.billed.output));
        self.entry
            .execute(params![
                fund,
                int(entry.at.0),
                kind_word(entry.kind),
                hold,
                entry.granted,
                entry.held,
                entry.spent,
                entry.presumed,
                billed.0,
                billed.1
            ])
            .map(drop)
    }

    fn fund(&mut self, row: &FundRow) -> Result<()> {
        let sums = row.sums;
        self.fund
            .execute(params![
                row.number,
                row.account.as_str(),
                row.pool.as_str(),
                row.grant.map(|grant| grant.0),
                sums.granted,
                sums.held,
                sums.spent,
                sums.presumed,
                int(sums.billed.input),
                int(sums.billed.output),
                row.watermark,
                int(row.doubt),
                row.sum()
            ])
            .map(drop)
    }
}
