//! What tells one state of the small world from another, and what its calls ask for.

use gratis::ledger::{Ask, Balance, HoldState, Overrun, Reserve, ReserveRules, Timestamp};

use super::world::{CALLS, Call, INPUT, OUTPUT, POOL, Proxy, TICK, World, id};

/// State, amount and deadline of a hold.
type HoldKey = (u8, u64, u64);

/// What tells one state from another. Times that no longer decide anything are left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    now: u64,
    /// Each with its hold: state, amount, deadline.
    calls: [(Call, Option<HoldKey>); CALLS],
    truth: u64,
    cut: bool,
    balance: Balance,
    overran: bool,
}

impl World {
    pub fn state(&self) -> State {
        let hold = |call: usize| {
            self.hold(call).map(|hold| {
                let deadline = if hold.state == HoldState::Open { hold.deadline.0 } else { 0 };
                (rank(hold.state), hold.lines.iter().map(|line| line.amount).sum(), deadline)
            })
        };
        let call = |number: usize| {
            let call = self.calls[number];
            // What a settled call was charged decides nothing any more.
            if call.proxy == Proxy::Settled { Call { charged: None, until: 0, ..call } } else { call }
        };
        let mut calls: [(Call, Option<HoldKey>); CALLS] = std::array::from_fn(|number| (call(number), hold(number)));
        // All calls but the last are alike: which of them is which does not matter.
        calls[..CALLS - 1].sort_unstable();
        State {
            now: self.now,
            calls,
            truth: self.truth,
            cut: self.cut,
            balance: self.balance(),
            overran: self.book.pools.get(POOL).is_some_and(|pool| pool.overran),
        }
    }
}

/// Hold states have no order of their own.
fn rank(state: HoldState) -> u8 {
    match state {
        HoldState::Open => 0,
        HoldState::Settled => 1,
        HoldState::Released => 2,
        HoldState::Presumed => 3,
        HoldState::Corrected => 4,
    }
}

/// What a call asks for. The last one takes less output where less is left.
pub fn request(number: usize, now: u64) -> Reserve {
    let least = if number == CALLS - 1 { 1 } else { OUTPUT };
    Reserve {
        hold: id(number),
        key: "k".into(),
        model: POOL.into(),
        pool: POOL.into(),
        ask: Ask { input: INPUT, named: OUTPUT, least, ..Ask::default() },
        lease_ms: TICK,
        max_call_ms: TICK,
        caller_now: Timestamp(now * TICK),
        rules: ReserveRules {
            overrun: Overrun::Never,
            switch_default_on: true,
            priced: true,
            bounded: true,
            covered: true,
        },
    }
}
