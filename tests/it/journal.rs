//! A replica's journal: what it keeps over a restart, whom it refuses, and what the files of all replicas add up to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gratis::ledger::{AccountState, Book, Command, HoldId, Operation, Origin, Resolution, Timestamp, Usage, apply};
use gratis::store::redis::journal::rebuild::plan;
use gratis::store::redis::journal::{Journal, Kept, Remembered};

use crate::journal_support::*;
use crate::store_child::{child, said};
use crate::store_support::{account, digest, grant, key, pool};

#[tokio::test]
async fn everything_is_there_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(journal.opening().made);
    let replica = journal.replica().to_owned();
    assert!(replica.len() == 8 && replica.bytes().all(|byte| byte.is_ascii_hexdigit()), "{replica}");
    let remembered =
        Remembered { ledger: Some("l".to_owned()), epoch: 3, runs: BTreeMap::from([("run".to_owned(), 17)]) };
    journal.remember(remembered.clone()).await.unwrap();
    journal.note_seen(&account(), 7).unwrap();
    journal.note_seen(&account(), 5).unwrap();
    append(&journal, &[granted(1_000_000)]).await;
    append(&journal, &[reserved(1, 500)]).await;
    append(&journal, &[settled(1, 500, 30)]).await;
    append(&journal, &[reserved(2, 100)]).await;
    journal.park(&account(), HoldId(2), Resolution::Release, None).await.unwrap();
    let entries = journal.entries(&account(), None, 10).await.unwrap();
    assert_eq!(entries, [settled(1, 500, 30), granted(1_000_000)], "newest first, without reservations");
    assert_eq!(journal.entries(&account(), Some(&pool()), 1).await.unwrap(), [settled(1, 500, 30)]);
    assert_eq!(journal.entries(&account(), Some(&"other".into()), 1).await.unwrap(), []);
    journal.close().await.unwrap();
    assert!(journal.append(&account(), with(0, &[reserved(3, 1)]), 9).is_err(), "it is closed");
    drop(journal);

    let journal = open(dir.path());
    assert_eq!(journal.replica(), replica);
    assert_eq!((journal.opening().unclean, journal.opening().parked, journal.opening().made), (None, 1, false));
    assert_eq!(journal.remembered(), remembered);
    assert_eq!(journal.seen(), BTreeMap::from([(account(), 7)]));
    assert_eq!(journal.entries(&account(), None, 10).await.unwrap(), entries);
    let parked = journal.parked();
    assert_eq!((parked[0].hold, parked[0].resolution), (HoldId(2), Resolution::Release));
    journal.close().await.unwrap();
    drop(journal);
    let sum = figures(&plan_of(&[dir.path()]));
    assert_eq!((sum.granted, sum.spent, sum.presumed, sum.open, sum.doubt), (1_000_000, 30, 100, 100, 0));
}

#[tokio::test]
async fn only_a_rising_promise_and_an_operator_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(append(&journal, &[granted(1_000_000)]).await);
    assert!(append(&journal, &[reserved(1, 1_000)]).await, "nothing was promised yet");
    let block = 500_000 / 16;
    assert!(!append(&journal, &[reserved(2, block)]).await, "it is within the promise");
    assert!(append(&journal, &[reserved(3, 1)]).await, "it passes the promise");
    assert!(!append(&journal, &[settled(2, block, 1), reserved(4, block - 1)]).await, "it does not rise on the whole");
    // Whoever comes while a promise is on its way waits as well.
    let one = journal.append(&account(), with(10_000, &[reserved(5, 200_000)]), 0).unwrap().unwrap();
    let two = journal.append(&account(), with(10_000, &[reserved(6, 1)]), 0).unwrap();
    if let Some(two) = two {
        two.done().await.unwrap();
    }
    one.done().await.unwrap();
}

#[tokio::test]
async fn without_a_clean_stop_the_promise_counts_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, &[granted(1_000_000), reserved(1, 1_000)]).await;
    drop(journal);
    let promised = 1_000 + 500_000 / 16;
    let sum = figures(&plan_of(&[dir.path()]));
    assert_eq!((sum.presumed, sum.doubt), (promised, promised - 1_000));
    for round in 0..3 {
        let journal = open(dir.path());
        assert_eq!(journal.opening().unclean, Some("the process ended without a clean stop"));
        let raised: Vec<u64> = journal.opening().raised.iter().map(|raised| raised.amount).collect();
        assert_eq!(raised, if round == 0 { vec![promised - 1_000] } else { vec![] });
        drop(journal);
        assert_eq!(figures(&plan_of(&[dir.path()])).presumed, promised);
    }
}

#[tokio::test]
async fn the_files_of_all_replicas_add_up_to_the_store() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (open(one.path()), open(two.path()));
    a.note_peers(&[a.replica().to_owned(), b.replica().to_owned()]).unwrap();
    append(&a, &[granted(1_000_000), reserved(1, 400), reserved(2, 50), reserved(3, 7)]).await;
    // The other one settles the first, and expires the second, which its owner then corrects.
    append(&b, &[settled(1, 400, 90)]).await;
    append(&b, &[expired(2, 50)]).await;
    let corrected = gratis::ledger::Entry { presumed: -50, spent: 20, held: 0, ..settled(2, 0, 0) };
    append(&a, &[corrected]).await;
    // An operator puts in a figure that gives back what the other one used.
    append(&b, &[gratis::ledger::Entry { spent: -80, held: 0, ..settled(9, 0, 0) }]).await;
    let replica = b.replica().to_owned();
    for journal in [a, b] {
        journal.close().await.unwrap();
    }
    let both = plan_of(&[one.path(), two.path()]);
    let sum = figures(&both);
    assert_eq!((sum.granted, sum.spent, sum.presumed, sum.open, sum.doubt), (1_000_000, 30, 7, 7, 0));
    assert_eq!(both.missing.len(), 0);
    let half = plan_of(&[one.path()]);
    assert_eq!(half.missing.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&replica));
    assert!(half.complaints.iter().any(|line| line.contains(&replica)), "{:?}", half.complaints);
    let alone = plan_of(&[two.path()]);
    assert!(alone.complaints.iter().any(|line| line.contains("add up to -400")), "{:?}", alone.complaints);
    let twice = plan(&[file(one.path()), file(one.path())]).unwrap_err().to_string();
    assert!(twice.contains("both of replica"), "{twice}");
}

#[tokio::test]
async fn the_newest_configuration_counts() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut book = Book::new(account(), "here", AccountState::Active, true);
    for operation in [Operation::PutKey(key("key-1")), grant(1_000)] {
        apply(&mut book, Timestamp(1), Command::Operate(operation), &mut Vec::new());
    }
    let older = Kept::of(&book, &BTreeMap::from([("key-1".into(), digest(7))]));
    let newer = Kept { never_pay: false, ..older.clone() };
    assert_eq!((older.keys[0].digest, older.grants[0].amount), (Some(digest(7)), 1_000));
    let (a, b) = (open(one.path()), open(two.path()));
    append(&a, &[granted(1_000)]).await;
    assert!(a.keep(&account(), 4, &newer).unwrap());
    assert!(!a.keep(&account(), 4, &older).unwrap() && !a.keep(&account(), 3, &older).unwrap());
    assert!(b.keep(&account(), 3, &older).unwrap());
    a.sync().await.unwrap();
    b.sync().await.unwrap();
    drop((a, b));
    assert_eq!(open(one.path()).kept_revision(&account()), Some(4));
    for order in [[one.path(), two.path()], [two.path(), one.path()]] {
        let plan = plan_of(&order);
        assert_eq!(plan.accounts[&account()].kept, Some((4, newer.clone())));
        assert_eq!(plan.complaints, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_settlement_waits_until_the_store_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let hand = clock();
    let journal = Journal::open(dir.path(), BLOCK, hand.clone()).unwrap();
    let usage = Usage { input: 3, output: 4 };
    let origin = Origin { key: "k".into(), model: "m".into(), pool: pool() };
    journal.park(&account(), HoldId(2), Resolution::Settle(usage), Some(origin.clone())).await.unwrap();
    hand.advance(1);
    journal.park(&account(), HoldId(1), Resolution::Presume(None), None).await.unwrap();
    journal.park(&account(), HoldId(2), Resolution::Release, None).await.unwrap();
    let parked = journal.parked();
    let seen: Vec<_> = parked.iter().map(|parked| (parked.hold.0, parked.resolution, parked.origin.clone())).collect();
    assert_eq!(seen, [(2, Resolution::Settle(usage), Some(origin)), (1, Resolution::Presume(None), None)]);
    assert!(parked.iter().all(|parked| !parked.needs_operator));
    journal.unpark(HoldId(2)).unwrap();
    journal.sync().await.unwrap();
    drop(journal);
    hand.advance(7 * DAY_MS + 1);
    let parked = Journal::open(dir.path(), BLOCK, hand).unwrap().parked();
    assert_eq!(parked.iter().map(|parked| (parked.hold.0, parked.needs_operator)).collect::<Vec<_>>(), [(1, true)]);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let here = Journal::open(dir.path(), BLOCK, clock()).unwrap_err().to_string();
    let there = said(&child(&[], "journal-open", dir.path()).output().unwrap().stdout);
    let adding = plan(&[file(dir.path())]).unwrap_err().to_string();
    for message in [&here, &there[0], &adding] {
        assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
        assert!(message.contains("replica.db") && message.contains("state folder of its own"), "{message}");
    }
    journal.close().await.unwrap();
    drop(journal);
    assert_eq!(said(&child(&[], "journal-open", dir.path()).output().unwrap().stdout), ["opened"]);
}

#[tokio::test]
async fn what_is_not_our_journal_is_refused() {
    let refused = |make: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let error = Journal::open(dir.path(), BLOCK, clock()).unwrap_err().to_string();
        assert_eq!(plan(&[file(dir.path())]).unwrap_err().to_string(), error);
        error
    };
    refused(&|dir| fs::write(file(dir), "this is a text of more than a hundred bytes ".repeat(9)).unwrap());
    let other = refused(&|dir| {
        drop(gratis::store::embedded::Embedded::create(crate::store_support::settings(dir), clock()).unwrap());
        fs::rename(dir.join("ledger.db"), file(dir)).unwrap();
        fs::rename(dir.join("ledger.db-wal"), dir.join("replica.db-wal")).unwrap();
    });
    assert!(other.contains("something else"), "{other}");
    let newer = refused(&|dir| {
        let sql = "PRAGMA application_id = 1196573002; PRAGMA user_version = 2; CREATE TABLE meta (a)";
        rusqlite::Connection::open(file(dir)).unwrap().execute_batch(sql).unwrap();
    });
    assert!(newer.contains("format 2"), "{newer}");
}

#[tokio::test]
async fn a_journal_that_is_gone_is_named_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let replica = journal.replica().to_owned();
    journal.close().await.unwrap();
    drop(journal);
    fs::remove_file(file(dir.path())).unwrap();
    // What is left of its log would be played into a new one.
    let left = Journal::open(dir.path(), BLOCK, clock()).unwrap_err().to_string();
    assert!(left.contains("replica.db-wal exists already"), "{left}");
    for name in ["replica.db-wal", "replica.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let journal = open(dir.path());
    assert_eq!(journal.opening().lost.as_ref(), Some(&replica));
    assert_ne!(journal.replica(), replica);
    journal.close().await.unwrap();
    drop(journal);
    assert!(plan_of(&[dir.path()]).missing.contains(&replica));
}
