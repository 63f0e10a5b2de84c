//! One call through the rules: reserve, then settle, on books of several sizes.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use gratis::ledger::{
    AccountState, Ask, Book, Change, Command, HoldId, Key, KeyState, ModelCode, Operation, Outcome, Overrun, PoolId,
    Reserve, ReserveRules, Resolution, Side, Timestamp, Unit, Usage, apply,
};

const NOW: Timestamp = Timestamp(1_798_761_600_000);

fn book(pools: usize, open: u128) -> Book {
    let mut book = Book::new("acme".into(), "here", AccountState::Active, true);
    let mut changes = Vec::new();
    let key = Key {
        id: "key-3f9a".into(),
        name: String::new(),
        state: KeyState::Active,
        models: [].into(),
        workspace: None,
        last4: "abcd".to_owned(),
        created: NOW,
    };
    apply(&mut book, NOW, Command::Operate(Operation::PutKey(key)), &mut changes);
    for number in 0..pools {
        let grant = Operation::AddGrant {
            pool: pool(number),
            side: Side::Both,
            unit: Unit::Tokens,
            amount: 1 << 49,
            spent: 0,
            start: NOW,
            end: None,
        };
        apply(&mut book, NOW, Command::Operate(grant), &mut changes);
    }
    for hold in 0..open {
        let reserve = reserve(HoldId(1 << 100 | hold), &pool(0));
        apply(&mut book, NOW, Command::Reserve(reserve), &mut changes);
    }
    book
}

fn pool(number: usize) -> PoolId {
    format!("qwen-model-{number}").into()
}

fn reserve(hold: HoldId, pool: &PoolId) -> Reserve {
    Reserve {
        hold,
        key: "key-3f9a".into(),
        model: ModelCode::from(pool.as_str()),
        pool: pool.clone(),
        ask: Ask { input: 1_200, named: 800, least: 256, ..Ask::default() },
        lease_ms: 600_000,
        max_call_ms: 300_000,
        caller_now: NOW,
        rules: ReserveRules {
            overrun: Overrun::Never,
            switch_default_on: true,
            priced: true,
            bounded: true,
            covered: true,
        },
    }
}

/// A call through the rules. Every so often the final holds are forgotten, outside of what is measured.
fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    for (pools, open) in [(1, 1), (1, 10_000), (60, 1), (60, 10_000)] {
        let mut book = book(pools, open);
        let asked = reserve(HoldId(0), &pool(pools / 2));
        let (mut number, mut changes) = (0_u128, Vec::with_capacity(16));
        group.bench_function(format!("reserve and settle, {pools} pools, {open} open holds"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                let mut left = rounds;
                while left > 0 {
                    let round = left.min(1_000);
                    left -= round;
                    // The names of a call are made before the ledger is asked, as a request does.
                    let asks: Vec<Reserve> = (0..round).map(|_| next(&asked, &mut number)).collect();
                    let start = WallTime.start();
                    for ask in asks {
                        black_box(call(&mut book, ask, &mut changes));
                    }
                    spent += WallTime.end(start);
                    let forget = Command::Forget { finals_before: NOW.plus(1), presumed_before: NOW };
                    apply(&mut book, NOW, forget, &mut changes);
                    changes.clear();
                }
                spent
            });
        });
    }
    group.finish();
}

fn next(asked: &Reserve, number: &mut u128) -> Reserve {
    *number += 1;
    Reserve { hold: HoldId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)), ..asked.clone() }
}

fn call(book: &mut Book, ask: Reserve, changes: &mut Vec<Change>) -> (Outcome, Outcome) {
    changes.clear();
    let hold = ask.hold;
    let admitted = apply(book, NOW, Command::Reserve(ask), changes);
    let resolution = Resolution::Settle(Usage { input: 900, output: 300 });
    (admitted, apply(book, NOW, Command::Resolve { hold, resolution, origin: None }, changes))
}

criterion_group!(benches, calls);
criterion_main!(benches);
