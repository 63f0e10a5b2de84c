//! What holds after every step of any sequence of commands.

use std::collections::BTreeMap;

use gratis::ledger::{AccountState, Book, Command, HoldId, HoldState, Outcome, Timestamp, apply};
use proptest::prelude::{ProptestConfig, any, proptest};

use super::mirror::Mirror;
use super::step::{Step, check};
use super::transcripts::{every_name, name};
use crate::book::random::random_commands;

fn empty() -> Book {
    Book::new("acme".into(), "here", AccountState::Active, false)
}

/// Runs the commands of a seed and checks each step; calls `seen` with each outcome's name.
fn run(seed: u64, n: usize, mut seen: impl FnMut(String)) {
    let mut book = empty();
    let mut mirror = Mirror::new(empty());
    for (number, (now, command)) in random_commands(seed, n).into_iter().enumerate() {
        // What expires first is a step of its own here, so that a refusal can be seen to change nothing at all.
        let limit = gratis::ledger::EXPIRE_AT_MOST;
        let upkeep =
            matches!(command, Command::Reserve(_) | Command::Resolve { .. }).then_some(Command::Expire { limit });
        for command in upkeep.into_iter().chain([command]) {
            let before = book.clone();
            let mut changes = Vec::new();
            let outcome = apply(&mut book, now, command.clone(), &mut changes);
            mirror.follow(&book, &changes);
            let step = Step { now, command: &command, outcome: &outcome, changes: &changes, before: &before };
            if let Err(why) = check(&step, &book).and_then(|()| mirror.compare(&book)) {
                panic!("seed {seed}, step {number}: {why}\n{command:?}\n{outcome:?}\n{changes:#?}");
            }
            seen(name(&outcome));
        }
    }
}

#[test]
fn every_outcome_is_common_among_random_commands_and_every_step_holds() {
    let mut counts: BTreeMap<String, u32> = every_name().into_iter().map(|name| (name, 0)).collect();
    let mut commands = 0;
    for seed in 0..100 {
        run(seed, 1_000, |name| {
            commands += 1;
            *counts.entry(name).or_insert(0) += 1;
        });
    }
    println!("{commands} steps, of them {} expiries before a step of 100,000 commands", commands - 100_000);
    for (name, count) in &counts {
        println!("{count:>7}  {name}");
    }
    // A repeat of a final hold comes in each of the states; together they are one outcome.
    let rare: Vec<_> = counts.iter().filter(|(_, count)| **count < 500).collect();
    assert!(rare.is_empty(), "seen less than 500 times in 100,000 commands: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_book_and_a_shorter_run_is_its_start() {
    let (long, short) = (random_commands(7, 900), random_commands(7, 400));
    assert_eq!(long[..400], short[..]);
    let play = || {
        let (mut book, mut changes) = (empty(), Vec::new());
        let outcomes: Vec<_> =
            long.iter().map(|(now, command)| apply(&mut book, *now, command.clone(), &mut changes)).collect();
        (book, changes, outcomes)
    };
    assert_eq!(play(), play());
}

/// Only so many holds are posted at a time; one that is due and still waits must not carry a call.
#[test]
fn a_repeat_of_a_hold_that_is_due_but_not_posted_yet_does_not_go_on() {
    let mut reserve = super::state::request(0, 0);
    let mut book = super::world::World::new(super::world::Kind::Replicas).book;
    (reserve.ask.input, reserve.ask.named, reserve.ask.least) = (0, 0, 0);
    for hold in 0..40 {
        reserve.hold = HoldId(hold);
        let outcome = apply(&mut book, Timestamp(0), Command::Reserve(reserve.clone()), &mut Vec::new());
        assert!(matches!(outcome, Outcome::Admitted(_)));
    }
    let late = apply(&mut book, Timestamp(reserve.lease_ms), Command::Reserve(reserve), &mut Vec::new());
    assert_eq!(late, Outcome::AlreadyResolved(HoldState::Open));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The number of commands shrinks to the first one that breaks something.
    #[test]
    fn any_sequence_keeps_the_book_in_order(seed in any::<u64>(), n in 1_usize..300) {
        run(seed, n, |_| {});
    }
}
