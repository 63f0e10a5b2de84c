//! Notes: what is kept beside the books, in a file and in memory.

use gratis::clock::Clock;
use gratis::ledger::Timestamp;
use gratis::store::embedded::Notes;
use gratis::store::{Log, NoteStore, Shelf, StoreErrorKind};

fn value(text: &str) -> String {
    text.to_owned()
}

async fn names(notes: &Notes, shelf: Shelf, prefix: &str) -> Vec<String> {
    notes.list(shelf, prefix, None, 100).await.unwrap().into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_log_is_read_from_its_end_and_survives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::by_hand(Timestamp(1_000));
    {
        let notes = Notes::open(folder.path(), clock.clone()).unwrap();
        for line in ["a", "b", "c"] {
            notes.append(Log::Audit, value(line)).await.unwrap();
        }
        notes.put(Shelf::Users, vec![(value("x/1"), value("one"))]).await.unwrap();
    }
    let notes = Notes::open(folder.path(), clock).unwrap();
    assert_eq!(notes.append(Log::Audit, value("d")).await.unwrap(), 4);
    let newest = notes.newest(Log::Audit, None, 2).await.unwrap();
    assert_eq!(newest.iter().map(|line| (line.number, line.text.as_str())).collect::<Vec<_>>(), [(4, "d"), (3, "c")]);
    let older = notes.newest(Log::Audit, Some(3), 9).await.unwrap();
    assert_eq!(older.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(notes.get(Shelf::Users, "x/1").await.unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn a_log_that_is_shortened_keeps_its_newest_lines_and_their_numbers() {
    let notes = Notes::in_memory(Clock::system()).unwrap();
    for line in 1..=10 {
        assert_eq!(notes.append(Log::Audit, line.to_string()).await.unwrap(), line);
    }
    assert_eq!(notes.shorten(Log::Audit, 20).await.unwrap(), 0);
    assert_eq!(notes.shorten(Log::Audit, 3).await.unwrap(), 7);
    assert_eq!(notes.append(Log::Audit, value("11")).await.unwrap(), 11);
    let lines = notes.newest(Log::Audit, None, 100).await.unwrap();
    let lines: Vec<(u64, &str)> = lines.iter().map(|line| (line.number, line.text.as_str())).collect();
    assert_eq!(lines, [(11, "11"), (10, "10"), (9, "9"), (8, "8")]);
    assert_eq!(notes.newest(Log::Audit, Some(9), 5).await.unwrap().len(), 1);
    assert_eq!(notes.newest(Log::Audit, Some(8), 5).await.unwrap(), []);
}

#[tokio::test]
async fn who_comes_first_is_kept() {
    let notes = Notes::in_memory(Clock::system()).unwrap();
    let put = |text| notes.put_if_absent(Shelf::Crossings, "n", value(text));
    let (one, two) = tokio::join!(put("1"), put("2"));
    let (one, two) = (one.unwrap(), two.unwrap());
    let kept = notes.get(Shelf::Crossings, "n").await.unwrap().unwrap();
    assert_ne!(one.is_none(), two.is_none(), "one of them was first");
    assert_eq!(one.or(two), Some(kept));
    assert!(notes.remove(Shelf::Crossings, "n").await.unwrap());
    assert!(!notes.remove(Shelf::Crossings, "n").await.unwrap());
    assert_eq!(notes.put_if_absent(Shelf::Crossings, "n", value("3")).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_that_rests_on_what_was_read_is_carried_out_only_where_that_is_so() {
    let notes = Notes::in_memory(Clock::system()).unwrap();
    let change = |was: Option<&'static str>, to: Option<&str>| notes.put_if(Shelf::Fallbacks, "n", was, to.map(value));
    assert!(!change(Some("a"), Some("b")).await.unwrap());
    assert!(change(None, Some("a")).await.unwrap());
    assert!(!change(None, Some("b")).await.unwrap());
    assert!(!change(Some(""), None).await.unwrap());
    assert!(change(Some("a"), Some("b")).await.unwrap());
    assert!(!change(Some("a"), None).await.unwrap());
    assert_eq!(notes.get(Shelf::Fallbacks, "n").await.unwrap().as_deref(), Some("b"));
    assert!(change(Some("b"), None).await.unwrap());
    assert_eq!(notes.get(Shelf::Fallbacks, "n").await.unwrap(), None);
    assert!(change(None, None).await.unwrap());
}

#[tokio::test]
async fn a_list_has_its_prefix_alone_and_goes_on_behind_a_name() {
    let notes = Notes::in_memory(Clock::system()).unwrap();
    let all = ["a", "a/1", "a/2", "a/3", "ab/1", "a%/1", "b/1"].map(|name| (value(name), value("v")));
    notes.put(Shelf::Users, all.to_vec()).await.unwrap();
    notes.put(Shelf::Workspaces, vec![(value("a/9"), value("v"))]).await.unwrap();
    assert_eq!(names(&notes, Shelf::Users, "a/").await, ["a/1", "a/2", "a/3"]);
    let page = notes.list(Shelf::Users, "a/", Some("a/1"), 1).await.unwrap();
    assert_eq!(page, [(value("a/2"), value("v"))]);
    assert_eq!(names(&notes, Shelf::Users, "").await.len(), 7);
    assert_eq!(names(&notes, Shelf::Users, "a%").await, ["a%/1"]);
}

#[tokio::test]
async fn what_is_kept_for_a_while_is_gone_after_it() {
    let clock = Clock::by_hand(Timestamp(1_000));
    let notes = Notes::in_memory(clock.clone()).unwrap();
    for shelf in Shelf::ALL {
        notes.put(shelf, vec![(value("n"), value("v"))]).await.unwrap();
        let Some(keep) = shelf.keep_ms() else { continue };
        clock.advance(keep);
        assert!(notes.get(shelf, "n").await.unwrap().is_some(), "{shelf:?}");
        clock.advance(1);
        assert_eq!(notes.get(shelf, "n").await.unwrap(), None, "{shelf:?}");
        assert!(names(&notes, shelf, "").await.is_empty());
        assert_eq!(notes.put_if_absent(shelf, "n", value("new")).await.unwrap(), None);
    }
    clock.advance(365 * 86_400_000);
    assert!(notes.get(Shelf::Standing, "n").await.unwrap().is_some());
    let mut known: Vec<&str> = Shelf::ALL.iter().map(|shelf| shelf.name()).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), Shelf::ALL.len(), "two shelves have one name");
}

#[tokio::test]
async fn without_a_state_folder_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("state");
    let notes = Notes::open(&missing, Clock::system()).unwrap();
    let refused = notes.get(Shelf::Users, "n").await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotInitialised);
    assert!(!missing.exists());
}

#[tokio::test]
async fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let notes = Notes::open(folder.path(), Clock::system()).unwrap();
    let mode = std::fs::metadata(folder.path().join("notes.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(notes);
    std::fs::write(folder.path().join("notes.db"), "no database".repeat(500)).unwrap();
    assert!(Notes::open(folder.path(), Clock::system()).is_err());
    // A database of something else is not written into.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let connection = rusqlite::Connection::open(other.join("notes.db")).unwrap();
    connection.execute_batch("PRAGMA application_id = 7; CREATE TABLE theirs (one INTEGER)").unwrap();
    drop(connection);
    let refused = Notes::open(&other, Clock::system()).unwrap_err().to_string();
    assert!(refused.contains("something else"), "{refused}");
}
