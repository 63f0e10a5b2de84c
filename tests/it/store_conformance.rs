//! One suite for every store: the transcripts, and random commands compared with the pure rules, outcome and book after each step.

use std::collections::BTreeMap;
use std::time::Duration;

use gratis::clock::Clock;
use gratis::ledger::{AccountId, AccountState, Book, Command, Outcome, Timestamp, apply};
use gratis::store::embedded::Embedded;
use gratis::store::redis::{self, Redis};
use gratis::store::{NewAccount, Store};

use crate::book::random::random_commands;
use crate::book::{Desk, play, transcripts};
use crate::ledger::transcripts::{every_name, name};
use crate::store_support::{settings, without_finals};
use crate::support::redis::{Cluster, Server};

/// Makes an empty store whose clock is this one.
pub(crate) trait Maker {
    fn make(&self, clock: &Clock) -> impl Future<Output = Box<dyn Store>>;
}

pub(crate) const ACCOUNT: &str = "acme";

pub(crate) async fn opened(maker: &impl Maker, clock: &Clock, state: AccountState, never_pay: bool) -> Box<dyn Store> {
    let store = maker.make(clock).await;
    let account = AccountId::from(ACCOUNT);
    assert!(store.open_account(NewAccount { account, site: "here".to_owned(), state, never_pay }).await.unwrap());
    store
}

pub(crate) async fn carry_out(store: &dyn Store, command: Command) -> Outcome {
    let account = AccountId::from(ACCOUNT);
    match command {
        Command::Reserve(ask) => store.reserve(&account, ask).await,
        Command::Resolve { hold, resolution, origin } => store.resolve(&account, hold, resolution, origin).await,
        Command::Operate(operation) => store.operate(&account, operation).await,
        upkeep @ (Command::Expire { .. } | Command::Forget { .. }) => panic!("a store does {upkeep:?} by itself"),
    }
    .unwrap()
}

pub(crate) fn is_upkeep(command: &Command) -> bool {
    match command {
        Command::Expire { .. } | Command::Forget { .. } => true,
        Command::Reserve(_) | Command::Resolve { .. } | Command::Operate(_) => false,
    }
}

pub(crate) fn turn(clock: &Clock, to: Timestamp) {
    clock.advance(to.0.saturating_sub(clock.now().0));
}

/// The same commands for the store and the rules; the same answers and the same book after each.
async fn compare(maker: &impl Maker, seed: u64, counts: &mut BTreeMap<String, u32>) -> usize {
    let commands = random_commands(seed, 1_000);
    let clock = Clock::by_hand(commands[0].0);
    let store = opened(maker, &clock, AccountState::Active, false).await;
    let mut pure = Book::new(ACCOUNT.into(), "here", AccountState::Active, false);
    let commands = commands.into_iter().filter(|(_, command)| !is_upkeep(command));
    let mut steps = 0;
    for (at, command) in commands {
        turn(&clock, at);
        let expected = apply(&mut pure, at, command.clone(), &mut Vec::new());
        let said = carry_out(&*store, command.clone()).await;
        assert_eq!(said, expected, "seed {seed} step {steps}: {command:?}\n{pure:#?}");
        *counts.entry(name(&said)).or_default() += 1;
        apply(&mut pure, at, Command::Expire { limit: usize::MAX }, &mut Vec::new());
        let book = without_finals(store.book(&ACCOUNT.into()).await.unwrap());
        assert_eq!(book, without_finals(pure.clone()), "seed {seed} step {steps}: {command:?}");
        steps += 1;
    }
    steps
}

async fn compare_all(maker: &impl Maker, label: &str, at_least: usize) {
    let mut counts: BTreeMap<String, u32> = every_name().into_iter().map(|name| (name, 0)).collect();
    // What a store does by itself, and not by order.
    counts.retain(|name, _| !name.starts_with("Expired") && !name.starts_with("Forgotten"));
    let (mut steps, mut seed) = (0, 0);
    while steps < at_least {
        steps += compare(maker, seed, &mut counts).await;
        seed += 1;
    }
    println!("{label}: {steps} random commands of {seed} accounts");
    for (name, count) in &counts {
        println!("{count:>7}  {name}");
    }
    let wanted = if at_least < 100_000 { 1 } else { 500 };
    let rare: Vec<_> = counts.iter().filter(|(_, count)| **count < wanted).collect();
    assert!(rare.is_empty(), "{label}: seen less than {wanted} times: {rare:?}");
}

/// A store as a desk of the transcripts, which know no async.
struct Counter<'a> {
    store: Box<dyn Store>,
    clock: Clock,
    runtime: &'a tokio::runtime::Runtime,
}

impl Desk for Counter<'_> {
    fn carry_out(&mut self, now: Timestamp, command: Command) -> Outcome {
        turn(&self.clock, now);
        self.runtime.block_on(carry_out(&*self.store, command))
    }

    fn book(&mut self, now: Timestamp) -> Book {
        turn(&self.clock, now);
        self.runtime.block_on(self.store.book(&ACCOUNT.into())).unwrap()
    }
}

fn play_all(maker: &impl Maker, label: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut played = 0;
    for transcript in transcripts().iter().filter(|transcript| !transcript.has_upkeep()) {
        let clock = Clock::by_hand(Timestamp(0));
        let store = runtime.block_on(opened(maker, &clock, transcript.state, transcript.never_pay));
        let mut counter = Counter { store, clock, runtime: &runtime };
        if let Err(wrong) = play(transcript, &mut counter) {
            panic!("{label}: {wrong}");
        }
        played += 1;
    }
    println!("{label}: {played} transcripts");
    assert!(played > 40, "only {played} transcripts can be played against a store");
}

/// In a folder of its own each.
struct EmbeddedMaker(tempfile::TempDir);

impl Maker for EmbeddedMaker {
    async fn make(&self, clock: &Clock) -> Box<dyn Store> {
        let dir = self.0.path().join(uuid::Uuid::now_v7().to_string());
        Box::new(Embedded::create(settings(&dir), clock.clone()).unwrap())
    }
}

/// On one server or cluster, each with a prefix of its own.
pub(crate) struct RedisMaker {
    url: String,
    dir: tempfile::TempDir,
}

impl RedisMaker {
    pub(crate) fn new(url: String) -> Self {
        Self { url, dir: temp() }
    }
}

impl Maker for RedisMaker {
    async fn make(&self, clock: &Clock) -> Box<dyn Store> {
        let name = uuid::Uuid::now_v7().to_string();
        let mut settings = redis::Settings::new(self.url.parse().unwrap(), self.dir.path().join(&name));
        (settings.prefix, settings.given_clock, settings.accept_loss) = (name, true, true);
        // What is compared is what is answered, however busy the machine is.
        settings.timeout = Duration::from_secs(30);
        Box::new(Redis::create(settings, clock.clone()).await.unwrap())
    }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What is kept does not matter here, so nothing waits for a disk.
pub(crate) fn in_memory() -> Server {
    Server::start(&["save ''", "appendonly no"])
}

/// How many random commands; `make conformance` takes 100,000.
fn at_least() -> usize {
    std::env::var("GRATIS_CONFORMANCE").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

#[tokio::test]
async fn random_commands_on_the_embedded_store_give_what_the_rules_give() {
    compare_all(&EmbeddedMaker(temp()), "embedded", at_least()).await;
}

#[test]
fn the_transcripts_on_the_embedded_store_come_out_as_written() {
    play_all(&EmbeddedMaker(temp()), "embedded");
}

#[tokio::test]
async fn random_commands_on_redis_give_what_the_rules_give() {
    let server = in_memory();
    compare_all(&RedisMaker::new(server.url()), "redis", at_least()).await;
}

#[test]
fn the_transcripts_on_redis_come_out_as_written() {
    let server = in_memory();
    play_all(&RedisMaker::new(server.url()), "redis");
}

#[tokio::test]
async fn random_commands_on_a_cluster_give_what_the_rules_give() {
    let cluster = Cluster::of_masters();
    compare_all(&RedisMaker::new(cluster.url()), "cluster of 3 masters", at_least()).await;
}

#[test]
fn the_transcripts_on_a_cluster_come_out_as_written() {
    let cluster = Cluster::of_masters();
    play_all(&RedisMaker::new(cluster.url()), "cluster of 3 masters");
}
