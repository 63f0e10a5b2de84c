//! Settle, release, presume and expire: what becomes of a hold.

use super::apply::{Change, post};
use super::balance::signed;
use super::book::{BillingMode, Book, Fund, Hold, HoldState, Line};
use super::command::{Origin, Resolution, Usage};
use super::ids::{GrantId, HoldId, MAX_AMOUNT, PoolId, Timestamp};
use super::outcome::{Entry, EntryKind, Outcome, Resolved};
use super::spread::{Spread, amount_of, billed_before, spread, sum_of};

pub(super) fn resolve(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    resolution: Resolution,
    origin: Option<Origin>,
    changes: &mut Vec<Change>,
) -> Outcome {
    let resolution = within_limits(resolution);
    let Some(hold) = book.holds.get(&id) else {
        return unknown(book, now, id, resolution, origin, changes);
    };
    match (hold.state, resolution) {
        (HoldState::Settled | HoldState::Released | HoldState::Corrected, _)
        | (HoldState::Presumed, Resolution::Presume(_)) => Outcome::NotOpen(hold.state),
        (HoldState::Open, Resolution::Presume(seen)) => {
            Outcome::Resolved(presume(book, now, id, EntryKind::Presume, seen.unwrap_or_default(), changes))
        }
        (HoldState::Open, Resolution::Settle(usage)) => {
            Outcome::Resolved(finish(book, now, id, (EntryKind::Settle, HoldState::Settled), usage, changes))
        }
        (HoldState::Open, Resolution::Release) => Outcome::Resolved(finish(
            book,
            now,
            id,
            (EntryKind::Release, HoldState::Released),
            Usage::default(),
            changes,
        )),
        (HoldState::Presumed, Resolution::Settle(usage)) => {
            Outcome::Resolved(finish(book, now, id, (EntryKind::Correct, HoldState::Corrected), usage, changes))
        }
        (HoldState::Presumed, Resolution::Release) => Outcome::Resolved(finish(
            book,
            now,
            id,
            (EntryKind::Correct, HoldState::Corrected),
            Usage::default(),
            changes,
        )),
    }
}

/// A figure above what a counter can take is a broken one: it counts as the most that is taken at once.
fn within_limits(resolution: Resolution) -> Resolution {
    let cap = |usage: Usage| Usage { input: usage.input.min(MAX_AMOUNT / 8), output: usage.output.min(MAX_AMOUNT / 8) };
    match resolution {
        Resolution::Settle(usage) => Resolution::Settle(cap(usage)),
        Resolution::Presume(seen) => Resolution::Presume(seen.map(cap)),
        Resolution::Release => Resolution::Release,
    }
}

/// Posts the due holds in full, oldest first. Nothing is given back: whether they were used is not known (LEDGER 1.2).
pub(super) fn expire(book: &mut Book, now: Timestamp, limit: usize, changes: &mut Vec<Change>) -> usize {
    let mut posted = 0;
    while posted < limit {
        let Some((deadline, id)) = book.due.first().filter(|(deadline, _)| *deadline <= now).copied() else { break };
        book.due.remove(&(deadline, id));
        presume(book, now, id, EntryKind::Expire, Usage::default(), changes);
        posted += 1;
    }
    posted
}

/// Resolves a hold to `usage`: its lines come back, and the usage is posted as spent.
fn finish(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    (kind, state): (EntryKind, HoldState),
    usage: Usage,
    changes: &mut Vec<Change>,
) -> Resolved {
    let Some(hold) = close(book, now, id, state) else { return Resolved::nothing(state) };
    let was_presumed = kind == EntryKind::Correct;
    let spread = spread(book, now, &hold, usage);
    for grant in grants_of(&hold.lines, &spread.credits) {
        let mut entry = Entry::new(now, kind, hold.pool.clone(), Some(grant));
        entry.hold = Some(id);
        let back = -signed(amount_of(&hold.lines, grant));
        if was_presumed {
            entry.presumed = back;
        } else {
            entry.held = back;
        }
        entry.spent = signed(amount_of(&spread.credits, grant));
        post(book, entry, changes);
    }
    let spread = Spread { billed: beyond(spread.billed, billed_before(&hold)), ..spread };
    bill(book, now, id, kind, &hold.pool, spread.billed, changes);
    changes.push(Change::Hold(id));
    report(book, &hold, state, &spread, usage, changes)
}

/// Posts a hold in full, and more where more was seen.
fn presume(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    kind: EntryKind,
    seen: Usage,
    changes: &mut Vec<Change>,
) -> Resolved {
    let Some(hold) = close(book, now, id, HoldState::Presumed) else { return Resolved::nothing(HoldState::Presumed) };
    let spread = spread(book, now, &hold, seen);
    let mut presumed = hold.lines.clone();
    for credit in &spread.credits {
        match presumed.iter_mut().find(|line| line.grant == credit.grant) {
            Some(line) => line.amount = line.amount.max(credit.amount),
            None => presumed.push(*credit),
        }
    }
    for line in &presumed {
        let mut entry = Entry::new(now, kind, hold.pool.clone(), Some(line.grant));
        entry.hold = Some(id);
        entry.held = -signed(amount_of(&hold.lines, line.grant));
        entry.presumed = signed(line.amount);
        post(book, entry, changes);
    }
    bill(book, now, id, kind, &hold.pool, spread.billed, changes);
    if let Some(kept) = book.holds.get_mut(&id) {
        if kept.mode == BillingMode::PayAsYouGo {
            kept.amount = sum_of(&presumed).saturating_add(spread.billed.total());
        }
        kept.lines = presumed;
    }
    changes.push(Change::Hold(id));
    report(book, &hold, HoldState::Presumed, &spread, seen, changes)
}

/// Moves the hold to its new state and answers it as it was.
fn close(book: &mut Book, now: Timestamp, id: HoldId, state: HoldState) -> Option<Hold> {
    let hold = book.holds.get_mut(&id)?;
    let before = hold.clone();
    hold.state = state;
    hold.since = now;
    book.due.remove(&(before.deadline, id));
    Some(before)
}

/// What is left of a bill, input first, after `paid` of it was billed before.
fn beyond(bill: Usage, paid: u64) -> Usage {
    let input = bill.input.min(paid);
    Usage { input: bill.input - input, output: bill.output.saturating_sub(paid - input) }
}

/// Usage of a hold that the book never saw is recorded, and a release leaves a tombstone (LEDGER 2). A call whose usage nobody
/// knows leaves one that a late settlement can still correct.
fn unknown(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    resolution: Resolution,
    origin: Option<Origin>,
    changes: &mut Vec<Change>,
) -> Outcome {
    let (usage, state) = match (resolution, &origin) {
        (Resolution::Settle(usage) | Resolution::Presume(Some(usage)), Some(_)) => (usage, HoldState::Settled),
        (Resolution::Presume(None), Some(_)) => (Usage::default(), HoldState::Presumed),
        (Resolution::Release | Resolution::Settle(_) | Resolution::Presume(_), _) => {
            (Usage::default(), HoldState::Released)
        }
    };
    let origin = origin.unwrap_or_else(|| Origin { key: "".into(), model: "".into(), pool: "".into() });
    // The site's default is not known here: unless the switch is off, the grants take all of it rather than a bill.
    let mode = book.mode(book.pools.get(&origin.pool), true);
    let pool = origin.pool;
    let hold = Hold {
        pool: pool.clone(),
        model: origin.model,
        key: origin.key,
        lines: Vec::new(),
        amount: 0,
        mode,
        state,
        deadline: now,
        since: now,
    };
    let spread = spread(book, now, &hold, usage);
    for credit in &spread.credits {
        let mut entry = Entry::new(now, EntryKind::Unknown, pool.clone(), Some(credit.grant));
        entry.hold = Some(id);
        entry.spent = signed(credit.amount);
        post(book, entry, changes);
    }
    bill(book, now, id, EntryKind::Unknown, &pool, spread.billed, changes);
    let resolved = Resolved { state, ..report(book, &hold, state, &spread, Usage::default(), changes) };
    book.holds.insert(id, hold);
    changes.push(Change::Hold(id));
    Outcome::Unknown(resolved)
}

fn bill(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    kind: EntryKind,
    pool: &PoolId,
    billed: Usage,
    changes: &mut Vec<Change>,
) {
    if billed.total() == 0 {
        return;
    }
    // A paid call may be the first that is heard of its pool.
    book.pools.entry(pool.clone()).or_default();
    let mut entry = Entry::new(now, kind, pool.clone(), None);
    entry.hold = Some(id);
    entry.billed = billed;
    post(book, entry, changes);
    changes.push(Change::Pool(pool.clone()));
}

fn report(
    book: &mut Book,
    hold: &Hold,
    state: HoldState,
    spread: &Spread,
    usage: Usage,
    changes: &mut Vec<Change>,
) -> Resolved {
    // The amount of a presumed hold that was paid for, or that the book never saw, is no bound (see `Hold::amount`).
    let unbound = hold.state == HoldState::Presumed && (hold.mode == BillingMode::PayAsYouGo || hold.amount == 0);
    let bound = if unbound { u64::MAX } else { hold.amount };
    let over_hold = usage.total().saturating_sub(bound);
    let mut overspent = 0;
    if let Some(pool) = book.pools.get_mut(&hold.pool) {
        let touched = |fund: &&Fund| spread.credits.iter().any(|line| line.grant == fund.grant.id);
        overspent =
            pool.grants.iter().filter(touched).map(|f| u64::try_from(-f.balance.available()).unwrap_or(0)).sum();
        if over_hold > 0 && hold.mode == BillingMode::FreeQuotaOnly && !pool.overran {
            pool.overran = true;
            changes.push(Change::Pool(hold.pool.clone()));
        }
    }
    Resolved { state, covered: spread.covered, billed: spread.billed, over_hold, overspent }
}

/// The grants of both lists, each once, in the order of the first.
fn grants_of(lines: &[Line], credits: &[Line]) -> Vec<GrantId> {
    let mut grants: Vec<GrantId> = lines.iter().map(|line| line.grant).collect();
    for credit in credits {
        if !grants.contains(&credit.grant) {
            grants.push(credit.grant);
        }
    }
    grants
}
