//! What one step may and may not do to a book.

use std::collections::{BTreeMap, BTreeSet};

use gratis::ledger::{
    Book, Change, Command, Entry, EntryKind, GrantId, HoldState, MAX_AMOUNT, Operation, Outcome, Overrun, PoolId,
    Reserve, Resolution, Timestamp,
};

/// One step that was carried out.
pub struct Step<'a> {
    pub now: Timestamp,
    pub command: &'a Command,
    pub outcome: &'a Outcome,
    pub changes: &'a [Change],
    pub before: &'a Book,
}

/// Everything that has to hold after a step.
pub fn check(step: &Step<'_>, book: &Book) -> Result<(), String> {
    holds_add_up(book)?;
    what_says_no_changes_nothing(step, book)?;
    a_hold_is_resolved_once(step, book)?;
    nothing_is_taken_beyond_what_is_left(step, book)?;
    an_admission_is_what_was_asked_for(step, book)?;
    spent_is_never_edited(step, book)?;
    overruns_are_recorded(step)
}

/// Held is the sum of the open holds' lines, presumed covers the presumed holds' lines, and the open holds are those that are due.
fn holds_add_up(book: &Book) -> Result<(), String> {
    let mut sums: BTreeMap<(&PoolId, GrantId), (u64, u64)> = BTreeMap::new();
    for hold in book.holds.values() {
        for line in &hold.lines {
            let sum = sums.entry((&hold.pool, line.grant)).or_default();
            match hold.state {
                HoldState::Open => sum.0 += line.amount,
                HoldState::Presumed => sum.1 += line.amount,
                HoldState::Settled | HoldState::Released | HoldState::Corrected => {}
            }
        }
    }
    for (id, pool) in &book.pools {
        for fund in &pool.grants {
            let (held, presumed) = sums.get(&(id, fund.grant.id)).copied().unwrap_or_default();
            if fund.balance.held != held || fund.balance.presumed < presumed {
                return Err(format!(
                    "{id} {:?}: {:?}, but its holds carry {held} and {presumed}",
                    fund.grant.id, fund.balance
                ));
            }
            if fund.balance.taken() > 3 * MAX_AMOUNT || fund.balance.spent > MAX_AMOUNT {
                return Err(format!("{id}: a counter beyond its limit: {:?}", fund.balance));
            }
        }
    }
    let open = book.holds.iter().filter(|(_, hold)| hold.state == HoldState::Open);
    let open: BTreeSet<_> = open.map(|(id, hold)| (hold.deadline, *id)).collect();
    if open == book.due { Ok(()) } else { Err("the due holds are not the open ones".to_owned()) }
}

fn what_says_no_changes_nothing(step: &Step<'_>, book: &Book) -> Result<(), String> {
    let repeat = match step.command {
        Command::Reserve(ask) => step.before.holds.contains_key(&ask.hold),
        Command::Resolve { .. } | Command::Expire { .. } | Command::Forget { .. } | Command::Operate(_) => false,
    };
    let no = match step.outcome {
        Outcome::Refused(..) | Outcome::NotOpen(_) | Outcome::AlreadyResolved(_) | Outcome::Declined(_) => true,
        Outcome::Done(gratis::ledger::Done::Unchanged) => true,
        Outcome::Expired { posted, .. } => *posted == 0,
        Outcome::Forgotten(holds) => *holds == 0,
        Outcome::Admitted(_) | Outcome::Resolved(_) | Outcome::Unknown(_) | Outcome::Done(_) => repeat,
    };
    if !no || (step.changes.is_empty() && step.before == book) {
        return Ok(());
    }
    Err("an answer that says no, or a repeat, changed the book".to_owned())
}

/// A final state never changes, a presumed hold becomes nothing but corrected, and only a reservation opens one.
fn a_hold_is_resolved_once(step: &Step<'_>, book: &Book) -> Result<(), String> {
    for (id, hold) in &book.holds {
        let before = step.before.holds.get(id).map(|hold| hold.state);
        let allowed = match before {
            None => hold.state != HoldState::Open || matches!(step.outcome, Outcome::Admitted(_)),
            Some(HoldState::Open) => hold.state != HoldState::Corrected,
            Some(HoldState::Presumed) => matches!(hold.state, HoldState::Presumed | HoldState::Corrected),
            Some(state) => state == hold.state,
        };
        if !allowed {
            return Err(format!("hold {id} went from {before:?} to {:?}", hold.state));
        }
    }
    Ok(())
}

/// Only a lowered grant, a recorded overrun or usage that was not held takes more than is left.
fn nothing_is_taken_beyond_what_is_left(step: &Step<'_>, book: &Book) -> Result<(), String> {
    let excused = match (step.command, step.outcome) {
        (Command::Operate(Operation::Regrant { .. } | Operation::Sync { .. }), _) | (_, Outcome::Unknown(_)) => true,
        (_, Outcome::Resolved(resolved)) => resolved.overspent > 0,
        _ => false,
    };
    for (id, pool) in &book.pools {
        for fund in &pool.grants {
            let before = step.before.fund(id, fund.grant.id).map_or(0, |fund| fund.balance.available());
            let now = fund.balance.available();
            if now < 0 && now < before && !excused {
                return Err(format!("{id} {:?} went from {before} to {now}", fund.grant.id));
            }
        }
    }
    Ok(())
}

/// What is admitted is within the ask, held in full, and fits what was left; what fits is admitted.
fn an_admission_is_what_was_asked_for(step: &Step<'_>, book: &Book) -> Result<(), String> {
    let Command::Reserve(ask) = step.command else { return Ok(()) };
    let Outcome::Admitted(admitted) = step.outcome else { return Ok(()) };
    let hold = book.holds.get(&ask.hold).ok_or("an admission without a hold")?;
    if step.before.holds.contains_key(&ask.hold) {
        let wide = admitted.input + admitted.output > hold.amount || admitted.deadline != hold.deadline;
        return if wide { Err("a repeat answers more than is held".to_owned()) } else { Ok(()) };
    }
    let lines: u64 = hold.lines.iter().map(|line| line.amount).sum();
    let whole = matches!(ask.rules.overrun, Overrun::Never) && hold.mode == gratis::ledger::BillingMode::FreeQuotaOnly;
    if admitted.input + admitted.output != hold.amount || (whole && lines != hold.amount) || lines > hold.amount {
        return Err(format!("held {lines} of {} for {admitted:?}", hold.amount));
    }
    if admitted.input < ask.ask.input || admitted.output < ask.ask.least || !within_the_ask(ask, step.before, admitted)
    {
        return Err(format!("asked for {:?}, admitted {admitted:?}", ask.ask));
    }
    if hold.deadline != step.now.plus(ask.lease_ms) || admitted.deadline != hold.deadline {
        return Err("another deadline than the lease says".to_owned());
    }
    let until = step.now.max(ask.caller_now).plus(ask.max_call_ms);
    for line in &hold.lines {
        let fund = step.before.fund(&ask.pool, line.grant).ok_or("a line of a grant that is not there")?;
        let valid = fund.grant.start <= step.now && fund.grant.end.is_none_or(|end| until < end);
        if !valid || i64::try_from(line.amount).unwrap() > fund.balance.available() {
            return Err(format!("a line of {} on {fund:?}", line.amount));
        }
    }
    Ok(())
}

fn within_the_ask(ask: &Reserve, before: &Book, admitted: &gratis::ledger::Admitted) -> bool {
    let overran = before.pools.get(&ask.pool).is_some_and(|pool| pool.overran);
    let most = ask.ask.named + ask.ask.silent;
    overran || (admitted.input == ask.ask.input && admitted.output <= most)
}

/// `spent` moves by usage and by the console's figure, never because a grant was edited.
fn spent_is_never_edited(step: &Step<'_>, book: &Book) -> Result<(), String> {
    let Command::Operate(operation) = step.command else { return Ok(()) };
    if matches!(operation, Operation::Sync { .. }) {
        return Ok(());
    }
    for (id, pool) in &step.before.pools {
        for fund in &pool.grants {
            if book.fund(id, fund.grant.id).map(|now| (now.balance.spent, now.balance.held, now.balance.presumed))
                != Some((fund.balance.spent, fund.balance.held, fund.balance.presumed))
            {
                return Err(format!("{id}: an operator's edit moved more than what is granted"));
            }
        }
    }
    Ok(())
}

/// All that a settlement says was used is posted: as spent, or as billed.
fn overruns_are_recorded(step: &Step<'_>) -> Result<(), String> {
    let Command::Resolve { resolution: Resolution::Settle(usage), origin, .. } = step.command else { return Ok(()) };
    let cap = MAX_AMOUNT / 8;
    let used = usage.input.min(cap) + usage.output.min(cap);
    let (resolved, known) = if let Outcome::Resolved(resolved) = step.outcome {
        (resolved, true)
    } else if let (Outcome::Unknown(resolved), Some(_)) = (step.outcome, origin) {
        (resolved, false)
    } else {
        return Ok(());
    };
    let of_usage = |entry: &&Entry| matches!(entry.kind, EntryKind::Settle | EntryKind::Correct | EntryKind::Unknown);
    let entries =
        step.changes.iter().filter_map(|change| if let Change::Entry(entry) = change { Some(entry) } else { None });
    let entries: Vec<&Entry> = entries.filter(of_usage).collect();
    let spent: i64 = entries.iter().map(|entry| entry.spent).sum();
    let billed: u64 = entries.iter().map(|entry| entry.billed.total()).sum();
    let posted = u64::try_from(spent).map_err(|_| "a settlement took back what was spent")? + billed;
    let paid_before =
        known && resolved.state == HoldState::Corrected && resolved.covered.total() + resolved.billed.total() < used;
    if posted == used || paid_before || counters_full(step, cap) {
        return Ok(());
    }
    Err(format!("used {used}, posted {posted}"))
}

/// Broken figures may have filled a counter; then what does not fit is cut.
fn counters_full(step: &Step<'_>, cap: u64) -> bool {
    let full = |counter: u64| counter > MAX_AMOUNT - 2 * cap;
    step.before.pools.values().any(|pool| {
        full(pool.billed.input) || full(pool.billed.output) || pool.grants.iter().any(|fund| full(fund.balance.spent))
    })
}
