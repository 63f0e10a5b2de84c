//! From a script's answer to values of the ledger. Whatever is not as the scripts write it is an error, never a guess.

#![allow(clippy::wildcard_enum_match_arm, reason = "the client's `Value` is an open enum")]

use redis::Value;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use crate::ledger::{
    Admitted, Balance, BillingMode, Done, Entry, EntryKind, GrantId, HoldId, HoldState, Outcome, PoolId, Resolved,
    Shortfall, Timestamp, Usage,
};

/// What a script answered.
#[derive(Debug)]
pub(super) struct Said {
    /// The store's clock.
    pub(super) now: Timestamp,
    /// How many scripts of this replica have written to the account.
    pub(super) count: u64,
    pub(super) what: What,
    /// What was written, each with what is available of its grant afterwards.
    pub(super) entries: Vec<(Entry, i64)>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum What {
    /// An outcome that was read already.
    Outcome(Outcome),
    /// A name and its values.
    Named(String, Vec<Value>),
}

/// What was asked, as far as a short answer leaves it out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// A reservation.
    Reserve(HoldId, &'a PoolId),
    /// A resolution; without an origin no short answer is given.
    Resolve(HoldId, Option<&'a PoolId>),
    /// Anything else.
    Other,
}

impl Asked<'_> {
    /// The hold that is asked about: its key is the script's fourth.
    pub(super) fn hold(self) -> Option<HoldId> {
        match self {
            Self::Reserve(hold, _) | Self::Resolve(hold, _) => Some(hold),
            Self::Other => None,
        }
    }
}

/// Why an answer could not be read.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

type Read<T> = Result<T, Unreadable>;

const ENTRY: usize = 11;

pub(super) fn said(value: Value, asked: Asked<'_>) -> Read<Said> {
    if let Value::BulkString(bytes) = &value {
        return short(bytes, asked);
    }
    let [name, now, count, what, entries] = parts(value)?;
    let (now, count) = (Timestamp(amount(&now)?), amount(&count)?);
    let entries = list(entries)?;
    let entries = entries.chunks(ENTRY).map(|cells| entry(cells, now)).collect::<Read<_>>()?;
    Ok(Said { now, count, what: What::Named(text(&name)?.to_owned(), list(what)?), entries })
}

/// The answer to a usual call: eight doubles.
fn short(bytes: &[u8], asked: Asked<'_>) -> Read<Said> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let (Ok(numbers), []) = (<[[u8; 8]; 8]>::try_from(numbers), rest) else {
        return Err(Unreadable(format!("a short answer of {} bytes", bytes.len())));
    };
    let [now, count, third, input, output, sixth, seventh, grant] = numbers.map(whole);
    let (now, count) = (Timestamp(below(now)?), below(count)?);
    let grant = Some(grant_of(&Value::Int(grant))?);
    let (outcome, entry, available) = match asked {
        Asked::Reserve(hold, pool) => {
            let (input, output, available, expires, deadline) = (third, input, output, sixth, seventh);
            let admitted = Admitted {
                input: below(input)?,
                output: below(output)?,
                mode: BillingMode::FreeQuotaOnly,
                may_cost: false,
                available,
                expires: u64::try_from(expires).ok().map(Timestamp),
                deadline: Timestamp(below(deadline)?),
            };
            let held = input.saturating_add(output);
            (Outcome::Admitted(admitted), moved(now, EntryKind::Reserve, pool, grant, hold, held, 0), available)
        }
        Asked::Resolve(hold, Some(pool)) => {
            let (state, held, available) = (state_of(&Value::Int(third))?, sixth, seventh);
            // Only an amount can be taken away.
            below(held)?;
            let covered = Usage { input: below(input)?, output: below(output)? };
            let used = input.saturating_add(output);
            let overspent = if used > 0 { available.min(0).unsigned_abs() } else { 0 };
            let billed = Usage::default();
            let resolved = Resolved { state, covered, billed, over_hold: 0, overspent };
            let kind = if state == HoldState::Settled { EntryKind::Settle } else { EntryKind::Release };
            (Outcome::Resolved(resolved), moved(now, kind, pool, grant, hold, -held, used), available)
        }
        Asked::Resolve(_, None) | Asked::Other => return Err(Unreadable("a short answer".to_owned())),
    };
    Ok(Said { now, count, what: What::Outcome(outcome), entries: vec![(entry, available)] })
}

fn moved(
    at: Timestamp,
    kind: EntryKind,
    pool: &PoolId,
    grant: Option<GrantId>,
    hold: HoldId,
    held: i64,
    spent: i64,
) -> Entry {
    let hold = Some(hold);
    Entry { at, kind, pool: pool.clone(), grant, hold, granted: 0, held, spent, presumed: 0, billed: Usage::default() }
}

/// A whole number that came as a double. What is no number, or too large, becomes one that fails where it is used.
#[allow(clippy::cast_possible_truncation, reason = "a script's numbers have at most 53 bits; others saturate")]
fn whole(bytes: [u8; 8]) -> i64 {
    f64::from_le_bytes(bytes) as i64
}

fn below(value: i64) -> Read<u64> {
    u64::try_from(value).map_err(|_| Unreadable("an amount below zero".to_owned()))
}

impl What {
    pub(super) fn outcome(self) -> Read<Outcome> {
        let (name, what) = match self {
            Self::Outcome(outcome) => return Ok(outcome),
            Self::Named(name, what) => (name, what),
        };
        Ok(match (name.as_str(), what.as_slice()) {
            ("admitted", [input, output, mode, may_cost, available, expires, deadline]) => {
                Outcome::Admitted(Admitted {
                    input: amount(input)?,
                    output: amount(output)?,
                    mode: mode_of(mode)?,
                    may_cost: int(may_cost)? == 1,
                    available: int(available)?,
                    expires: instant(expires)?,
                    deadline: Timestamp(amount(deadline)?),
                })
            }
            ("refused", [reason]) => Outcome::Refused(named(text(reason)?)?, None),
            ("refused", [reason, needed, available, held, grant]) => {
                let (needed, held) = (amount(needed)?, amount(held)?);
                let shortfall = Shortfall { needed, available: int(available)?, held, grant: grant_of(grant)? };
                Outcome::Refused(named(text(reason)?)?, Some(shortfall))
            }
            ("already", [state]) => Outcome::AlreadyResolved(state_of(state)?),
            ("not_open", [state]) => Outcome::NotOpen(state_of(state)?),
            ("resolved", cells) => Outcome::Resolved(resolved(cells)?),
            ("unknown", cells) => Outcome::Unknown(resolved(cells)?),
            ("granted", [grant]) => Outcome::Done(Done::GrantAdded(grant_of(grant)?)),
            ("balance", [granted, held, spent, presumed, drift]) => Outcome::Done(Done::Balance {
                balance: Balance {
                    granted: amount(granted)?,
                    held: amount(held)?,
                    spent: amount(spent)?,
                    presumed: amount(presumed)?,
                },
                drift: int(drift)?,
            }),
            ("changed", []) => Outcome::Done(Done::Changed),
            ("unchanged", []) => Outcome::Done(Done::Unchanged),
            ("declined", [reason]) => Outcome::Declined(named(text(reason)?)?),
            (other, cells) => return Err(Unreadable(format!("`{other}` with {} values", cells.len()))),
        })
    }
}

fn resolved(cells: &[Value]) -> Read<Resolved> {
    let [state, covered_in, covered_out, billed_in, billed_out, over_hold, overspent] = cells else {
        return Err(Unreadable(format!("a resolution of {} values", cells.len())));
    };
    Ok(Resolved {
        state: state_of(state)?,
        covered: Usage { input: amount(covered_in)?, output: amount(covered_out)? },
        billed: Usage { input: amount(billed_in)?, output: amount(billed_out)? },
        over_hold: amount(over_hold)?,
        overspent: amount(overspent)?,
    })
}

fn entry(cells: &[Value], at: Timestamp) -> Read<(Entry, i64)> {
    let [kind, pool, grant, hold, granted, held, spent, presumed, billed_in, billed_out, available] = cells else {
        return Err(Unreadable(format!("an entry of {} values", cells.len())));
    };
    let entry = Entry {
        at,
        kind: named(text(kind)?)?,
        pool: PoolId::from(text(pool)?),
        grant: if int(grant)? < 0 { None } else { Some(grant_of(grant)?) },
        hold: match text(hold)? {
            "" => None,
            id => Some(hold_id(id)?),
        },
        granted: int(granted)?,
        held: int(held)?,
        spent: int(spent)?,
        presumed: int(presumed)?,
        billed: Usage { input: amount(billed_in)?, output: amount(billed_out)? },
    };
    Ok((entry, int(available)?))
}

pub(super) fn hold_id(text: &str) -> Read<HoldId> {
    u128::from_str_radix(text, 16).map(HoldId).map_err(|_| Unreadable("a hold's id".to_owned()))
}

pub(super) fn state_of(value: &Value) -> Read<HoldState> {
    Ok(match int(value)? {
        0 => HoldState::Open,
        1 => HoldState::Settled,
        2 => HoldState::Released,
        3 => HoldState::Presumed,
        4 => HoldState::Corrected,
        other => return Err(Unreadable(format!("hold state {other}"))),
    })
}

pub(super) fn mode_of(value: &Value) -> Read<BillingMode> {
    match int(value)? {
        0 => Ok(BillingMode::FreeQuotaOnly),
        1 => Ok(BillingMode::PayAsYouGo),
        other => Err(Unreadable(format!("mode {other}"))),
    }
}

pub(super) fn grant_of(value: &Value) -> Read<GrantId> {
    u32::try_from(int(value)?).map(GrantId).map_err(|_| Unreadable("a grant's number".to_owned()))
}

pub(super) fn instant(value: &Value) -> Read<Option<Timestamp>> {
    Ok(u64::try_from(int(value)?).ok().map(Timestamp))
}

/// A value of an enum by the name that serde gives it.
pub(super) fn named<T: DeserializeOwned>(name: &str) -> Read<T> {
    let deserializer: StrDeserializer<'_, NameError> = name.into_deserializer();
    T::deserialize(deserializer).map_err(|_| Unreadable(format!("no such word: {name:?}")))
}

pub(super) fn int(value: &Value) -> Read<i64> {
    match value {
        Value::Int(int) => Ok(*int),
        Value::BulkString(bytes) => {
            let text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            text.ok_or_else(|| Unreadable("a number".to_owned()))
        }
        _ => Err(Unreadable("a number".to_owned())),
    }
}

pub(super) fn amount(value: &Value) -> Read<u64> {
    below(int(value)?)
}

pub(super) fn text(value: &Value) -> Read<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).map_err(|_| Unreadable("text".to_owned())),
        Value::SimpleString(text) => Ok(text),
        _ => Err(Unreadable("text".to_owned())),
    }
}

pub(super) fn list(value: Value) -> Read<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Unreadable("a list".to_owned())),
    }
}

pub(super) fn parts<const N: usize>(value: Value) -> Read<[Value; N]> {
    let values = list(value)?;
    let found = values.len();
    values.try_into().map_err(|_| Unreadable(format!("{found} parts instead of {N}")))
}
