//! Opening a ledger: the order of steps in which nothing that was used can be forgotten (LEDGER 3).

use std::path::Path;

use rusqlite::Connection;

use super::account::{Live, Need};
use super::error::OpenError;
use super::file::{check_pages, connect, loading};
use super::fold::Folding;
use super::journal;
use super::keys::{KeyRing, Placed};
use super::load;
use super::migrate::migrate;
use super::queue::{Batch, Queue};
use super::rows::Write;
use super::schema::LEDGER;
use super::statements::{self, Statements};
use super::witness::{Place, Standing, Testimony, Witness, judge};
use super::{Opening, Recovered, Settings};
use crate::ledger::{Change, Command, HoldId, HoldState, Resolution, Timestamp, recover_presumed};
use crate::store::StoreError;

/// A ledger that is open, before its writer starts.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) witness: Witness,
    pub(super) testimony: Testimony,
    pub(super) live: u64,
    pub(super) books: Vec<Live>,
    pub(super) queue: Queue,
    pub(super) keys: KeyRing,
    pub(super) opening: Opening,
}

/// Opens a ledger whose lock is held.
pub(super) fn open(settings: &Settings, file: &Path, mut witness: Witness, now: Timestamp) -> Result<Ready, OpenError> {
    let said = witness.read();
    let connection = connect(&LEDGER, file)?;
    let here = Place::of(file)?;
    check_pages(&connection, file)?;
    let opened = connection.unchecked_transaction().map_err(OpenError::sql("read", file))?;
    migrate(&connection).map_err(|error| loading(file)(error.into()))?;
    let mut facts = load::facts(&connection).map_err(loading(file))?;
    facts.past.commits = journal::last_commit(&connection, facts.past.commits).map_err(loading(file))?;
    if let Some(said) = said.as_ref().filter(|said| said.instance != facts.instance) {
        let what = format!(
            "the lock file beside it belongs to ledger {}, this is ledger {}; if it is meant to be here, remove the lock file",
            said.instance, facts.instance
        );
        return Err(OpenError::Foreign { file: file.to_owned(), what });
    }
    let standing = judge(&facts.past, &here, said.as_ref());
    if let Standing::Older { durable } = standing {
        return Err(OpenError::Older { file: file.to_owned(), found: facts.past.commits, durable });
    }
    // The tables are read as the journal leaves them; a ledger that is refused stays as it is.
    let mut statements = Statements::resume(&connection, (facts.live, true, 0));
    statements.fold_all(facts.past.commits).map_err(|error| loading(file)(error.into()))?;
    facts.live = statements.live;
    let mut books = load::books(&connection, facts.live, settings.block_max).map_err(loading(file))?;
    opened.commit().map_err(OpenError::sql("write to", file))?;
    // Everything is written and synced once more, so that nothing rests on an fsync that may have failed.
    statements::checkpoint(&connection, statements::EMPTY).map_err(OpenError::sql("sync", file))?;
    let (queue, keys) = (Queue::new(settings.queue_max, settings.linger), KeyRing::default());
    let opening = close_the_past(&mut books, &queue, &keys, now, &standing)
        .map_err(|error| OpenError::Corrupt { file: file.to_owned(), what: error.detail })?;
    place_keys(&books, &keys);
    let batch = opening_batch(&queue, &here)
        .map_err(|error| OpenError::Corrupt { file: file.to_owned(), what: error.detail })?;
    let commits = facts.past.commits + 1;
    let mut statements = Statements::prepare(&connection, facts.live).map_err(OpenError::sql("write to", file))?;
    statements.commit_batch(&batch, commits, Folding::Whole).map_err(OpenError::sql("write to", file))?;
    let live = statements.live;
    queue.done(&batch, Folding::Whole);
    let testimony = Testimony { instance: facts.instance, commits, durable: commits, poisoned: false };
    witness.note(&testimony).and_then(|()| witness.sync()).map_err(OpenError::io("write the lock file of", file))?;
    Ok(Ready { connection, witness, testimony, live, books, queue, keys, opening })
}

/// First every open hold is posted in full, whatever was or was not sent; only then what the watermarks promise beyond that.
fn close_the_past(
    books: &mut [Live],
    queue: &Queue,
    keys: &KeyRing,
    now: Timestamp,
    standing: &Standing,
) -> Result<Opening, StoreError> {
    let mut opening = Opening::default();
    for live in &mut *books {
        let open: Vec<HoldId> =
            live.book.holds.iter().filter(|(_, hold)| hold.state == HoldState::Open).map(|(id, _)| *id).collect();
        opening.presumed_holds += open.len();
        for hold in open {
            let command = Command::Resolve { hold, resolution: Resolution::Presume(None), origin: None };
            live.step(queue, keys, None, now, command, Need::Memory)?;
        }
    }
    if let Standing::Recover(why) = standing {
        opening.recovery = Some(why);
        for live in books {
            recover_to_watermarks(live, queue, keys, now, &mut opening)?;
        }
    }
    Ok(opening)
}

fn recover_to_watermarks(
    live: &mut Live,
    queue: &Queue,
    keys: &KeyRing,
    now: Timestamp,
    opening: &mut Opening,
) -> Result<(), StoreError> {
    let mut changes: Vec<Change> = Vec::new();
    let funds: Vec<_> = live
        .book
        .pools
        .iter()
        .flat_map(|(pool, state)| state.grants.iter().map(|fund| (pool.clone(), fund.grant.id, fund.balance)))
        .collect();
    for (pool, grant, balance) in funds {
        let promise = live.promises.get(&grant).map_or(0, |promise| promise.mark.promised);
        let amount = promise.saturating_sub(balance.spent.saturating_add(balance.presumed));
        if amount > 0 {
            recover_presumed(&mut live.book, now, &pool, grant, amount, &mut changes);
            opening.recovered.push(Recovered { account: live.book.account.clone(), pool, grant, amount });
        }
    }
    live.send(queue, keys, None, (now, false, false), &mut changes)?;
    Ok(())
}

fn place_keys(books: &[Live], keys: &KeyRing) {
    let mut placed = Vec::new();
    for live in books {
        let site: std::sync::Arc<str> = live.book.site.as_str().into();
        for (id, digest) in &live.digests {
            if let Some(key) = live.book.keys.get(id) {
                let (account, key) = (live.book.account.clone(), key.clone());
                placed.push(Placed { digest: *digest, account, site: site.clone(), key });
            }
        }
    }
    keys.place(placed);
}

fn opening_batch(queue: &Queue, here: &Place) -> Result<Batch, StoreError> {
    queue.push(None, false, true, |batch| {
        let facts = [
            ("boot", here.boot.clone()),
            ("device", here.device.clone()),
            ("inode", here.inode.clone()),
            ("clean", "0".to_owned()),
        ];
        batch.writes.extend(facts.map(|(name, value)| Write::Meta { name, value }));
    })?;
    Ok(queue.opening())
}
