//! What of an account an operator can change, as one JSON value, so that an audit line shows exactly what a change changed.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::balances::funds;
use crate::ledger::{AccountId, Book};
use crate::store::Shelf;

/// An account's settings by name. Empty for what belongs to no account.
pub(super) type Snapshot = Map<String, Value>;

/// The shelves of what an operator sets.
const SHELVES: [Shelf; 7] = [
    Shelf::Standing,
    Shelf::Users,
    Shelf::Workspaces,
    Shelf::KeyOwners,
    Shelf::Switches,
    Shelf::Notices,
    Shelf::Fallbacks,
];

/// The most notes of a shelf that are compared.
const NOTES_MAX: usize = 10_000;

/// The account that a path is about, or that a new one gets.
pub(super) fn account_of(path: &str, body: &Bytes) -> Option<String> {
    let rest = path.strip_prefix("/admin/v1/accounts")?;
    if let Some(name) = rest.strip_prefix('/').and_then(|rest| rest.split('/').next()).filter(|name| !name.is_empty()) {
        return Some(percent_decoded(name));
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("id").and_then(Value::as_str).map(str::to_owned)
}

fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The account as it is now; empty where there is none or nobody can tell.
pub(super) async fn of(state: &AdminState, account: Option<&str>, with_spent: bool) -> Snapshot {
    let mut shown = Snapshot::new();
    let Some(account) = account else { return shown };
    if let Ok(book) = state.store.book(&AccountId::from(account)).await {
        of_book(&book, with_spent, &mut shown);
    }
    for shelf in SHELVES {
        let own = state.notes.get(shelf, account).await.ok().flatten();
        let prefix = format!("{account}/");
        let under = state.notes.list(shelf, &prefix, None, NOTES_MAX).await.unwrap_or_default();
        for (name, value) in own.map(|value| (account.to_owned(), value)).into_iter().chain(under) {
            shown.insert(format!("{}:{name}", shelf.name()), serde_json::from_str(&value).unwrap_or_default());
        }
    }
    shown
}

fn of_book(book: &Book, with_spent: bool, shown: &mut Snapshot) {
    shown.insert("site".to_owned(), json!(book.site));
    shown.insert("state".to_owned(), json!(book.state));
    shown.insert("never_pay".to_owned(), json!(book.never_pay));
    for (id, key) in &book.keys {
        shown.insert(format!("key:{id}"), json!(key));
    }
    for (id, pool) in &book.pools {
        shown.insert(format!("switch:{id}"), json!(pool.switch));
        shown.insert(format!("closed:{id}"), json!(pool.closed));
    }
    for fund in funds(book) {
        let grant = json!({ "grant": fund.grant, "granted": fund.balance.granted });
        shown.insert(format!("grant:{}", fund.grant.id.0), grant);
        if with_spent {
            let (spent, presumed) = (fund.balance.spent, fund.balance.presumed);
            shown.insert(format!("spent:{}", fund.grant.id.0), json!({ "spent": spent, "presumed": presumed }));
        }
    }
}

/// What differs, as it was and as it is.
pub(super) fn difference(before: &Snapshot, after: &Snapshot) -> (Value, Value) {
    let (mut was, mut is) = (Map::new(), Map::new());
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        was.insert(name.clone(), before.get(name).cloned().unwrap_or_default());
        is.insert(name.clone(), after.get(name).cloned().unwrap_or_default());
    }
    (Value::Object(was), Value::Object(is))
}
