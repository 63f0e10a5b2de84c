//! The tables, and what marks the file as ours.

use super::file::Kind;

/// The ledger's file. `application_id`: "GRAT".
pub(super) const LEDGER: Kind =
    Kind { name: "ledger.db", lock: "ledger.lock", application: 0x4752_4154, format: 2, tables: &[TABLES, PACKED] };

/// The tables. A commit of calls adds one row to `journal`; when that is folded, `hold`, `balance`, `page` and `finals` are
/// brought up to date and `pulse` says up to which commit and how many rows `hold` has. `hold` carries open and presumed holds
/// only and so stays small; reserve entries are nowhere: their record is the hold. `page` has entries of one account, `finals` has
/// finals of one account and span. `sum` is a checksum of the row, for what no recount would notice.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pulse (one INTEGER PRIMARY KEY, commits INTEGER NOT NULL, live INTEGER NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE account (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, site TEXT NOT NULL, state TEXT NOT NULL,
  never_pay INTEGER NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE key (account INTEGER NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, digest BLOB UNIQUE, sum INTEGER NOT NULL,
  PRIMARY KEY (account, id)) WITHOUT ROWID;
CREATE TABLE pool (account INTEGER NOT NULL, id TEXT NOT NULL, switch TEXT NOT NULL, closed TEXT, overran INTEGER NOT NULL,
  billed_input INTEGER NOT NULL, billed_output INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (account, id)) WITHOUT ROWID;
CREATE TABLE grants (account INTEGER NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL,
  PRIMARY KEY (account, id)) WITHOUT ROWID;
CREATE TABLE balance (account INTEGER NOT NULL, grant_id INTEGER NOT NULL, granted INTEGER NOT NULL, spent INTEGER NOT NULL,
  presumed INTEGER NOT NULL, watermark INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (account, grant_id)) WITHOUT ROWID;
CREATE TABLE hold (account INTEGER NOT NULL, id BLOB NOT NULL, pool TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
  lines TEXT NOT NULL, amount INTEGER NOT NULL, mode TEXT NOT NULL, state TEXT NOT NULL, deadline INTEGER NOT NULL,
  since INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (account, id)) WITHOUT ROWID;
INSERT INTO pulse VALUES (1, 0, 0, 0);
";

/// What a commit of calls writes, and what that is folded into.
pub(super) const PACKED: &str = "
CREATE TABLE journal (number INTEGER PRIMARY KEY, body BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE page (seq INTEGER PRIMARY KEY, account INTEGER NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE finals (seq INTEGER PRIMARY KEY, account INTEGER NOT NULL, span INTEGER NOT NULL, newest INTEGER NOT NULL,
  body BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE INDEX finals_span ON finals (account, span);
";
