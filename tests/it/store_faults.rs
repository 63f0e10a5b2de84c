//! Files that are torn, damaged, foreign, older or elsewhere: refused, or never more quota (F-EMB-2, 3, 4, 8, 9, 11).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use gratis::clock::Clock;
use gratis::ledger::{HoldId, Resolution};
use gratis::store::LedgerStore;
use gratis::store::embedded::{Embedded, OpenError};
use rusqlite::Connection;

use crate::store_child::{child, said};
use crate::store_support::*;

/// A ledger whose process has died, the truth about it, and its files after each commit that was durable.
struct Dead {
    dir: tempfile::TempDir,
    /// What was taken in the end.
    truth: u64,
    /// The whole files.
    last: Files,
    /// The length of the log after each durable commit, with what was taken just before the next one.
    durable: Vec<(usize, u64)>,
}

async fn dead(calls: u128) -> Dead {
    let dir = tempfile::tempdir().unwrap();
    funded(dir.path(), &clock(), 100_000).await.close().await.unwrap();
    let store = open(dir.path()).unwrap();
    let length = || copy(dir.path()).get("ledger.db-wal").map_or(0, Vec::len);
    let mut durable = vec![(length(), 0)];
    let mut seen = store.figures().durable;
    for hold in 1..=calls {
        admit(&store, hold, 400 + u64::try_from(hold).unwrap() % 7 * 100).await;
        if hold % 3 > 0 {
            resolve(&store, hold, used(u64::try_from(hold).unwrap() % 300)).await;
        }
        let taken = balance(&store).await.taken();
        if store.figures().durable > seen {
            seen = store.figures().durable;
            durable.push((length(), taken));
        }
        if let Some((_, most)) = durable.last_mut() {
            *most = taken.max(*most);
        }
    }
    let truth = balance(&store).await.taken();
    drop(store);
    let last = copy(dir.path());
    Dead { dir, truth, last, durable }
}

#[tokio::test]
async fn a_power_loss_keeps_at_least_what_was_used() {
    let dead = dead(120).await;
    assert!(dead.durable.len() > 3, "{:?}", dead.durable);
    // Without the commits that were not synced. The lock file may have survived, or not.
    let (length, _) = *dead.durable.last().unwrap();
    for lock in [true, false] {
        let mut torn = dead.last.clone();
        torn.get_mut("ledger.db-wal").unwrap().truncate(length);
        if !lock {
            torn.remove("ledger.lock");
        }
        put_back(dead.dir.path(), &torn);
        let store = open(dead.dir.path()).unwrap();
        assert!(store.opening().recovery.is_some());
        let balance = balance(&store).await;
        assert!(used_of(balance) >= dead.truth, "{balance:?} is less than {}", dead.truth);
        assert!(balance.available() >= 0, "{balance:?}");
    }
}

#[tokio::test]
async fn at_every_durable_commit_the_watermark_covers_what_follows() {
    let dead = dead(120).await;
    for (length, most) in &dead.durable {
        let mut torn = dead.last.clone();
        torn.get_mut("ledger.db-wal").unwrap().truncate(*length);
        // As if the machine had stopped there: no later note in the lock file.
        torn.remove("ledger.lock");
        put_back(dead.dir.path(), &torn);
        let store = open(dead.dir.path()).unwrap();
        let balance = balance(&store).await;
        assert!(used_of(balance) >= *most, "log of {length}: {balance:?} is less than {most}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_anywhere_makes_no_quota() {
    const FRAME: usize = 4_096 + 24;
    let dead = dead(24).await;
    let whole = dead.last["ledger.db-wal"].len();
    let (durable, _) = *dead.durable.last().unwrap();
    let frames = (whole - 32) / FRAME;
    let edges = (0..=frames).map(|frame| 32 + frame * FRAME);
    let cuts = edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge + 1, edge + 24, edge + 2_000]);
    let mut opened = 0;
    for cut in [0, 1, 16, 31].into_iter().chain(cuts).filter(|cut| *cut <= whole) {
        let mut torn = dead.last.clone();
        torn.get_mut("ledger.db-wal").unwrap().truncate(cut);
        put_back(dead.dir.path(), &torn);
        match open(dead.dir.path()) {
            Ok(store) => {
                opened += 1;
                let balance = balance(&store).await;
                assert!(used_of(balance) >= dead.truth, "cut at {cut}: {balance:?} is less than {}", dead.truth);
            }
            Err(OpenError::Older { .. }) => assert!(cut < durable, "cut at {cut} lost nothing that was durable"),
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
    assert!(opened > 2, "{opened}");
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_changes_nothing() {
    for name in ["ledger.db", "ledger.db-wal", "ledger.lock"] {
        let dead = dead(12).await;
        let sound = {
            put_back(dead.dir.path(), &dead.last);
            let store = open(dead.dir.path()).unwrap();
            book(&store).await
        };
        let bytes = &dead.last[name];
        let step = (bytes.len() / 150).max(1) | 1;
        let mut refused = 0;
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = dead.last.clone();
            flipped.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            put_back(dead.dir.path(), &flipped);
            let Ok(store) = open(dead.dir.path()) else {
                refused += 1;
                continue;
            };
            let found = book(&store).await;
            let (before, after) = (balance_of(&sound), balance_of(&found));
            let what = format!("{name} byte {at}: {after:?}, was {before:?}");
            assert!(after.available() <= before.available(), "{what}");
            assert!(used_of(after) >= dead.truth, "{what}");
            assert_eq!((&found.keys, &found.state, found.never_pay), (&sound.keys, &sound.state, true), "{what}");
        }
        println!("{name}: {refused} of {} refused", bytes.len() / step);
    }
}

/// Every byte of the rows that nothing else vouches for, in the file itself.
#[tokio::test]
async fn a_flipped_byte_in_a_row_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    admit(&store, 1, 500).await;
    resolve(&store, 1, Resolution::Presume(None)).await;
    store.close().await.unwrap();
    drop(store);
    let whole = copy(dir.path());
    let sound = {
        let store = open(dir.path()).unwrap();
        let sound = book(&store).await;
        store.close().await.unwrap();
        sound
    };
    put_back(dir.path(), &whole);
    let bytes = &whole["ledger.db"];
    for at in (0..bytes.len()).filter(|at| bytes[*at] != 0) {
        if at % 3 != 0 {
            continue;
        }
        let mut flipped = whole.clone();
        flipped.get_mut("ledger.db").unwrap()[at] ^= 1;
        put_back(dir.path(), &flipped);
        let Ok(store) = open(dir.path()) else { continue };
        let found = book(&store).await;
        assert_eq!(balance_of(&found), balance_of(&sound), "byte {at}");
        assert_eq!(found, sound, "byte {at}");
    }
}

#[tokio::test]
async fn an_older_copy_that_is_put_back_in_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    admit(&store, 1, 500).await;
    resolve(&store, 1, used(500)).await;
    store.close().await.unwrap();
    drop(store);
    let mut older = copy(dir.path());
    older.remove("ledger.lock");
    let store = open(dir.path()).unwrap();
    admit(&store, 2, 5_000).await;
    resolve(&store, 2, used(5_000)).await;
    store.close().await.unwrap();
    drop(store);
    let newer = copy(dir.path());
    for name in ["ledger.db", "ledger.db-wal"] {
        match older.get(name) {
            Some(bytes) => fs::write(dir.path().join(name), bytes).unwrap(),
            None => drop(fs::remove_file(dir.path().join(name))),
        }
    }
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Older { .. }), "{error}");
    assert!(error.to_string().contains("recover --presume-all"), "{error}");
    // The newer one is accepted again.
    put_back(dir.path(), &newer);
    assert_eq!(balance(&open(dir.path()).unwrap()).await.spent, 5_500);
}

#[tokio::test]
async fn a_file_that_is_renamed_over_is_refused_when_older() {
    let dir = tempfile::tempdir().unwrap();
    funded(dir.path(), &clock(), 100_000).await.close().await.unwrap();
    fs::copy(dir.path().join("ledger.db"), dir.path().join("backup")).unwrap();
    let store = open(dir.path()).unwrap();
    admit(&store, 2, 5_000).await;
    drop(store);
    fs::rename(dir.path().join("backup"), dir.path().join("ledger.db")).unwrap();
    drop(fs::remove_file(dir.path().join("ledger.db-wal")));
    drop(fs::remove_file(dir.path().join("ledger.db-shm")));
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Older { .. }), "{error}");
}

#[tokio::test]
async fn a_copy_elsewhere_of_a_ledger_in_use_is_raised_to_its_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    admit(&store, 1, 500).await;
    resolve(&store, 1, used(10)).await;
    store.entries(&account(), None, 1).await.unwrap();
    let taken = copy(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    put_back(elsewhere.path(), &taken);
    let second = open(elsewhere.path()).unwrap();
    let recovered = &second.opening().recovered;
    assert_eq!(recovered.len(), 1, "{:?}", second.opening());
    let balance = balance(&second).await;
    assert_eq!(used_of(balance), 500 + 99_500 / 16, "{balance:?}");
    assert_eq!(recovered[0].amount, balance.presumed);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 1_000).await;
    let here = Embedded::open(settings(dir.path()), clock()).unwrap_err().to_string();
    let there = said(&child(&[], "open", dir.path()).output().unwrap().stdout);
    for message in [&here, &there[0]] {
        assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
        assert!(message.contains("ledger.db"), "{message}");
    }
    admit(&store, 1, 10).await;
    store.close().await.unwrap();
    drop(store);
    assert_eq!(said(&child(&[], "open", dir.path()).output().unwrap().stdout), ["opened"]);
}

/// The superuser may write anywhere, so the child is somebody else.
#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    funded(dir.path(), &clock(), 1_000).await.close().await.unwrap();
    let mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for name in ["ledger.db", "ledger.lock"] {
        mode(dir.path().join(name), 0o444);
    }
    mode(dir.path().to_owned(), 0o555);
    let mut command = child(&[], "open", dir.path());
    let root = fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0).unwrap();
    if root {
        command.uid(65_534).gid(65_534);
    }
    let lines = said(&command.output().unwrap().stdout);
    mode(dir.path().to_owned(), 0o755);
    assert!(lines[0].contains("ledger.lock") && lines[0].contains("denied"), "{lines:?}");
}

#[tokio::test]
async fn what_is_not_our_ledger_is_refused() {
    let refused = |name: &str, make: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("ledger.db"));
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. } | OpenError::Newer { .. }), "{name}: {error}");
        error.to_string()
    };
    refused("text", &|file| fs::write(file, "this is a text of more than a hundred bytes ".repeat(9)).unwrap());
    refused("empty", &|file| fs::write(file, "").unwrap());
    refused("another database", &|file| {
        Connection::open(file).unwrap().execute_batch("CREATE TABLE meta (a)").unwrap();
    });
    let newer = refused("newer", &|file| {
        let sql = "PRAGMA application_id = 1196573012; PRAGMA user_version = 3; CREATE TABLE meta (a)";
        Connection::open(file).unwrap().execute_batch(sql).unwrap();
    });
    assert!(newer.contains("format 3"), "{newer}");
}

#[tokio::test]
async fn the_lock_file_of_another_ledger_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    funded(one.path(), &clock(), 1_000).await.close().await.unwrap();
    funded(two.path(), &clock(), 1_000_000).await.close().await.unwrap();
    fs::copy(two.path().join("ledger.db"), one.path().join("ledger.db")).unwrap();
    let error = open(one.path()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("lock file"), "{error}");
}

#[tokio::test]
async fn a_hold_survives_under_a_clock_that_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = funded(dir.path(), &clock(), 100_000).await;
    admit(&store, 1, 500).await;
    drop(store);
    let earlier = Clock::by_hand(gratis::ledger::Timestamp(1));
    let store = Embedded::open(slow(dir.path()), earlier).unwrap();
    assert_eq!(balance(&store).await, figures(100_000, 0, 0, 500));
    assert!(book(&store).await.holds.contains_key(&HoldId(1)));
}
