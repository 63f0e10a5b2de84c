//! The one thread that writes: it drains the queue and commits in groups.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::Inner;
use super::account::FLUSHES_AFTER;
use super::flush;
use super::queue::{Batch, Work};
use super::rows::Write;
use super::statements::{COPY, EMPTY, LOOK, Statements, checkpoint};
use super::witness::{Testimony, Witness};
use crate::clock::{Clock, Stopwatch};

/// The log is copied into the file beyond so many frames (of 4 KiB).
const FRAMES_AT_MOST: i64 = 4_000;

/// How many commits pass between two looks at the log's length.
const LOOK_EVERY: u64 = 512;

/// How long the writer sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// What the writing thread owns.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) witness: Witness,
    pub(super) testimony: Testimony,
    pub(super) live: u64,
    pub(super) file: PathBuf,
    pub(super) inner: Arc<Inner>,
}

/// How far the writer is.
struct Progress {
    testimony: Testimony,
    witness: Witness,
    since_flush: Stopwatch,
    flushes_left: u8,
}

/// However the thread ends, nobody waits for it in vain.
struct Ends(Arc<Inner>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.queue.poison("the store is closed");
        self.0.ended.finish(Err("the writer ended in a panic".to_owned()));
    }
}

impl Writer {
    /// Writes until the queue stops or a write fails.
    pub(super) fn run(self) {
        let inner = self.inner.clone();
        let ends = Ends(inner.clone());
        let Self { connection, witness, testimony, live, file, inner: _ } = self;
        let since_flush = Clock::stopwatch();
        let mut progress = Progress { testimony, witness, since_flush, flushes_left: FLUSHES_AFTER };
        let result = work(&connection, &mut progress, live, &inner);
        if let Err(error) = &result {
            let detail = format!("writing {} failed: {error}; nothing is written until a restart", file.display());
            tracing::error!(file = %file.display(), %error, "ledger: a write failed");
            inner.queue.poison(&detail);
            progress.testimony.poisoned = true;
            // The next start is careful if this note gets through; it is not needed for safety.
            let _ = progress.witness.note(&progress.testimony);
        }
        drop(connection);
        // The lock goes before whoever waits for the end is told.
        drop(progress);
        inner.ended.finish(result.map_err(|error| error.to_string()));
        drop(ends);
    }
}

/// Why the writer gave up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    #[error("the lock file: {0}")]
    Witness(#[from] std::io::Error),
}

fn work(connection: &Connection, progress: &mut Progress, live: u64, inner: &Inner) -> Result<(), Failure> {
    let mut statements = Statements::prepare(connection, live)?;
    let mut flush = flush::Flush::default();
    let mut spare = None;
    loop {
        let flushing = progress.flushes_left > 0;
        let patience = if flushing { inner.settings.flush_every } else { IDLE };
        match inner.queue.take(spare.take(), patience.saturating_sub(progress.since_flush.elapsed())) {
            Work::Commit(batch) => {
                commit(&mut statements, progress, inner, &batch)?;
                spare = Some(batch);
                if progress.since_flush.elapsed() >= inner.settings.flush_every {
                    tick(connection, progress, inner, &mut flush)?;
                }
            }
            Work::Tick => tick(connection, progress, inner, &mut flush)?,
            Work::Stop(batch) => return stop(connection, &mut statements, progress, inner, batch),
        }
        if progress.testimony.commits.is_multiple_of(LOOK_EVERY) {
            copy_log(connection)?;
        }
    }
}

fn commit(
    statements: &mut Statements<'_>,
    progress: &mut Progress,
    inner: &Inner,
    batch: &Batch,
) -> Result<(), Failure> {
    let number = progress.testimony.commits + 1;
    let written = statements.commit_batch(batch, number).map_err(Failure::from).and_then(|()| {
        progress.testimony.commits = number;
        if batch.full {
            progress.testimony.durable = number;
        }
        Ok(progress.witness.note(&progress.testimony)?)
    });
    if let Err(error) = &written {
        batch.group.finish(Err(format!("the commit failed: {error}")));
        return written;
    }
    if batch.calls > 0 {
        progress.flushes_left = FLUSHES_AFTER;
    }
    inner.figures.count(batch.full);
    inner.queue.done(batch);
    Ok(())
}

/// Once a second while there are calls: what is not durable yet becomes so, and the books are tidied.
fn tick(
    connection: &Connection,
    progress: &mut Progress,
    inner: &Inner,
    flush: &mut flush::Flush,
) -> Result<(), Failure> {
    progress.since_flush = Clock::stopwatch();
    progress.flushes_left = progress.flushes_left.saturating_sub(1);
    let behind = progress.testimony.durable < progress.testimony.commits;
    flush.run(connection, inner, behind)?;
    copy_log(connection)?;
    Ok(())
}

/// Copies the log into the file, so that the log starts over and a start stays quick. Here and not within a commit: SQLite would
/// swallow the error of an automatic one.
fn copy_log(connection: &Connection) -> Result<(), Failure> {
    if checkpoint(connection, LOOK)? > FRAMES_AT_MOST {
        checkpoint(connection, COPY)?;
    }
    Ok(())
}

fn stop(
    connection: &Connection,
    statements: &mut Statements<'_>,
    progress: &mut Progress,
    inner: &Inner,
    mut batch: Batch,
) -> Result<(), Failure> {
    let clean = inner.is_closing();
    if clean {
        batch.full = true;
        batch.writes.push(Write::Meta { name: "clean", value: "1".to_owned() });
    }
    commit(statements, progress, inner, &batch)?;
    if clean {
        checkpoint(connection, EMPTY)?;
        progress.witness.sync()?;
    }
    Ok(())
}
