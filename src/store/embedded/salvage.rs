//! Reading what can still be read of a damaged ledger. Where something is unsure it takes the value that allows least.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, Row};

use super::account::Live;
use super::fold::{Fold, Folding};
use super::journal;
use super::load::{Loaded, closure, hold};
use super::recount::{self, Counted};
use super::rows::{AccountRow, PoolRow, body_sum, meta_sum, parse, pulse_sum};
use super::witness::Testimony;
use crate::ledger::{
    AccountState, Balance, Billed, Book, Entry, EntryKind, Fund, Grant, GrantId, HoldId, HoldState, Key, KeyState,
    MAX_AMOUNT, Pool, PoolId, Side, Switch, Timestamp, Unit, Usage,
};
use crate::store::KeyDigest;

/// What could be read.
pub(super) struct Salvaged {
    pub(super) books: Vec<Live>,
    /// Entries, with their accounts, that bring sums which cannot be true back into range.
    pub(super) corrections: Vec<(i64, Entry)>,
}

/// The facts that the next start needs.
pub(super) struct Facts {
    pub(super) instance: String,
    pub(super) commits: u64,
}

/// Reads the facts, with the lock file's help.
pub(super) fn facts(connection: &Connection, said: Option<&Testimony>, found: &mut Vec<String>) -> Loaded<Facts> {
    let mut statement = connection.prepare("SELECT value, sum FROM meta WHERE name = 'instance'")?;
    let mut rows = statement.query(())?;
    let mut instance = None;
    if let Some(row) = rows.next()? {
        let value: String = row.get(0).unwrap_or_default();
        let sound = row.get::<_, i64>(1).ok() == Some(meta_sum("instance", &value));
        instance = sound.then_some(value);
    }
    let instance = instance.or_else(|| said.map(|said| said.instance.clone())).unwrap_or_else(|| {
        found.push("the ledger's own id was damaged: it has a new one".to_owned());
        uuid::Uuid::now_v7().simple().to_string()
    });
    let pulse = connection.query_row("SELECT commits, live, sum FROM pulse", (), |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?))
    });
    let commits = match pulse {
        Ok((commits, live, sum)) if pulse_sum(commits, live) == sum => commits,
        Ok(_) | Err(_) => {
            found.push("the count of commits was damaged".to_owned());
            0
        }
    };
    let commits = commits.max(journal::last_number(connection)?.unwrap_or(0));
    Ok(Facts { instance, commits: commits.max(said.map_or(0, |said| said.commits.max(said.durable))) })
}

/// Folds what is sound of the journal, and takes out what is damaged of all that is packed.
pub(super) fn packed(connection: &Connection, found: &mut Vec<String>) -> Loaded<()> {
    let mut fold = Fold::default();
    journal::commits(connection, |number, body| {
        if body.is_none_or(|body| fold.add(body).is_err()) {
            found.push(format!("commit {number} of the journal was damaged: left out"));
        }
        Ok(())
    })?;
    fold.write(connection, Folding::Whole, &mut 0)?;
    let mut damaged = Vec::new();
    recount::count(connection, |seq| damaged.push(seq))?;
    for seq in damaged {
        found.push(format!("page {seq} of the entries was damaged: left out"));
        connection.execute("DELETE FROM page WHERE seq = ?1", [seq])?;
    }
    for seq in journal::damaged_finals(connection)? {
        found.push(format!("sheaf {seq} of the finals was damaged: left out"));
        connection.execute("DELETE FROM finals WHERE seq = ?1", [seq])?;
    }
    Ok(())
}

/// Reads the books.
pub(super) fn salvage(connection: &Connection, block_max: u64, found: &mut Vec<String>) -> Loaded<Salvaged> {
    let counted = recount::count(connection, |_| ())?;
    let mut books = accounts(connection, block_max, &counted, found)?;
    pools(connection, &mut books, found)?;
    let grants = grants(connection, found)?;
    let mut corrections = Vec::new();
    place(&mut books, grants, &counted, found, &mut corrections);
    keys(connection, &mut books, found)?;
    holds(connection, &mut books, found)?;
    Ok(Salvaged { books: books.into_values().collect(), corrections })
}

type Books = BTreeMap<i64, Live>;

fn accounts(connection: &Connection, block_max: u64, counted: &Counted, found: &mut Vec<String>) -> Loaded<Books> {
    let mut books = Books::new();
    let mut statement = connection.prepare("SELECT number, id, site, state, never_pay, sum FROM account")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let state = row.get::<_, String>(3).ok().and_then(|text| parse::<AccountState>(&text));
        let read = AccountRow {
            number,
            id: row.get(1).unwrap_or_else(|_| format!("recovered-{number}")),
            site: row.get(2).unwrap_or_default(),
            state: state.unwrap_or(AccountState::Unverified),
            never_pay: row.get(4).unwrap_or(true),
        };
        let sound = row.get::<_, i64>(5).ok() == Some(read.sum());
        let mut book = Book::new(read.id.as_str().into(), &read.site, read.state, read.never_pay);
        if !sound {
            found.push(format!("account {:?} was damaged: its guard never_pay is on", read.id));
            book.never_pay = true;
        }
        books.insert(number, Live::new(number, book, block_max));
    }
    for number in counted.keys().map(|(number, _, _)| *number).collect::<BTreeSet<_>>() {
        books.entry(number).or_insert_with(|| {
            let name = format!("recovered-{number}");
            found.push(format!("account number {number} was missing: it is called {name}, unverified"));
            Live::new(number, Book::new(name.into(), "", AccountState::Unverified, true), block_max)
        });
    }
    Ok(books)
}

fn pools(connection: &Connection, books: &mut Books, found: &mut Vec<String>) -> Loaded<()> {
    let sql = "SELECT account, id, switch, closed, overran, billed_input, billed_output, sum FROM pool";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let Some(live) = books.get_mut(&row.get(0)?) else { continue };
        let Ok(id) = row.get::<_, String>(1) else { continue };
        let pool = match pool(row, live.number, &id) {
            Some(pool) => pool,
            None => {
                found.push(format!("pool {id:?} was damaged: its switch is on"));
                strict_pool()
            }
        };
        live.book.pools.insert(id.into(), pool);
    }
    Ok(())
}

fn pool(row: &Row<'_>, account: i64, id: &str) -> Option<Pool> {
    let read = PoolRow {
        id: id.into(),
        switch: parse(&row.get::<_, String>(2).ok()?)?,
        closed: closure(row, 3).ok()?,
        overran: row.get(4).ok()?,
        billed: Billed {
            input: row.get::<_, i64>(5).ok()?.cast_unsigned(),
            output: row.get::<_, i64>(6).ok()?.cast_unsigned(),
        },
    };
    (row.get::<_, i64>(7).ok()? == read.sum(account)).then(|| Pool {
        switch: read.switch,
        closed: read.closed,
        overran: read.overran,
        ..Pool::default()
    })
}

/// Free quota only, and held at the model's window.
fn strict_pool() -> Pool {
    Pool { switch: Switch::On, overran: true, ..Pool::default() }
}

fn grants(connection: &Connection, found: &mut Vec<String>) -> Loaded<HashMap<(i64, GrantId), Grant>> {
    let mut grants = HashMap::new();
    let mut statement = connection.prepare("SELECT account, id, body, sum FROM grants")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (account, id): (i64, u32) = (row.get(0)?, row.get(1)?);
        let body: String = row.get(2).unwrap_or_default();
        let sound = row.get::<_, i64>(3).ok() == Some(body_sum(b'g', account, &id.to_string(), &body, None));
        match serde_json::from_str::<Grant>(&body) {
            Ok(grant) if sound => {
                grants.insert((account, grant.id), grant);
            }
            Ok(_) | Err(_) => found.push(format!("grant {id} of account number {account} was damaged")),
        }
    }
    Ok(grants)
}

/// Puts the grants in their pools, with the sums of their entries as balances.
fn place(
    books: &mut Books,
    mut grants: HashMap<(i64, GrantId), Grant>,
    counted: &Counted,
    found: &mut Vec<String>,
    corrections: &mut Vec<(i64, Entry)>,
) {
    for ((account, pool, grant), sums) in counted {
        let Some(live) = books.get_mut(account) else { continue };
        let target = live.book.pools.entry(pool.clone()).or_insert_with(strict_pool);
        let clamp = |sum: i64| u64::try_from(sum).unwrap_or(0).min(MAX_AMOUNT);
        let (granted, spent, presumed) = (clamp(sums.0), clamp(sums.1), clamp(sums.2));
        let Some(id) = grant else {
            target.billed = Billed { input: clamp(sums.3), output: clamp(sums.4) };
            continue;
        };
        let grant = grants.remove(&(*account, *id)).filter(|grant| grant.pool == *pool).unwrap_or_else(|| {
            found.push(format!("grant {} of pool {pool} was made up from its entries", id.0));
            made_up(*id, pool, granted)
        });
        let off = (signed(granted) - sums.0, signed(spent) - sums.1, signed(presumed) - sums.2);
        if off != (0, 0, 0) {
            found.push(format!("the entries of grant {} of pool {pool} add up to what cannot be: corrected", id.0));
            corrections.push((*account, correction(pool, *id, off)));
        }
        target.grants.push(Fund { grant, balance: Balance { granted, held: 0, spent, presumed } });
        target.grants.sort_by_key(|fund| (fund.grant.end.is_none(), fund.grant.end, fund.grant.id));
        live.book.next_grant = live.book.next_grant.max(id.0.saturating_add(1));
    }
    for ((account, id), _) in grants {
        found.push(format!("grant {} of account number {account} has no entries: left out", id.0));
    }
}

fn made_up(id: GrantId, pool: &PoolId, amount: u64) -> Grant {
    let (side, unit) = (Side::Both, Unit::Tokens);
    Grant { id, pool: pool.clone(), side, unit, amount, start: Timestamp(0), end: None }
}

fn correction(pool: &PoolId, grant: GrantId, (granted, spent, presumed): (i64, i64, i64)) -> Entry {
    Entry {
        at: Timestamp(0),
        kind: EntryKind::Recover,
        pool: pool.clone(),
        grant: Some(grant),
        hold: None,
        granted,
        held: 0,
        spent,
        presumed,
        billed: Usage::default(),
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn keys(connection: &Connection, books: &mut Books, found: &mut Vec<String>) -> Loaded<()> {
    let mut statement = connection.prepare("SELECT account, id, body, digest, sum FROM key")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let Some(live) = books.get_mut(&row.get(0)?) else { continue };
        let (id, body): (String, String) = (row.get(1).unwrap_or_default(), row.get(2).unwrap_or_default());
        let digest = row.get::<_, Option<[u8; 32]>>(3).ok().flatten().map(KeyDigest);
        let sound = row.get::<_, i64>(4).ok() == Some(body_sum(b'k', live.number, &id, &body, digest.as_ref()));
        let Ok(mut key) = serde_json::from_str::<Key>(&body) else {
            found.push(format!("key {id:?} was damaged: left out"));
            continue;
        };
        if !sound {
            found.push(format!("key {:?} was damaged: it is disabled", key.id));
            key.state = if key.state == KeyState::Deleted { KeyState::Deleted } else { KeyState::Disabled };
        } else if let Some(digest) = digest {
            live.digests.insert(key.id.clone(), digest);
        }
        live.book.keys.insert(key.id.clone(), key);
    }
    Ok(())
}

fn holds(connection: &Connection, books: &mut Books, found: &mut Vec<String>) -> Loaded<()> {
    let sql = "SELECT account, id, pool, model, key, lines, amount, mode, state, deadline, since, sum FROM hold";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let Some(live) = books.get_mut(&row.get(0)?) else { continue };
        let id = HoldId(row.get(1).map(u128::from_be_bytes).unwrap_or_default());
        match hold(row, live.number, id) {
            Ok(Some(hold)) if known(live, &hold.pool, hold.lines.iter().map(|line| line.grant)) => {
                if hold.state == HoldState::Open {
                    live.book.due.insert((hold.deadline, id));
                    for line in &hold.lines {
                        let pool = live.book.pools.get_mut(&hold.pool);
                        let fund = pool.and_then(|pool| pool.grants.iter_mut().find(|f| f.grant.id == line.grant));
                        if let Some(fund) = fund {
                            fund.balance.held = fund.balance.held.saturating_add(line.amount);
                        }
                    }
                }
                live.book.holds.insert(id, hold);
            }
            Ok(_) | Err(_) => found.push(format!("hold {id} was damaged: left out")),
        }
    }
    Ok(())
}

fn known(live: &Live, pool: &PoolId, mut grants: impl Iterator<Item = GrantId>) -> bool {
    grants.all(|grant| live.book.fund(pool, grant).is_some())
}
