//! Opening a journal, or making one.

use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;

use super::books::Books;
use super::fund::FundRow;
use super::load;
use super::queue::{Taken, Write};
use super::schema::JOURNAL;
use super::writer::Pen;
use super::{Opening, Raised};
use crate::ledger::Timestamp;
use crate::store::embedded::OpenError as FileError;
use crate::store::embedded::file::{self, check_pages, loading};
use crate::store::embedded::load::{Facts, facts};
use crate::store::embedded::statements::{EMPTY, checkpoint};
use crate::store::embedded::witness::{Place, Standing, Testimony, Witness, judge};

/// A journal that is open, before its writer starts.
pub(super) struct Ready {
    pub(super) pen: Pen,
    pub(super) books: Books,
    pub(super) replica: String,
    pub(super) file: PathBuf,
    pub(super) opening: Opening,
}

/// Opens the journal of a directory; makes what is missing.
pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Ready, FileError> {
    std::fs::create_dir_all(dir).map_err(FileError::io("make the directory", dir))?;
    let (_, file) = file::place(&JOURNAL, dir, false)?;
    let mut witness = Witness::lock(&JOURNAL, &file)?;
    let mut said = witness.read();
    let mut opening = Opening::default();
    if !file.exists() {
        let replica = new_replica().map_err(FileError::io("make a replica id for", &file))?;
        file::create(&JOURNAL, &file, &replica, &mut witness, now)?;
        opening.made = true;
        opening.lost = said.map(|said| said.instance);
        said = Some(Testimony { instance: replica, commits: 0, durable: 0, poisoned: false });
    }
    let connection = file::connect(&JOURNAL, &file)?;
    check_pages(&connection, &file)?;
    let facts = facts(&connection).map_err(loading(&file))?;
    belongs(&facts, said.as_ref(), &file)?;
    let here = Place::of(&file)?;
    opening.unclean = standing(&facts, &here, said.as_ref(), &file)?;
    let mut funds = load::funds(&connection).map_err(loading(&file))?;
    load::count_entries(&connection, &facts).map_err(loading(&file))?;
    let changed = if opening.unclean.is_some() { raise(&mut funds, &mut opening) } else { Vec::new() };
    let mut books = books(&connection, funds).map_err(loading(&file))?;
    opening.parked = books.parked.len();
    if let Some(lost) = &opening.lost {
        books.peers.insert(lost.clone());
    }
    // Everything is written and synced once more, so that nothing rests on an fsync that may have failed.
    checkpoint(&connection, EMPTY).map_err(FileError::sql("sync", &file))?;
    let commits = facts.past.commits;
    let testimony = Testimony { instance: facts.instance.clone(), commits, durable: commits, poisoned: false };
    let mut pen = Pen { connection, witness, testimony, entries: facts.live, file: file.clone() };
    let first = first_batch(&here, changed, &books);
    pen.commit(&first).map_err(|error| FileError::Io {
        action: "write to",
        path: file.clone(),
        source: std::io::Error::other(error.to_string()),
    })?;
    pen.witness.sync().map_err(FileError::io("write the lock file of", &file))?;
    Ok(Ready { pen, books, replica: facts.instance, file, opening })
}

/// Eight hexadecimal digits.
fn new_replica() -> std::io::Result<String> {
    let mut bytes = [0_u8; 4];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| std::io::Error::other("the system gave no random bytes"))?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

pub(super) fn belongs(facts: &Facts, said: Option<&Testimony>, file: &Path) -> Result<(), FileError> {
    match said.filter(|said| said.instance != facts.instance) {
        Some(said) => {
            let what = format!(
                "the lock file beside it belongs to replica {}, this is the journal of replica {}; if it is meant to be here, \
                 remove the lock file",
                said.instance, facts.instance
            );
            Err(FileError::Foreign { file: file.to_owned(), what })
        }
        None => Ok(()),
    }
}

/// Why something may be missing. Unlike a ledger, a journal that was not stopped cleanly always misses something: what was still
/// lingering.
pub(super) fn standing(
    facts: &Facts,
    here: &Place,
    said: Option<&Testimony>,
    file: &Path,
) -> Result<Option<&'static str>, FileError> {
    match judge(&facts.past, here, said) {
        Standing::Exact if facts.past.clean => Ok(None),
        Standing::Exact => Ok(Some("the process ended without a clean stop")),
        Standing::Recover(why) => Ok(Some(why)),
        Standing::Older { durable } => {
            Err(FileError::Older { file: file.to_owned(), found: facts.past.commits, durable })
        }
    }
}

/// What was promised beyond the sums may have been taken and forgotten: from now on it is in doubt, and the promise starts anew.
fn raise(funds: &mut [FundRow], opening: &mut Opening) -> Vec<FundRow> {
    let mut changed = Vec::new();
    for fund in funds {
        let amount = fund.ahead();
        if amount == 0 {
            continue;
        }
        (fund.watermark, fund.doubt) = (fund.sums.taken(), fund.doubt.saturating_add(amount));
        if let Some(grant) = fund.grant {
            let (account, pool) = (fund.account.clone(), fund.pool.clone());
            opening.raised.push(Raised { account, pool, grant, amount });
        }
        changed.push(fund.clone());
    }
    changed
}

fn books(connection: &rusqlite::Connection, funds: Vec<FundRow>) -> crate::store::embedded::load::Loaded<Books> {
    let mut books = Books::default();
    books.peers = load::peers(connection)?;
    books.remembered = load::remembered(connection)?;
    books.parked = load::parked(connection)?.into_iter().map(|parked| (parked.hold, parked)).collect();
    for fund in funds {
        books.place(fund);
    }
    for (account, seq) in load::seen(connection)? {
        books.known(&account).seen = seq;
    }
    for (account, revision) in load::revisions(connection)? {
        books.known(&account).revision = Some(revision);
    }
    Ok(books)
}

fn first_batch(here: &Place, funds: Vec<FundRow>, books: &Books) -> Taken {
    let facts = [
        ("boot", here.boot.clone()),
        ("device", here.device.clone()),
        ("inode", here.inode.clone()),
        ("clean", "0".to_owned()),
        (load::PEERS, books.peers_text()),
    ];
    let writes = facts.map(|(name, value)| Write::Fact { name, value }).into();
    Taken { writes, funds, seen: Vec::new(), full: true, group: std::sync::Arc::default() }
}

/// What to tell the operator.
pub(super) fn explain(error: &FileError) -> String {
    match error {
        FileError::Locked { file, pid } => format!(
            "{} is in use by another process{}: each replica has a state folder of its own",
            file.display(),
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
        ),
        FileError::Corrupt { file, what } => format!(
            "{} cannot be trusted: {what}. Restore it, or move it away with its -wal and -shm: the replica then starts a new \
             journal, and `gratis store rebuild` can no longer count what this one wrote",
            file.display()
        ),
        FileError::Older { file, found, durable } => format!(
            "{} is older than the journal that last ran here (commit {found}, {durable} were durable). Put the newer file back, or \
             move it away with its -wal and -shm: the replica then starts a new journal, and `gratis store rebuild` can no \
             longer count what this one wrote",
            file.display()
        ),
        FileError::NotInitialised { dir } => format!("there is no folder {}", dir.display()),
        FileError::NotLocal { dir, kind } => {
            format!("{} is on a {kind} file system: a journal needs a local one", dir.display())
        }
        FileError::Exists { .. }
        | FileError::Foreign { .. }
        | FileError::Newer { .. }
        | FileError::Io { .. }
        | FileError::Sql { .. } => {
            error.to_string().replace("the ledger that belongs here", "the journal that belongs here")
        }
    }
}
