//! Ledgers of format 1, which had a row of its own for each entry and each final: they are packed once.

use rusqlite::{Connection, Result};

use super::fold::{Fold, Folding};
use super::reader::{entry, enum_of, instant};
use super::schema::{LEDGER, PACKED};
use crate::ledger::HoldId;

/// So many rows are packed together.
const AT_ONCE: usize = 4_096;

/// Brings a ledger of format 1 to the present format, within a transaction. Any other is left as it is.
pub(super) fn migrate(connection: &Connection) -> Result<()> {
    let found: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if found >= LEDGER.format {
        return Ok(());
    }
    connection.execute_batch(PACKED)?;
    entries(connection)?;
    finals(connection)?;
    connection.execute_batch(&format!("DROP TABLE entry; DROP TABLE final; PRAGMA user_version = {};", LEDGER.format))
}

fn entries(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare(
        "SELECT at, kind, pool, grant_id, hold, granted, held, spent, presumed, billed_input, billed_output, account
         FROM entry ORDER BY seq",
    )?;
    let mut rows = statement.query(())?;
    let (mut fold, mut added) = (Fold::default(), 0);
    while let Some(row) = rows.next()? {
        fold.entry(row.get(11)?, &entry(row)?);
        added += 1;
        if added % AT_ONCE == 0 {
            std::mem::take(&mut fold).write(connection, Folding::Whole, &mut 0)?;
        }
    }
    fold.write(connection, Folding::Whole, &mut 0).map(drop)
}

fn finals(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare("SELECT account, id, state, since FROM final ORDER BY account, id")?;
    let mut rows = statement.query(())?;
    let (mut fold, mut added) = (Fold::default(), 0);
    while let Some(row) = rows.next()? {
        let id = HoldId(u128::from_be_bytes(row.get(1)?));
        fold.ended(row.get(0)?, id, enum_of(row, 2)?, instant(row, 3)?);
        added += 1;
        if added % AT_ONCE == 0 {
            std::mem::take(&mut fold).write(connection, Folding::Whole, &mut 0)?;
        }
    }
    fold.write(connection, Folding::Whole, &mut 0).map(drop)
}
