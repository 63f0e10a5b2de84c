//! What one call costs the embedded store: reserve and settle, alone and with 64 calls at a time.
//!
//! `cpu/...` is the processor time of the whole process a call (all threads, from `/proc/self/task/*/schedstat`), `wall/...` the time
//! that passes a call. At the end it prints how many commits and fsyncs a thousand calls took.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a bench may stop where something is not as it should be"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gratis::clock::Clock;
use gratis::ledger::{
    AccountId, AccountState, Ask, HoldId, Key, KeyState, MAX_AMOUNT, Operation, Outcome, Overrun, Reserve,
    ReserveRules, Resolution, Side, Timestamp, Unit, Usage,
};
use gratis::store::embedded::{Embedded, Settings};
use gratis::store::{KeyDigest, KeyStore, LedgerStore, NewAccount};
use tokio::runtime::Runtime;

/// The allocator that the program uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

static NEXT: AtomicU64 = AtomicU64::new(1);

async fn funded(dir: &std::path::Path) -> Embedded {
    let store = Embedded::create(Settings::new(dir), Clock::system()).unwrap();
    let account = AccountId::from("home");
    let (site, state) = ("test".to_owned(), AccountState::Active);
    store.open_account(NewAccount { account: account.clone(), site, state, never_pay: true }).await.unwrap();
    let key = Key {
        id: "key-1".into(),
        name: String::new(),
        state: KeyState::Active,
        models: BTreeSet::new(),
        workspace: None,
        last4: String::new(),
        created: Timestamp(0),
    };
    store.add_key(&account, key, KeyDigest([1; 32])).await.unwrap();
    let grant = Operation::AddGrant {
        pool: "qwen-max".into(),
        side: Side::Both,
        unit: Unit::Tokens,
        amount: MAX_AMOUNT / 16,
        spent: 0,
        start: Timestamp(0),
        end: None,
    };
    store.operate(&account, grant).await.unwrap();
    store
}

async fn pair(store: &Embedded, account: &AccountId, names: &Reserve) {
    let hold = HoldId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)));
    match store.reserve(account, Reserve { hold, ..names.clone() }).await.unwrap() {
        Outcome::Admitted(_) => {}
        other => panic!("{other:?}"),
    }
    // The upstream's answer comes later.
    tokio::task::yield_now().await;
    let usage = Usage { input: 120, output: 380 };
    store.resolve(account, hold, Resolution::Settle(usage), None).await.unwrap();
}

fn names() -> Reserve {
    Reserve {
        hold: HoldId(0),
        key: "key-1".into(),
        model: "qwen-max".into(),
        pool: "qwen-max".into(),
        ask: Ask { input: 200, named: 800, least: 256, ceiling_input: 1000, ceiling_output: 1000, ..Ask::default() },
        lease_ms: 600_000,
        max_call_ms: 300_000,
        caller_now: Timestamp(0),
        rules: ReserveRules {
            overrun: Overrun::Never,
            switch_default_on: true,
            priced: true,
            bounded: true,
            covered: true,
        },
    }
}

fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let spent = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(spent)
}

fn run(runtime: &Runtime, store: &Arc<Embedded>, tasks: u64, pairs: u64) {
    runtime.block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let store = store.clone();
            let mine = pairs / tasks + u64::from(task < pairs % tasks);
            set.spawn(async move {
                let (account, names) = (AccountId::from("home"), names());
                for _ in 0..mine {
                    pair(&store, &account, &names).await;
                }
            });
        }
        set.join_all().await;
    });
}

fn pairs(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(runtime.block_on(funded(dir.path())));
    for tasks in [1, 64] {
        c.bench_function(&format!("cpu/reserve+settle/{tasks}"), |bench| {
            bench.iter_custom(|pairs| {
                let before = cpu();
                run(&runtime, &store, tasks, pairs);
                cpu() - before
            });
        });
        c.bench_function(&format!("wall/reserve+settle/{tasks}"), |bench| {
            bench.iter_custom(|pairs| {
                let watch = Clock::stopwatch();
                run(&runtime, &store, tasks, pairs);
                watch.elapsed()
            });
        });
        let before = store.figures();
        run(&runtime, &store, tasks, 10_000);
        let after = store.figures();
        let per_thousand = |count: u64| count as f64 / 10.0;
        println!(
            "{tasks} at a time, per 1,000 calls: {} commits, {} fsyncs\n",
            per_thousand(after.commits - before.commits),
            per_thousand(after.durable - before.durable)
        );
    }
}

criterion_group!(benches, pairs);
criterion_main!(benches);
