//! The one door to the rules.

use super::balance::signed;
use super::book::{Book, HoldState};
use super::command::Command;
use super::ids::{Amount, GrantId, HoldId, KeyId, MAX_AMOUNT, PoolId, Timestamp};
use super::outcome::{Entry, EntryKind, Outcome};
use super::{operate, reserve, resolve};

/// What a step changed: what a store has to keep. Values stand in the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A line of the ledger.
    Entry(Entry),
    /// A hold was made or changed.
    Hold(HoldId),
    /// A hold is no longer in the book.
    HoldForgotten(HoldId),
    /// A grant was made.
    Grant(PoolId, GrantId),
    /// A pool's switch, closure, overrun mark or billed units changed.
    Pool(PoolId),
    /// The account's state or guard changed.
    Account,
    /// A key was added or changed.
    Key(KeyId),
}

/// The due holds that a step expires at most before its own work (LEDGER 2).
pub const EXPIRE_AT_MOST: usize = 32;

/// Carries out one command at the instant `now` of the store's clock, completely or not at all.
///
/// What has to be kept is appended to `changes`, in order. A reservation and a resolution first post the account's due holds, at
/// most [`EXPIRE_AT_MOST`] of them.
pub fn apply(book: &mut Book, now: Timestamp, command: Command, changes: &mut Vec<Change>) -> Outcome {
    match command {
        Command::Reserve(ask) => {
            resolve::expire(book, now, EXPIRE_AT_MOST, changes);
            reserve::reserve(book, now, ask, changes)
        }
        Command::Resolve { hold, resolution, origin } => {
            resolve::expire(book, now, EXPIRE_AT_MOST, changes);
            resolve::resolve(book, now, hold, resolution, origin, changes)
        }
        Command::Expire { limit } => {
            let posted = resolve::expire(book, now, limit, changes);
            let more = book.due.first().is_some_and(|(deadline, _)| *deadline <= now);
            Outcome::Expired { posted, more }
        }
        Command::Forget { finals_before, presumed_before } => forget(book, finals_before, presumed_before, changes),
        Command::Operate(operation) => operate::operate(book, now, operation, changes),
    }
}

/// Posts `amount` of a grant as presumed: what may have been used and was forgotten in a power loss (LEDGER 3).
///
/// Does nothing for a grant that is not in the book.
pub fn recover_presumed(
    book: &mut Book,
    now: Timestamp,
    pool: &PoolId,
    grant: GrantId,
    amount: Amount,
    changes: &mut Vec<Change>,
) {
    let mut entry = Entry::new(now, EntryKind::Recover, pool.clone(), Some(grant));
    entry.presumed = signed(amount);
    post(book, entry, changes);
}

/// Writes an entry and moves the balance that it names. The only place where a balance changes.
///
/// The entry says what the counters really moved by, so that a balance is the fold of its entries also where a counter stands at
/// its limit. An entry that moves nothing is not written.
pub(super) fn post(book: &mut Book, mut entry: Entry, changes: &mut Vec<Change>) {
    let Some(pool) = book.pools.get_mut(&entry.pool) else { return };
    match entry.grant {
        Some(grant) => {
            let Some(fund) = pool.grants.iter_mut().find(|fund| fund.grant.id == grant) else { return };
            let balance = &mut fund.balance;
            entry.granted = shift(&mut balance.granted, entry.granted);
            entry.held = shift(&mut balance.held, entry.held);
            entry.spent = shift(&mut balance.spent, entry.spent);
            entry.presumed = shift(&mut balance.presumed, entry.presumed);
            if [entry.granted, entry.held, entry.spent, entry.presumed] == [0; 4] {
                return;
            }
        }
        None => {
            entry.billed.input = entry.billed.input.min(MAX_AMOUNT.saturating_sub(pool.billed.input));
            entry.billed.output = entry.billed.output.min(MAX_AMOUNT.saturating_sub(pool.billed.output));
            pool.billed.input += entry.billed.input;
            pool.billed.output += entry.billed.output;
        }
    }
    changes.push(Change::Entry(entry));
}

/// Moves a counter, within 0 and [`MAX_AMOUNT`]; answers by how much it moved.
fn shift(counter: &mut Amount, by: i64) -> i64 {
    let before = *counter;
    *counter = before.saturating_add_signed(by).min(MAX_AMOUNT);
    signed(*counter) - signed(before)
}

fn forget(book: &mut Book, finals: Timestamp, presumed: Timestamp, changes: &mut Vec<Change>) -> Outcome {
    let mut gone: Vec<HoldId> = book
        .holds
        .iter()
        .filter(|(_, hold)| match hold.state {
            HoldState::Open => false,
            HoldState::Presumed => hold.since < presumed,
            HoldState::Settled | HoldState::Released | HoldState::Corrected => hold.since < finals,
        })
        .map(|(id, _)| *id)
        .collect();
    gone.sort_unstable();
    for id in &gone {
        book.holds.remove(id);
        changes.push(Change::HoldForgotten(*id));
    }
    Outcome::Forgotten(gone.len())
}
