//! From a command of the ledger to the arguments of its script.

use redis::Cmd;

use crate::ledger::{
    AccountState, Closure, Expect, HoldId, Key, KeyState, Operation, Origin, Overrun, PoolId, Reserve, Resolution,
    Side, Switch, SwitchOff, Timestamp, Unit, Usage,
};

use super::keys::hold_id;
use super::link::Script;
use super::reply::Asked;
use super::scripts;

/// The largest number that a script takes: instants and durations beyond it are as good as never.
const LARGEST: u64 = (1 << 53) - 1;

/// Numbers as every script takes them: little-endian doubles, which hold all of them exactly.
pub(super) struct Numbers(Vec<u8>);

impl Numbers {
    /// `now` in ms, `None` = the server's own time; `count` = what this replica saw acknowledged of its writes to the account.
    pub(super) fn new(now: Option<Timestamp>, count: u64) -> Self {
        let mut numbers = Self(Vec::with_capacity(13 * 8));
        match now {
            Some(now) => numbers.push(now.0),
            None => numbers.0.extend_from_slice(&(-1.0_f64).to_le_bytes()),
        }
        numbers.push(count);
        numbers
    }

    #[allow(clippy::cast_precision_loss, reason = "a number of at most 53 bits is exact")]
    fn push(&mut self, value: u64) {
        self.0.extend_from_slice(&(value.min(LARGEST) as f64).to_le_bytes());
    }
}

impl redis::ToRedisArgs for Numbers {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.0);
    }
}

fn number(cmd: &mut Cmd, value: u64) {
    cmd.arg(value.min(LARGEST));
}

/// A reservation or a resolution.
#[derive(Debug)]
pub(super) enum Usual {
    Reserve(Reserve),
    Resolve(HoldId, Resolution, Option<Origin>),
}

impl Usual {
    /// The script that has the whole rules of it.
    pub(super) fn script(&self) -> &'static Script {
        match self {
            Self::Reserve(_) => &scripts::RESERVE,
            Self::Resolve(..) => &scripts::RESOLVE,
        }
    }

    /// What a short answer leaves out.
    pub(super) fn asked(&self) -> Asked<'_> {
        match self {
            Self::Reserve(reserve) => Asked::Reserve(reserve.hold, &reserve.pool),
            Self::Resolve(hold, _, origin) => Asked::Resolve(*hold, origin.as_ref().map(|origin| &origin.pool)),
        }
    }

    /// Its six arguments.
    pub(super) fn append(&self, cmd: &mut Cmd, numbers: Numbers) {
        match self {
            Self::Reserve(command) => reserve(cmd, numbers, command),
            Self::Resolve(hold, resolution, origin) => resolve(cmd, numbers, *hold, *resolution, origin.as_ref()),
        }
    }
}

fn reserve(cmd: &mut Cmd, mut numbers: Numbers, reserve: &Reserve) {
    let ask = &reserve.ask;
    let amounts = [ask.input, ask.named, ask.silent, ask.least, ask.share_of, ask.share_floor];
    let others = [ask.ceiling_input, ask.ceiling_output, reserve.lease_ms, reserve.max_call_ms, reserve.caller_now.0];
    for value in amounts.into_iter().chain(others) {
        numbers.push(value);
    }
    let rules = &reserve.rules;
    let last_call = match rules.overrun {
        Overrun::LastCall => true,
        Overrun::Never => false,
    };
    let digits = [last_call, rules.switch_default_on, rules.priced, rules.bounded, rules.covered];
    let digits = digits.map(|on| if on { b'1' } else { b'0' });
    cmd.arg(numbers).arg(hold_id(reserve.hold)).arg(reserve.key.as_str());
    cmd.arg(reserve.model.as_str()).arg(reserve.pool.as_str()).arg(&digits);
}

fn resolve(cmd: &mut Cmd, mut numbers: Numbers, hold: HoldId, resolution: Resolution, origin: Option<&Origin>) {
    let (verb, usage) = match resolution {
        Resolution::Settle(usage) => ("settle", usage),
        Resolution::Release => ("release", Usage::default()),
        Resolution::Presume(None) => ("presume", Usage::default()),
        Resolution::Presume(Some(usage)) => ("at_least", usage),
    };
    numbers.push(usage.input);
    numbers.push(usage.output);
    cmd.arg(numbers).arg(hold_id(hold));
    match origin {
        Some(Origin { key, model, pool }) => cmd.arg(key.as_str()).arg(model.as_str()).arg(pool.as_str()),
        None => cmd.arg("").arg("").arg(""),
    };
    cmd.arg(verb);
}

/// A key's state letter and its models, as the field `k:` keeps them.
pub(super) fn key_field(key: &Key) -> String {
    let mut text = String::from(state_letter(key.state));
    text.push('\n');
    for model in &key.models {
        text.push_str(model.as_str());
        text.push('\n');
    }
    text
}

/// A key without its state, as JSON, as the field `b:` keeps it.
pub(super) fn key_body(key: &Key) -> String {
    let body = Key { state: KeyState::Active, ..key.clone() };
    // A key is plain text and numbers: it always has a form in JSON.
    serde_json::to_string(&body).unwrap_or_default()
}

fn state_letter(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "A",
        KeyState::Disabled => "D",
        KeyState::Deleted => "X",
    }
}

/// An account's state letter and the end of its grace.
fn account_state(state: AccountState) -> (&'static str, Option<Timestamp>) {
    match state {
        AccountState::NotActivated => ("N", None),
        AccountState::Active => ("A", None),
        AccountState::Unverified => ("U", None),
        AccountState::Overdue { grace_until } => ("O", Some(grace_until)),
        AccountState::Closed => ("C", None),
    }
}

/// What the field `a` of an account says.
pub(super) fn account_field(state: AccountState, never_pay: bool) -> String {
    let (letter, grace) = account_state(state);
    let grace = grace.map(|grace| grace.0.min(LARGEST).to_string()).unwrap_or_default();
    format!("{letter}{}{grace}", flag(never_pay))
}

pub(super) fn unit_number(unit: Unit) -> u8 {
    match unit {
        Unit::Tokens => 0,
        Unit::Images => 1,
        Unit::Seconds => 2,
        Unit::Characters => 3,
        Unit::Voices => 4,
    }
}

pub(super) fn side_number(side: Side) -> u8 {
    match side {
        Side::Both => 0,
        Side::Input => 1,
        Side::Output => 2,
    }
}

pub(super) fn switch_number(switch: Switch) -> u8 {
    match switch {
        Switch::Unset => 0,
        Switch::On => 1,
        Switch::Off => 2,
    }
}

pub(super) fn closure_number(closure: Option<Closure>) -> u8 {
    match closure {
        None => 0,
        Some(Closure::FreeTierOnly) => 1,
        Some(Closure::Arrearage) => 2,
        Some(Closure::Both) => 3,
    }
}

fn flag(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

/// `digest` goes with a key that is put: the hexadecimal digits of its secret's digest.
pub(super) fn operate(cmd: &mut Cmd, numbers: Numbers, operation: &Operation, digest: Option<&str>) {
    cmd.arg(numbers);
    change(cmd, operation, digest);
}

fn change(cmd: &mut Cmd, operation: &Operation, digest: Option<&str>) {
    match operation {
        Operation::If { expect, then } => {
            match expect {
                Expect::Account { state, never_pay } => {
                    cmd.arg("if").arg("account").arg("").arg(account_field(*state, *never_pay))
                }
                Expect::Switch { pool, switch } => {
                    cmd.arg("if").arg("switch").arg(pool.as_str()).arg(switch_number(*switch))
                }
            };
            change(cmd, then, digest);
        }
        Operation::AddGrant { pool, side, unit, amount, spent, start, end } => {
            cmd.arg("add_grant").arg(pool.as_str()).arg(side_number(*side)).arg(unit_number(*unit));
            number(cmd, *amount);
            number(cmd, *spent);
            number(cmd, start.0);
            match end {
                Some(end) => number(cmd, end.0),
                None => drop(cmd.arg(-1)),
            }
        }
        Operation::Regrant { pool, grant, amount } => {
            cmd.arg("regrant").arg(pool.as_str()).arg(grant.0);
            number(cmd, *amount);
        }
        Operation::Sync { pool, grant, remaining, raise } => {
            cmd.arg("sync").arg(pool.as_str()).arg(grant.0);
            number(cmd, *remaining);
            cmd.arg(flag(*raise));
        }
        Operation::SetSwitch { pool, on, rule, default_on } => {
            let any_time = match rule {
                SwitchOff::AnyTime => true,
                SwitchOff::OnceUsedUp => false,
            };
            cmd.arg("switch").arg(pool.as_str()).arg(flag(*on)).arg(flag(any_time)).arg(flag(*default_on));
        }
        Operation::SetState(state) => {
            let (letter, grace) = account_state(*state);
            cmd.arg("state").arg(letter).arg(grace.map(|grace| grace.0.min(LARGEST).to_string()).unwrap_or_default());
        }
        Operation::SetNeverPay(on) => drop(cmd.arg("never_pay").arg(flag(*on))),
        Operation::PutKey(key) => {
            cmd.arg("put_key").arg(key.id.as_str()).arg(key_field(key)).arg(key_body(key));
            cmd.arg(digest.unwrap_or_default());
        }
        Operation::SetKeyState { key, state } => {
            cmd.arg("key_state").arg(key.as_str()).arg(state_letter(*state));
        }
        Operation::ClosePool { pool, closure } => {
            cmd.arg("close").arg(pool.as_str()).arg(closure_number(Some(*closure)));
        }
        Operation::ReopenPool { pool } => drop(cmd.arg("reopen").arg(pool.as_str())),
        Operation::UpstreamOverdue { pools } => each(cmd.arg("overdue"), pools),
        Operation::UpstreamServes { pools } => each(cmd.arg("serves"), pools),
    }
}

fn each(cmd: &mut Cmd, pools: &[PoolId]) {
    for pool in pools {
        cmd.arg(pool.as_str());
    }
}
