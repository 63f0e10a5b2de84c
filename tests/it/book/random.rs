//! Random commands on one account: the same for the same seed, and a shorter run is the start of a longer one.

use std::collections::BTreeSet;

use gratis::ledger::{
    AccountState, Ask, Closure, Command, Expect, GrantId, HoldId, Key, KeyId, KeyState, Operation, Origin, Overrun,
    PoolId, Reserve, ReserveRules, Resolution, Side, Switch, SwitchOff, Timestamp, Unit, Usage,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// After so many commands the account is closed, and stays so.
pub const CLOSED_AFTER: usize = 940;

/// Pools by what is to become of them.
pub const PLENTY: &str = "plenty";
const SMALL: &str = "small";
const SPLIT: &str = "split";
const PERIODS: &str = "periods";
const SPENT: &str = "spent";
const ENDED: &str = "ended";
const NOTHING: &str = "nothing";
const POOLS: [&str; 7] = [PLENTY, SMALL, SPLIT, PERIODS, SPENT, ENDED, NOTHING];

const START: u64 = 1_798_761_600_000;
const LEASE: u64 = 20_000;

/// `n` commands for an account that begins empty and active. The clock never goes back.
pub fn random_commands(seed: u64, n: usize) -> Vec<(Timestamp, Command)> {
    let mut maker = Maker { rng: StdRng::seed_from_u64(seed), now: START, holds: 0, made: 0, next: Vec::new() };
    let mut commands: Vec<_> = setup().into_iter().map(|op| (Timestamp(START), Command::Operate(op))).collect();
    while commands.len() < n {
        commands.push(maker.next());
    }
    commands.truncate(n);
    commands
}

fn setup() -> Vec<Operation> {
    let mut operations = vec![key("k1", &[]), key("k2", &[PLENTY, SMALL]), key("k3", &[]), key("k4", &[])];
    operations.push(Operation::SetKeyState { key: "k3".into(), state: KeyState::Deleted });
    let grants = [
        (PLENTY, Side::Both, 1_000_000, None),
        (SMALL, Side::Both, 2_000, None),
        (SPLIT, Side::Input, 20_000, None),
        (SPLIT, Side::Output, 15_000, None),
        (PERIODS, Side::Both, 3_000, Some(200_000)),
        (PERIODS, Side::Both, 4_000, Some(600_000)),
        (PERIODS, Side::Input, 2_000, None),
        (PERIODS, Side::Both, 9_000, None),
        (SPENT, Side::Both, 0, None),
        (ENDED, Side::Both, 1_000, Some(1)),
    ];
    operations.extend(grants.map(|(pool, side, amount, ends)| grant(pool, side, amount, 0, ends)));
    let off =
        |pool: &str| Operation::SetSwitch { pool: pool.into(), on: false, rule: SwitchOff::AnyTime, default_on: true };
    operations.extend([off(SPENT), off(ENDED)]);
    operations
}

fn key(id: &str, models: &[&str]) -> Operation {
    Operation::PutKey(Key {
        id: id.into(),
        name: id.to_owned(),
        state: KeyState::Active,
        models: models.iter().map(|model| (*model).into()).collect::<BTreeSet<_>>(),
        workspace: None,
        last4: "abcd".to_owned(),
        created: Timestamp(START),
    })
}

fn grant(pool: &str, side: Side, amount: u64, start: u64, ends: Option<u64>) -> Operation {
    let (start, end) = (Timestamp(START + start), ends.map(|ends| Timestamp(START + ends)));
    Operation::AddGrant { pool: pool.into(), side, unit: Unit::Tokens, amount, spent: 0, start, end }
}

struct Maker {
    rng: StdRng,
    now: u64,
    holds: u128,
    made: usize,
    /// What follows on what was made before, last first.
    next: Vec<Command>,
}

impl Maker {
    fn next(&mut self) -> (Timestamp, Command) {
        self.made += 1;
        self.now += if self.chance(30) { 0 } else { self.up_to(1_500) };
        let closed = self.made > CLOSED_AFTER - setup().len();
        if let Some(command) = self.next.pop() {
            return (Timestamp(self.now), command);
        }
        if self.chance(1) {
            self.delayed_reservation();
        }
        let command = match self.up_to(100) {
            0..42 => Command::Reserve(self.reserve()),
            42..74 => self.resolve(),
            74..77 => Command::Expire { limit: 1 + self.index(40) },
            77..80 => {
                let (finals, presumed) = (5_000 + self.up_to(120_000), 5_000 + self.up_to(400_000));
                let before = |ms: u64| Timestamp(self.now - ms.min(self.now));
                Command::Forget { finals_before: before(finals), presumed_before: before(presumed) }
            }
            _ if closed => {
                let state = if self.chance(80) { AccountState::Active } else { AccountState::Closed };
                Command::Operate(Operation::SetState(state))
            }
            _ => Command::Operate(self.operation()),
        };
        (Timestamp(self.now), command)
    }

    fn up_to(&mut self, limit: u64) -> u64 {
        self.rng.random_range(0..limit)
    }

    fn index(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.up_to(100) < percent
    }

    fn pool(&mut self) -> &'static str {
        match self.up_to(100) {
            0..22 => PLENTY,
            22..50 => SMALL,
            50..64 => SPLIT,
            64..80 => PERIODS,
            80..86 => SPENT,
            86..95 => ENDED,
            _ => NOTHING,
        }
    }

    /// A hold of late, or one that was never heard of.
    fn hold(&mut self) -> HoldId {
        let back = if self.chance(70) { 1 + self.up_to(8) } else { self.up_to(50) };
        HoldId(if self.chance(6) {
            1_000_000 + self.holds + u128::from(back)
        } else {
            self.holds.saturating_sub(back.into())
        })
    }

    fn key(&mut self) -> KeyId {
        let index = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4][self.index(16)];
        ["k1", "k2", "k3", "k4", "k5"][index].into()
    }

    fn reserve(&mut self) -> Reserve {
        self.holds += 1;
        let hold = if self.chance(78) { HoldId(self.holds) } else { self.hold() };
        let pool = self.pool();
        let mut ask = Ask { input: self.up_to(150), named: self.up_to(300), ..Ask::default() };
        ask.least = self.up_to(ask.named + 1);
        if self.chance(40) {
            (ask.silent, ask.share_of, ask.share_floor) = (self.up_to(2_000), self.up_to(9), self.up_to(500));
        }
        if self.chance(3) {
            ask.input = u64::MAX - self.up_to(1 << 60);
        }
        (ask.ceiling_input, ask.ceiling_output) = (ask.input.min(1 << 40) + self.up_to(100), ask.named + 50);
        Reserve {
            hold,
            key: self.key(),
            model: pool.into(),
            pool: pool.into(),
            ask,
            lease_ms: if self.chance(10) { self.up_to(2_000) } else { LEASE },
            max_call_ms: self.up_to(10_000),
            caller_now: Timestamp(self.now + self.up_to(4_000) - 2_000),
            rules: ReserveRules {
                overrun: if self.chance(6) { Overrun::LastCall } else { Overrun::Never },
                switch_default_on: self.chance(75),
                priced: self.chance(80),
                bounded: self.chance(94),
                covered: self.chance(95),
            },
        }
    }

    /// A reservation that arrives when its call is long over: cut, and corrected since.
    fn delayed_reservation(&mut self) {
        let mut reserve = self.reserve();
        self.holds += 1;
        reserve.hold = HoldId(self.holds);
        let (key, model, pool) = (reserve.key.clone(), reserve.model.clone(), reserve.pool.clone());
        let resolve = |resolution| {
            let origin = Some(Origin { key: key.clone(), model: model.clone(), pool: pool.clone() });
            Command::Resolve { hold: reserve.hold, resolution, origin }
        };
        let (cut, late) =
            (resolve(Resolution::Presume(None)), resolve(Resolution::Settle(Usage { input: 9, output: 9 })));
        self.next = vec![Command::Reserve(reserve), late, cut];
    }

    fn resolve(&mut self) -> Command {
        let usage = Usage { input: self.up_to(120), output: self.up_to(260) };
        let usage =
            if self.chance(3) { Usage { input: usage.input * 9, output: u64::MAX >> self.up_to(60) } } else { usage };
        let resolution = match self.up_to(100) {
            0..55 => Resolution::Settle(usage),
            55..72 => Resolution::Release,
            72..90 => Resolution::Presume(None),
            _ => Resolution::Presume(Some(usage)),
        };
        let pool = if self.chance(90) { PoolId::from(self.pool()) } else { "unheard-of".into() };
        let origin = self.chance(70).then(|| Origin { key: "k1".into(), model: pool.as_str().into(), pool });
        Command::Resolve { hold: self.hold(), resolution, origin }
    }

    fn operation(&mut self) -> Operation {
        let pool = PoolId::from(POOLS[self.index(POOLS.len())]);
        match self.up_to(100) {
            0..8 => self.new_grant(),
            8..17 => self.regrant(),
            17..36 => self.sync(),
            36..64 => {
                let rule = if self.chance(85) { SwitchOff::OnceUsedUp } else { SwitchOff::AnyTime };
                let on = [SPENT, ENDED, NOTHING].contains(&pool.as_str()) || self.chance(60);
                Operation::SetSwitch { pool, on: on && !self.chance(6), rule, default_on: self.chance(25) }
            }
            64..72 => Operation::SetState(self.state()),
            72..74 => Operation::SetNeverPay(self.chance(30)),
            74..78 => key(["k3", "k4", "k5"][self.index(3)], &[]),
            78..87 => {
                let state = if self.chance(60) { KeyState::Active } else { KeyState::Disabled };
                Operation::SetKeyState { key: ["k3", "k4", "k9"][self.index(3)].into(), state }
            }
            87..89 => {
                let closure = if self.chance(70) { Closure::FreeTierOnly } else { Closure::Arrearage };
                Operation::ClosePool { pool, closure }
            }
            92..97 => {
                let then = Box::new(Operation::SetNeverPay(self.chance(30)));
                let switch = [Switch::Unset, Switch::On, Switch::Off][self.index(3)];
                let account = Expect::Account { state: self.state(), never_pay: self.chance(30) };
                let expect = if self.chance(50) { account } else { Expect::Switch { pool, switch } };
                Operation::If { expect, then }
            }
            97 => Operation::UpstreamOverdue { pools: vec![pool, "elsewhere".into()] },
            98 => Operation::UpstreamServes { pools: vec!["elsewhere".into(), pool, "nowhere".into()] },
            _ => Operation::ReopenPool { pool: if self.chance(5) { pool } else { "nowhere".into() } },
        }
    }

    fn state(&mut self) -> AccountState {
        match self.up_to(100) {
            0..78 => AccountState::Active,
            78..88 => AccountState::Unverified,
            88..96 => AccountState::Overdue { grace_until: Timestamp(self.now + self.up_to(20_000)) },
            _ => AccountState::NotActivated,
        }
    }

    fn new_grant(&mut self) -> Operation {
        let since = self.now - START;
        match self.up_to(10) {
            0..4 => grant(PERIODS, Side::Both, 100, since + 10, Some(since + self.up_to(11))),
            4..6 => grant(PERIODS, Side::Both, u64::MAX, since, None),
            _ => grant(PERIODS, Side::Both, self.up_to(900), since + self.up_to(9_000), Some(since + 60_000)),
        }
    }

    /// A grant by its number in `setup`, or one that is not there.
    fn regrant(&mut self) -> Operation {
        let (pool, grant, amount) = match self.up_to(6) {
            0 => (PLENTY, 1, 900_000 + self.up_to(200_000)),
            1 | 2 => (SMALL, 2, 1_500 + self.up_to(1_000)),
            3 => (SPLIT, 4, 10_000 + self.up_to(10_000)),
            4 => (SPLIT, 3, u64::MAX - self.up_to(9)),
            _ => (SMALL, 77, 1),
        };
        Operation::Regrant { pool: pool.into(), grant: GrantId(grant), amount }
    }

    fn sync(&mut self) -> Operation {
        let (pool, grant, remaining) = match self.up_to(10) {
            0 => (PLENTY, 1, self.up_to(1_000_000)),
            1..6 => (SMALL, 2, self.up_to(2_500)),
            6 => (SPLIT, 3, 2_000 + self.up_to(18_000)),
            7 => (SPLIT, 4, 2_000 + self.up_to(13_000)),
            8 => (PERIODS, 8, 2_000 + self.up_to(7_000)),
            _ => (SMALL, 77, 1),
        };
        Operation::Sync { pool: pool.into(), grant: GrantId(grant), remaining, raise: self.chance(60) }
    }
}
