//! Random commands, each through one of several replicas: what their journals add up to is what the rules say, or more where one
//! of them did not stop cleanly.

use gratis::ledger::{AccountState, Book, Change, Command, Entry, Operation, apply};
use gratis::store::redis::journal::Journal;
use gratis::store::redis::journal::rebuild::{Figures, Plan};

use crate::journal_support::*;
use crate::store_model::Dice;
use crate::store_support::{account, key};

const REPLICAS: usize = 3;

struct Site {
    book: Book,
    dirs: Vec<tempfile::TempDir>,
    journals: Vec<Option<Journal>>,
    /// Whether a journal did not stop cleanly.
    killed: bool,
}

impl Site {
    fn new() -> Self {
        let dirs: Vec<_> = (0..REPLICAS).map(|_| tempfile::tempdir().unwrap()).collect();
        let journals = dirs.iter().map(|dir| Some(open(dir.path()))).collect();
        Self { book: Book::new(account(), "test", AccountState::Active, true), dirs, journals, killed: false }
    }

    /// Carries out a command in the store, through a replica.
    async fn step(&mut self, replica: usize, now: gratis::ledger::Timestamp, command: Command) {
        let mut changes = Vec::new();
        apply(&mut self.book, now, command, &mut changes);
        let available = |entry: &Entry| {
            let fund = entry.grant.and_then(|grant| self.book.fund(&entry.pool, grant));
            fund.map_or(0, |fund| fund.balance.available())
        };
        let entries: Vec<(Entry, i64)> = changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Entry(entry) => Some((entry.clone(), available(&entry))),
                _ => None,
            })
            .collect();
        let journal = self.journals[replica].as_ref().unwrap();
        if let Some(wait) = journal.append(&account(), entries, 0).unwrap() {
            wait.done().await.unwrap();
        }
    }

    async fn restart(&mut self, replica: usize, clean: bool) {
        self.stop(replica, clean).await;
        self.journals[replica] = Some(open(self.dirs[replica].path()));
    }

    async fn stop(&mut self, replica: usize, clean: bool) {
        let journal = self.journals[replica].take().unwrap();
        if clean {
            journal.close().await.unwrap();
        }
        self.killed |= !clean;
    }

    /// Compares the files with the book; every journal is stopped.
    fn compare(&self, what: &str) -> Plan {
        let dirs: Vec<_> = self.dirs.iter().map(tempfile::TempDir::path).collect();
        let plan = plan_of(&dirs);
        let empty = Default::default();
        let found = plan.accounts.get(&account()).unwrap_or(&empty);
        for (pool, state) in &self.book.pools {
            for fund in &state.grants {
                let sum = found.grants.get(&(pool.clone(), fund.grant.id)).copied().unwrap_or_default();
                let balance = fund.balance;
                let exact = Figures {
                    granted: balance.granted,
                    spent: balance.spent,
                    presumed: balance.presumed + balance.held,
                    open: balance.held,
                    doubt: 0,
                };
                assert!(sum.spent + sum.presumed >= balance.taken(), "{what}: {sum:?} is less than {balance:?}");
                assert_eq!(sum.granted, balance.granted, "{what}");
                if !self.killed {
                    assert_eq!(sum, exact, "{what}");
                }
            }
            if !self.killed {
                assert_eq!(found.billed.get(pool).copied().unwrap_or_default(), state.billed, "{what}");
            }
        }
        plan
    }
}

/// One in `kills` restarts is a kill; 0 = none.
async fn run(seed: u64, steps: u64, kills: u64) -> Plan {
    let (mut dice, mut site, clock) = (Dice(seed * 0x9e37_79b9 + 1), Site::new(), clock());
    let any = |dice: &mut Dice| usize::try_from(dice.below(REPLICAS as u64)).unwrap();
    site.step(0, clock.now(), Command::Operate(Operation::PutKey(key("key-1")))).await;
    for step in 0..steps {
        let (replica, command) = (any(&mut dice), dice.command());
        site.step(replica, clock.now(), command).await;
        clock.advance(dice.below(3_000));
        if dice.below(20) == 0 {
            let (replica, clean) = (any(&mut dice), kills == 0 || dice.below(kills) > 0);
            site.restart(replica, clean).await;
        }
        if dice.below(40) == 0 {
            for replica in 0..REPLICAS {
                let clean = kills == 0 || dice.below(kills) > 0;
                site.stop(replica, clean).await;
            }
            site.compare(&format!("seed {seed} step {step}"));
            for replica in 0..REPLICAS {
                site.journals[replica] = Some(open(site.dirs[replica].path()));
            }
        }
    }
    for replica in 0..REPLICAS {
        site.stop(replica, true).await;
    }
    site.compare(&format!("seed {seed} at the end"))
}

#[tokio::test]
async fn clean_journals_add_up_to_the_store() {
    for seed in 1..=6 {
        let plan = run(seed, 250, 0).await;
        assert!(plan.accounts[&account()].grants.len() > 3, "seed {seed} did next to nothing");
    }
}

#[tokio::test]
async fn journals_that_were_killed_add_up_to_at_least_the_store() {
    let mut doubtful = 0;
    for seed in 11..=18 {
        let plan = run(seed, 250, 3).await;
        doubtful += plan.accounts[&account()].grants.values().filter(|figures| figures.doubt > 0).count();
    }
    assert!(doubtful > 3, "the kills took next to nothing: {doubtful}");
}
