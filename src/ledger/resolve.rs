//! Settle, release, presume and expire: what becomes of a hold.

use super::apply::{Change, post};
use super::balance::signed;
use super::book::{BillingMode, Book, Fund, Hold, HoldState, Line};
use super::command::{Origin, Resolution, Usage};
use super::ids::{Amount, GrantId, HoldId, PoolId, Timestamp};
use super::outcome::{Entry, EntryKind, Outcome, Resolved};

pub(super) fn resolve(
    book: &mut Book,
    now: Timestamp,
    id: HoldId,
    resolution: Resolution,
    origin: Option<Origin>,
    changes: &mut Vec<Change>,
) -> Outcome {
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

/// Posts the due holds in full, oldest first. Nothing is given back: whether they were used is not known (LEDGER 1.2).
pub(super) fn expire(book: &mut Book, now: Timestamp, limit: usize, changes: &mut Vec<Change>) -> usize {
    let mut posted = 0;
    while posted < limit {
        let Some((_, id)) = book.due.first().filter(|(deadline, _)| *deadline <= now).copied() else { break };
        presume(book, now, id, EntryKind::Expire, Usage::default(), changes);
        posted += 1;
    }
    posted
}

/// Where usage goes: what each grant pays, and what none of them does.
#[derive(Default)]
struct Spread {
    credits: Vec<Line>,
    covered: Usage,
    billed: Usage,
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

/// Usage of a hold that the book never saw is recorded, and a release leaves a tombstone (LEDGER 2).
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
        (Resolution::Release | Resolution::Settle(_) | Resolution::Presume(_), _) => {
            (Usage::default(), HoldState::Released)
        }
    };
    let origin = origin.unwrap_or_else(|| Origin { key: "".into(), model: "".into(), pool: "".into() });
    let mode = book.mode(book.pools.get(&origin.pool), false);
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
    if usage.total() > 0 {
        book.pools.entry(pool.clone()).or_default();
    }
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

/// Distributes usage, input before output: the hold's own lines first, then whatever else is available. What is left over goes,
/// in free quota only, to the last grant that pays for it, also below zero; otherwise it is billed (LEDGER 2).
fn spread(book: &Book, now: Timestamp, hold: &Hold, usage: Usage) -> Spread {
    let mut spread = Spread::default();
    let Some(pool) = book.pools.get(&hold.pool) else {
        spread.billed = usage;
        return spread;
    };
    let mut own = hold.lines.clone();
    let input_left = take(&pool.grants, &mut own, &mut spread.credits, hold, now, usage.input, Fund::pays_input);
    let output_left = take(&pool.grants, &mut own, &mut spread.credits, hold, now, usage.output, Fund::pays_output);
    let mut covered = Usage { input: usage.input - input_left, output: usage.output - output_left };
    if hold.mode == BillingMode::FreeQuotaOnly {
        covered.input += below_zero(&pool.grants, &mut spread.credits, hold, input_left, Fund::pays_input);
        covered.output += below_zero(&pool.grants, &mut spread.credits, hold, output_left, Fund::pays_output);
    }
    spread.covered = covered;
    spread.billed = Usage { input: usage.input - covered.input, output: usage.output - covered.output };
    spread
}

fn take(
    funds: &[Fund],
    own: &mut [Line],
    credits: &mut Vec<Line>,
    hold: &Hold,
    now: Timestamp,
    mut amount: Amount,
    pays: fn(&Fund) -> bool,
) -> Amount {
    for line in own.iter_mut() {
        if funds.iter().any(|fund| fund.grant.id == line.grant && pays(fund)) {
            let part = amount.min(line.amount);
            line.amount -= part;
            amount -= part;
            credit(credits, line.grant, part);
        }
    }
    if amount == 0 {
        return 0;
    }
    // The hold's lines still count against `available`, which leaves exactly what nobody else has set aside.
    for fund in funds.iter().filter(|fund| pays(fund) && fund.alive(now, hold)) {
        let beyond_own = amount_of(credits, fund.grant.id).saturating_sub(amount_of(&hold.lines, fund.grant.id));
        let spare = amount_of(own, fund.grant.id);
        let room = u64::try_from(fund.balance.available()).unwrap_or(0).saturating_sub(beyond_own);
        // A split grant's own line that the other side did not use is free for nobody else.
        let part = amount.min(room.saturating_add(spare));
        take_own(own, fund.grant.id, part);
        amount -= part;
        credit(credits, fund.grant.id, part);
    }
    amount
}

fn take_own(own: &mut [Line], grant: GrantId, part: Amount) {
    if let Some(line) = own.iter_mut().find(|line| line.grant == grant) {
        line.amount = line.amount.saturating_sub(part);
    }
}

impl Fund {
    /// Whether usage may be posted here: the hold names it, or it is valid now.
    fn alive(&self, now: Timestamp, hold: &Hold) -> bool {
        let named = hold.lines.iter().any(|line| line.grant == self.grant.id);
        named || (self.grant.start <= now && self.grant.end.is_none_or(|end| now < end))
    }
}

fn below_zero(funds: &[Fund], credits: &mut Vec<Line>, hold: &Hold, amount: Amount, pays: fn(&Fund) -> bool) -> Amount {
    if amount == 0 {
        return 0;
    }
    let named = |fund: &&Fund| hold.lines.iter().any(|line| line.grant == fund.grant.id);
    let last = funds.iter().rfind(|fund| pays(fund) && named(fund)).or_else(|| funds.iter().rfind(|fund| pays(fund)));
    match last {
        Some(fund) => {
            credit(credits, fund.grant.id, amount);
            amount
        }
        None => 0,
    }
}

fn credit(credits: &mut Vec<Line>, grant: GrantId, amount: Amount) {
    if amount == 0 {
        return;
    }
    match credits.iter_mut().find(|line| line.grant == grant) {
        Some(line) => line.amount = line.amount.saturating_add(amount),
        None => credits.push(Line { grant, amount }),
    }
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
    let over_hold = usage.total().saturating_sub(hold.amount);
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

fn amount_of(lines: &[Line], grant: GrantId) -> Amount {
    lines.iter().find(|line| line.grant == grant).map_or(0, |line| line.amount)
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
