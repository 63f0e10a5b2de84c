//! The thread that writes what is durable, what nobody waits for and what nobody else can, and that looks after the books.

use std::sync::Arc;

use rusqlite::Connection;

use super::Inner;
use super::flush::Flush;
use super::fold::Folding;
use super::pen::{FOLD_BEYOND, Failure, Pen};
use super::queue::Work;
use super::rows::Write;
use super::statements::{COPY, EMPTY, LOOK, checkpoint};
use crate::clock::Clock;
use crate::ledger::Timestamp;

/// The log is copied into the file beyond so many frames (of 4 KiB).
const FRAMES_AT_MOST: i64 = 4_000;

/// An open hold stays in the journal so long when that is folded, in ms: most are settled by then.
const CARRIED_MS: u64 = 60_000;

/// However the thread ends, nobody waits for it in vain.
struct Ends(Arc<Inner>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.queue.poison("the store is closed");
        self.0.ended.finish(Err("the writer ended in a panic".to_owned()));
    }
}

/// Writes until the queue stops or a write fails.
pub(super) fn run(inner: Arc<Inner>) {
    let ends = Ends(inner.clone());
    let result = work(&inner);
    if let Err(error) = &result {
        let _ = inner.with_pen(|pen| {
            pen.fail(&inner, error);
            Ok(())
        });
        // Where a panic took the pen, this is the first that says so.
        inner.queue.poison(&format!("{error}; nothing is written until a restart"));
    }
    // The lock goes before whoever waits for the end is told.
    inner.lay_down();
    inner.ended.finish(result.map_err(|error| error.to_string()));
    drop(ends);
}

fn work(inner: &Inner) -> Result<(), Failure> {
    let mut flush = Flush::default();
    loop {
        let patience = inner.with_pen(|pen| Ok(pen.patience(inner.settings.flush_every)))?;
        match inner.queue.next(patience) {
            Work::Commit => inner.with_pen(|pen| commit(pen, inner))?,
            Work::Look | Work::Tick => {}
            Work::Stop => return inner.with_pen(|pen| stop(pen, inner)),
        }
        inner.with_pen(|pen| {
            if pen.patience(inner.settings.flush_every).is_zero() {
                tick(pen, inner, &mut flush)?;
            } else if pen.look {
                fold(pen, inner, FOLD_BEYOND)?;
                copy_log(&pen.connection)?;
            }
            pen.look = false;
            Ok(())
        })?;
    }
}

/// Commits what is waiting, unless somebody else just did.
fn commit(pen: &mut Pen, inner: &Inner) -> Result<(), Failure> {
    let batch = inner.queue.take(pen.spare.take());
    if !batch.is_empty() {
        pen.commit(inner, &batch, Folding::None)?;
    }
    pen.spare = Some(batch);
    Ok(())
}

/// Folds the journal where it has more than `many` records, together with what is waiting.
fn fold(pen: &mut Pen, inner: &Inner, many: usize) -> Result<(), Failure> {
    if pen.is_thick(many) {
        let batch = inner.queue.take(pen.spare.take());
        let young = Timestamp(inner.clock.now().0.saturating_sub(CARRIED_MS));
        pen.commit(inner, &batch, Folding::Until(young))?;
        pen.spare = Some(batch);
    }
    Ok(())
}

/// Once a second while there are calls: what is not durable yet becomes so, and the books are tidied.
fn tick(pen: &mut Pen, inner: &Inner, flush: &mut Flush) -> Result<(), Failure> {
    pen.since_flush = Clock::stopwatch();
    pen.flushes_left = pen.flushes_left.saturating_sub(1);
    fold(pen, inner, 0)?;
    let behind = pen.testimony.durable < pen.testimony.commits;
    flush.run(&pen.connection, inner, behind)?;
    copy_log(&pen.connection)
}

/// Copies the log into the file, so that the log starts over and a start stays quick. Here and not within a commit: SQLite would
/// swallow the error of an automatic one.
fn copy_log(connection: &Connection) -> Result<(), Failure> {
    if checkpoint(connection, LOOK)? > FRAMES_AT_MOST {
        checkpoint(connection, COPY)?;
    }
    Ok(())
}

fn stop(pen: &mut Pen, inner: &Inner) -> Result<(), Failure> {
    let mut batch = inner.queue.take(pen.spare.take());
    let clean = inner.is_closing();
    if clean {
        batch.full = true;
        batch.writes.push(Write::Meta { name: "clean", value: "1".to_owned() });
    }
    pen.commit(inner, &batch, if clean { Folding::Whole } else { Folding::None })?;
    if clean {
        checkpoint(&pen.connection, EMPTY)?;
        pen.witness.sync()?;
    }
    Ok(())
}
