//! A process that is killed forgets nothing that it was told, and spends nothing twice (F-EMB-1, F-EMB-5, F-EMB-6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use gratis::ledger::{HoldId, HoldState, MAX_AMOUNT};
use gratis::store::LedgerStore;
use gratis::store::embedded::Embedded;

use crate::store_child::{child, said};
use crate::store_support::*;

/// The grant: never used up here.
const GRANTED: u64 = MAX_AMOUNT / 16;

/// What the children said, over all rounds.
#[derive(Default)]
struct Told {
    admitted: BTreeMap<u128, u64>,
    settling: BTreeMap<u128, u64>,
}

impl Told {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let book = match words[0] {
                "admitted" => &mut self.admitted,
                "settling" => &mut self.settling,
                _ => continue,
            };
            book.insert(words[1].parse().unwrap(), words[2].parse().unwrap());
        }
    }

    /// Every hold that was admitted is presumed or settled as it was said, and the counters are the sums of exactly that.
    fn agrees_with(&self, book: &gratis::ledger::Book) {
        let presumed: BTreeSet<u128> = book
            .holds
            .iter()
            .filter(|(_, hold)| hold.state == HoldState::Presumed)
            .map(|(HoldId(id), _)| *id)
            .collect();
        for (id, amount) in &self.admitted {
            let settling = self.settling.contains_key(id);
            assert!(settling || presumed.contains(id), "hold {id} of {amount} was admitted and is forgotten");
        }
        let spent: u64 = self.settling.iter().filter(|(id, _)| !presumed.contains(id)).map(|(_, used)| used).sum();
        let taken: u64 = book.holds.values().filter(|h| h.state == HoldState::Presumed).map(|hold| hold.amount).sum();
        let known: u64 = presumed.iter().filter_map(|id| self.admitted.get(id)).sum();
        assert!(known <= taken);
        assert_eq!(balance_of(book), figures(GRANTED, 0, spent, taken));
    }
}

async fn fresh(dir: &Path) {
    funded(dir, &gratis::clock::Clock::system(), GRANTED).await.close().await.unwrap();
}

fn kill_after(mut child: Child, pause: Duration) -> Vec<String> {
    std::thread::sleep(pause);
    // It may have ended by itself.
    let _ = child.kill();
    said(&child.wait_with_output().unwrap().stdout)
}

#[tokio::test]
async fn kill_at_any_instant_forgets_nothing_and_spends_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    fresh(dir.path()).await;
    let mut told = Told::default();
    let mut pause = 7;
    // On a busy machine a child comes to little before it is killed: then there are more of them.
    for round in 0..500 {
        if round >= 50 && told.admitted.len() > 1_000 {
            break;
        }
        pause = (pause * 31 + 17) % 97;
        let running = child(&[], "spend", dir.path()).spawn().unwrap();
        let lines = kill_after(running, Duration::from_millis(pause + 3));
        assert!(!lines.iter().any(|line| line.starts_with("refused") || line.starts_with("failed")), "{lines:?}");
        told.hear(&lines);
        let store = Embedded::open(settings(dir.path()), gratis::clock::Clock::system()).unwrap();
        assert_eq!(store.opening().recovery, None, "round {round}");
        told.agrees_with(&book(&store).await);
        if round % 3 == 0 {
            store.close().await.unwrap();
        }
    }
    assert!(told.admitted.len() > 1_000, "the children did next to nothing: {}", told.admitted.len());
}

/// Runs a child into a failing disk: it must stop by itself, admit nothing more, and what it admitted must be found.
async fn fails(wrapper: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fresh(dir.path()).await;
    let mut command: Command = child(wrapper, "spend", dir.path());
    let output =
        command.output().unwrap_or_else(|error| panic!("{wrapper:?}: {error} (this test needs sh and strace)"));
    let lines = said(&output.stdout);
    let last = lines.last().cloned().unwrap_or_default();
    assert_eq!(last, "ended check=false close=false", "{}", String::from_utf8_lossy(&output.stdout));
    let failure = lines.iter().find(|line| line.starts_with("failed")).unwrap().clone();
    assert!(failure.starts_with("failed store unavailable: "), "{failure}");
    let mut told = Told::default();
    told.hear(&lines);
    assert!(!told.admitted.is_empty(), "it failed before it began");
    let store = Embedded::open(settings(dir.path()), gratis::clock::Clock::system()).unwrap();
    assert_eq!(store.opening().recovery, Some("a write failed when it last ran"));
    let book = book(&store).await;
    let balance = balance_of(&book);
    let mut least = 0;
    for (id, amount) in &told.admitted {
        match state_of(&book, *id) {
            Some(state) => assert_eq!(state, HoldState::Presumed),
            None => assert!(told.settling.contains_key(id), "hold {id} of {amount} is forgotten"),
        }
        least += told.settling.get(id).unwrap_or(amount);
    }
    assert!(balance.spent + balance.presumed >= least, "{balance:?} is less than {least}");
    assert_eq!(balance.held, 0);
    store.check().await.unwrap();
    failure
}

#[tokio::test]
async fn a_full_disk_stops_admissions_and_loses_nothing() {
    // A limit on the size of files stands in for a full disk: the write that passes it fails.
    let failure = fails(&["sh", "-c", "trap '' XFSZ; ulimit -f 1200; exec \"$0\" \"$@\""]).await;
    assert!(failure.contains("failed"), "{failure}");
}

#[tokio::test]
async fn a_failed_fsync_is_never_tried_again() {
    // The first syncs belong to the opening; one of the later ones is made to fail.
    let inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e"];
    let failure = fails(&[&inject[..], &["inject=fdatasync,fsync:error=EIO:when=9"]].concat()).await;
    assert!(failure.contains("I/O"), "{failure}");
}

#[tokio::test]
async fn a_failed_write_is_never_tried_again() {
    let inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"];
    let failure = fails(&[&inject[..], &["inject=pwrite64:error=ENOSPC:when=60"]].concat()).await;
    assert!(failure.contains("full") || failure.contains("lock file"), "{failure}");
}
