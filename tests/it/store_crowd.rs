//! Calls of one account that come at once go to the shared store as one script: what comes of them is what the rules give for the
//! same calls one after the other, in some order.

use futures_util::future::join_all;
use gratis::clock::Clock;
use gratis::ledger::{
    AccountState, Book, Command, Operation, Origin, Outcome, Reserve, Resolution, Timestamp, Usage, apply,
};
use gratis::store::Store;

use crate::book::random::random_commands;
use crate::store_conformance::{ACCOUNT, Maker, RedisMaker, carry_out, in_memory, is_upkeep, opened, turn};
use crate::store_support::{ask, grant, key, pool, without_finals};
use crate::support::redis::{Cluster, Server};

/// Commands of an operator go alone; so many others at most come at once.
const AT_ONCE: usize = 6;

/// What was asked, and what was answered.
type Call = (Command, Outcome);

fn ended(mut book: Book, at: Timestamp) -> Book {
    apply(&mut book, at, Command::Expire { limit: usize::MAX }, &mut Vec::new());
    book
}

/// Looks for an order in which the rules give these answers and leave the book as it is seen; answers that book.
fn order(book: &Book, at: Timestamp, calls: &[&Call], seen: &Book) -> Option<Book> {
    if calls.is_empty() {
        let book = ended(book.clone(), at);
        return (without_finals(book.clone()) == *seen).then_some(book);
    }
    calls.iter().enumerate().find_map(|(next, (command, said))| {
        let mut book = book.clone();
        let expected = apply(&mut book, at, command.clone(), &mut Vec::new());
        let others: Vec<&Call> =
            calls.iter().enumerate().filter(|(at, _)| *at != next).map(|(_, call)| *call).collect();
        if expected == *said { order(&book, at, &others, seen) } else { None }
    })
}

async fn at_once(store: &dyn Store, book: Book, at: Timestamp, commands: Vec<Command>, place: &str) -> Book {
    let answers = join_all(commands.iter().map(|command| carry_out(store, command.clone()))).await;
    let calls: Vec<Call> = commands.into_iter().zip(answers).collect();
    let seen = without_finals(store.book(&ACCOUNT.into()).await.unwrap());
    let found = order(&book, at, &calls.iter().collect::<Vec<_>>(), &seen);
    found.unwrap_or_else(|| panic!("{place}: no order gives this\n{calls:#?}\nfrom {book:#?}\nto {seen:#?}"))
}

async fn compare(maker: &impl Maker, seed: u64) {
    let commands: Vec<_> =
        random_commands(seed, 1_000).into_iter().filter(|(_, command)| !is_upkeep(command)).collect();
    let clock = Clock::by_hand(commands[0].0);
    let store = opened(maker, &clock, AccountState::Active, false).await;
    let mut pure = Book::new(ACCOUNT.into(), "here", AccountState::Active, false);
    let mut rest = commands.as_slice();
    while let Some(((_, first), _)) = rest.split_first() {
        let is_call = |command: &Command| !matches!(command, Command::Operate(_));
        let count = rest.iter().take(AT_ONCE).take_while(|(_, command)| is_call(command)).count();
        let count = if is_call(first) { count } else { 1 };
        let (crowd, others) = rest.split_at(count);
        let at = crowd[count - 1].0;
        turn(&clock, at);
        let place = format!("seed {seed}, {} before the end", rest.len());
        let crowd = crowd.iter().map(|(_, command)| command.clone()).collect();
        pure = at_once(&*store, pure, at, crowd, &place).await;
        rest = others;
    }
}

#[tokio::test]
async fn random_crowds_give_what_the_rules_give_in_some_order() {
    let server = in_memory();
    let maker = RedisMaker::new(server.url());
    for seed in 0..6 {
        compare(&maker, seed).await;
    }
}

#[tokio::test]
async fn random_crowds_on_a_cluster_give_what_the_rules_give_in_some_order() {
    let cluster = Cluster::of_masters();
    let maker = RedisMaker::new(cluster.url());
    for seed in 100..103 {
        compare(&maker, seed).await;
    }
}

/// How many scripts the server was asked for so far.
fn scripts(server: &Server) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
    line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
}

async fn funded(maker: &RedisMaker, amount: u64) -> Box<dyn Store> {
    let clock = Clock::by_hand(Timestamp(1_800_000_000_000));
    let store = opened(maker, &clock, AccountState::Active, true).await;
    for operation in [Operation::PutKey(key("key-1")), grant(amount)] {
        carry_out(&*store, Command::Operate(operation)).await;
    }
    store
}

fn settle(hold: u128, output: u64) -> Command {
    let resolution = Resolution::Settle(Usage { input: 0, output });
    let Reserve { hold, key, model, pool, .. } = ask(hold, 1);
    Command::Resolve { hold, resolution, origin: Some(Origin { key, model, pool }) }
}

#[tokio::test]
async fn two_hundred_calls_at_once_take_a_few_scripts_and_no_token_too_many() {
    let server = in_memory();
    let store = funded(&RedisMaker::new(server.url()), 15_000).await;
    let before = scripts(&server);
    let asks = (0..200).map(|hold| carry_out(&*store, Command::Reserve(ask(hold, 100))));
    let admitted: Vec<u128> = (0..200)
        .zip(join_all(asks).await)
        .filter(|(_, said)| matches!(said, Outcome::Admitted(_)))
        .map(|(hold, _)| hold)
        .collect();
    // Those that do not fit are asked about once more, alone.
    assert_eq!((admitted.len(), scripts(&server) - before), (150, 4 + 50));
    let before = scripts(&server);
    join_all(admitted.iter().map(|hold| carry_out(&*store, settle(*hold, 60)))).await;
    assert_eq!(scripts(&server) - before, 3);
    let book = store.book(&ACCOUNT.into()).await.unwrap();
    let balance = book.pools[&pool()].grants[0].balance;
    assert_eq!((balance.held, balance.spent), (0, 150 * 60));
}
