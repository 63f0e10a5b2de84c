//! Reading the books back: every row is checked, and every balance is recounted from its entries.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row};

use super::account::{Live, Promise};
use super::journal;
use super::reader::{amount, enum_of, instant};
use super::recount;
use super::rows::{AccountRow, BalanceRow, PoolRow, body_sum, hold_sum, lines_text, meta_sum, parse_lines, pulse_sum};
use super::watermark::Mark;
use super::witness::{Past, Place};
use crate::ledger::{
    AccountId, Amount, Balance, Billed, Book, Closure, Fund, Grant, GrantId, Hold, HoldId, HoldState, Key, Pool, PoolId,
};
use crate::store::KeyDigest;

/// Why the books could not be read.
#[derive(Debug)]
pub(in crate::store) enum LoadError {
    /// SQLite could not read them.
    Sql(rusqlite::Error),
    /// They contradict themselves; says where, with both figures.
    Broken(String),
}

impl From<rusqlite::Error> for LoadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(in crate::store) type Loaded<T> = Result<T, LoadError>;

pub(in crate::store) fn broken<T>(what: impl Into<String>) -> Loaded<T> {
    Err(LoadError::Broken(what.into()))
}

/// The facts about the file itself.
#[derive(Debug)]
pub(in crate::store) struct Facts {
    pub(in crate::store) instance: String,
    pub(in crate::store) past: Past,
    /// Open and presumed holds.
    pub(in crate::store) live: u64,
}

/// Reads the facts about the file.
pub(in crate::store) fn facts(connection: &Connection) -> Loaded<Facts> {
    let mut meta = BTreeMap::new();
    let mut statement = connection.prepare("SELECT name, value, sum FROM meta")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
        if meta_sum(&name, &value) != row.get::<_, i64>(2)? {
            return broken(format!("the fact {name:?} is damaged"));
        }
        meta.insert(name, value);
    }
    let fact = |name: &str| match meta.get(name) {
        Some(value) => Ok(value.clone()),
        None => broken(format!("the fact {name:?} is missing")),
    };
    let (commits, live, sum) =
        connection.query_row("SELECT commits, live, sum FROM pulse WHERE one = 1", (), |row| {
            Ok((amount(row, 0)?, amount(row, 1)?, row.get::<_, i64>(2)?))
        })?;
    if sum != pulse_sum(commits, live) {
        return broken("the count of commits is damaged");
    }
    let place = Place { boot: fact("boot")?, device: fact("device")?, inode: fact("inode")? };
    Ok(Facts { instance: fact("instance")?, past: Past { place, clean: fact("clean")? == "1", commits }, live })
}

/// Reads every book and checks it.
pub(super) fn books(connection: &Connection, live: u64, block_max: Amount) -> Loaded<Vec<Live>> {
    let mut books = accounts(connection, block_max)?;
    pools(connection, &mut books)?;
    let written = balances(connection)?;
    grants(connection, &mut books, &written)?;
    keys(connection, &mut books)?;
    let found = holds(connection, &mut books)?;
    if found != live {
        return broken(format!("{found} open and presumed holds are there, {live} were written"));
    }
    recount::recount(connection, &books)?;
    finals(connection, &mut books)?;
    Ok(books.into_values().collect())
}

pub(super) type Books = BTreeMap<i64, Live>;

fn book_of(books: &mut Books, account: i64) -> Loaded<&mut Live> {
    match books.get_mut(&account) {
        Some(live) => Ok(live),
        None => broken(format!("a row belongs to account number {account}, which is missing")),
    }
}

fn accounts(connection: &Connection, block_max: Amount) -> Loaded<Books> {
    let mut books = Books::new();
    let mut statement = connection.prepare("SELECT number, id, site, state, never_pay, sum FROM account")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let found = AccountRow {
            number: row.get(0)?,
            id: row.get(1)?,
            site: row.get(2)?,
            state: enum_of(row, 3)?,
            never_pay: row.get(4)?,
        };
        if found.sum() != row.get::<_, i64>(5)? {
            return broken(format!("the row of account {:?} is damaged", found.id));
        }
        let book = Book::new(AccountId::from(found.id), &found.site, found.state, found.never_pay);
        books.insert(found.number, Live::new(found.number, book, block_max));
    }
    Ok(books)
}

fn pools(connection: &Connection, books: &mut Books) -> Loaded<()> {
    let sql = "SELECT account, id, switch, closed, overran, billed_input, billed_output, sum FROM pool";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let account: i64 = row.get(0)?;
        let found = PoolRow {
            id: PoolId::from(row.get::<_, String>(1)?),
            switch: enum_of(row, 2)?,
            closed: closure(row, 3)?,
            overran: row.get(4)?,
            billed: Billed { input: amount(row, 5)?, output: amount(row, 6)? },
        };
        if found.sum(account) != row.get::<_, i64>(7)? {
            return broken(format!("the row of pool {:?} is damaged", found.id));
        }
        let pool = Pool {
            switch: found.switch,
            grants: Vec::new(),
            closed: found.closed,
            overran: found.overran,
            billed: found.billed,
        };
        book_of(books, account)?.book.pools.insert(found.id, pool);
    }
    Ok(())
}

pub(super) fn closure(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Closure>> {
    match row.get::<_, Option<String>>(column)? {
        Some(_) => enum_of(row, column).map(Some),
        None => Ok(None),
    }
}

fn balances(connection: &Connection) -> Loaded<HashMap<(i64, GrantId), BalanceRow>> {
    let sql = "SELECT account, grant_id, granted, spent, presumed, watermark, sum FROM balance";
    let mut written = HashMap::new();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (account, grant): (i64, GrantId) = (row.get(0)?, GrantId(row.get(1)?));
        let found = BalanceRow {
            granted: amount(row, 2)?,
            spent: amount(row, 3)?,
            presumed: amount(row, 4)?,
            watermark: amount(row, 5)?,
        };
        if found.sum(account, grant) != row.get::<_, i64>(6)? {
            return broken(format!("the balance of grant {} of account number {account} is damaged", grant.0));
        }
        written.insert((account, grant), found);
    }
    Ok(written)
}

fn grants(connection: &Connection, books: &mut Books, written: &HashMap<(i64, GrantId), BalanceRow>) -> Loaded<()> {
    let mut statement = connection.prepare("SELECT account, id, body, sum FROM grants")?;
    let mut rows = statement.query(())?;
    let mut seen = 0_usize;
    while let Some(row) = rows.next()? {
        let (account, id, body): (i64, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let grant: Option<Grant> = serde_json::from_str(&body).ok();
        let sound = body_sum(b'g', account, &id.to_string(), &body, None) == row.get::<_, i64>(3)?;
        let Some(grant) = grant.filter(|grant| sound && grant.id.0 == id) else {
            return broken(format!("the row of grant {id} of account number {account} is damaged"));
        };
        let Some(balance) = written.get(&(account, grant.id)) else {
            return broken(format!("grant {id} of account number {account} has no balance"));
        };
        let live = book_of(books, account)?;
        let mark = Mark::new(balance.watermark);
        live.promises.insert(grant.id, Promise { mark, written: Some(*balance) });
        live.book.next_grant = live.book.next_grant.max(id.saturating_add(1));
        let Some(pool) = live.book.pools.get_mut(&grant.pool) else {
            return broken(format!("grant {id} belongs to pool {:?}, which is missing", grant.pool));
        };
        let counters = Balance { granted: balance.granted, held: 0, spent: balance.spent, presumed: balance.presumed };
        pool.grants.push(Fund { grant, balance: counters });
        pool.grants.sort_by_key(|fund| (fund.grant.end.is_none(), fund.grant.end, fund.grant.id));
        seen += 1;
    }
    if seen != written.len() {
        return broken(format!("{seen} grants are there, but {} balances", written.len()));
    }
    Ok(())
}

fn keys(connection: &Connection, books: &mut Books) -> Loaded<()> {
    let mut statement = connection.prepare("SELECT account, id, body, digest, sum FROM key")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (account, id, body): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let digest = row.get::<_, Option<[u8; 32]>>(3)?.map(KeyDigest);
        let key: Option<Key> = serde_json::from_str(&body).ok();
        let sound = body_sum(b'k', account, &id, &body, digest.as_ref()) == row.get::<_, i64>(4)?;
        let Some(key) = key.filter(|key| sound && key.id.as_str() == id) else {
            return broken(format!("the row of key {id:?} is damaged"));
        };
        let live = book_of(books, account)?;
        if let Some(digest) = digest {
            live.digests.insert(key.id.clone(), digest);
        }
        live.book.keys.insert(key.id.clone(), key);
    }
    Ok(())
}

fn holds(connection: &Connection, books: &mut Books) -> Loaded<u64> {
    let sql = "SELECT account, id, pool, model, key, lines, amount, mode, state, deadline, since, sum FROM hold";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        let (account, id) = (row.get::<_, i64>(0)?, HoldId(u128::from_be_bytes(row.get(1)?)));
        let Some(hold) = hold(row, account, id)? else {
            return broken(format!("the row of hold {id} is damaged"));
        };
        let live = book_of(books, account)?;
        if hold.state == HoldState::Open {
            live.book.due.insert((hold.deadline, id));
            for line in &hold.lines {
                let pool = live.book.pools.get_mut(&hold.pool);
                let fund = pool.and_then(|pool| pool.grants.iter_mut().find(|fund| fund.grant.id == line.grant));
                let Some(fund) = fund else {
                    return broken(format!("hold {id} draws on grant {}, which is missing", line.grant.0));
                };
                fund.balance.held = fund.balance.held.saturating_add(line.amount);
            }
        }
        live.book.holds.insert(id, hold);
        found += 1;
    }
    Ok(found)
}

pub(super) fn hold(row: &Row<'_>, account: i64, id: HoldId) -> Loaded<Option<Hold>> {
    let text: String = row.get(5)?;
    let Some(lines) = parse_lines(&text) else { return Ok(None) };
    let hold = Hold {
        pool: row.get::<_, String>(2)?.into(),
        model: row.get::<_, String>(3)?.into(),
        key: row.get::<_, String>(4)?.into(),
        lines,
        amount: amount(row, 6)?,
        mode: enum_of(row, 7)?,
        state: enum_of(row, 8)?,
        deadline: instant(row, 9)?,
        since: instant(row, 10)?,
    };
    let mut canonical = String::new();
    lines_text(&hold.lines, &mut canonical);
    let sound = canonical == text && !hold.state.is_final();
    Ok((sound && hold_sum(account, id, &hold, &text) == row.get::<_, i64>(11)?).then_some(hold))
}

/// Finals stay on the disk; a book only has to know up to which id to look for them.
fn finals(connection: &Connection, books: &mut Books) -> Loaded<()> {
    for (account, live) in books {
        live.forget_up_to(journal::highest_final(connection, *account)?);
    }
    Ok(())
}
