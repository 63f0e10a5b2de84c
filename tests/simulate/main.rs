//! Deterministic simulation of the request path against the ledger: one thread, one seed, a clock that is a number.
//!
//! A schedule is a queue of events in the order of their instants: calls arrive, questions and answers travel to the store and may be
//! lost, delayed or come twice, replies come in pieces or break off, processes stop, pause, die and start again, disks fail, power is
//! lost, clocks jump, leases run out, tasks end, an operator changes things. What decides is the real code: the rules of the ledger,
//! the watermark of the embedded store, the observers of replies and polls, and the rules of the request path (`proxy::rules`). The
//! upstream keeps its own count.
//!
//! `make simulate` runs a million; `GRATIS_SEED=n` runs one and prints what happened in it; `GRATIS_SCHEDULES` says how many.
#![cfg(test)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop where something is not as it should be"
)]

mod books;
mod bugs;
mod calls;
mod calm;
mod dice;
mod disk;
mod faults;
mod replies;
mod settle;
mod tasks;
mod upstream;
mod world;

use bugs::{BUGS, Bug};
use calm::{Broken, Invariant, Tally};

/// Schedules of the run that is part of every test run.
const SMOKE: u64 = 3_000;

/// So many schedules have to be enough to find a mistake.
const ENOUGH: u64 = 20_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn run(seed: u64, bug: Option<Bug>, told: bool) -> Result<Tally, Broken> {
    world::World::new(seed, bug, told).run()
}

#[test]
fn every_schedule_keeps_the_invariants() {
    if let Some(seed) = variable("GRATIS_SEED") {
        let tally = run(seed, None, true).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        println!("seed {seed}: {tally:?}");
        return;
    }
    let schedules = variable("GRATIS_SCHEDULES").unwrap_or(SMOKE);
    let mut sum = Tally::default();
    for seed in 0..schedules {
        match run(seed, None, false) {
            Ok(tally) => sum.add(&tally),
            Err(broken) => panic!("seed {seed}: {broken}\nGRATIS_SEED={seed} shows the way there"),
        }
        if (seed + 1) % 50_000 == 0 {
            println!("seeds 0..{}: {sum:?}", seed + 1);
        }
    }
    println!("seeds 0..{schedules}: {sum:?}");
    let rare = sum.rare();
    assert!(schedules < SMOKE || rare.is_empty(), "hardly ever happened in {schedules} schedules: {rare:?}");
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..50 {
        let twice = [run(seed, None, false), run(seed, None, false)].map(|tally| format!("{tally:?}"));
        assert_eq!(twice[0], twice[1]);
    }
}

#[test]
fn every_seeded_bug_is_found() {
    for (bug, expected) in BUGS {
        let found = (0..ENOUGH).find_map(|seed| run(seed, Some(bug), false).err().map(|broken| (seed, broken)));
        let Some((seed, broken)) = found else { panic!("{bug:?} was not found in {ENOUGH} schedules") };
        println!("{bug:?}: seed {seed}, {broken}");
        assert!(expected.contains(&broken.invariant), "{bug:?}: seed {seed}, {broken}");
    }
}

#[test]
fn every_invariant_is_broken_by_a_bug() {
    for invariant in Invariant::ALL {
        assert!(BUGS.iter().any(|(_, expected)| expected.contains(&invariant)), "{invariant:?}");
    }
}
