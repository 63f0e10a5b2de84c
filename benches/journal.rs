//! What one call costs the replica's journal of the shared store: what a reserve and a settle moved, appended.
//!
//! `cpu/...` is the processor time of the whole process a call (all threads, from `/proc/self/task/*/schedstat`), `wall/...` the time
//! that passes a call. `one` = all calls are of one account, `many` = of 1,000 in turn, at most one call of each within a group.
//!
//! At the end the processor time a call at a given rate, where groups are as large as they would be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench may stop where something is not as it should be"
)]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gratis::clock::Clock;
use gratis::ledger::{AccountId, Entry, EntryKind, GrantId, HoldId, PoolId, Timestamp, Usage};
use gratis::store::redis::journal::Journal;
use tokio::runtime::Runtime;

/// The allocator that the program uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Load {
    journal: Journal,
    accounts: Vec<AccountId>,
    pool: PoolId,
    next: u128,
}

impl Load {
    fn new(dir: &std::path::Path, accounts: usize) -> Self {
        let journal = Journal::open(dir, 50_000, Clock::system()).unwrap();
        let accounts = (0..accounts).map(|number| AccountId::from(format!("account-{number}"))).collect();
        Self { journal, accounts, pool: "qwen-max".into(), next: 0 }
    }

    fn entry(&self, kind: EntryKind, held: i64, spent: i64) -> Vec<(Entry, i64)> {
        let (at, pool, hold) = (Timestamp(1_800_000_000_000), self.pool.clone(), Some(HoldId(self.next)));
        let (grant, billed) = (Some(GrantId(1)), Usage::default());
        vec![(Entry { at, kind, pool, grant, hold, granted: 0, held, spent, presumed: 0, billed }, 1 << 40)]
    }

    async fn append(&self, account: &AccountId, entries: Vec<(Entry, i64)>) {
        let seq = u64::try_from(self.next).unwrap();
        if let Some(wait) = self.journal.append(account, entries, seq).unwrap() {
            wait.done().await.unwrap();
        }
    }

    async fn pair(&mut self) {
        self.next += 1;
        let at = usize::try_from(self.next).unwrap() % self.accounts.len();
        let account = self.accounts.get(at).unwrap().clone();
        self.append(&account, self.entry(EntryKind::Reserve, 1_000, 0)).await;
        self.append(&account, self.entry(EntryKind::Settle, -1_000, 500)).await;
    }

    /// Calls at a rate, two milliseconds' worth at a time; answers the processor time a call.
    async fn paced(&mut self, per_second: u32, seconds: u32) -> Duration {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let before = cpu();
        let (watch, total) = (Clock::stopwatch(), per_second * seconds);
        let mut done = 0;
        while done < total {
            tick.tick().await;
            let due = (watch.elapsed().as_secs_f64() * f64::from(per_second)).min(f64::from(total));
            while f64::from(done) < due {
                self.pair().await;
                done += 1;
            }
        }
        (cpu() - before) / total
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

/// The processor time of a loop that does nothing at the same pace.
async fn idle(seconds: u32) -> Duration {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let (before, watch) = (cpu(), Clock::stopwatch());
    while watch.elapsed() < Duration::from_secs(seconds.into()) {
        tick.tick().await;
    }
    cpu() - before
}

fn pairs(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, accounts) in [("one", 1), ("many", 1_000)] {
        let dir = tempfile::tempdir().unwrap();
        let mut load = Load::new(dir.path(), accounts);
        c.bench_function(&format!("cpu/append/{name}"), |bench| {
            bench.iter_custom(|pairs| {
                let before = cpu();
                run(&runtime, &mut load, pairs);
                runtime.block_on(load.journal.sync()).unwrap();
                cpu() - before
            });
        });
        c.bench_function(&format!("wall/append/{name}"), |bench| {
            bench.iter_custom(|pairs| {
                let watch = Clock::stopwatch();
                run(&runtime, &mut load, pairs);
                watch.elapsed()
            });
        });
        // Nothing is measured where each benchmark runs once.
        let rates: &[u32] = if std::env::args().any(|word| word == "--test") { &[] } else { &[500, 5_000] };
        for rate in rates.iter().copied() {
            let seconds = 10;
            let (spent, idle) = runtime.block_on(async {
                // The first call of an account waits for a promise, and the log is not as long as it gets.
                load.paced(rate, 3).await;
                (load.paced(rate, seconds).await, idle(seconds).await)
            });
            let own = spent.saturating_sub(idle / (rate * seconds));
            println!("{name}, {rate} calls a second: {own:?} of processor time a call, without the pacing's own\n");
        }
    }
}

fn run(runtime: &Runtime, load: &mut Load, pairs: u64) {
    runtime.block_on(async {
        for _ in 0..pairs {
            load.pair().await;
        }
    });
}

criterion_group!(benches, pairs);
criterion_main!(benches);
