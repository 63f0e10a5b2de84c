//! Every interleaving of the small world, breadth first: what is found first is found by the shortest way.

use std::collections::HashSet;
use std::fmt::Write;

use super::bugs::{BUGS, Bug};
use super::invariants::{Done, Invariant, broken};
use super::world::{Action, Kind, World};

/// What a walk came to.
struct Walk {
    states: usize,
    transitions: usize,
    depth: usize,
    /// The invariant that does not hold, and the way there.
    broken: Option<(Invariant, Vec<Action>)>,
}

fn walk(kind: Kind, bug: Option<Bug>) -> Walk {
    let first = World::new(kind);
    let mut seen = HashSet::from([first.state()]);
    // By what action each state was first reached, and from which one.
    let mut reached: Vec<(usize, Action)> = vec![(0, Action::Tick)];
    let mut layer = vec![(0, first)];
    let (mut transitions, mut depth) = (0, 0);
    while !layer.is_empty() {
        let mut next = Vec::new();
        for (from, before) in &layer {
            for action in before.actions(kind) {
                let mut world = before.clone();
                let outcome = world.act(kind, bug, action);
                transitions += 1;
                let done = Done { kind, bug, action, before, outcome: outcome.as_ref() };
                if let Some(invariant) = broken(&done, &world) {
                    let mut way = vec![action];
                    let mut at = *from;
                    while at != 0 {
                        way.push(reached[at].1);
                        at = reached[at].0;
                    }
                    way.reverse();
                    return Walk { states: seen.len(), transitions, depth, broken: Some((invariant, way)) };
                }
                if seen.insert(world.state()) {
                    reached.push((*from, action));
                    next.push((reached.len() - 1, world));
                }
            }
        }
        depth += usize::from(!next.is_empty());
        layer = next;
    }
    Walk { states: seen.len(), transitions, depth, broken: None }
}

/// A way through the world as an account book.
fn account_book(kind: Kind, bug: Option<Bug>, way: &[Action]) -> String {
    let mut world = World::new(kind);
    let mut text = String::new();
    for action in way {
        let outcome = world.act(kind, bug, *action);
        let said = outcome.map_or(String::new(), |outcome| format!("{:?}", super::transcripts::name(&outcome)));
        let balance = world.balance();
        let (held, spent, presumed) = (balance.held, balance.spent, balance.presumed);
        let (now, truth, action) = (world.now, world.truth, format!("{action:?}"));
        let left = balance.available();
        writeln!(
            text,
            "  tick {now}  {action:<14} {said:<26} held {held:>2}  spent {spent:>2}  presumed {presumed:>2}  left {left:>2}  charged {truth:>2}"
        )
        .unwrap();
    }
    text
}

fn walk_through(kind: Kind) {
    let walk = walk(kind, None);
    let Walk { states, transitions, depth, .. } = walk;
    println!("{kind:?}: {states} states, {transitions} transitions, depth {depth}");
    if let Some((invariant, way)) = walk.broken {
        panic!("{kind:?}: {invariant:?} does not hold\n{}", account_book(kind, None, &way));
    }
    assert!(states > 5_000 && depth > 12, "the world is smaller than it should be");
}

#[test]
fn every_interleaving_keeps_the_invariants_in_one_process() {
    walk_through(Kind::Embedded);
}

#[test]
fn every_interleaving_keeps_the_invariants_among_replicas() {
    walk_through(Kind::Replicas);
}

#[test]
fn every_interleaving_keeps_the_invariants_when_bounds_are_not_sound() {
    walk_through(Kind::Unsound);
}

#[test]
fn every_interleaving_keeps_the_invariants_while_the_grant_is_edited() {
    walk_through(Kind::Edited);
}

#[test]
fn every_seeded_bug_is_found_by_the_invariant_that_it_breaks() {
    for (bug, kind, expected) in BUGS {
        let walk = walk(kind, Some(bug));
        let Some((invariant, way)) = walk.broken else { panic!("{bug:?} was not found in {} states", walk.states) };
        let book = account_book(kind, Some(bug), &way);
        println!("{bug:?} breaks {invariant:?} after {} actions ({} states):\n{book}", way.len(), walk.states);
        assert_eq!(invariant, expected, "{bug:?}:\n{book}");
    }
}
