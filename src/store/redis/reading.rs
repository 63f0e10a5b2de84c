//! From what the book script answers to a book.

use std::collections::BTreeMap;

use redis::Value;

use crate::ledger::{
    AccountId, AccountState, Balance, Billed, Book, Closure, Fund, Grant, Hold, HoldState, Key, KeyId, KeyState, Line,
    Pool, PoolId, Side, Switch, Timestamp, Unit,
};

use crate::store::KeyDigest;

use super::reply::{Unreadable, What, amount, grant_of, hold_id, instant, int, list, mode_of, state_of, text};

type Read<T> = Result<T, Unreadable>;

fn wrong<T>(what: &str) -> Read<T> {
    Err(Unreadable(what.to_owned()))
}

/// An account as it was read.
pub(super) struct Reading {
    pub(super) book: Book,
    /// The revision of its configuration.
    pub(super) revision: u64,
    pub(super) digests: BTreeMap<KeyId, KeyDigest>,
    /// Whether holds are due that the book still shows as open.
    pub(super) more: bool,
}

pub(super) fn book(account: &AccountId, what: What) -> Read<Reading> {
    let What::Named(_, what) = what else { return wrong("a book") };
    let Ok([more, facts, holds]) = <[Value; 3]>::try_from(what) else { return wrong("a book") };
    let book = Book::new(account.clone(), "", AccountState::NotActivated, true);
    let mut reading = Reading { book, revision: 0, digests: BTreeMap::new(), more: int(&more)? == 1 };
    for (name, value) in pairs(list(facts)?)? {
        fact(&mut reading, text(&name)?, value)?;
    }
    let book = &mut reading.book;
    for (id, record) in pairs(list(holds)?)? {
        let (id, hold) = (hold_id(text(&id)?)?, hold(&list(record)?)?);
        if hold.state == HoldState::Open {
            book.due.insert((hold.deadline, id));
        }
        book.holds.insert(id, hold);
    }
    Ok(reading)
}

fn pairs(values: Vec<Value>) -> Read<Vec<(Value, Value)>> {
    let mut values = values.into_iter();
    let mut pairs = Vec::new();
    while let Some(name) = values.next() {
        let Some(value) = values.next() else { return wrong("a pair") };
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn fact(reading: &mut Reading, name: &str, value: Value) -> Read<()> {
    let book = &mut reading.book;
    match name.split_once(':') {
        None if name == "a" => (book.state, book.never_pay) = account_field(text(&value)?)?,
        None if name == "site" => text(&value)?.clone_into(&mut book.site),
        None if name == "next" => book.next_grant = grant_of(&value)?.0,
        None if name == "rev" => reading.revision = amount(&value)?,
        Some(("p", id)) => drop(book.pools.insert(PoolId::from(id), pool(id, &list(value)?)?)),
        Some(("k", id)) => set_state(&mut book.keys, id, text(&value)?)?,
        Some(("b", id)) => body(book, id, text(&value)?)?,
        Some(("d", id)) => drop(reading.digests.insert(id.into(), digest(text(&value)?)?)),
        // Counts, and what was added by a newer version.
        Some(_) | None => {}
    }
    Ok(())
}

fn digest(text: &str) -> Read<KeyDigest> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong("a digest");
    }
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let pair = text.get(place..place + 2).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| Unreadable("a digest".to_owned()))?;
    }
    Ok(KeyDigest(bytes))
}

type Keys = BTreeMap<KeyId, Key>;

/// The two fields of a key come in any order: whichever is first makes the entry.
fn set_state(keys: &mut Keys, id: &str, field: &str) -> Read<()> {
    let state = key_state(field)?;
    entry(keys, id).state = state;
    Ok(())
}

fn body(book: &mut Book, id: &str, json: &str) -> Read<()> {
    let Ok(key) = serde_json::from_str::<Key>(json) else { return wrong("a key") };
    let known = entry(&mut book.keys, id);
    *known = Key { state: known.state, ..key };
    Ok(())
}

fn entry<'a>(keys: &'a mut Keys, id: &str) -> &'a mut Key {
    keys.entry(id.into()).or_insert_with(|| Key {
        id: id.into(),
        name: String::new(),
        state: KeyState::Disabled,
        models: std::collections::BTreeSet::new(),
        workspace: None,
        last4: String::new(),
        created: Timestamp(0),
    })
}

/// A key's state, from its field `k:`.
pub(super) fn key_state(field: &str) -> Read<KeyState> {
    match field.as_bytes().first() {
        Some(b'A') => Ok(KeyState::Active),
        Some(b'D') => Ok(KeyState::Disabled),
        Some(b'X') => Ok(KeyState::Deleted),
        Some(_) | None => wrong("a key's state"),
    }
}

fn account_field(field: &str) -> Read<(AccountState, bool)> {
    let (Some((letter, rest)), never_pay) = (field.split_at_checked(1), field.get(1..2) == Some("1")) else {
        return wrong("an account's state");
    };
    let state = match letter {
        "N" => AccountState::NotActivated,
        "A" => AccountState::Active,
        "U" => AccountState::Unverified,
        "C" => AccountState::Closed,
        "O" => match rest.get(1..).and_then(|grace| grace.parse().ok()) {
            Some(grace) => AccountState::Overdue { grace_until: Timestamp(grace) },
            None => return wrong("the end of a grace"),
        },
        _ => return wrong("an account's state"),
    };
    Ok((state, never_pay))
}

fn pool(name: &str, numbers: &[Value]) -> Read<Pool> {
    let Some((head, grants)) = numbers.split_at_checked(5) else { return wrong("a pool") };
    let [switch, closed, overran, input, output] = head else { return wrong("a pool") };
    Ok(Pool {
        switch: match int(switch)? {
            0 => Switch::Unset,
            1 => Switch::On,
            2 => Switch::Off,
            _ => return wrong("a switch"),
        },
        closed: match int(closed)? {
            0 => None,
            1 => Some(Closure::FreeTierOnly),
            2 => Some(Closure::Arrearage),
            3 => Some(Closure::Both),
            _ => return wrong("a closure"),
        },
        overran: int(overran)? == 1,
        billed: Billed { input: amount(input)?, output: amount(output)? },
        grants: grants.chunks(10).map(|grant| fund(name, grant)).collect::<Read<_>>()?,
    })
}

fn fund(pool: &str, numbers: &[Value]) -> Read<Fund> {
    let [id, side, unit, start, end, granted, held, spent, presumed, given] = numbers else { return wrong("a grant") };
    let side = match int(side)? {
        0 => Side::Both,
        1 => Side::Input,
        2 => Side::Output,
        _ => return wrong("a side"),
    };
    let unit = match int(unit)? {
        0 => Unit::Tokens,
        1 => Unit::Images,
        2 => Unit::Seconds,
        3 => Unit::Characters,
        4 => Unit::Voices,
        _ => return wrong("a unit"),
    };
    let balance =
        Balance { granted: amount(granted)?, held: amount(held)?, spent: amount(spent)?, presumed: amount(presumed)? };
    let grant = Grant {
        id: grant_of(id)?,
        pool: PoolId::from(pool),
        side,
        unit,
        amount: amount(given)?,
        start: Timestamp(amount(start)?),
        end: instant(end)?,
    };
    Ok(Fund { grant, balance })
}

fn hold(cells: &[Value]) -> Read<Hold> {
    let Some((head, lines)) = cells.split_at_checked(8) else { return wrong("a hold") };
    let [state, pool, model, key, total, mode, deadline, since] = head else { return wrong("a hold") };
    let line = |cells: &[Value]| match cells {
        [grant, held] => Ok(Line { grant: grant_of(grant)?, amount: amount(held)? }),
        _ => wrong("a line"),
    };
    Ok(Hold {
        pool: PoolId::from(text(pool)?),
        model: text(model)?.into(),
        key: text(key)?.into(),
        lines: lines.chunks(2).map(line).collect::<Read<_>>()?,
        amount: amount(total)?,
        mode: mode_of(mode)?,
        state: state_of(state)?,
        deadline: Timestamp(amount(deadline)?),
        since: Timestamp(amount(since)?),
    })
}
