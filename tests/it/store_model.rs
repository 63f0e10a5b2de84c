//! The store against the rules: random commands, the same outcome and the same book after each, also across restarts.

use gratis::clock::Clock;
use gratis::ledger::{
    AccountState, Amount, Ask, Book, Closure, Command, Expect, GrantId, HoldId, HoldState, KeyState, Operation, Origin,
    Outcome, Overrun, Reserve, ReserveRules, Resolution, Side, Switch, SwitchOff, Timestamp, Unit, Usage, apply,
};
use gratis::store::LedgerStore;
use gratis::store::embedded::Embedded;

use crate::store_support::*;

/// A small generator of numbers (xorshift), so that a seed says it all.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn usage(&mut self) -> Usage {
        Usage { input: self.below(120), output: self.below(500) }
    }

    fn pool(&mut self) -> &'static str {
        self.of(&["a", "b"])
    }

    pub(crate) fn command(&mut self) -> Command {
        // Few enough ids that repeats and late resolutions are common.
        let hold = HoldId(u128::from(self.below(60)));
        match self.below(20) {
            0..9 => Command::Reserve(self.reserve(hold)),
            9..16 => Command::Resolve { hold, resolution: self.resolution(), origin: self.origin() },
            _ => Command::Operate(self.operation()),
        }
    }

    fn reserve(&mut self, hold: HoldId) -> Reserve {
        let (input, named, silent) = (self.below(100), self.below(300), self.below(300));
        Reserve {
            hold,
            key: self.of(&["key-1", "key-1", "key-1", "key-2"]).into(),
            model: "a".into(),
            pool: self.pool().into(),
            ask: Ask {
                input,
                named,
                silent,
                least: self.below(named + silent + 1),
                share_of: self.of(&[0, 8]),
                share_floor: 100,
                ceiling_input: input,
                ceiling_output: 600,
            },
            lease_ms: self.of(&[1_000, 60_000]),
            max_call_ms: 1_000,
            caller_now: Timestamp(0),
            rules: ReserveRules {
                overrun: self.of(&[Overrun::Never, Overrun::LastCall]),
                switch_default_on: self.below(2) == 0,
                priced: self.below(4) > 0,
                bounded: self.below(8) > 0,
                covered: true,
            },
        }
    }

    fn resolution(&mut self) -> Resolution {
        match self.below(6) {
            0 => Resolution::Release,
            1 => Resolution::Presume(None),
            2 => Resolution::Presume(Some(self.usage())),
            _ => Resolution::Settle(self.usage()),
        }
    }

    fn origin(&mut self) -> Option<Origin> {
        let origin = Origin { key: "key-1".into(), model: "a".into(), pool: self.pool().into() };
        (self.below(2) == 0).then_some(origin)
    }

    fn operation(&mut self) -> Operation {
        let (pool, grant) = (self.pool().into(), GrantId(u32::try_from(self.below(5)).unwrap()));
        match self.below(17) {
            0..4 => Operation::AddGrant {
                pool,
                side: self.of(&[Side::Both, Side::Both, Side::Input, Side::Output]),
                unit: Unit::Tokens,
                amount: self.below(4_000),
                spent: self.below(50),
                start: Timestamp(0),
                end: self.of(&[None, Some(Timestamp(1_800_000_900_000))]),
            },
            4 => Operation::Regrant { pool, grant, amount: self.below(4_000) as Amount },
            5 | 6 => Operation::Sync { pool, grant, remaining: self.below(3_000), raise: self.below(2) == 0 },
            7 => Operation::SetSwitch {
                pool,
                on: self.below(2) == 0,
                rule: self.of(&[SwitchOff::AnyTime, SwitchOff::OnceUsedUp]),
                default_on: self.below(2) == 0,
            },
            8 => Operation::SetState(self.of(&[
                AccountState::Active,
                AccountState::Active,
                AccountState::Unverified,
                AccountState::Overdue { grace_until: Timestamp(1_800_000_300_000) },
            ])),
            9 => Operation::SetNeverPay(self.below(2) == 0),
            10 => Operation::PutKey(key(self.of(&["key-1", "key-2"]))),
            11 => {
                Operation::SetKeyState { key: "key-2".into(), state: self.of(&[KeyState::Active, KeyState::Disabled]) }
            }
            12 => Operation::ClosePool { pool, closure: self.of(&[Closure::FreeTierOnly, Closure::Arrearage]) },
            13 => Operation::UpstreamOverdue { pools: vec![pool, "elsewhere".into()] },
            14 => Operation::UpstreamServes { pools: vec!["nowhere".into(), pool] },
            15 => {
                let then = Box::new(Operation::SetNeverPay(self.below(2) == 0));
                let switch = self.of(&[Switch::Unset, Switch::On, Switch::Off]);
                let account = Expect::Account { state: AccountState::Active, never_pay: self.below(2) == 0 };
                Operation::If {
                    expect: if self.below(2) == 0 { account } else { Expect::Switch { pool, switch } },
                    then,
                }
            }
            _ => Operation::ReopenPool { pool },
        }
    }
}

async fn carry_out(store: &Embedded, command: Command) -> Outcome {
    let id = account();
    match command {
        Command::Reserve(ask) => store.reserve(&id, ask).await,
        Command::Resolve { hold, resolution, origin } => store.resolve(&id, hold, resolution, origin).await,
        Command::Operate(operation) => store.operate(&id, operation).await,
        other => panic!("{other:?} has no method"),
    }
    .unwrap()
}

/// What opening does to the book of a process that has ended.
fn closed_past(pure: &mut Book, now: Timestamp) {
    let open: Vec<HoldId> =
        pure.holds.iter().filter(|(_, hold)| hold.state == HoldState::Open).map(|(id, _)| *id).collect();
    for hold in open {
        let command = Command::Resolve { hold, resolution: Resolution::Presume(None), origin: None };
        apply(pure, now, command, &mut Vec::new());
    }
}

/// Random steps; `restart` = how many steps between two restarts; `step_ms` = how fast time goes.
async fn compare(seed: u64, steps: u64, restart: u64, step_ms: u64) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let mut store = funded(dir.path(), &clock, 3_000).await;
    let mut pure = Book::new(account(), "test", AccountState::Active, true);
    apply(&mut pure, clock.now(), Command::Operate(Operation::PutKey(key("key-1"))), &mut Vec::new());
    apply(&mut pure, clock.now(), Command::Operate(grant(3_000)), &mut Vec::new());
    let mut dice = Dice(seed * 0x9e37_79b9 + 1);
    for step in 0..steps {
        let command = dice.command();
        let expected = apply(&mut pure, clock.now(), command.clone(), &mut Vec::new());
        let said = carry_out(&store, command.clone()).await;
        assert_eq!(said, expected, "seed {seed} step {step}: {command:?}");
        if step % restart == restart - 1 {
            if dice.below(2) == 0 {
                store.close().await.unwrap();
            }
            drop(store);
            store = reopen(dir.path(), &clock);
            closed_past(&mut pure, clock.now());
        }
        apply(&mut pure, clock.now(), Command::Expire { limit: usize::MAX }, &mut Vec::new());
        assert_eq!(book(&store).await, without_finals(pure.clone()), "seed {seed} step {step}");
        clock.advance(dice.below(step_ms));
    }
}

fn reopen(dir: &std::path::Path, clock: &Clock) -> Embedded {
    let store = Embedded::open(settings(dir), clock.clone()).unwrap();
    assert_eq!(store.opening().recovery, None);
    store
}

#[tokio::test]
async fn random_commands_give_what_the_rules_give() {
    for seed in 1..=12 {
        compare(seed, 120, 1_000, 3_000).await;
    }
}

#[tokio::test]
async fn finals_that_memory_forgets_are_still_known() {
    for seed in 21..=28 {
        compare(seed, 150, 1_000, 70_000).await;
    }
}

#[tokio::test]
async fn a_restart_changes_nothing_but_open_holds() {
    for (seed, restart) in [(41, 1), (42, 2), (43, 3), (44, 7), (45, 20), (46, 45)] {
        compare(seed, 90, restart, 20_000).await;
    }
}
