//! Journals that are torn, damaged or older: refused, or never less than what was taken (F-EMB-2, 3, 4).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gratis::store::redis::journal::Journal;
use gratis::store::redis::journal::rebuild::plan;

use crate::journal_support::*;

const FILES: [&str; 3] = ["replica.db", "replica.db-wal", "replica.lock"];

type Files = BTreeMap<&'static str, Vec<u8>>;

fn copy(dir: &Path) -> Files {
    FILES.iter().filter_map(|name| Some((*name, fs::read(dir.join(name)).ok()?))).collect()
}

fn put(dir: &Path, files: &Files) {
    for name in FILES {
        match files.get(name) {
            Some(bytes) => fs::write(dir.join(name), bytes).unwrap(),
            None => drop(fs::remove_file(dir.join(name))),
        }
    }
    drop(fs::remove_file(dir.join("replica.db-shm")));
}

/// A journal whose process has died, and the length of its log after each commit that was waited for, with the most that was taken
/// before the next one.
struct Dead {
    last: Files,
    durable: Vec<(usize, u64)>,
    truth: u64,
}

async fn dead(calls: u64) -> Dead {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, &[granted(1_000_000)]).await;
    let length = || fs::metadata(dir.path().join("replica.db-wal")).map_or(0, |file| file.len() as usize);
    let (mut durable, mut taken) = (vec![(length(), 0)], 0);
    for call in 1..=calls {
        let (hold, amount, used) = (u128::from(call), 2_000 + call % 7 * 100, call % 1_300);
        let reserve = with(500_000 - taken as i64, &[reserved(hold, amount as i64)]);
        taken += amount;
        if let Some(wait) = journal.append(&crate::store_support::account(), reserve, call).unwrap() {
            wait.done().await.unwrap();
            durable.push((length(), taken));
        }
        let (_, most) = durable.last_mut().unwrap();
        *most = taken.max(*most);
        if call % 3 > 0 {
            append(&journal, &[settled(hold, amount as i64, used as i64)]).await;
            taken = taken - amount + used;
        }
    }
    journal.entries(&crate::store_support::account(), None, 1).await.unwrap();
    drop(journal);
    Dead { last: copy(dir.path()), durable, truth: taken }
}

#[tokio::test]
async fn at_every_durable_commit_the_promise_covers_what_follows() {
    let dead = dead(150).await;
    assert!(dead.durable.len() > 3, "{:?}", dead.durable);
    let dir = tempfile::tempdir().unwrap();
    for (length, most) in &dead.durable {
        let mut torn = dead.last.clone();
        torn.get_mut("replica.db-wal").unwrap().truncate(*length);
        // As if the machine had stopped there: no later note in the lock file.
        torn.remove("replica.lock");
        put(dir.path(), &torn);
        let sum = figures(&plan_of(&[dir.path()]));
        assert!(sum.spent + sum.presumed >= *most, "log of {length}: {sum:?} is less than {most}");
        // The same after it was opened and went on.
        drop(open(dir.path()));
        let again = figures(&plan_of(&[dir.path()]));
        assert!(again.spent + again.presumed >= *most, "log of {length}: {again:?} is less than {most}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_anywhere_is_older_or_covers_what_was_taken() {
    const FRAME: usize = 4_096 + 24;
    let dead = dead(24).await;
    let whole = dead.last["replica.db-wal"].len();
    let (durable, _) = *dead.durable.last().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut older, mut sound) = (0, 0);
    for cut in (0..=whole).step_by(FRAME / 3) {
        let mut torn = dead.last.clone();
        torn.get_mut("replica.db-wal").unwrap().truncate(cut);
        put(dir.path(), &torn);
        match plan(&[file(dir.path())]) {
            Ok(plan) => {
                sound += 1;
                let sum = figures(&plan);
                assert!(sum.spent + sum.presumed >= dead.truth, "cut at {cut}: {sum:?} is less than {}", dead.truth);
            }
            Err(error) => {
                older += 1;
                assert!(error.to_string().contains("older than the journal"), "cut at {cut}: {error}");
                assert!(cut < durable, "cut at {cut} lost nothing that was durable");
                let opened = Journal::open(dir.path(), BLOCK, clock()).unwrap_err().to_string();
                assert!(opened.contains("older than the journal"), "{opened}");
            }
        }
    }
    assert!(older > 2 && sound > 2, "{older} {sound}");
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, &[granted(1_000_000), reserved(1, 500)]).await;
    append(&journal, &[settled(1, 500, 77), reserved(2, 9)]).await;
    journal.close().await.unwrap();
    drop(journal);
    let whole = copy(dir.path());
    let sound = plan_of(&[dir.path()]);
    let bytes = &whole["replica.db"];
    let (mut refused, mut tried) = (0, 0);
    for at in (0..bytes.len()).filter(|at| bytes[*at] != 0) {
        let mut flipped = whole.clone();
        flipped.get_mut("replica.db").unwrap()[at] ^= 1;
        put(dir.path(), &flipped);
        tried += 1;
        let Ok(found) = plan(&[file(dir.path())]) else {
            refused += 1;
            continue;
        };
        assert_eq!((&found.accounts, &found.missing), (&sound.accounts, &sound.missing), "byte {at}");
    }
    println!("{refused} of {tried} refused");
    assert!(refused > 50, "{refused} of {tried}");
}

#[tokio::test]
async fn an_older_copy_that_is_put_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, &[granted(1_000_000)]).await;
    journal.close().await.unwrap();
    drop(journal);
    let older = fs::read(file(dir.path())).unwrap();
    let journal = open(dir.path());
    append(&journal, &[reserved(1, 5_000)]).await;
    journal.close().await.unwrap();
    drop(journal);
    fs::write(file(dir.path()), older).unwrap();
    drop(fs::remove_file(dir.path().join("replica.db-wal")));
    drop(fs::remove_file(dir.path().join("replica.db-shm")));
    let error = Journal::open(dir.path(), BLOCK, clock()).unwrap_err().to_string();
    assert!(error.contains("older than the journal"), "{error}");
}
