//! Folding the journal: what its records amount to, carried into the tables.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Slot;

use rusqlite::{Connection, Result, params};

use super::journal::{self, damaged, finals_sum, page_sum, span};
use super::mix::MixMap;
use super::record::{Body, Record};
use super::rows::{BalanceRow, hold_sum, int, lines_text, mode_word, state_word};
use super::unpack::Records;
use crate::ledger::{Entry, GrantId, Hold, HoldId, HoldState, Timestamp};

/// What a commit does with the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Folding {
    /// It adds its row.
    None,
    /// It folds it, but an open hold that was made later than this stays in the journal: it will soon be settled.
    Until(Timestamp),
    /// It folds all of it.
    Whole,
}

/// A hold as the journal leaves it.
#[derive(Debug)]
enum Held {
    /// It was made in the journal: no table has it.
    Made(Hold),
    /// A table may have it; `None` = it has ended.
    Changed(Option<Hold>),
}

/// Finals of one account and one span.
#[derive(Debug, Default)]
struct Sheaf {
    body: Body,
    newest: Timestamp,
}

/// What records amount to.
#[derive(Debug, Default)]
pub(super) struct Fold {
    holds: MixMap<(i64, HoldId), Held>,
    balances: MixMap<(i64, GrantId), BalanceRow>,
    pages: BTreeMap<i64, Body>,
    finals: BTreeMap<(i64, i64), Sheaf>,
}

impl Fold {
    /// Everything that is in the journal.
    pub(super) fn of(connection: &Connection) -> Result<Self> {
        let mut fold = Self::default();
        journal::commits(connection, |number, body| match body {
            Some(body) => fold.add(body),
            None => Err(damaged(format!("commit {number} of the journal is damaged"))),
        })?;
        Ok(fold)
    }

    /// The records of a body, which come after those that were added before.
    pub(super) fn add(&mut self, body: &[u8]) -> Result<()> {
        for record in Records::of(body) {
            match record? {
                Record::Hold { account, id, hold } => self.hold((account, id), hold),
                Record::Ended { account, id, state, since } => {
                    self.gone((account, id));
                    self.ended(account, id, state, since);
                }
                Record::Forgotten { account, id } => self.gone((account, id)),
                Record::Entry { account, entry } => self.entry(account, &entry),
                Record::Balance { account, grant, row } => {
                    self.balances.insert((account, grant), row);
                }
            }
        }
        Ok(())
    }

    /// An entry, which comes after those that were added before.
    pub(super) fn entry(&mut self, account: i64, entry: &Entry) {
        self.pages.entry(account).or_default().entry(account, entry);
    }

    /// A final that no hold of the tables belongs to.
    pub(super) fn ended(&mut self, account: i64, id: HoldId, state: HoldState, since: Timestamp) {
        let sheaf = self.finals.entry((account, span(id))).or_default();
        sheaf.body.ended(account, id, state, since);
        sheaf.newest = sheaf.newest.max(since);
    }

    fn hold(&mut self, key: (i64, HoldId), hold: Hold) {
        match self.holds.entry(key) {
            Slot::Occupied(mut held) => {
                let made = matches!(held.get(), Held::Made(_));
                held.insert(if made { Held::Made(hold) } else { Held::Changed(Some(hold)) });
            }
            Slot::Vacant(held) => {
                // A hold that is posted was made earlier, unless nobody had seen it open.
                let made = hold.state == HoldState::Open;
                held.insert(if made { Held::Made(hold) } else { Held::Changed(Some(hold)) });
            }
        }
    }

    fn gone(&mut self, key: (i64, HoldId)) {
        if !matches!(self.holds.remove(&key), Some(Held::Made(_))) {
            self.holds.insert(key, Held::Changed(None));
        }
    }

    /// Carries everything into the tables and empties the journal, within a transaction. Answers what stays in the journal, and
    /// keeps the count of holds in their table.
    pub(super) fn write(self, connection: &Connection, folding: Folding, live: &mut u64) -> Result<Body> {
        let stays = match folding {
            Folding::None | Folding::Whole => None,
            Folding::Until(instant) => Some(instant),
        };
        let mut carried = Body::default();
        for ((account, id), held) in self.holds {
            match held {
                Held::Made(hold) => {
                    if hold.state == HoldState::Open && stays.is_some_and(|instant| hold.since > instant) {
                        carried.hold(account, id, &hold);
                    } else {
                        insert(connection, account, id, &hold, live)?;
                    }
                }
                Held::Changed(hold) => {
                    delete(connection, account, id, live)?;
                    if let Some(hold) = hold {
                        insert(connection, account, id, &hold, live)?;
                    }
                }
            }
        }
        for ((account, grant), row) in self.balances {
            balance(connection, account, grant, &row)?;
        }
        for (account, page) in self.pages {
            let mut insert = connection.prepare_cached("INSERT INTO page VALUES (NULL, ?1, ?2, ?3)")?;
            insert.execute(params![account, page.bytes(), page_sum(account, page.bytes())])?;
        }
        for ((account, span), Sheaf { body, newest }) in self.finals {
            let mut insert = connection.prepare_cached("INSERT INTO finals VALUES (NULL, ?1, ?2, ?3, ?4, ?5)")?;
            let sum = finals_sum(account, span, newest, body.bytes());
            insert.execute(params![account, span, int(newest.0), body.bytes(), sum])?;
        }
        connection.prepare_cached("DELETE FROM journal")?.execute(())?;
        Ok(carried)
    }
}

fn insert(connection: &Connection, account: i64, id: HoldId, hold: &Hold, live: &mut u64) -> Result<()> {
    let mut lines = String::new();
    lines_text(&hold.lines, &mut lines);
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO hold VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?;
    insert.execute(params![
        account,
        id.0.to_be_bytes(),
        hold.pool.as_str(),
        hold.model.as_str(),
        hold.key.as_str(),
        lines,
        int(hold.amount),
        mode_word(hold.mode),
        state_word(hold.state),
        int(hold.deadline.0),
        int(hold.since.0),
        hold_sum(account, id, hold, &lines)
    ])?;
    *live += 1;
    Ok(())
}

fn delete(connection: &Connection, account: i64, id: HoldId, live: &mut u64) -> Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM hold WHERE account = ?1 AND id = ?2")?;
    let gone = delete.execute(params![account, id.0.to_be_bytes()])?;
    *live = live.saturating_sub(u64::try_from(gone).unwrap_or(0));
    Ok(())
}

fn balance(connection: &Connection, account: i64, grant: GrantId, row: &BalanceRow) -> Result<()> {
    let mut replace =
        connection.prepare_cached("INSERT OR REPLACE INTO balance VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let (granted, spent) = (int(row.granted), int(row.spent));
    let (presumed, watermark) = (int(row.presumed), int(row.watermark));
    let sum = row.sum(account, grant);
    replace.execute(params![account, grant.0, granted, spent, presumed, watermark, sum]).map(drop)
}
