//! The operator's way out of a ledger that cannot be trusted: everything that is left counts as used (LEDGER 3).

use std::path::Path;

use rusqlite::Connection;

use super::account::{Live, Need};
use super::error::OpenError;
use super::file;
use super::fold::Folding;
use super::keys::KeyRing;
use super::migrate::migrate;
use super::queue::{Batch, Queue};
use super::rows::{BalanceRow, PoolRow, Write};
use super::salvage::{self, Salvaged};
use super::schema::LEDGER;
use super::statements::{self, Statements};
use super::witness::{Place, Testimony, Witness};
use super::{Recovered, Settings};
use crate::clock::Clock;
use crate::ledger::{
    Command, Entry, Fund, GrantId, HoldId, HoldState, PoolId, Resolution, Timestamp, recover_presumed,
};
use crate::store::StoreError;

/// What a recovery found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// What was damaged and what was put in its place, one sentence each.
    pub found: Vec<String>,
    /// Holds that were open and are presumed now.
    pub presumed_holds: usize,
    /// What was left of each grant and counts as used now.
    pub recovered: Vec<Recovered>,
}

/// Makes a damaged or older ledger usable again without making quota: whatever its grants say is left is posted as presumed.
///
/// The entries stay. Balances are counted again from them; rows that are damaged get their strictest value or are left out, and
/// [`Recovery::found`] says which. Afterwards the ledger opens, and the provider console's figures can be put in.
///
/// # Errors
/// When there is no ledger, it is in use, foreign or newer, or not even its tables can be read.
pub fn recover(settings: &Settings, clock: &Clock) -> Result<Recovery, OpenError> {
    let (dir, file) = file::place(&LEDGER, &settings.dir, settings.any_file_system)?;
    if !file.exists() {
        return Err(OpenError::NotInitialised { dir });
    }
    let mut witness = Witness::lock(&LEDGER, &file)?;
    let said = witness.read();
    let connection = file::connect(&LEDGER, &file)?;
    let mut recovery = Recovery::default();
    let salvaged = connection.unchecked_transaction().map_err(OpenError::sql("read", &file))?;
    migrate(&connection).map_err(|error| file::loading(&file)(error.into()))?;
    let facts = salvage::facts(&connection, said.as_ref(), &mut recovery.found).map_err(file::loading(&file))?;
    salvage::packed(&connection, &mut recovery.found).map_err(file::loading(&file))?;
    let Salvaged { mut books, corrections } =
        salvage::salvage(&connection, settings.block_max, &mut recovery.found).map_err(file::loading(&file))?;
    let here = Place::of(&file)?;
    let batch = rewrite(&mut books, corrections, &here, &facts.instance, clock.now(), &mut recovery)
        .map_err(|error| OpenError::Corrupt { file: file.clone(), what: error.detail })?;
    let commits = facts.commits + 1;
    replace(&connection, &batch, commits).map_err(OpenError::sql("write to", &file))?;
    salvaged.commit().map_err(OpenError::sql("write to", &file))?;
    statements::checkpoint(&connection, statements::EMPTY).map_err(OpenError::sql("sync", &file))?;
    let testimony = Testimony { instance: facts.instance, commits, durable: commits, poisoned: false };
    note(&mut witness, &testimony, &file)?;
    Ok(recovery)
}

fn note(witness: &mut Witness, testimony: &Testimony, file: &Path) -> Result<(), OpenError> {
    witness.note(testimony).and_then(|()| witness.sync()).map_err(OpenError::io("write the lock file of", file))
}

/// Everything as it is to be written, with nothing available.
fn rewrite(
    books: &mut [Live],
    corrections: Vec<(i64, Entry)>,
    here: &Place,
    instance: &str,
    now: Timestamp,
    recovery: &mut Recovery,
) -> Result<Batch, StoreError> {
    let queue = Queue::new(1, std::time::Duration::ZERO);
    let keys = KeyRing::default();
    queue.push(None, false, true, |batch| {
        let facts = [
            ("instance", instance.to_owned()),
            ("boot", here.boot.clone()),
            ("device", here.device.clone()),
            ("inode", here.inode.clone()),
            ("clean", "1".to_owned()),
        ];
        batch.writes.extend(facts.map(|(name, value)| Write::Meta { name, value }));
        for (account, entry) in corrections {
            batch.body.entry(account, &entry);
        }
        for live in &*books {
            whole(live, batch);
        }
    })?;
    for live in books {
        presume_all(live, &queue, &keys, now, recovery)?;
    }
    let mut batch = queue.opening();
    batch.full = true;
    Ok(batch)
}

/// All rows of a book.
fn whole(live: &Live, batch: &mut Batch) {
    let account = live.number;
    batch.writes.push(Write::Account(Box::new(live.row())));
    for (id, key) in &live.book.keys {
        let digest = live.digests.get(id).copied();
        batch.writes.push(Write::Key { account, key: Box::new(key.clone()), digest });
    }
    for (id, pool) in &live.book.pools {
        batch.writes.push(Write::Pool { account, row: Box::new(PoolRow::of(id, pool)) });
        for Fund { grant, balance } in &pool.grants {
            batch.writes.push(Write::Grant { account, grant: Box::new(grant.clone()) });
            batch.balances.insert((account, grant.id), BalanceRow::of(balance, balance.taken()));
        }
    }
    for (id, hold) in &live.book.holds {
        batch.body.hold(account, *id, hold);
    }
}

fn presume_all(
    live: &mut Live,
    queue: &Queue,
    keys: &KeyRing,
    now: Timestamp,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    let open: Vec<HoldId> =
        live.book.holds.iter().filter(|(_, hold)| hold.state == HoldState::Open).map(|(id, _)| *id).collect();
    recovery.presumed_holds += open.len();
    for hold in open {
        let command = Command::Resolve { hold, resolution: Resolution::Presume(None), origin: None };
        live.step(queue, keys, None, now, command, Need::Memory)?;
    }
    let left: Vec<(PoolId, GrantId, u64)> = live
        .book
        .pools
        .iter()
        .flat_map(|(pool, state)| state.grants.iter().map(|fund| (pool.clone(), fund.grant.id, fund.balance)))
        .filter_map(|(pool, grant, balance)| Some((pool, grant, u64::try_from(balance.available()).ok()?)))
        .filter(|(_, _, left)| *left > 0)
        .collect();
    let mut changes = Vec::new();
    for (pool, grant, amount) in left {
        recover_presumed(&mut live.book, now, &pool, grant, amount, &mut changes);
        recovery.recovered.push(Recovered { account: live.book.account.clone(), pool, grant, amount });
    }
    live.send(queue, keys, None, (now, false, true), &mut changes)?;
    Ok(())
}

/// Puts the rows in the place of what was there, within a transaction. The entries and the finals stay.
fn replace(connection: &Connection, batch: &Batch, number: u64) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM meta WHERE name <> 'created'; DELETE FROM account; DELETE FROM key; DELETE FROM pool;
         DELETE FROM grants; DELETE FROM balance; DELETE FROM hold; INSERT OR IGNORE INTO pulse VALUES (1, 0, 0, 0);",
    )?;
    Statements::resume(connection, (0, true, 0)).put(batch, number, Folding::Whole)
}
