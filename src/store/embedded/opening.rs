//! Opening a ledger: the order of steps in which nothing that was used can be forgotten (LEDGER 3).

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::account::{Live, Need};
use super::error::OpenError;
use super::filesystem;
use super::keys::{KeyRing, Placed};
use super::load::{self, Facts, LoadError};
use super::queue::{Batch, Queue};
use super::rows::{Write, meta_sum};
use super::schema::{APPLICATION_ID, FORMAT, TABLES};
use super::statements::{self, Statements};
use super::witness::{Place, Standing, Testimony, Witness, judge};
use super::{Opening, Recovered, Settings};
use crate::ledger::{Change, Command, HoldId, HoldState, Resolution, Timestamp, recover_presumed};
use crate::store::StoreError;

/// The ledger's name in its directory.
pub(super) const LEDGER_FILE: &str = "ledger.db";

/// Up to this size the whole file is checked at each start; beyond it the rows' own sums and the recount have to do.
const QUICK_CHECK_BELOW: u64 = 32 << 20;

/// How long to wait for somebody who looks at the file with another tool.
const PATIENCE: Duration = Duration::from_secs(2);

/// A ledger that is open, before its writer starts.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) witness: Witness,
    pub(super) testimony: Testimony,
    pub(super) live: u64,
    pub(super) books: Vec<Live>,
    pub(super) queue: Queue,
    pub(super) keys: KeyRing,
    pub(super) opening: Opening,
}

/// The directory, if a ledger can be kept there, with the path of the ledger.
pub(super) fn place(settings: &Settings) -> Result<(PathBuf, PathBuf), OpenError> {
    let dir = &settings.dir;
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::NotInitialised { dir: dir.clone() });
        }
        Err(source) => return Err(OpenError::Io { action: "open the directory", path: dir.clone(), source }),
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match filesystem::kind(&mounts, &dir) {
        Some(kind) if !settings.any_file_system && filesystem::is_remote(kind) => {
            Err(OpenError::NotLocal { dir, kind: kind.to_owned() })
        }
        Some(_) | None => {
            let file = dir.join(LEDGER_FILE);
            Ok((dir, file))
        }
    }
}

/// Opens the file, without looking at what is in it.
pub(super) fn connect(file: &Path) -> Result<Connection, OpenError> {
    let sql = |action| OpenError::sql(action, file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(sql("open"))?;
    connection.busy_timeout(PATIENCE).map_err(sql("open"))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql("open"))?;
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(sql("read"))?;
    let format = pragma("user_version").map_err(sql("read"))?;
    if application != APPLICATION_ID {
        let what = format!("it is a database of something else (application id {application})");
        return Err(OpenError::Foreign { file: file.to_owned(), what });
    }
    if format > FORMAT {
        return Err(OpenError::Newer { file: file.to_owned(), found: format, known: FORMAT });
    }
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

/// Opens a ledger whose lock is held.
pub(super) fn open(settings: &Settings, file: &Path, mut witness: Witness, now: Timestamp) -> Result<Ready, OpenError> {
    let said = witness.read();
    let connection = connect(file)?;
    let here = Place::of(&file.to_owned())?;
    check_pages(&connection, file)?;
    let facts = load::facts(&connection).map_err(loading(file))?;
    if let Some(said) = said.as_ref().filter(|said| said.instance != facts.instance) {
        let what = format!(
            "the lock file beside it belongs to ledger {}, this is ledger {}; if it is meant to be here, remove the lock file",
            said.instance, facts.instance
        );
        return Err(OpenError::Foreign { file: file.to_owned(), what });
    }
    let standing = judge(&facts.past, &here, said.as_ref());
    if let Standing::Older { durable } = standing {
        return Err(OpenError::Older { file: file.to_owned(), found: facts.past.commits, durable });
    }
    let mut books = load::books(&connection, facts.live, settings.block_max).map_err(loading(file))?;
    // Everything is written and synced once more, so that nothing rests on an fsync that may have failed.
    statements::checkpoint(&connection, statements::EMPTY).map_err(OpenError::sql("sync", file))?;
    let (queue, keys) = (Queue::new(settings.queue_max, settings.linger), KeyRing::default());
    let opening = close_the_past(&mut books, &queue, &keys, now, &standing)
        .map_err(|error| OpenError::Corrupt { file: file.to_owned(), what: error.detail })?;
    place_keys(&books, &keys);
    let batch = opening_batch(&queue, &here)
        .map_err(|error| OpenError::Corrupt { file: file.to_owned(), what: error.detail })?;
    let (commits, live) = commit(&connection, &batch, &facts).map_err(OpenError::sql("write to", file))?;
    queue.done(&batch);
    let testimony = Testimony { instance: facts.instance, commits, durable: commits, poisoned: false };
    witness.note(&testimony).and_then(|()| witness.sync()).map_err(OpenError::io("write the lock file of", file))?;
    Ok(Ready { connection, witness, testimony, live, books, queue, keys, opening })
}

pub(super) fn loading(file: &Path) -> impl Fn(LoadError) -> OpenError {
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

fn check_pages(connection: &Connection, file: &Path) -> Result<(), OpenError> {
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

/// First every open hold is posted in full, whatever was or was not sent; only then what the watermarks promise beyond that.
fn close_the_past(
    books: &mut [Live],
    queue: &Queue,
    keys: &KeyRing,
    now: Timestamp,
    standing: &Standing,
) -> Result<Opening, StoreError> {
    let mut opening = Opening::default();
    for live in &mut *books {
        let open: Vec<HoldId> =
            live.book.holds.iter().filter(|(_, hold)| hold.state == HoldState::Open).map(|(id, _)| *id).collect();
        opening.presumed_holds += open.len();
        for hold in open {
            let command = Command::Resolve { hold, resolution: Resolution::Presume(None), origin: None };
            live.step(queue, keys, None, now, command, Need::Memory)?;
        }
    }
    if let Standing::Recover(why) = standing {
        opening.recovery = Some(why);
        for live in books {
            recover_to_watermarks(live, queue, keys, now, &mut opening)?;
        }
    }
    Ok(opening)
}

fn recover_to_watermarks(
    live: &mut Live,
    queue: &Queue,
    keys: &KeyRing,
    now: Timestamp,
    opening: &mut Opening,
) -> Result<(), StoreError> {
    let mut changes: Vec<Change> = Vec::new();
    let funds: Vec<_> = live
        .book
        .pools
        .iter()
        .flat_map(|(pool, state)| state.grants.iter().map(|fund| (pool.clone(), fund.grant.id, fund.balance)))
        .collect();
    for (pool, grant, balance) in funds {
        let promise = live.promises.get(&grant).map_or(0, |promise| promise.mark.promised);
        let amount = promise.saturating_sub(balance.spent.saturating_add(balance.presumed));
        if amount > 0 {
            recover_presumed(&mut live.book, now, &pool, grant, amount, &mut changes);
            opening.recovered.push(Recovered { account: live.book.account.clone(), pool, grant, amount });
        }
    }
    live.send(queue, keys, None, (now, false, false), &mut changes)?;
    Ok(())
}

fn place_keys(books: &[Live], keys: &KeyRing) {
    let mut placed = Vec::new();
    for live in books {
        let site: std::sync::Arc<str> = live.book.site.as_str().into();
        for (id, digest) in &live.digests {
            if let Some(key) = live.book.keys.get(id) {
                let (account, key) = (live.book.account.clone(), key.clone());
                placed.push(Placed { digest: *digest, account, site: site.clone(), key });
            }
        }
    }
    keys.place(placed);
}

fn opening_batch(queue: &Queue, here: &Place) -> Result<Batch, StoreError> {
    queue.push(None, false, true, |batch| {
        let facts = [
            ("boot", here.boot.clone()),
            ("device", here.device.clone()),
            ("inode", here.inode.clone()),
            ("clean", "0".to_owned()),
        ];
        batch.writes.extend(facts.map(|(name, value)| Write::Meta { name, value }));
    })?;
    Ok(queue.opening())
}

fn commit(connection: &Connection, batch: &Batch, facts: &Facts) -> rusqlite::Result<(u64, u64)> {
    let mut statements = Statements::prepare(connection, facts.live)?;
    let number = facts.past.commits + 1;
    statements.commit_batch(batch, number)?;
    Ok((number, statements.live))
}

/// Makes an empty ledger under a name of its own and then gives it its name, so that there is never half a ledger.
pub(super) fn create(dir: &Path, file: &Path, witness: &mut Witness, now: Timestamp) -> Result<(), OpenError> {
    if file.exists() {
        return Err(OpenError::Exists { file: file.to_owned() });
    }
    let unfinished = dir.join("ledger.db.new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let stale = dir.join(format!("ledger.db.new{suffix}"));
        match std::fs::remove_file(&stale) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { action: "remove", path: stale, source }),
        }
    }
    // A log that an earlier ledger left behind would be played into the new one.
    for suffix in ["-wal", "-shm"] {
        let stale = dir.join(format!("{LEDGER_FILE}{suffix}"));
        if stale.exists() {
            return Err(OpenError::Exists { file: stale });
        }
    }
    make_private(&unfinished)?;
    let instance = uuid::Uuid::now_v7().simple().to_string();
    write_tables(&unfinished, &instance, now).map_err(OpenError::sql("make", file))?;
    std::fs::rename(&unfinished, file).map_err(OpenError::io("name", file))?;
    let testimony = Testimony { instance, commits: 0, durable: 0, poisoned: false };
    witness.note(&testimony).and_then(|()| witness.sync()).map_err(OpenError::io("write the lock file of", file))?;
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("sync", dir))
}

fn make_private(file: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map(drop).map_err(OpenError::io("make", file))
}

fn write_tables(file: &Path, instance: &str, now: Timestamp) -> rusqlite::Result<()> {
    let connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA synchronous = FULL; BEGIN")?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"))?;
    let created = now.0.to_string();
    let facts =
        [("instance", instance), ("created", &created), ("boot", ""), ("device", ""), ("inode", ""), ("clean", "1")];
    for (name, value) in facts {
        connection.execute("INSERT INTO meta VALUES (?1, ?2, ?3)", params![name, value, meta_sum(name, value)])?;
    }
    connection.execute("UPDATE pulse SET commits = 0, live = 0, sum = ?1", [super::rows::pulse_sum(0, 0)])?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)
}
