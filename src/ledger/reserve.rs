//! Reserve: may this call go on, and how large may it be?

use super::apply::{Change, post};
use super::balance::{Side, signed};
use super::book::{AccountState, BillingMode, Book, Closure, Fund, Hold, HoldState, KeyState, Line, Pool, Switch};
use super::command::{Ask, Overrun, Reserve};
use super::ids::{Amount, MAX_AMOUNT, Timestamp};
use super::outcome::{Admitted, Entry, EntryKind, Outcome, Refusal};

/// What is held: the lines, and the bounds that they carry.
struct Plan {
    lines: Vec<Line>,
    input: Amount,
    output: Amount,
    amount: Amount,
}

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
    let admitted = admitted(book, &hold, now.max(ask.caller_now).plus(ask.max_call_ms), plan.input, plan.output);
    book.holds.insert(ask.hold, hold);
    book.due.insert((deadline, ask.hold));
    changes.push(Change::Hold(ask.hold));
    Outcome::Admitted(admitted)
}

/// The same id again: the call goes on only where nothing has happened to the hold since.
fn repeat(book: &Book, now: Timestamp, hold: &Hold, ask: &Reserve) -> Outcome {
    let same = hold.key == ask.key && hold.model == ask.model && hold.pool == ask.pool;
    let output = hold.amount.saturating_sub(ask.ask.input);
    let fits = hold.amount >= ask.ask.input.saturating_add(ask.ask.least);
    if hold.state != HoldState::Open || hold.deadline <= now || !same || !fits {
        return Outcome::AlreadyResolved(hold.state);
    }
    Outcome::Admitted(admitted(book, hold, now.max(ask.caller_now).plus(ask.max_call_ms), ask.ask.input, output))
}

fn admitted(book: &Book, hold: &Hold, until: Timestamp, input: Amount, output: Amount) -> Admitted {
    let pool = book.pools.get(&hold.pool);
    let held: Amount = hold.lines.iter().map(|line| line.amount).sum();
    let funds = pool.map(|pool| pool.grants.as_slice()).unwrap_or_default();
    Admitted {
        input,
        output,
        mode: hold.mode,
        may_cost: hold.mode == BillingMode::PayAsYouGo && held < hold.amount,
        available: funds.iter().filter(|fund| fund.usable_until(until)).map(|fund| fund.balance.available()).sum(),
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
    if ask_total.iter().any(|amount| *amount > MAX_AMOUNT / 8) || ask.ask.least > ask.ask.named + ask.ask.silent {
        return Err(Refusal::TooLarge);
    }
    let pool = book.pools.get(&ask.pool);
    if pool.and_then(|pool| pool.closed) == Some(Closure::Arrearage) {
        return Err(Refusal::Arrearage);
    }
    let mode = book.mode(pool, ask.rules.switch_default_on);
    let until = now.max(ask.caller_now).plus(ask.max_call_ms);
    match mode {
        BillingMode::PayAsYouGo if ask.rules.priced => Ok((mode, pay_as_you_go(pool, now, until, &ask.ask))),
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
        self.grant.start <= now && self.usable_until(until)
    }

    fn usable_until(&self, until: Timestamp) -> bool {
        self.grant.end.is_none_or(|end| until < end)
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

impl Ask {
    /// The output that is asked for where `available` is left: what was named, and a share for what was not.
    fn output(&self, available: Amount) -> Amount {
        let share = match available.checked_div(self.share_of) {
            Some(part) => part.max(self.share_floor),
            None => self.silent,
        };
        self.named.saturating_add(self.silent.min(share)).max(self.least)
    }

    /// The same call, held at the most that the model can ever cost.
    fn at_ceiling(&self) -> Self {
        Self {
            input: self.input.max(self.ceiling_input),
            named: self.ceiling_output.max(self.named.saturating_add(self.silent)),
            silent: 0,
            least: self.ceiling_output.max(self.named.saturating_add(self.silent)),
            ..*self
        }
    }
}

/// The largest plan that fits, or none.
fn fit(funds: &[&Fund], ask: &Ask, left: impl Fn(&Fund) -> Amount) -> Option<Plan> {
    let mut rooms: Vec<Amount> = funds.iter().map(|fund| left(fund)).collect();
    let mut lines = Vec::with_capacity(1);
    let total: Amount = funds.iter().zip(&rooms).filter(|(f, _)| f.pays_output()).map(|(_, room)| *room).sum();
    if draw(funds, &mut rooms, &mut lines, ask.input, Fund::pays_input) != 0 {
        return None;
    }
    let room: Amount = funds.iter().zip(&rooms).filter(|(f, _)| f.pays_output()).map(|(_, room)| *room).sum();
    let output = ask.output(total).min(room);
    if output < ask.least {
        return None;
    }
    draw(funds, &mut rooms, &mut lines, output, Fund::pays_output);
    Some(Plan { lines, input: ask.input, output, amount: ask.input + output })
}

/// The platform's own behaviour: whoever starts with something left may finish.
fn last_call(funds: &[&Fund], ask: &Ask) -> Result<Plan, Refusal> {
    let left = |of: fn(&Fund) -> bool| -> i64 {
        funds.iter().filter(|fund| of(fund)).map(|fund| fund.balance.available()).sum()
    };
    if left(Fund::pays_input) <= 0 || left(Fund::pays_output) <= 0 {
        let spent_out = funds.iter().map(|fund| fund.balance.unspent()).sum::<i64>() <= 0;
        return Err(if spent_out { Refusal::UsedUp } else { Refusal::Busy });
    }
    Ok(as_far_as_it_goes(funds, ask))
}

fn pay_as_you_go(pool: Option<&Pool>, now: Timestamp, until: Timestamp, ask: &Ask) -> Plan {
    let funds: Vec<&Fund> =
        pool.into_iter().flat_map(|pool| &pool.grants).filter(|fund| fund.usable(now, until)).collect();
    as_far_as_it_goes(&funds, ask)
}

/// Lines for as much as is available; the amount is the whole ask.
fn as_far_as_it_goes(funds: &[&Fund], ask: &Ask) -> Plan {
    let mut rooms: Vec<Amount> =
        funds.iter().map(|fund| u64::try_from(fund.balance.available()).unwrap_or(0)).collect();
    let mut lines = Vec::with_capacity(1);
    let output = ask.named + ask.silent;
    draw(funds, &mut rooms, &mut lines, ask.input, Fund::pays_input);
    draw(funds, &mut rooms, &mut lines, output, Fund::pays_output);
    Plan { lines, input: ask.input, output, amount: ask.input + output }
}

impl Fund {
    pub(super) fn pays_input(&self) -> bool {
        match self.grant.side {
            Side::Both | Side::Input => true,
            Side::Output => false,
        }
    }

    pub(super) fn pays_output(&self) -> bool {
        match self.grant.side {
            Side::Both | Side::Output => true,
            Side::Input => false,
        }
    }
}

/// Takes `amount` from the funds that pay for it, soonest-ending first; answers what did not fit.
fn draw(
    funds: &[&Fund],
    rooms: &mut [Amount],
    lines: &mut Vec<Line>,
    mut amount: Amount,
    pays: fn(&Fund) -> bool,
) -> Amount {
    for (fund, room) in funds.iter().zip(rooms).filter(|(fund, _)| pays(fund)) {
        let part = amount.min(*room);
        if part > 0 {
            *room -= part;
            amount -= part;
            add_line(lines, Line { grant: fund.grant.id, amount: part });
        }
    }
    amount
}

fn add_line(lines: &mut Vec<Line>, line: Line) {
    match lines.iter_mut().find(|known| known.grant == line.grant) {
        Some(known) => known.amount += line.amount,
        None => lines.push(line),
    }
}
