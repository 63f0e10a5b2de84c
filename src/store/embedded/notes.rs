//! Notes in a file of their own beside the ledger, on a thread of their own: no call waits for them.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use super::error::OpenError;
use super::queue::unavailable;
use crate::clock::Clock;
use crate::store::{Answer, Line, Log, NoteStore, Shelf, StoreError, StoreErrorKind};

/// The file's name in the state folder.
const NOTES_FILE: &str = "notes.db";
/// How many questions wait at most; whoever comes then waits for room.
const WAITING: usize = 256;
/// How long to wait for somebody who looks at the file with another tool.
const PATIENCE: Duration = Duration::from_secs(2);
/// After how many changes the notes that are too old are swept out.
const SWEEP_EVERY: u32 = 512;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS line (log TEXT NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (log, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS note (shelf TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, until INTEGER,
  PRIMARY KEY (shelf, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS note_until ON note (until) WHERE until IS NOT NULL;
";

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Notes in a file.
#[derive(Debug)]
pub struct Notes {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    clock: Clock,
}

impl Notes {
    /// Opens the notes of a state folder, or makes them. The folder itself is made by `gratis init` alone: without it every
    /// question is answered with [`StoreErrorKind::NotInitialised`].
    ///
    /// # Errors
    /// When the file cannot be opened or is none of ours.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            return Ok(Self { jobs: None, thread: Mutex::new(None), clock });
        }
        let file = dir.join(NOTES_FILE);
        make_private(&file)?;
        let connection = Connection::open(&file).map_err(OpenError::sql("open", &file))?;
        connection.busy_timeout(PATIENCE).map_err(OpenError::sql("open", &file))?;
        check_owner(&connection, &file)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
            .map_err(OpenError::sql("open", &file))?;
        Self::on(connection, &file, clock)
    }

    /// Notes that end with the process, for a trial.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn in_memory(clock: Clock) -> Result<Self, OpenError> {
        let file = Path::new(":memory:");
        Self::on(Connection::open_in_memory().map_err(OpenError::sql("open", file))?, file, clock)
    }

    fn on(connection: Connection, file: &Path, clock: Clock) -> Result<Self, OpenError> {
        connection.execute_batch(TABLES).map_err(OpenError::sql("make the tables of", file))?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let thread = std::thread::Builder::new()
            .name("notes".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&connection);
                }
            })
            .map_err(OpenError::io("start a thread for", file))?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)), clock })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(jobs) = &self.jobs else {
            let detail = "there is no state folder yet".to_owned();
            return Err(StoreError { kind: StoreErrorKind::NotInitialised, detail });
        };
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = answer.send(question(connection));
        });
        jobs.send(job).await.map_err(|_| unavailable("the notes are closed"))?;
        let result = answered.await.map_err(|_| unavailable("a question to the notes was given up"))?;
        result.map_err(|error| unavailable(&format!("the notes: {error}")))
    }

    fn until(&self, shelf: Shelf) -> Option<i64> {
        shelf.keep_ms().map(|keep| signed(self.clock.now().0.saturating_add(keep)))
    }

    fn now(&self) -> i64 {
        signed(self.clock.now().0)
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

/// `application_id` of the file: "GRAN".
const APPLICATION_ID: i64 = 0x4752_414e;
/// `user_version` of the file: the newest format that is read.
const FORMAT: i64 = 1;

/// Marks a new file as ours; refuses one of something else, or of a newer version of this program.
fn check_owner(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let number =
        |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(OpenError::sql("read", file));
    let (application, format) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables = number("SELECT COUNT(*) FROM sqlite_schema")?;
    if application == 0 && tables == 0 {
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}");
        return connection.execute_batch(&mark).map_err(OpenError::sql("make", file));
    }
    if application != APPLICATION_ID {
        let what = format!("it is a database of something else (application id {application})");
        return Err(OpenError::Foreign { file: file.to_owned(), what });
    }
    if format > FORMAT {
        return Err(OpenError::Newer { file: file.to_owned(), found: format, known: FORMAT });
    }
    Ok(())
}

fn make_private(file: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    made.map(drop).map_err(OpenError::io("make", file))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// One transaction. Traces alone need not be on the disk when it ends.
fn change<T>(
    connection: &Connection,
    shelf: Option<Shelf>,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let sync = if shelf == Some(Shelf::Traces) { "PRAGMA synchronous = NORMAL" } else { "PRAGMA synchronous = FULL" };
    connection.execute_batch(sync)?;
    let transaction = connection.unchecked_transaction()?;
    let result = change(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

fn set(
    connection: &Connection,
    shelf: Shelf,
    name: &str,
    value: &str,
    (now, until): (i64, Option<i64>),
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO note (shelf, name, value, until) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![shelf.name(), name, value, until])?;
    if until.is_some() && rand::random_ratio(1, SWEEP_EVERY) {
        sweep(connection, shelf, now)?;
    }
    Ok(())
}

fn remove(connection: &Connection, shelf: Shelf, name: &str) -> rusqlite::Result<bool> {
    let mut delete = connection.prepare_cached("DELETE FROM note WHERE shelf = ?1 AND name = ?2")?;
    Ok(delete.execute(params![shelf.name(), name])? > 0)
}

/// Removes what is too old, and what is too much.
fn sweep(connection: &Connection, shelf: Shelf, now: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM note WHERE until < ?1")?.execute([now])?;
    if let Some(most) = shelf.most() {
        connection
            .prepare_cached(
                "DELETE FROM note WHERE shelf = ?1 AND name <= (SELECT name FROM note WHERE shelf = ?1
                 ORDER BY name DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![shelf.name(), signed(most as u64)])?;
    }
    Ok(())
}

fn value_of(connection: &Connection, shelf: Shelf, name: &str, now: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM note WHERE shelf = ?1 AND name = ?2 AND (until IS NULL OR until >= ?3)")?
        .query_row(params![shelf.name(), name, now], |row| row.get(0))
        .optional()
}

impl NoteStore for Notes {
    fn append(&self, log: Log, text: String) -> Answer<'_, u64> {
        Box::pin(self.ask(move |connection| {
            change(connection, None, |connection| {
                let number: i64 = connection
                    .prepare_cached("SELECT COALESCE(MAX(number), 0) + 1 FROM line WHERE log = ?1")?
                    .query_row([log.name()], |row| row.get(0))?;
                connection
                    .prepare_cached("INSERT INTO line (log, number, text) VALUES (?1, ?2, ?3)")?
                    .execute(params![log.name(), number, text])?;
                Ok(unsigned(number))
            })
        }))
    }

    fn shorten(&self, log: Log, most: usize) -> Answer<'_, u64> {
        let most = signed(most as u64);
        Box::pin(self.ask(move |connection| {
            change(connection, None, |connection| {
                let gone = connection
                    .prepare_cached(
                        "DELETE FROM line WHERE log = ?1 AND number <= (SELECT number FROM line WHERE log = ?1
                         ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                    )?
                    .execute(params![log.name(), most])?;
                Ok(gone as u64)
            })
        }))
    }

    fn newest(&self, log: Log, before: Option<u64>, limit: usize) -> Answer<'_, Vec<Line>> {
        let (before, limit) = (signed(before.unwrap_or(u64::MAX)), signed(limit as u64));
        Box::pin(self.ask(move |connection| {
            connection
                .prepare_cached(
                    "SELECT number, text FROM line WHERE log = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
                )?
                .query_map(params![log.name(), before, limit], |row| {
                    Ok(Line { number: unsigned(row.get(0)?), text: row.get(1)? })
                })?
                .collect()
        }))
    }

    fn get<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, Option<String>> {
        let (name, now) = (name.to_owned(), self.now());
        Box::pin(self.ask(move |connection| value_of(connection, shelf, &name, now)))
    }

    fn put(&self, shelf: Shelf, values: Vec<(String, String)>) -> Answer<'_, ()> {
        let times = (self.now(), self.until(shelf));
        Box::pin(self.ask(move |connection| {
            change(connection, Some(shelf), |connection| {
                values.iter().try_for_each(|(name, value)| set(connection, shelf, name, value, times))
            })
        }))
    }

    fn put_if_absent<'a>(&'a self, shelf: Shelf, name: &'a str, value: String) -> Answer<'a, Option<String>> {
        let (name, times) = (name.to_owned(), (self.now(), self.until(shelf)));
        Box::pin(self.ask(move |connection| {
            change(connection, Some(shelf), |connection| {
                let found = value_of(connection, shelf, &name, times.0)?;
                if found.is_none() {
                    set(connection, shelf, &name, &value, times)?;
                }
                Ok(found)
            })
        }))
    }

    fn put_if<'a>(
        &'a self,
        shelf: Shelf,
        name: &'a str,
        was: Option<&'a str>,
        value: Option<String>,
    ) -> Answer<'a, bool> {
        let (name, was, times) = (name.to_owned(), was.map(str::to_owned), (self.now(), self.until(shelf)));
        Box::pin(self.ask(move |connection| {
            change(connection, Some(shelf), |connection| {
                let same = value_of(connection, shelf, &name, times.0)? == was;
                match &value {
                    Some(value) if same => set(connection, shelf, &name, value, times)?,
                    None if same => drop(remove(connection, shelf, &name)?),
                    Some(_) | None => {}
                }
                Ok(same)
            })
        }))
    }

    fn remove<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, bool> {
        let name = name.to_owned();
        Box::pin(
            self.ask(move |connection| change(connection, Some(shelf), |connection| remove(connection, shelf, &name))),
        )
    }

    fn list<'a>(
        &'a self,
        shelf: Shelf,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, String)>> {
        let (prefix, now, limit) = (prefix.to_owned(), self.now(), signed(limit as u64));
        let after = after.map(str::to_owned);
        Box::pin(self.ask(move |connection| {
            connection
                .prepare_cached(
                    "SELECT name, value FROM note WHERE shelf = ?1 AND name >= ?2 AND substr(name, 1, length(?2)) = ?2
                     AND (?3 IS NULL OR name > ?3) AND (until IS NULL OR until >= ?4) ORDER BY name LIMIT ?5",
                )?
                .query_map(params![shelf.name(), prefix, after, now, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        }))
    }
}
