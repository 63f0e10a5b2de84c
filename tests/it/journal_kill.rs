//! A replica that is killed, or whose disk fails, forgets no settlement that waits and nothing that was taken (F-SET-1, F-EMB-1, 5, 6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::journal_support::*;
use crate::store_child::{child, said};

/// What the children said, over all rounds.
#[derive(Default)]
struct Told {
    took: BTreeMap<u128, u64>,
    used: BTreeMap<u128, u64>,
    parked: BTreeSet<u128>,
    unparking: BTreeSet<u128>,
    parking: BTreeSet<u128>,
}

impl Told {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let id = || words[1].parse::<u128>().unwrap();
            let amount = || words[2].parse::<u64>().unwrap();
            match words[0] {
                "took" => drop(self.took.insert(id(), amount())),
                "used" => drop(self.used.insert(id(), amount())),
                "parking" => drop(self.parking.insert(id())),
                "parked" => drop(self.parked.insert(id())),
                "unparking" => drop(self.unparking.insert(id())),
                _ => {}
            }
        }
    }

    /// What the upstream may have charged.
    fn truth(&self) -> u64 {
        self.took.iter().map(|(id, amount)| self.used.get(id).unwrap_or(amount)).sum()
    }

    fn agrees_with(&self, dir: &Path) {
        let sum = figures(&plan_of(&[dir]));
        assert!(sum.spent + sum.presumed >= self.truth(), "{sum:?} is less than {}", self.truth());
        let waiting: Vec<u128> = open(dir).parked().iter().map(|parked| parked.hold.0).collect();
        let once: BTreeSet<u128> = waiting.iter().copied().collect();
        assert_eq!(once.len(), waiting.len(), "a settlement waits twice");
        for id in &self.parked {
            assert!(once.contains(id) || self.unparking.contains(id), "the settlement of {id} is forgotten");
        }
        assert!(once.is_subset(&self.parking), "a settlement waits that nobody parked");
    }
}

async fn fresh(dir: &Path) {
    let journal = open(dir);
    append(&journal, &[granted(1 << 40)]).await;
    journal.close().await.unwrap();
}

#[tokio::test]
async fn kill_at_any_instant_forgets_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    fresh(dir.path()).await;
    let mut told = Told::default();
    let mut pause = 7;
    // On a busy machine a child comes to little before it is killed: then there are more of them.
    for round in 0..250 {
        if round >= 25 && told.took.len() > 1_000 && told.parked.len() > 100 {
            break;
        }
        pause = (pause * 31 + 17) % 97;
        let mut running = child(&[], "journal-spend", dir.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause + 20));
        // It may have ended by itself.
        let _ = running.kill();
        let lines = said(&running.wait_with_output().unwrap().stdout);
        assert!(!lines.iter().any(|line| line.starts_with("refused") || line.starts_with("failed")), "{lines:?}");
        told.hear(&lines);
        told.agrees_with(dir.path());
    }
    assert!(
        told.took.len() > 1_000 && told.parked.len() > 100,
        "the children did next to nothing: {}",
        told.took.len()
    );
}

/// Runs a child into a failing disk: it must stop by itself and take nothing more, and what it took must be found.
async fn fails(wrapper: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fresh(dir.path()).await;
    let output = child(wrapper, "journal-spend", dir.path())
        .output()
        .unwrap_or_else(|error| panic!("{wrapper:?}: {error} (this test needs sh and strace)"));
    let lines = said(&output.stdout);
    assert_eq!(lines.last().map(String::as_str), Some("ended check=false close=false"), "{lines:?}");
    let failure = lines.iter().find(|line| line.starts_with("failed")).unwrap().clone();
    assert!(failure.starts_with("failed store unavailable: "), "{failure}");
    let mut told = Told::default();
    told.hear(&lines);
    assert!(!told.took.is_empty(), "it failed before it began");
    told.agrees_with(dir.path());
    failure
}

#[tokio::test]
async fn a_full_disk_ends_all_writing() {
    // A limit on the size of files stands in for a full disk: the write that passes it fails.
    fails(&["sh", "-c", "trap '' XFSZ; ulimit -f 1200; exec \"$0\" \"$@\""]).await;
}

#[tokio::test]
async fn a_failed_fsync_is_never_tried_again() {
    let inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e"];
    let failure = fails(&[&inject[..], &["inject=fdatasync,fsync:error=EIO:when=9"]].concat()).await;
    assert!(failure.contains("I/O"), "{failure}");
}
