//! A SQLite file of ours: where it may lie, how it is opened, and how it is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::error::OpenError;
use super::filesystem;
use super::load::LoadError;
use super::rows::{meta_sum, pulse_sum};
use super::witness::{Testimony, Witness};
use crate::ledger::Timestamp;

/// Up to this size the whole file is checked at each start; beyond it the rows' own sums have to do.
const QUICK_CHECK_BELOW: u64 = 32 << 20;

/// How long to wait for somebody who looks at the file with another tool.
const PATIENCE: Duration = Duration::from_secs(2);

/// What tells the files apart.
#[derive(Debug)]
pub(in crate::store) struct Kind {
    /// The file's name in its directory.
    pub(in crate::store) name: &'static str,
    /// The name of the lock file beside it.
    pub(in crate::store) lock: &'static str,
    /// `application_id` of the file.
    pub(in crate::store) application: i64,
    /// `user_version` of the file: the format that this version writes and the newest that it reads.
    pub(in crate::store) format: i64,
    /// What makes the tables, `meta` and `pulse` among them.
    pub(in crate::store) tables: &'static [&'static str],
}

/// The directory, if such a file can be kept there, with the path of the file.
pub(in crate::store) fn place(kind: &Kind, dir: &Path, any_file_system: bool) -> Result<(PathBuf, PathBuf), OpenError> {
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::NotInitialised { dir: dir.to_owned() });
        }
        Err(source) => return Err(OpenError::Io { action: "open the directory", path: dir.to_owned(), source }),
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match filesystem::kind(&mounts, &dir) {
        Some(kind) if !any_file_system && filesystem::is_remote(kind) => {
            Err(OpenError::NotLocal { dir, kind: kind.to_owned() })
        }
        Some(_) | None => {
            let file = dir.join(kind.name);
            Ok((dir, file))
        }
    }
}

/// Opens the file to write to it, without looking at what is in it.
pub(in crate::store) fn connect(kind: &Kind, file: &Path) -> Result<Connection, OpenError> {
    let sql = |action| OpenError::sql(action, file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(sql("open"))?;
    connection.busy_timeout(PATIENCE).map_err(sql("open"))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql("open"))?;
    identify(kind, file, &connection)?;
    if connection.is_readonly("main").map_err(sql("open"))? {
        let source = std::io::ErrorKind::PermissionDenied.into();
        return Err(OpenError::Io { action: "write to", path: file.to_owned(), source });
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)).map_err(sql("open"))?;
    if mode != "wal" {
        return Err(OpenError::Corrupt { file: file.to_owned(), what: format!("its journal mode stays {mode}") });
    }
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL").map_err(sql("open"))?;
    Ok(connection)
}

/// Whether it is what it should be, in a format that is known here.
pub(in crate::store) fn identify(kind: &Kind, file: &Path, connection: &Connection) -> Result<(), OpenError> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(OpenError::sql("read", file))?;
    let found = pragma("user_version").map_err(OpenError::sql("read", file))?;
    if application != kind.application {
        let what = format!("it is a database of something else (application id {application})");
        return Err(OpenError::Foreign { file: file.to_owned(), what });
    }
    if found > kind.format {
        return Err(OpenError::Newer { file: file.to_owned(), found, known: kind.format });
    }
    Ok(())
}

/// Lets SQLite look at every page, as long as the file is small.
pub(in crate::store) fn check_pages(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let size = std::fs::metadata(file).map_err(OpenError::io("look at", file))?.len();
    if size > QUICK_CHECK_BELOW {
        return Ok(());
    }
    let verdict: Result<String, _> = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(OpenError::Corrupt { file: file.to_owned(), what: verdict }),
        Err(error) => Err(loading(file)(error.into())),
    }
}

/// What a file that cannot be read means.
pub(in crate::store) fn loading(file: &Path) -> impl Fn(LoadError) -> OpenError {
    let file = file.to_owned();
    move |error| match error {
        LoadError::Broken(what) => OpenError::Corrupt { file: file.clone(), what },
        LoadError::Sql(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::DatabaseBusy) => {
                OpenError::Sql { action: "read", file: file.clone(), source: error }
            }
            Some(_) | None => OpenError::Corrupt { file: file.clone(), what: error.to_string() },
        },
    }
}

/// Makes an empty file under a name of its own and then gives it its name, so that there is never half of one.
pub(in crate::store) fn create(
    kind: &Kind,
    file: &Path,
    instance: &str,
    witness: &mut Witness,
    now: Timestamp,
) -> Result<(), OpenError> {
    let beside = |suffix: &str| file.with_file_name(format!("{}{suffix}", kind.name));
    if file.exists() {
        return Err(OpenError::Exists { file: file.to_owned() });
    }
    for suffix in [".new", ".new-wal", ".new-shm", ".new-journal"] {
        let stale = beside(suffix);
        match std::fs::remove_file(&stale) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { action: "remove", path: stale, source }),
        }
    }
    // A log that an earlier file left behind would be played into the new one.
    for stale in ["-wal", "-shm"].map(beside) {
        if stale.exists() {
            return Err(OpenError::Exists { file: stale });
        }
    }
    let unfinished = beside(".new");
    make_private(&unfinished)?;
    write_tables(kind, &unfinished, instance, now).map_err(OpenError::sql("make", file))?;
    std::fs::rename(&unfinished, file).map_err(OpenError::io("name", file))?;
    let testimony = Testimony { instance: instance.to_owned(), commits: 0, durable: 0, poisoned: false };
    witness.note(&testimony).and_then(|()| witness.sync()).map_err(OpenError::io("write the lock file of", file))?;
    let dir = file.parent().unwrap_or(file);
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("sync", dir))
}

fn make_private(file: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map(drop).map_err(OpenError::io("make", file))
}

fn write_tables(kind: &Kind, file: &Path, instance: &str, now: Timestamp) -> rusqlite::Result<()> {
    let connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA synchronous = FULL; BEGIN")?;
    for tables in kind.tables {
        connection.execute_batch(tables)?;
    }
    let (application, format) = (kind.application, kind.format);
    connection.execute_batch(&format!("PRAGMA application_id = {application}; PRAGMA user_version = {format};"))?;
    let created = now.0.to_string();
    let facts =
        [("instance", instance), ("created", &created), ("boot", ""), ("device", ""), ("inode", ""), ("clean", "1")];
    for (name, value) in facts {
        connection.execute("INSERT INTO meta VALUES (?1, ?2, ?3)", params![name, value, meta_sum(name, value)])?;
    }
    connection.execute("UPDATE pulse SET commits = 0, live = 0, sum = ?1", [pulse_sum(0, 0)])?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)
}
