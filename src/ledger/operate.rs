//! What an operator changes: grants, figures, switches, states, keys.

use super::apply::{Change, post};
use super::balance::{Balance, Grant, signed};
use super::book::{AccountState, BillingMode, Book, Closure, Fund, HoldState, Key, KeyState, Pool, Switch};
use super::command::{Expect, Operation, SwitchOff};
use super::ids::{Amount, GrantId, HoldId, KeyId, MAX_AMOUNT, PoolId, Timestamp};
use super::outcome::{Decline, Done, Entry, EntryKind, Outcome};
use super::plan::Pays;

pub(super) fn operate(book: &mut Book, now: Timestamp, operation: Operation, changes: &mut Vec<Change>) -> Outcome {
    let result = match operation {
        Operation::If { expect, then } => {
            if !is_so(book, &expect) {
                return Outcome::Declined(Decline::ChangedMeanwhile);
            }
            return operate(book, now, *then, changes);
        }
        Operation::AddGrant { pool, side, unit, amount, spent, start, end } => {
            let grant = Grant { id: GrantId(book.next_grant), pool, side, unit, amount, start, end };
            add_grant(book, now, grant, spent, changes)
        }
        Operation::Regrant { pool, grant, amount } => regrant(book, now, &pool, grant, amount, changes),
        Operation::Sync { pool, grant, remaining, raise } => sync(book, now, (&pool, grant), remaining, raise, changes),
        Operation::SetSwitch { pool, on: true, default_on, .. } => switch_on(book, now, &pool, default_on, changes),
        Operation::SetSwitch { pool, on: false, rule, default_on } => {
            switch_off(book, now, &pool, rule, default_on, changes)
        }
        Operation::SetState(state) => set_state(book, state, changes),
        Operation::SetNeverPay(on) => {
            let changed = book.never_pay != on;
            book.never_pay = on;
            Ok(account_changed(changed, changes))
        }
        Operation::PutKey(key) => put_key(book, key, changes),
        Operation::SetKeyState { key, state } => set_key_state(book, &key, state, changes),
        Operation::ClosePool { pool, closure } => Ok(close(book, &pool, closure, changes)),
        Operation::ReopenPool { pool } => {
            let found = book.pools.get_mut(&pool).ok_or(Decline::UnknownPool);
            found.map(|found| set_closed(found, &pool, None, changes))
        }
        Operation::UpstreamOverdue { pools } => Ok(overdue(book, &pools, changes)),
        Operation::UpstreamServes { pools } => Ok(serves(book, &pools, changes)),
    };
    match result {
        Ok(done) => Outcome::Done(done),
        Err(decline) => Outcome::Declined(decline),
    }
}

fn is_so(book: &Book, expect: &Expect) -> bool {
    match expect {
        Expect::Account { state, never_pay } => book.state == *state && book.never_pay == *never_pay,
        Expect::Switch { pool, switch } => book.pools.get(pool).map(|pool| pool.switch).unwrap_or_default() == *switch,
    }
}

fn add_grant(
    book: &mut Book,
    now: Timestamp,
    grant: Grant,
    spent: Amount,
    changes: &mut Vec<Change>,
) -> Result<Done, Decline> {
    if grant.amount > MAX_AMOUNT / 8 || spent > grant.amount {
        return Err(Decline::TooLarge);
    }
    if grant.end.is_some_and(|end| end <= grant.start) {
        return Err(Decline::EndsBeforeStart);
    }
    let (id, pool_id) = (grant.id, grant.pool.clone());
    let mut entry = Entry::new(now, EntryKind::Grant, pool_id.clone(), Some(id));
    entry.granted = signed(grant.amount);
    entry.spent = signed(spent);
    book.next_grant += 1;
    let pool = book.pools.entry(pool_id.clone()).or_default();
    pool.grants.push(Fund { grant, balance: Balance::default() });
    pool.grants.sort_by_key(|fund| (fund.grant.end.is_none(), fund.grant.end, fund.grant.id));
    changes.push(Change::Grant(pool_id, id));
    post(book, entry, changes);
    Ok(Done::GrantAdded(id))
}

fn fund_of(book: &Book, pool: &PoolId, grant: GrantId) -> Result<Fund, Decline> {
    book.fund(pool, grant).cloned().ok_or(Decline::UnknownGrant)
}

fn regrant(
    book: &mut Book,
    now: Timestamp,
    pool: &PoolId,
    grant: GrantId,
    amount: Amount,
    changes: &mut Vec<Change>,
) -> Result<Done, Decline> {
    let before = fund_of(book, pool, grant)?.balance;
    if amount > MAX_AMOUNT / 8 {
        return Err(Decline::TooLarge);
    }
    let mut entry = Entry::new(now, EntryKind::Grant, pool.clone(), Some(grant));
    entry.granted = signed(amount) - signed(before.granted);
    post(book, entry, changes);
    Ok(Done::Balance { balance: fund_of(book, pool, grant)?.balance, drift: 0 })
}

/// The console's figure: what it says is left, compared with what is left here once every call in progress has ended.
fn sync(
    book: &mut Book,
    now: Timestamp,
    (pool, grant): (&PoolId, GrantId),
    remaining: Amount,
    raise: bool,
    changes: &mut Vec<Change>,
) -> Result<Done, Decline> {
    let before = fund_of(book, pool, grant)?.balance;
    if remaining > MAX_AMOUNT / 8 {
        return Err(Decline::TooLarge);
    }
    let drift = before.unspent() - signed(remaining);
    if drift > 0 {
        let mut entry = Entry::new(now, EntryKind::Sync, pool.clone(), Some(grant));
        entry.spent = drift;
        post(book, entry, changes);
    } else if drift < 0 {
        if !raise {
            return Err(Decline::WouldRaise);
        }
        give_back(book, now, (pool, grant), drift.unsigned_abs(), changes);
    }
    Ok(Done::Balance { balance: fund_of(book, pool, grant)?.balance, drift })
}

/// Raises what is available: out of what was presumed, then of what was spent; what neither can give was granted beyond what
/// this book knew.
///
/// The console's figure counts what the presumed calls used. So from now on none of them gives anything back: their lines on this
/// grant become zero, and a settlement that still comes is recorded in full.
fn give_back(
    book: &mut Book,
    now: Timestamp,
    (pool, grant): (&PoolId, GrantId),
    amount: Amount,
    changes: &mut Vec<Change>,
) {
    let Some(balance) = book.fund(pool, grant).map(|fund| fund.balance) else { return };
    let presumed = amount.min(balance.presumed);
    let spent = (amount - presumed).min(balance.spent);
    let mut entry = Entry::new(now, EntryKind::Sync, pool.clone(), Some(grant));
    entry.presumed = -signed(presumed);
    entry.spent = -signed(spent);
    entry.granted = signed(amount - presumed - spent);
    post(book, entry, changes);
    let mut fixed: Vec<HoldId> = Vec::new();
    for (id, hold) in book.holds.iter_mut().filter(|(_, hold)| hold.state == HoldState::Presumed && hold.pool == *pool)
    {
        for line in hold.lines.iter_mut().filter(|line| line.grant == grant && line.amount > 0) {
            if hold.mode == BillingMode::PayAsYouGo {
                hold.amount = hold.amount.saturating_sub(line.amount);
            }
            line.amount = 0;
            fixed.push(*id);
        }
    }
    fixed.sort_unstable();
    changes.extend(fixed.into_iter().map(Change::Hold));
}

fn switch_on(
    book: &mut Book,
    now: Timestamp,
    pool_id: &PoolId,
    default_on: bool,
    changes: &mut Vec<Change>,
) -> Result<Done, Decline> {
    let Some(pool) = book.pools.get_mut(pool_id).filter(|pool| !pool.grants.is_empty()) else {
        return Err(Decline::NoGrant);
    };
    if pool.switch == Switch::On || (pool.switch == Switch::Unset && default_on) {
        return Ok(Done::Unchanged);
    }
    if pool.ended(now) {
        return Err(Decline::Ended);
    }
    if pool.used_up(now) {
        return Err(Decline::UsedUp);
    }
    pool.switch = Switch::On;
    changes.push(Change::Pool(pool_id.clone()));
    Ok(Done::Changed)
}

fn switch_off(
    book: &mut Book,
    now: Timestamp,
    pool_id: &PoolId,
    rule: SwitchOff,
    default_on: bool,
    changes: &mut Vec<Change>,
) -> Result<Done, Decline> {
    let pool = book.pools.get_mut(pool_id).ok_or(Decline::UnknownPool)?;
    let on = match pool.switch {
        Switch::On => true,
        Switch::Unset => default_on,
        Switch::Off => false,
    };
    if !on {
        return Ok(Done::Unchanged);
    }
    if rule == SwitchOff::OnceUsedUp && !pool.ended(now) && !pool.used_up(now) {
        return Err(Decline::NotUsedUp);
    }
    pool.switch = Switch::Off;
    changes.push(Change::Pool(pool_id.clone()));
    Ok(Done::Changed)
}

impl Pool {
    /// Whether every grant has ended; a pool without grants has none that could end.
    #[must_use]
    pub fn ended(&self, now: Timestamp) -> bool {
        !self.grants.is_empty() && self.grants.iter().all(|fund| fund.grant.end.is_some_and(|end| end <= now))
    }

    /// Whether nothing is left of the grants that have not ended, even if every call in progress used nothing. Where input and
    /// output are counted apart, one of them is enough: no call can be made without it.
    #[must_use]
    pub fn used_up(&self, now: Timestamp) -> bool {
        let alive = || self.grants.iter().filter(|fund| fund.grant.end.is_none_or(|end| now < end));
        let sides: [Pays; 2] = [Fund::pays_input, Fund::pays_output];
        let gone = |pays: &Pays| {
            let mut paying = alive().filter(|fund| pays(fund)).peekable();
            paying.peek().is_some() && paying.all(|fund| fund.balance.unspent() <= 0)
        };
        sides.iter().any(gone)
    }
}

fn set_state(book: &mut Book, state: AccountState, changes: &mut Vec<Change>) -> Result<Done, Decline> {
    if book.state == AccountState::Closed && state != AccountState::Closed {
        return Err(Decline::AccountClosed);
    }
    let changed = book.state != state;
    book.state = state;
    Ok(account_changed(changed, changes))
}

fn account_changed(changed: bool, changes: &mut Vec<Change>) -> Done {
    if !changed {
        return Done::Unchanged;
    }
    changes.push(Change::Account);
    Done::Changed
}

fn put_key(book: &mut Book, key: Key, changes: &mut Vec<Change>) -> Result<Done, Decline> {
    match book.keys.get(&key.id) {
        Some(known) if known.state == KeyState::Deleted => return Err(Decline::KeyDeleted),
        Some(known) if *known == key => return Ok(Done::Unchanged),
        Some(_) | None => {}
    }
    changes.push(Change::Key(key.id.clone()));
    book.keys.insert(key.id.clone(), key);
    Ok(Done::Changed)
}

fn set_key_state(book: &mut Book, id: &KeyId, state: KeyState, changes: &mut Vec<Change>) -> Result<Done, Decline> {
    let key = book.keys.get_mut(id).ok_or(Decline::UnknownKey)?;
    if key.state == state {
        return Ok(Done::Unchanged);
    }
    if key.state == KeyState::Deleted {
        return Err(Decline::KeyDeleted);
    }
    key.state = state;
    changes.push(Change::Key(id.clone()));
    Ok(Done::Changed)
}

/// Closes a pool, beside what closed it before. The provider may refuse one that has no grant and was never heard of here.
fn close(book: &mut Book, id: &PoolId, closure: Closure, changes: &mut Vec<Change>) -> Done {
    let pool = book.pools.entry(id.clone()).or_default();
    let closed = Some(closure.and(pool.closed));
    set_closed(pool, id, closed, changes)
}

fn set_closed(pool: &mut Pool, id: &PoolId, closed: Option<Closure>, changes: &mut Vec<Change>) -> Done {
    if pool.closed == closed {
        return Done::Unchanged;
    }
    pool.closed = closed;
    changes.push(Change::Pool(id.clone()));
    Done::Changed
}

fn overdue(book: &mut Book, pools: &[PoolId], changes: &mut Vec<Change>) -> Done {
    let mut closed = Done::Unchanged;
    for id in pools {
        if (book.pools.contains_key(id) || !book.never_pay)
            && close(book, id, Closure::Arrearage, changes) == Done::Changed
        {
            closed = Done::Changed;
        }
    }
    closed
}

fn serves(book: &mut Book, pools: &[PoolId], changes: &mut Vec<Change>) -> Done {
    let mut opened = Done::Unchanged;
    for id in pools {
        let Some(pool) = book.pools.get_mut(id) else { continue };
        let closed = pool.closed.and_then(Closure::once_served);
        if set_closed(pool, id, closed, changes) == Done::Changed {
            opened = Done::Changed;
        }
    }
    opened
}
