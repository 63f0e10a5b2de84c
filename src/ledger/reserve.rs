//! Reserve: may this call go on, and how large may it be?

use super::apply::{Change, post};
use super::balance::signed;
use super::book::{AccountState, BillingMode, Book, Closure, Fund, Hold, HoldState, KeyState, Pool, Switch};
use super::command::{Overrun, Reserve};
use super::ids::{Amount, MAX_AMOUNT, Timestamp};
use super::outcome::{Admitted, Entry, EntryKind, Outcome, Refusal};
use super::plan::{Plan, as_far_as_it_goes, fit, last_call};

pub(super) fn reserve(book: &mut Book, now: Timestamp, ask: Reserve, changes: &mut Vec<Change>) -> Outcome {
    if let Some(hold) = book.holds.get(&ask.hold) {
        return repeat(book, now, hold, &ask);
    }
    let (mode, plan) = match decide(book, now, &ask) {
        Ok(decision) => decision,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let deadline = now.plus(ask.lease_ms);
    for line in &plan.lines {
        let mut entry = Entry::new(now, EntryKind::Reserve, ask.pool.clone(), Some(line.grant));
        entry.hold = Some(ask.hold);
        entry.held = signed(line.amount);
        post(book, entry, changes);
    }
    let hold = Hold {
        pool: ask.pool.clone(),
        model: ask.model,
        key: ask.key,
        lines: plan.lines,
        amount: plan.amount,
        mode,
        state: HoldState::Open,
        deadline,
        since: now,
    };
    let until = now.max(ask.caller_now).plus(ask.max_call_ms);
    let admitted = admitted(book, &hold, (now, until), plan.input, plan.output);
    book.holds.insert(ask.hold, hold);
    book.due.insert((deadline, ask.hold));
    changes.push(Change::Hold(ask.hold));
    Outcome::Admitted(admitted)
}

/// The same id again: the call goes on only where nothing has happened to the hold since. Its bounds are never above those of the
/// first answer, nor above what is asked for now.
fn repeat(book: &Book, now: Timestamp, hold: &Hold, ask: &Reserve) -> Outcome {
    let same = hold.key == ask.key && hold.model == ask.model && hold.pool == ask.pool;
    let output = hold.amount.saturating_sub(ask.ask.input).min(ask.ask.open_output());
    let fits = hold.amount >= ask.ask.input.saturating_add(ask.ask.least());
    if hold.state != HoldState::Open || hold.deadline <= now || !same || !fits {
        return Outcome::AlreadyResolved(hold.state);
    }
    let until = now.max(ask.caller_now).plus(ask.max_call_ms);
    Outcome::Admitted(admitted(book, hold, (now, until), ask.ask.input, output))
}

fn admitted(book: &Book, hold: &Hold, (now, until): (Timestamp, Timestamp), input: Amount, output: Amount) -> Admitted {
    let pool = book.pools.get(&hold.pool);
    let held: Amount = hold.lines.iter().map(|line| line.amount).sum();
    let funds = pool.map(|pool| pool.grants.as_slice()).unwrap_or_default();
    Admitted {
        input,
        output,
        mode: hold.mode,
        may_cost: hold.mode == BillingMode::PayAsYouGo && held < hold.amount,
        available: funds.iter().filter(|fund| fund.usable(now, until)).map(|fund| fund.balance.available()).sum(),
        expires: funds
            .iter()
            .filter(|fund| hold.lines.iter().any(|line| line.grant == fund.grant.id))
            .filter_map(|fund| fund.grant.end)
            .min(),
        deadline: hold.deadline,
    }
}

/// Key, then account, then model access, then quota (ARCHITECTURE 5).
fn decide(book: &Book, now: Timestamp, ask: &Reserve) -> Result<(BillingMode, Plan), Refusal> {
    let key = book.keys.get(&ask.key).filter(|key| key.state == KeyState::Active).ok_or(Refusal::KeyNotActive)?;
    match book.state {
        AccountState::NotActivated => return Err(Refusal::AccountNotActivated),
        AccountState::Closed => return Err(Refusal::AccountClosed),
        AccountState::Overdue { grace_until } if grace_until <= now => return Err(Refusal::Arrearage),
        AccountState::Active | AccountState::Unverified | AccountState::Overdue { .. } => {}
    }
    if !key.models.is_empty() && !key.models.contains(&ask.model) {
        return Err(Refusal::ModelNotAllowed);
    }
    let ask_total = [ask.ask.input, ask.ask.named, ask.ask.silent, ask.ask.ceiling_input, ask.ask.ceiling_output];
    if ask_total.iter().any(|amount| *amount > MAX_AMOUNT / 8) || ask.ask.least > ask.ask.open_output() {
        return Err(Refusal::TooLarge);
    }
    let pool = book.pools.get(&ask.pool);
    if pool.and_then(|pool| pool.closed).is_some_and(Closure::is_overdue) {
        return Err(Refusal::Arrearage);
    }
    let mode = book.mode(pool, ask.rules.switch_default_on);
    let until = now.max(ask.caller_now).plus(ask.max_call_ms);
    match mode {
        BillingMode::PayAsYouGo if ask.rules.priced => Ok((mode, pay_as_you_go(pool, now, until, ask))),
        BillingMode::PayAsYouGo => {
            let plan = free_quota_only(pool, now, until, ask).map_err(|refusal| {
                let ended = matches!(refusal, Refusal::NoGrant | Refusal::Ended | Refusal::UsedUp);
                if ended { Refusal::NotPayable } else { refusal }
            });
            Ok((BillingMode::FreeQuotaOnly, plan?))
        }
        BillingMode::FreeQuotaOnly => Ok((mode, free_quota_only(pool, now, until, ask)?)),
    }
}

impl Book {
    /// The mode that applies to a pool of this account now.
    #[must_use]
    pub fn mode(&self, pool: Option<&Pool>, switch_default_on: bool) -> BillingMode {
        let on = match pool.map(|pool| pool.switch).unwrap_or_default() {
            Switch::On => true,
            Switch::Off => false,
            Switch::Unset => switch_default_on,
        };
        if self.never_pay || self.state == AccountState::Unverified || on {
            BillingMode::FreeQuotaOnly
        } else {
            BillingMode::PayAsYouGo
        }
    }
}

impl Fund {
    /// Whether it has begun at `now` and a call that may last until `until` ends before it does.
    fn usable(&self, now: Timestamp, until: Timestamp) -> bool {
        self.grant.start <= now && self.grant.end.is_none_or(|end| until < end)
    }
}

fn free_quota_only(pool: Option<&Pool>, now: Timestamp, until: Timestamp, ask: &Reserve) -> Result<Plan, Refusal> {
    if !ask.rules.covered {
        return Err(Refusal::NotCovered);
    }
    let pool = pool.filter(|pool| !pool.grants.is_empty()).ok_or(Refusal::NoGrant)?;
    if pool.closed.is_some() {
        return Err(Refusal::ClosedByProvider);
    }
    let funds: Vec<&Fund> = pool.grants.iter().filter(|fund| fund.usable(now, until)).collect();
    if funds.is_empty() {
        return Err(Refusal::Ended);
    }
    let left = |fund: &Fund| u64::try_from(fund.balance.available()).unwrap_or(0);
    match ask.rules.overrun {
        Overrun::LastCall => last_call(&funds, &ask.ask),
        Overrun::Never if !ask.rules.bounded => Err(Refusal::Unbounded),
        Overrun::Never => {
            let wanted = if pool.overran { ask.ask.at_ceiling() } else { ask.ask };
            if let Some(plan) = fit(&funds, &wanted, left) {
                return Ok(plan);
            }
            // Only holds of calls in progress are in the way where it would fit without them.
            let without_holds = |fund: &Fund| u64::try_from(fund.balance.unspent()).unwrap_or(0);
            let busy = fit(&funds, &wanted, without_holds).is_some();
            Err(if busy { Refusal::Busy } else { Refusal::UsedUp })
        }
    }
}

fn pay_as_you_go(pool: Option<&Pool>, now: Timestamp, until: Timestamp, ask: &Reserve) -> Plan {
    let funds: Vec<&Fund> =
        pool.into_iter().flat_map(|pool| &pool.grants).filter(|fund| fund.usable(now, until)).collect();
    as_far_as_it_goes(&funds, &ask.ask)
}
