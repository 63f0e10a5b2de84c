//! From the text of a transcript to its steps.

use std::collections::BTreeSet;

use gratis::ledger::{
    AccountState, Ask, Balance, Billed, Command, Expect, GrantId, Key, KeyId, KeyState, Operation, Origin, Overrun,
    Reserve, ReserveRules, Resolution, Side, Switch, SwitchOff, Timestamp, Unit,
};

use super::expect::{Expected, named};
use super::words::{Words, hold};
use super::{Line, PoolCheck, Transcript, What};

const MINUTE: u64 = 60_000;

/// The transcripts of one file.
pub fn parse(file: &str, text: &str) -> Vec<Transcript> {
    let mut transcripts: Vec<Transcript> = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(title) = text.strip_prefix("= ") {
            let (title, state) = (title.to_owned(), AccountState::Active);
            transcripts.push(Transcript { title, state, never_pay: false, lines: Vec::new() });
            continue;
        }
        let transcript = transcripts.last_mut().unwrap_or_else(|| panic!("{place}: a title comes first"));
        let mut words = Words::new(&place, text);
        match words.word() {
            "account" => transcript.state = state(&mut words),
            "never-pay" => transcript.never_pay = true,
            first => {
                let what = what(first, &mut words);
                if let Some(rest) = words.maybe() {
                    words.wrong(&format!("{rest:?} is left over"));
                }
                transcript.lines.push(Line { place: place.clone(), text: text.to_owned(), what });
            }
        }
    }
    transcripts
}

fn what(first: &str, words: &mut Words<'_>) -> What {
    match first {
        "balance" => {
            let (pool, grant) = pool_and_grant(words.word());
            let mut figure = |name: &str| {
                words.expect(name);
                words.number()
            };
            let balance = Balance {
                granted: figure("granted"),
                held: figure("held"),
                spent: figure("spent"),
                presumed: figure("presumed"),
            };
            What::Balance(pool.into(), grant, balance)
        }
        "pool" => pool_check(words),
        "hold" => {
            let (id, state) = (hold(words.word()), named(words));
            let mut lines = Vec::new();
            while let Some(word) = words.maybe() {
                let line =
                    word.split_once(':').and_then(|(grant, amount)| Some((grant.parse().ok()?, amount.parse().ok()?)));
                let Some((grant, amount)) = line else { words.wrong("a line is grant:amount") };
                lines.push((GrantId(grant), amount));
            }
            What::Hold(id, state, lines)
        }
        time => {
            let now = words.time_of(time);
            let mut before = Vec::new();
            loop {
                match words.word() {
                    "->" => break,
                    word => before.push(word),
                }
            }
            let text = before.join(" ");
            let command = command(now, &mut Words::new(time, &text));
            What::Step(now, command, Expected::parse(words))
        }
    }
}

fn pool_check(words: &mut Words<'_>) -> What {
    let pool = words.word().into();
    let mut check = PoolCheck { switch: Switch::Unset, billed: Billed::default(), overran: false, closed: None };
    while let Some(word) = words.maybe() {
        match word {
            "switch" => check.switch = named(words),
            "billed" => {
                let usage = words.usage();
                check.billed = Billed { input: usage.input, output: usage.output };
            }
            "overran" => check.overran = true,
            "closed" => check.closed = Some(named(words)),
            other => words.wrong(&format!("{other:?} says nothing about a pool")),
        }
    }
    What::Pool(pool, check)
}

/// `qwen-max` is the pool's first grant, `qwen-max#2` its grant number 2.
fn pool_and_grant(word: &str) -> (&str, GrantId) {
    let (pool, grant) = word.split_once('#').unwrap_or((word, "1"));
    (pool, GrantId(grant.parse().unwrap_or_else(|_| panic!("{word:?} names no grant"))))
}

fn command(now: Timestamp, words: &mut Words<'_>) -> Command {
    let command = match words.word() {
        "reserve" => Command::Reserve(reserve(now, words)),
        verb @ ("settle" | "release" | "presume") => resolve(verb, words),
        "expire" => Command::Expire { limit: words.maybe().map_or(32, |word| word.parse().unwrap()) },
        "forget" => {
            words.expect("finals");
            let finals_before = words.time();
            words.expect("presumed");
            Command::Forget { finals_before, presumed_before: words.time() }
        }
        verb => Command::Operate(operation(verb, now, words)),
    };
    if let Some(rest) = words.maybe() {
        words.wrong(&format!("{rest:?} is left over"));
    }
    command
}

fn reserve(now: Timestamp, words: &mut Words<'_>) -> Reserve {
    let id = hold(words.word());
    let pool = words.word();
    let mut reserve = Reserve {
        hold: id,
        key: "k1".into(),
        model: pool.into(),
        pool: pool.into(),
        ask: Ask::default(),
        lease_ms: 10 * MINUTE,
        max_call_ms: 5 * MINUTE,
        caller_now: now,
        rules: ReserveRules {
            overrun: Overrun::Never,
            switch_default_on: true,
            priced: true,
            bounded: true,
            covered: true,
        },
    };
    while let Some(word) = words.maybe() {
        match word {
            "in" => reserve.ask.input = words.number(),
            "out" => reserve.ask.named = words.number(),
            "open" => reserve.ask.silent = words.number(),
            "least" => reserve.ask.least = words.number(),
            "share" => reserve.ask.share_of = words.number(),
            "floor" => reserve.ask.share_floor = words.number(),
            "ceiling" => {
                let ceiling = words.usage();
                (reserve.ask.ceiling_input, reserve.ask.ceiling_output) = (ceiling.input, ceiling.output);
            }
            "lease" => reserve.lease_ms = words.span(),
            "call" => reserve.max_call_ms = words.span(),
            "caller" => reserve.caller_now = words.time(),
            "key" => reserve.key = words.word().into(),
            "model" => reserve.model = words.word().into(),
            "last-call" => reserve.rules.overrun = Overrun::LastCall,
            "default-off" => reserve.rules.switch_default_on = false,
            "unpriced" => reserve.rules.priced = false,
            "unbounded" => reserve.rules.bounded = false,
            "uncovered" => reserve.rules.covered = false,
            other => words.wrong(&format!("{other:?} says nothing about a reservation")),
        }
    }
    reserve
}

/// `settle a 90+210`, `presume a`, `presume a 10+20`, each with `from qwen-max` for a hold that the book may not know.
fn resolve(verb: &str, words: &mut Words<'_>) -> Command {
    let id = hold(words.word());
    let mut resolution = match verb {
        "settle" => Resolution::Settle(words.usage()),
        "release" => Resolution::Release,
        _ => Resolution::Presume(None),
    };
    let mut origin = None;
    while let Some(word) = words.maybe() {
        match word {
            "seen" => resolution = Resolution::Presume(Some(words.usage())),
            "from" => {
                let pool = words.word();
                origin = Some(Origin { key: "k1".into(), model: pool.into(), pool: pool.into() });
            }
            other => words.wrong(&format!("{other:?} says nothing about a resolution")),
        }
    }
    Command::Resolve { hold: id, resolution, origin }
}

fn operation(verb: &str, now: Timestamp, words: &mut Words<'_>) -> Operation {
    match verb {
        "grant" => grant(now, words),
        "regrant" => {
            let (pool, grant) = pool_and_grant(words.word());
            Operation::Regrant { pool: pool.into(), grant, amount: words.number() }
        }
        "sync" => {
            let (pool, grant) = pool_and_grant(words.word());
            let remaining = words.number();
            Operation::Sync { pool: pool.into(), grant, remaining, raise: words.maybe() == Some("raise") }
        }
        "switch" => {
            let pool = words.word().into();
            let on = words.word() == "on";
            let (mut rule, mut default_on) = (SwitchOff::AnyTime, true);
            while let Some(word) = words.maybe() {
                match word {
                    "once-used-up" => rule = SwitchOff::OnceUsedUp,
                    "default-off" => default_on = false,
                    other => words.wrong(&format!("{other:?} says nothing about a switch")),
                }
            }
            Operation::SetSwitch { pool, on, rule, default_on }
        }
        "state" => Operation::SetState(state(words)),
        "never-pay" => Operation::SetNeverPay(words.word() == "on"),
        "key" => key(now, words),
        "key-state" => Operation::SetKeyState { key: words.word().into(), state: named(words) },
        "close" => Operation::ClosePool { pool: words.word().into(), closure: named(words) },
        "reopen" => Operation::ReopenPool { pool: words.word().into() },
        "if" => {
            let expect = match words.word() {
                "switch" => Expect::Switch { pool: words.word().into(), switch: named(words) },
                "account" => Expect::Account { state: state(words), never_pay: words.word() == "guarded" },
                other => words.wrong(&format!("{other:?} says nothing about what must be so")),
            };
            let then = words.word().to_owned();
            Operation::If { expect, then: Box::new(operation(&then, now, words)) }
        }
        "upstream-overdue" => Operation::UpstreamOverdue { pools: pools(words) },
        "upstream-serves" => Operation::UpstreamServes { pools: pools(words) },
        other => words.wrong(&format!("{other:?} is no command")),
    }
}

/// `grant qwen-max 1000 [input | output] [spent 100] [from 09:30] [until 3d00:00]`
fn grant(now: Timestamp, words: &mut Words<'_>) -> Operation {
    let pool = words.word().into();
    let amount = words.number();
    let (mut side, mut spent, mut start, mut end) = (Side::Both, 0, now, None);
    while let Some(word) = words.maybe() {
        match word {
            "input" => side = Side::Input,
            "output" => side = Side::Output,
            "spent" => spent = words.number(),
            "from" => start = words.time(),
            "until" => end = Some(words.time()),
            other => words.wrong(&format!("{other:?} says nothing about a grant")),
        }
    }
    Operation::AddGrant { pool, side, unit: Unit::Tokens, amount, spent, start, end }
}

fn key(now: Timestamp, words: &mut Words<'_>) -> Operation {
    let id: KeyId = words.word().into();
    let mut models = BTreeSet::new();
    while let Some(model) = words.maybe() {
        models.insert(model.into());
    }
    Operation::PutKey(Key {
        name: id.to_string(),
        id,
        state: KeyState::Active,
        models,
        workspace: None,
        last4: "1234".to_owned(),
        created: Timestamp(now.0.min(super::words::DAY_ZERO)),
    })
}

/// `active`, `not-activated`, `unverified`, `overdue 10:00`, `closed`
fn state(words: &mut Words<'_>) -> AccountState {
    match words.word() {
        "active" => AccountState::Active,
        "not-activated" => AccountState::NotActivated,
        "unverified" => AccountState::Unverified,
        "overdue" => AccountState::Overdue { grace_until: words.time() },
        "closed" => AccountState::Closed,
        other => words.wrong(&format!("{other:?} is no state")),
    }
}

/// Pools up to the end of the line.
fn pools(words: &mut Words<'_>) -> Vec<gratis::ledger::PoolId> {
    let mut pools = Vec::new();
    while let Some(pool) = words.maybe() {
        pools.push(pool.into());
    }
    pools
}
