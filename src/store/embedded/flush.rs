//! What is done once a second while there are calls, and each minute otherwise.

use rusqlite::{Connection, params};

use super::Inner;
use super::account::Need;
use super::rows::Write;
use crate::ledger::{Command, GrantId, PoolId, Timestamp};

/// Finals are kept so long on the disk, in ms (LEDGER 2).
const FINALS_KEPT_MS: u64 = 7 * DAY_MS;

/// Presumed holds can be corrected for so long, in ms (LEDGER 2).
const PRESUMED_KEPT_MS: u64 = 30 * DAY_MS;

const DAY_MS: u64 = 24 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;

/// So many sheaves of finals are looked at in one go.
const LOOK_AT: i64 = 500;

/// How far the slow walks are.
#[derive(Debug, Default)]
pub(super) struct Flush {
    at: Option<i64>,
    presumed_at: Option<Timestamp>,
}

impl Flush {
    /// Pushes what has to be written; `behind` = commits are not durable yet.
    pub(super) fn run(&mut self, connection: &Connection, inner: &Inner, behind: bool) -> rusqlite::Result<()> {
        // A queue that no longer takes anything is about to end: then there is nothing to tidy.
        let _ = lower_watermarks(inner);
        if behind {
            let _ = inner.queue.push(None, true, true, |_| {});
        }
        let now = inner.clock.now();
        let old = self.old_finals(connection, Timestamp(now.0.saturating_sub(FINALS_KEPT_MS)))?;
        if !old.is_empty() {
            let _ = inner.queue.push(None, false, false, |batch| batch.writes.extend(old));
        }
        if self.presumed_at.is_none_or(|at| at.plus(HOUR_MS) <= now) {
            self.presumed_at = Some(now);
            let _ = forget_presumed(inner, now);
        }
        Ok(())
    }

    /// Walks through the sheaves of finals, a few at a time, and answers those of which all are too old.
    fn old_finals(&mut self, connection: &Connection, before: Timestamp) -> rusqlite::Result<Vec<Write>> {
        let sql = "SELECT seq, newest FROM finals WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.at.take().unwrap_or(0), LOOK_AT])?;
        let mut old = Vec::new();
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            self.at = Some(seq);
            if row.get::<_, i64>(1)?.cast_unsigned() < before.0 {
                old.push(Write::Prune { seq });
            }
        }
        Ok(old)
    }
}

fn lower_watermarks(inner: &Inner) -> Result<(), crate::store::StoreError> {
    for account in inner.accounts.load().values() {
        let mut live = account.lock()?;
        if live.restless == 0 {
            continue;
        }
        live.restless -= 1;
        let block_max = live.block_max;
        let funds: Vec<_> = live
            .book
            .pools
            .iter()
            .flat_map(|(pool, state)| state.grants.iter().map(|fund| (pool.clone(), fund.grant.id, fund.balance)))
            .collect();
        let fell: Vec<(PoolId, GrantId)> = funds
            .into_iter()
            .filter(|(_, grant, balance)| live.promises.entry(*grant).or_default().mark.fall(balance, block_max))
            .map(|(pool, grant, _)| (pool, grant))
            .collect();
        if !fell.is_empty() {
            inner.queue.push(None, true, true, |batch| {
                for (pool, grant) in &fell {
                    live.balance(pool, *grant, batch);
                }
            })?;
        }
    }
    Ok(())
}

fn forget_presumed(inner: &Inner, now: Timestamp) -> Result<(), crate::store::StoreError> {
    let presumed_before = Timestamp(now.0.saturating_sub(PRESUMED_KEPT_MS));
    for account in inner.accounts.load().values() {
        // Finals are not forgotten here: that follows the commits, not the rules.
        let command = Command::Forget { finals_before: Timestamp(0), presumed_before };
        account.lock()?.step(&inner.queue, &inner.keys, None, now, command, Need::Memory)?;
    }
    Ok(())
}
