//! Rules that are wrong on purpose, one for each thing that must always be true: the walk has to find every one of them.

use gratis::ledger::{
    Balance, Book, Change, Command, Fund, GrantId, HoldState, Operation, Outcome, PoolId, Resolution, Timestamp, Usage,
    apply,
};

use super::invariants::Invariant;
use super::world::{Kind, POOL};

/// A mistake in the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    EntryNotWritten,
    ExpiryGivesBack,
    HeldIgnored,
    EndIgnored,
    SettledAtTheHold,
    NothingExpires,
    HalfIsKeptBack,
    SecondSettlementCounts,
    NoTombstone,
    OverrunDropped,
    EditResetsSpent,
}

/// Every mistake, the world in which it shows, and what it breaks.
pub const BUGS: [(Bug, Kind, Invariant); 11] = [
    (Bug::EntryNotWritten, Kind::Embedded, Invariant::BalanceIsTheFoldOfItsEntries),
    (Bug::ExpiryGivesBack, Kind::Replicas, Invariant::ChargesNeverExceedTheGrant),
    (Bug::HeldIgnored, Kind::Embedded, Invariant::ChargesNeverExceedTheGrant),
    (Bug::EndIgnored, Kind::Embedded, Invariant::ChargesNeverExceedTheGrant),
    (Bug::SettledAtTheHold, Kind::Embedded, Invariant::SpentIsExactWhenNothingWasCut),
    (Bug::NothingExpires, Kind::Replicas, Invariant::NothingStaysHeld),
    (Bug::HalfIsKeptBack, Kind::Embedded, Invariant::WhatFitsIsAdmitted),
    (Bug::SecondSettlementCounts, Kind::Embedded, Invariant::ResolvedAtMostOnce),
    (Bug::NoTombstone, Kind::Embedded, Invariant::ResolvedAtMostOnce),
    (Bug::OverrunDropped, Kind::Unsound, Invariant::OverrunsAreRecorded),
    (Bug::EditResetsSpent, Kind::Edited, Invariant::EditsLeaveSpentAlone),
];

/// `apply`, with a mistake in it.
pub fn carry_out(
    bug: Option<Bug>,
    book: &mut Book,
    now: Timestamp,
    mut command: Command,
    changes: &mut Vec<Change>,
) -> Outcome {
    let Some(bug) = bug else { return apply(book, now, command, changes) };
    let before = book.clone();
    match bug {
        Bug::ExpiryGivesBack => give_back(book, now, changes),
        Bug::NothingExpires => book.due.clear(),
        Bug::HeldIgnored | Bug::HalfIsKeptBack => tamper(book, bug, &command),
        Bug::EndIgnored => funds(book).for_each(|fund| fund.grant.end = None),
        Bug::SettledAtTheHold | Bug::OverrunDropped => at_the_hold(book, bug, &mut command),
        Bug::EntryNotWritten | Bug::SecondSettlementCounts | Bug::NoTombstone | Bug::EditResetsSpent => {}
    }
    let told = command.clone();
    let tampered = book.clone();
    let outcome = apply(book, now, command, changes);
    restore(book, bug, &before, &tampered);
    afterwards(book, bug, &told, &outcome, changes);
    outcome
}

fn funds(book: &mut Book) -> impl Iterator<Item = &mut Fund> {
    book.pools.values_mut().flat_map(|pool| &mut pool.grants)
}

/// Releases what is due instead of posting it.
fn give_back(book: &mut Book, now: Timestamp, changes: &mut Vec<Change>) {
    let due: Vec<_> = book.due.iter().filter(|(deadline, _)| *deadline <= now).map(|(_, hold)| *hold).collect();
    for hold in due {
        // Just before the deadline it is still open.
        let release = Command::Resolve { hold, resolution: Resolution::Release, origin: None };
        apply(book, Timestamp(0), release, changes);
    }
}

/// Shows a reservation another balance than there is.
fn tamper(book: &mut Book, bug: Bug, command: &Command) {
    if matches!(command, Command::Reserve(_)) {
        funds(book).for_each(|fund| match bug {
            Bug::HeldIgnored => fund.balance.held = 0,
            _ => fund.balance.granted /= 2,
        });
    }
}

/// Puts back what was only shown, and keeps what the step moved.
fn restore(book: &mut Book, bug: Bug, before: &Book, shown: &Book) {
    let pool: PoolId = POOL.into();
    for fund in funds(book) {
        let (Some(before), Some(shown)) = (before.fund(&pool, fund.grant.id), shown.fund(&pool, fund.grant.id)) else {
            continue;
        };
        fund.grant.end = before.grant.end;
        if matches!(bug, Bug::HeldIgnored | Bug::HalfIsKeptBack) {
            fund.balance.held = fund.balance.held + before.balance.held - shown.balance.held;
            fund.balance.granted = fund.balance.granted + before.balance.granted - shown.balance.granted;
        }
    }
}

/// Settles at the whole hold, or at no more than the hold.
fn at_the_hold(book: &Book, bug: Bug, command: &mut Command) {
    let Command::Resolve { hold, resolution: Resolution::Settle(usage), .. } = command else { return };
    let amount = book.holds.get(hold).map_or(0, |hold| hold.amount);
    let total = if bug == Bug::SettledAtTheHold { amount } else { usage.total().min(amount) };
    *usage = Usage { input: total.min(1), output: total - total.min(1) };
}

fn afterwards(book: &mut Book, bug: Bug, command: &Command, outcome: &Outcome, changes: &mut Vec<Change>) {
    match (bug, command, outcome) {
        (Bug::EntryNotWritten, Command::Resolve { .. }, Outcome::Resolved(_)) => {
            changes.retain(|change| !matches!(change, Change::Entry(_)));
        }
        (
            Bug::SecondSettlementCounts,
            Command::Resolve { resolution: Resolution::Settle(usage), .. },
            Outcome::NotOpen(HoldState::Settled),
        ) => {
            // Posted properly, but a second time.
            let amount = i64::try_from(usage.total()).unwrap();
            let balance = book.fund(&POOL.into(), GrantId(1)).map(|fund| fund.balance).unwrap_or_default();
            let remaining = u64::try_from(balance.unspent() - amount).unwrap_or(0);
            let sync = Operation::Sync { pool: POOL.into(), grant: GrantId(1), remaining, raise: false };
            apply(book, Timestamp(0), Command::Operate(sync), changes);
        }
        (Bug::NoTombstone, Command::Resolve { hold, resolution: Resolution::Release, .. }, Outcome::Unknown(_)) => {
            book.holds.remove(hold);
        }
        (Bug::EditResetsSpent, Command::Operate(Operation::Regrant { amount, .. }), _) => {
            // As if the edited grant were a new one.
            let granted = *amount;
            funds(book)
                .for_each(|fund| fund.balance = Balance { granted, held: fund.balance.held, ..Balance::default() });
            changes.retain(|change| !matches!(change, Change::Entry(_)));
        }
        _ => {}
    }
}
