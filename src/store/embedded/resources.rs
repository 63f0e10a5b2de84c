//! Whose the things are that are kept at the provider: a file of its own beside the ledger, because nothing in it counts.
//!
//! Losing it loses no unit of any grant: the hold of a task that is not known any more is posted in full, and a thing whose owner
//! is not known is nobody's. So it is made where it is missing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::desk::Desk;
use super::error::OpenError;
use super::reader::{enum_of, instant};
use super::{Embedded, rows};
use crate::dialect::Kind;
use crate::ledger::{HoldId, Origin, Timestamp};
use crate::store::{Answer, Resource, ResourceStore, TaskHold};

/// The file's name in the ledger's directory.
const FILE: &str = "resources.db";

/// The table. `hold` is null for what is no task, `open` is 1 for tasks that are not known to be over.
const TABLE: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS resource (kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, created INTEGER NOT NULL,
  hold BLOB, key TEXT, model TEXT, pool TEXT, unit TEXT, open INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_task ON resource (created) WHERE open;
";

/// The columns, in the order in which [`resource`] reads them.
const COLUMNS: &str = "kind, id, account, created, hold, key, model, pool, unit, open";

/// The file and its thread.
#[derive(Debug)]
pub(super) struct Shelf(Desk);

impl Shelf {
    /// Opens the file in the ledger's directory.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let file = dir.join(FILE);
        let connection = Connection::open(&file).map_err(OpenError::sql("open", &file))?;
        connection.execute_batch(TABLE).map_err(OpenError::sql("open", &file))?;
        Ok(Self(Desk::start("resources", connection, &file)?))
    }
}

fn resource(row: &Row<'_>) -> rusqlite::Result<Resource> {
    let hold: Option<[u8; 16]> = row.get(4)?;
    let text = |column| row.get::<_, String>(column);
    let task = match hold {
        None => None,
        Some(hold) => Some(TaskHold {
            hold: HoldId(u128::from_be_bytes(hold)),
            origin: Origin { key: text(5)?.into(), model: text(6)?.into(), pool: text(7)?.into() },
            unit: enum_of(row, 8)?,
            open: row.get(9)?,
        }),
    };
    Ok(Resource {
        kind: enum_of(row, 0)?,
        id: row.get(1)?,
        account: row.get::<_, String>(2)?.into(),
        created: instant(row, 3)?,
        task,
    })
}

fn insert(connection: &Connection, made: &Resource) -> rusqlite::Result<()> {
    let task = made.task.as_ref();
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO resource ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"
    ))?;
    statement.execute(params![
        rows::word(&made.kind),
        made.id,
        made.account.as_str(),
        i64::try_from(made.created.0).unwrap_or(i64::MAX),
        task.map(|task| task.hold.0.to_be_bytes()),
        task.map(|task| task.origin.key.as_str()),
        task.map(|task| task.origin.model.as_str()),
        task.map(|task| task.origin.pool.as_str()),
        task.map(|task| rows::word(&task.unit)),
        task.is_some_and(|task| task.open),
    ])?;
    Ok(())
}

impl ResourceStore for Embedded {
    fn remember(&self, made: Resource) -> Answer<'_, ()> {
        Box::pin(async move { self.shelf.0.ask(move |connection| insert(connection, &made)).await })
    }

    fn resource<'a>(&'a self, kind: Kind, id: &'a str) -> Answer<'a, Option<Resource>> {
        let id = id.to_owned();
        Box::pin(async move {
            let select = format!("SELECT {COLUMNS} FROM resource WHERE kind = ?1 AND id = ?2");
            let ask = move |connection: &Connection| {
                connection.prepare_cached(&select)?.query_row(params![rows::word(&kind), id], resource).optional()
            };
            self.shelf.0.ask(ask).await
        })
    }

    fn open_tasks(&self, limit: usize) -> Answer<'_, Vec<Resource>> {
        Box::pin(async move {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let select = format!("SELECT {COLUMNS} FROM resource WHERE open ORDER BY created LIMIT ?1");
            let ask = move |connection: &Connection| {
                connection.prepare_cached(&select)?.query_map(params![limit], resource)?.collect()
            };
            self.shelf.0.ask(ask).await
        })
    }

    fn close_task<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let id = id.to_owned();
        Box::pin(async move {
            let update = "UPDATE resource SET open = 0 WHERE kind = ?1 AND id = ?2";
            let ask = move |connection: &Connection| {
                connection.prepare_cached(update)?.execute(params![rows::word(&Kind::Task), id]).map(drop)
            };
            self.shelf.0.ask(ask).await
        })
    }

    fn forget(&self, kind: Kind, before: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move {
            let before = i64::try_from(before.0).unwrap_or(i64::MAX);
            let delete = "DELETE FROM resource WHERE kind = ?1 AND created < ?2 AND NOT open";
            let ask = move |connection: &Connection| {
                connection.prepare_cached(delete)?.execute(params![rows::word(&kind), before]).map(drop)
            };
            self.shelf.0.ask(ask).await
        })
    }
}
