//! The tables of a replica's journal, and what marks the file as ours.

use crate::store::embedded::file::Kind;

/// The journal's file. `application_id`: "GRAJ".
pub(super) const JOURNAL: Kind =
    Kind { name: "replica.db", lock: "replica.lock", application: 0x4752_414a, format: 1, tables: &[TABLES] };

/// The tables. A settled call appends one row to `entry`; once a batch the touched rows of `fund` and `seen`, and `pulse`, are
/// written anew. `fund` has a row for each grant (NULL: what no grant covered) that this replica moved, with what it moved in all.
/// Reserve entries are not in `entry`: `held` and `watermark` stand for them. `pulse.live` counts the rows of `entry`. `sum` is a
/// checksum of the row.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pulse (one INTEGER PRIMARY KEY, commits INTEGER NOT NULL, live INTEGER NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE fund (number INTEGER PRIMARY KEY, account TEXT NOT NULL, pool TEXT NOT NULL, grant_id INTEGER,
  granted INTEGER NOT NULL, held INTEGER NOT NULL, spent INTEGER NOT NULL, presumed INTEGER NOT NULL,
  billed_input INTEGER NOT NULL, billed_output INTEGER NOT NULL, watermark INTEGER NOT NULL, doubt INTEGER NOT NULL,
  sum INTEGER NOT NULL);
CREATE TABLE entry (seq INTEGER PRIMARY KEY, fund INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, hold BLOB,
  granted INTEGER NOT NULL, held INTEGER NOT NULL, spent INTEGER NOT NULL, presumed INTEGER NOT NULL,
  billed_input INTEGER NOT NULL, billed_output INTEGER NOT NULL);
CREATE TABLE seen (account TEXT PRIMARY KEY, seq INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (account TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE parked (hold BLOB PRIMARY KEY, body TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO pulse VALUES (1, 0, 0, 0);
";
