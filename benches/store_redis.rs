//! What one call costs the shared store: reserve and settle, alone and with 64 calls at a time, and what an account costs in memory.
//!
//! Starts a `redis-server` of its own that keeps nothing on the disk, so that the scripts are what is measured. `server` is the
//! processor time of the server a call (reserve and settle together, from `INFO cpu`), `client` that of this process, `wall` the time
//! that passes; beside them stands `redis-benchmark` with a script that does nothing. With `--test` everything runs once, small.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench may stop where something is not as it should be"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gratis::clock::Clock;
use gratis::ledger::{
    AccountId, AccountState, Ask, HoldId, Key, KeyState, MAX_AMOUNT, Operation, Outcome, Overrun, Reserve,
    ReserveRules, Resolution, Side, Timestamp, Unit, Usage,
};
use gratis::store::redis::{Redis, Settings};
use gratis::store::{KeyDigest, KeyStore, LedgerStore, NewAccount};

/// The allocator that the program uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A server that ends with the bench.
struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed (Debian: redis-server)");
        let server = Self { child, port, _dir: dir };
        let until = Instant::now() + Duration::from_secs(10);
        while server.cli(&["PING"]).trim() != "PONG" {
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::yield_now();
        }
        server
    }

    fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn fact(&self, section: &str, name: &str) -> f64 {
        let text = self.cli(&["INFO", section]);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap()
    }

    fn cpu(&self) -> f64 {
        self.fact("cpu", "used_cpu_sys") + self.fact("cpu", "used_cpu_user")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_cpu() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    stats.filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

async fn account(store: &Redis, name: &str, pools: u32) {
    let account = AccountId::from(name);
    let (site, state) = ("test".to_owned(), AccountState::Active);
    store.open_account(NewAccount { account: account.clone(), site, state, never_pay: true }).await.unwrap();
    let key = Key {
        id: "key-1".into(),
        name: String::new(),
        state: KeyState::Active,
        models: BTreeSet::new(),
        workspace: None,
        last4: "abcd".to_owned(),
        created: Timestamp(0),
    };
    let mut digest = [0; 32];
    digest.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    store.add_key(&account, key, KeyDigest(digest)).await.unwrap();
    for pool in 0..pools {
        let grant = Operation::AddGrant {
            pool: format!("pool-{pool}").into(),
            side: Side::Both,
            unit: Unit::Tokens,
            amount: MAX_AMOUNT / 16,
            spent: 0,
            start: Timestamp(0),
            end: None,
        };
        store.operate(&account, grant).await.unwrap();
    }
}

fn ask() -> Reserve {
    Reserve {
        hold: HoldId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed))),
        key: "key-1".into(),
        model: "pool-0".into(),
        pool: "pool-0".into(),
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

async fn pair(store: &Redis, account: &AccountId) {
    let reserve = ask();
    let hold = reserve.hold;
    let outcome = store.reserve(account, reserve).await.unwrap();
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    let usage = Usage { input: 120, output: 380 };
    let origin = gratis::ledger::Origin { key: "key-1".into(), model: "pool-0".into(), pool: "pool-0".into() };
    store.resolve(account, hold, Resolution::Settle(usage), Some(origin)).await.unwrap();
}

async fn run(server: &Server, store: &Arc<Redis>, tasks: u64, pairs: u64) {
    let (served, used, since) = (server.cpu(), own_cpu(), Instant::now());
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let store = Arc::clone(store);
        set.spawn(async move {
            for _ in 0..pairs / tasks {
                pair(&store, &AccountId::from("home")).await;
            }
        });
    }
    set.join_all().await;
    let each = |seconds: f64| seconds * 1e6 / pairs as f64;
    println!(
        "reserve+settle, {tasks:>2} at a time: server {:.1} us, client {:.1} us, wall {:.1} us",
        each(server.cpu() - served),
        each(own_cpu() - used),
        each(since.elapsed().as_secs_f64())
    );
}

async fn memory(server: &Server, store: &Redis, accounts: u32, pools: u32) {
    let before = server.fact("memory", "used_memory");
    let since = Instant::now();
    for number in 0..accounts {
        account(store, &format!("account-{number}"), pools).await;
    }
    let each = (server.fact("memory", "used_memory") - before) / f64::from(accounts);
    println!(
        "{accounts} accounts of {pools} pools: {each:.0} bytes each ({:.0} s to make); 100,000 would take {:.0} MiB",
        since.elapsed().as_secs_f64(),
        each * 100_000.0 / 1_048_576.0
    );
}

fn nothing(server: &Server, calls: u64) {
    let before = server.cpu();
    let output = Command::new("redis-benchmark")
        .args(["-p", &server.port.to_string(), "-n", &calls.to_string(), "-c", "64", "-q"])
        .args(["EVAL", "return 1", "1", "key"])
        .output()
        .expect("redis-benchmark is needed (Debian: redis-tools)");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.split(['\r', '\n']).rfind(|line| line.contains("requests per second")).unwrap_or_default();
    let each = (server.cpu() - before) * 1e6 / calls as f64;
    println!("redis-benchmark, a script that does nothing: server {each:.1} us a call; {}", line.trim());
}

fn main() {
    let small = std::env::args().any(|word| word == "--test");
    let (pairs, accounts) = if small { (640, 20) } else { (64_000, 20_000) };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut settings = Settings::new(format!("redis://127.0.0.1:{}", server.port).parse().unwrap(), dir.path());
        settings.accept_loss = true;
        settings.timeout = Duration::from_secs(10);
        let store = Arc::new(Redis::create(settings, Clock::system()).await.unwrap());
        account(&store, "home", 1).await;
        nothing(&server, pairs);
        for tasks in [1, 64, 1, 64] {
            run(&server, &store, tasks, pairs).await;
        }
        memory(&server, &store, accounts, 10).await;
        // Many accounts do not make a call slower.
        run(&server, &store, 64, pairs).await;
    });
}
