//! Whether the store is the one that this replica knows, and not an older state of it (LEDGER 4).
//!
//! A replica counts up a beat of its own in each master and remembers on its own disk what it last read, with the run id of the
//! server: first written to Redis, then remembered, so that what is remembered is never ahead. A server with another run id may have
//! lost what it acknowledged last; one with a lower beat has. Both stop everything until an operator says `gratis store resume`,
//! which raises the ledger's epoch: a replica that meets a higher epoch forgets what it remembered and takes what is there. One change goes on by
//! itself: a replica that was promoted in the place of a primary whose writes it acknowledged.

use std::collections::BTreeMap;
use std::fmt;

use super::super::journal::Remembered;
use super::class::Class;
use super::facts::Facts;
use super::layout::{Seat, slot};

/// A master as it was seen last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    run: String,
    history: String,
    address: String,
    /// The hash tag of the beat's key: a short figure whose slot is one of the master's.
    tag: String,
    /// Whether each replica acknowledged what was written there.
    waited: bool,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, history, address, tag, waited } = self;
        write!(f, "{run} {history} {address} {tag} {}", if *waited { "waited" } else { "-" })
    }
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let &[run, history, address, tag, waited] = words.as_slice() else { return None };
        let [run, history, address, tag] = [run, history, address, tag].map(str::to_owned);
        Some(Self { run, history, address, tag, waited: waited == "waited" })
    }
}

/// What stands in the ledger's own key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Meta {
    /// The ledger's own id; `None` = there is none, or one that was begun and not completed.
    pub(super) ledger: Option<String>,
    pub(super) epoch: u64,
}

/// A master as it is now.
pub(super) struct Member {
    pub(super) seat: Seat,
    /// None while it cannot be reached.
    pub(super) found: Option<(Facts, Class)>,
}

/// Why nothing is admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Halt {
    /// There is no ledger, and none was seen.
    NotInitialised,
    /// It goes on by itself when a server answers.
    Unreachable(String),
    /// A setting of a server stands against the promise.
    Unfit(String),
    /// An operator has to look.
    Suspended(String),
}

/// A beat to be counted up, unless it is below what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beat {
    pub(super) member: usize,
    pub(super) tag: String,
    pub(super) floor: u64,
}

/// What is to be written before the store is used.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) ledger: String,
    pub(super) epoch: u64,
    pub(super) beats: Vec<Beat>,
    /// What is remembered of masters that cannot be reached.
    kept: BTreeMap<String, u64>,
}

/// Judges what is there by what is remembered. `meta` is none while its server cannot be reached.
pub(super) fn judge(remembered: &Remembered, meta: Option<&Meta>, members: &[Member]) -> Result<Plan, Halt> {
    let known = Meta { ledger: remembered.ledger.clone(), epoch: remembered.epoch };
    let meta = meta.unwrap_or(&known);
    let ledger = match (&meta.ledger, &remembered.ledger) {
        (None, None) => return Err(Halt::NotInitialised),
        (None, Some(before)) => return Err(gone(before)),
        (Some(now), Some(before)) if now != before => return Err(another(now, before)),
        (Some(now), _) => now.clone(),
    };
    if meta.epoch < remembered.epoch {
        return Err(older(&format!("its epoch is {}, and {} was seen", meta.epoch, remembered.epoch)));
    }
    let marks: Vec<(Mark, u64)> =
        remembered.runs.iter().filter_map(|(mark, &beat)| Some((Mark::parse(mark)?, beat))).collect();
    let mut plan = Plan { ledger, epoch: meta.epoch, beats: Vec::new(), kept: BTreeMap::new() };
    let owner = |mark: &Mark| members.iter().position(|member| member.seat.holds(slot(mark.tag.as_bytes())));
    let adopts = remembered.ledger.is_none() || meta.epoch > remembered.epoch;
    for (mark, beat) in &marks {
        match owner(mark).and_then(|place| Some((place, members.get(place)?))) {
            Some((place, member)) if member.found.is_some() => {
                if !adopts {
                    plan.beats.push(Beat { member: place, tag: mark.tag.clone(), floor: *beat });
                }
            }
            _ => drop(plan.kept.insert(mark.to_string(), *beat)),
        }
    }
    for (place, member) in members.iter().enumerate() {
        let Some((facts, class)) = &member.found else { continue };
        let is_known = marks.iter().any(|(mark, _)| mark.run == facts.run);
        let succeeds = |mark: &Mark| owner(mark) == Some(place) && follows(mark, member, facts, *class, members);
        if !adopts && !is_known && !marks.iter().any(|(mark, _)| succeeds(mark)) {
            return Err(unknown(&member.seat.address, &facts.run));
        }
        if !plan.beats.iter().any(|beat| beat.member == place) {
            let tag = tag_of(&member.seat).ok_or_else(|| Halt::Unreachable("a master without slots".to_owned()))?;
            plan.beats.push(Beat { member: place, tag, floor: 0 });
        }
    }
    if remembered.ledger.is_none() && members.iter().any(|member| member.found.is_none()) {
        return Err(Halt::Unreachable("not every master of the cluster can be reached".to_owned()));
    }
    Ok(plan)
}

/// Whether an unknown server is the replica that was promoted in the place of the marked one: it continues that one's history elsewhere, and
/// each write of that one was acknowledged by its replicas. A server that comes back at its own address was restarted.
fn follows(mark: &Mark, member: &Member, facts: &Facts, class: Class, members: &[Member]) -> bool {
    let still_there = members.iter().any(|member| matches!(&member.found, Some((facts, _)) if facts.run == mark.run));
    mark.waited
        && matches!(class, Class::Wait { .. })
        && mark.address != member.seat.address
        && facts.continued == mark.history
        && !still_there
}

impl Plan {
    /// What is remembered after the beats were written and read `at`, in the order of `beats`.
    pub(super) fn outcome(&self, at: &[u64], members: &[Member]) -> Remembered {
        let mut runs = self.kept.clone();
        let mut done = Vec::new();
        for (beat, &value) in self.beats.iter().zip(at) {
            let Some(member) = members.get(beat.member) else { continue };
            let Some((facts, class)) = &member.found else { continue };
            // A slot that moved brought its beat along: one for a master is enough.
            if done.contains(&beat.member) {
                continue;
            }
            done.push(beat.member);
            let mark = Mark {
                run: facts.run.clone(),
                history: facts.history.clone(),
                address: member.seat.address.clone(),
                tag: beat.tag.clone(),
                waited: matches!(class, Class::Wait { .. }),
            };
            runs.insert(mark.to_string(), value);
        }
        Remembered { ledger: Some(self.ledger.clone()), epoch: self.epoch, runs }
    }
}

/// A beat that is below what was seen.
pub(super) fn behind(address: &str, found: i64, floor: u64) -> Halt {
    older(&format!("the beat of this replica in {address} is {found}, and {floor} was seen"))
}

/// The smallest figure whose slot is one of the master's.
fn tag_of(seat: &Seat) -> Option<String> {
    // Each slot is the slot of a figure below 200,000.
    (0..200_000_u32).map(|figure| figure.to_string()).find(|tag| seat.holds(slot(tag.as_bytes())))
}

fn gone(before: &str) -> Halt {
    Halt::Suspended(format!(
        "the ledger {before} is no longer in the store: it was emptied or restarted without its disk, or store.url names another server or \
         database. Make store.url right, or bring the ledger back with `gratis store rebuild` and then `gratis store resume`"
    ))
}

fn another(now: &str, before: &str) -> Halt {
    Halt::Suspended(format!(
        "the store holds the ledger {now}, and the state folder of this replica belongs to {before}: make store.url, store.prefix or \
         store.state_dir right"
    ))
}

fn older(what: &str) -> Halt {
    Halt::Suspended(format!(
        "the store holds an older state than this replica saw ({what}): a snapshot was restored, or writes were lost. Compare it with \
         the replicas' journals by `gratis store rebuild`, then go on with `gratis store resume`"
    ))
}

fn unknown(address: &str, run: &str) -> Halt {
    Halt::Suspended(format!(
        "{address} was restarted or replaced (its run id {run} is new): what it acknowledged last may be missing. Compare it with the \
         replicas' journals by `gratis store rebuild` if it may have lost anything, then go on with `gratis store resume`"
    ))
}
