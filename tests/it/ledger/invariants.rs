//! What must always be true, checked after every action of the small world.

use gratis::ledger::{Command, HoldState, Outcome, Timestamp};

use super::bugs::{Bug, carry_out};
use super::state::request;
use super::world::{Action, CALLS, END, Kind, Proxy, TICK, World};

/// The invariants by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invariant {
    BalanceIsTheFoldOfItsEntries,
    ChargesNeverExceedTheGrant,
    SpentIsExactWhenNothingWasCut,
    NothingStaysHeld,
    WhatFitsIsAdmitted,
    ResolvedAtMostOnce,
    OverrunsAreRecorded,
    EditsLeaveSpentAlone,
}

/// An action that was carried out in a world of a kind.
pub struct Done<'a> {
    pub kind: Kind,
    pub bug: Option<Bug>,
    pub action: Action,
    pub before: &'a World,
    pub outcome: Option<&'a Outcome>,
}

/// The first invariant that does not hold after an action.
pub fn broken(done: &Done<'_>, world: &World) -> Option<Invariant> {
    let holds = [
        (Invariant::ResolvedAtMostOnce, resolved_at_most_once(done, world)),
        (Invariant::EditsLeaveSpentAlone, edits_leave_spent_alone(done, world)),
        (Invariant::OverrunsAreRecorded, overruns_are_recorded(done, world)),
        (Invariant::WhatFitsIsAdmitted, what_fits_is_admitted(done)),
        (Invariant::ChargesNeverExceedTheGrant, charges_never_exceed_the_grant(done, world)),
        (Invariant::SpentIsExactWhenNothingWasCut, spent_is_exact(world)),
        (Invariant::BalanceIsTheFoldOfItsEntries, world.folded == world.balance() && holds_add_up(world)),
        (Invariant::NothingStaysHeld, nothing_stays_held(done, world)),
    ];
    holds.into_iter().find(|(_, holds)| !holds).map(|(invariant, _)| invariant)
}

fn holds_add_up(world: &World) -> bool {
    let sum = |state: HoldState| -> u64 {
        let holds = world.book.holds.values().filter(|hold| hold.state == state);
        holds.flat_map(|hold| &hold.lines).map(|line| line.amount).sum()
    };
    world.balance().held == sum(HoldState::Open) && world.balance().presumed == sum(HoldState::Presumed)
}

/// Every charge is behind something that is set aside, and nothing is set aside beyond the grant. No charge comes after the end.
fn charges_never_exceed_the_grant(done: &Done<'_>, world: &World) -> bool {
    let balance = world.balance();
    let in_time = !matches!(done.action, Action::Charge(_, amount) if amount > 0 && world.now >= END);
    let backed = world.truth <= balance.taken() || done.kind == Kind::Unsound;
    let within = balance.taken() <= balance.granted || matches!(done.kind, Kind::Unsound | Kind::Edited);
    in_time && backed && within
}

fn ended(world: &World) -> bool {
    world.calls.iter().all(|call| !call.delayed && !matches!(call.proxy, Proxy::Holding(_) | Proxy::Unsure))
}

fn spent_is_exact(world: &World) -> bool {
    let balance = world.balance();
    world.cut || !ended(world) || (world.truth == balance.spent && balance.presumed == 0 && balance.held == 0)
}

/// After the last call one lease passes, and the account is touched.
fn nothing_stays_held(done: &Done<'_>, world: &World) -> bool {
    if !ended(world) || world.balance().held == 0 {
        return true;
    }
    let mut book = world.book.clone();
    let later = Timestamp((world.now + 1) * TICK);
    carry_out(done.bug, &mut book, later, Command::Expire { limit: CALLS }, &mut Vec::new());
    book.pools.values().flat_map(|pool| &pool.grants).all(|fund| fund.balance.held == 0)
}

/// A refusal is right only where even the least of the call does not fit, the grant ends too soon, or the hold is known.
fn what_fits_is_admitted(done: &Done<'_>) -> bool {
    let (Action::Reserve(number), Some(Outcome::Refused(..))) = (done.action, done.outcome) else { return true };
    let ask = request(number, done.before.now).ask;
    let overran = done.before.book.pools.values().any(|pool| pool.overran);
    let least = ask.input + if overran { ask.named } else { ask.least };
    let fits = done.before.balance().available() >= i64::try_from(least).unwrap();
    !fits || done.before.now + 1 >= END
}

/// What was resolved for good stays so, and a second attempt is told and changes nothing.
fn resolved_at_most_once(done: &Done<'_>, world: &World) -> bool {
    let same = |number: usize| {
        let state = |world: &World| world.hold(number).map(|hold| hold.state);
        let was_final = state(done.before).is_some_and(HoldState::is_final);
        // A released call never holds anything again, whatever arrives late.
        let reopened = done.before.calls[number].proxy == Proxy::Released && state(world) == Some(HoldState::Open);
        (!was_final || state(done.before) == state(world)) && !reopened
    };
    let again = matches!(done.action, Action::SettleAgain(_));
    let unchanged = done.before.balance().spent == world.balance().spent;
    let told = !again || (unchanged && matches!(done.outcome, Some(Outcome::NotOpen(_))));
    told && (0..CALLS).all(same)
}

/// What was used beyond the hold is spent, reported, and marks the pool.
fn overruns_are_recorded(done: &Done<'_>, world: &World) -> bool {
    let Action::Settle(number) = done.action else { return true };
    let call = &done.before.calls[number];
    let (Proxy::Holding(bound) | Proxy::Cut(bound) | Proxy::Lost(bound), Some(charged)) = (call.proxy, call.charged)
    else {
        return true;
    };
    if charged <= bound {
        return true;
    }
    let reported = matches!(done.outcome, Some(Outcome::Resolved(resolved)) if resolved.over_hold == charged - bound);
    let marked = world.book.pools.values().any(|pool| pool.overran);
    reported && marked && world.balance().spent >= done.before.balance().spent + charged
}

fn edits_leave_spent_alone(done: &Done<'_>, world: &World) -> bool {
    let Action::Regrant(amount) = done.action else { return true };
    let (before, now) = (done.before.balance(), world.balance());
    (now.spent, now.held, now.presumed, now.granted) == (before.spent, before.held, before.presumed, amount)
}
