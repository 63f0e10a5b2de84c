//! Questions to the disk, on a connection and a thread of their own: a long answer holds up no commit.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::desk::Desk;
use super::error::OpenError;
use super::journal;
use super::rows::parse;
use crate::ledger::{Entry, EntryKind, GrantId, HoldId, HoldState, PoolId, Timestamp, Usage};
use crate::store::StoreError;

/// The reading thread.
#[derive(Debug)]
pub(in crate::store) struct Reader(Desk);

impl Reader {
    pub(in crate::store) fn start(file: &Path) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(OpenError::sql("open", file))?;
        Ok(Self(Desk::start("ledger-read", connection, file)?))
    }

    pub(in crate::store) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.ask(question).await
    }

    /// What became of a hold that is final.
    pub(super) async fn final_of(
        &self,
        account: i64,
        id: HoldId,
    ) -> Result<Option<(HoldState, Timestamp)>, StoreError> {
        self.0.ask(move |connection| journal::final_of(connection, account, id)).await
    }

    /// The newest entries.
    pub(super) async fn entries(
        &self,
        account: i64,
        pool: Option<PoolId>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.0
            .ask(move |connection| {
                // One view of the journal and the pages, whatever is folded meanwhile.
                let view = connection.unchecked_transaction()?;
                let newest = journal::newest_entries(&view, account, pool.as_ref(), limit)?;
                view.commit()?;
                Ok(newest)
            })
            .await
    }
}

/// An entry, in the order of the columns above.
pub(in crate::store) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        at: instant(row, 0)?,
        kind: enum_of::<EntryKind>(row, 1)?,
        pool: row.get::<_, String>(2)?.into(),
        grant: row.get::<_, Option<u32>>(3)?.map(GrantId),
        hold: row.get::<_, Option<[u8; 16]>>(4)?.map(|id| HoldId(u128::from_be_bytes(id))),
        granted: row.get(5)?,
        held: row.get(6)?,
        spent: row.get(7)?,
        presumed: row.get(8)?,
        billed: Usage { input: amount(row, 9)?, output: amount(row, 10)? },
    })
}

/// An amount; a negative one is no amount.
pub(in crate::store) fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(in crate::store) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    amount(row, column).map(Timestamp)
}

/// A word of one of our enums.
pub(in crate::store) fn enum_of<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let what = format!("{text:?} is not a word that is written here");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    })
}
