//! The lines of the ledger, newest first.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Named, Params};
use super::page::{List, Page};
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::ledger::{AccountId, Entry, EntryKind, GrantId, PoolId, Usage};

/// How far back the pages of this list reach: the store gives the newest entries alone.
const REACH: usize = 10_000;

/// An entry as an operator sees it. The figures are changes.
#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub(super) struct EntryView {
    at: String,
    #[schema(value_type = String)]
    kind: EntryKind,
    #[schema(value_type = String)]
    pool: PoolId,
    #[schema(value_type = Option<u32>)]
    grant: Option<GrantId>,
    hold: Option<String>,
    granted: i64,
    held: i64,
    spent: i64,
    presumed: i64,
    #[schema(value_type = Object)]
    billed: Usage,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            at: when::show(entry.at),
            kind: entry.kind,
            pool: entry.pool,
            grant: entry.grant,
            hold: entry.hold.map(|hold| hold.to_string()),
            granted: entry.granted,
            held: entry.held,
            spent: entry.spent,
            presumed: entry.presumed,
            billed: entry.billed,
        }
    }
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    #[param(value_type = Option<String>)]
    pool: Option<PoolId>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items on a page; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/entries",
    tag = "entries",
    params(("account" = String, Path, description = "The account"), Which),
    responses((status = 200, description = "Done", body = List<EntryView>))
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Which>,
) -> Answer<Json<List<EntryView>>> {
    let page = Page::of(which.cursor.as_deref(), which.limit)?;
    let begin = page.after.as_deref().map(Place::read).transpose()?;
    // An account without entries answers an empty list; an unknown one does not exist.
    state.store.book(&account).await?;
    let wanted = if begin.is_some() { REACH } else { page.limit + 1 };
    let entries = state.store.entries(&account, which.pool.as_ref(), wanted).await?;
    let rest = Place::of_all(entries).skip_while(|(place, _)| begin.is_some_and(|begin| !place.is_behind(begin)));
    Ok(page.first(rest.map(named).collect()))
}

fn named((place, entry): (Place, Entry)) -> (String, EntryView) {
    (format!("{}.{}", place.at, place.repeat), EntryView::from(entry))
}

/// Where an entry stands: its time, and how many of the same time are newer.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    repeat: u64,
}

impl Place {
    fn of_all(entries: Vec<Entry>) -> impl Iterator<Item = (Self, Entry)> {
        let mut last = Self { at: u64::MAX, repeat: 0 };
        entries.into_iter().map(move |entry| {
            let repeat = if entry.at.0 == last.at { last.repeat + 1 } else { 0 };
            last = Self { at: entry.at.0, repeat };
            (last, entry)
        })
    }

    fn read(cursor: &str) -> Answer<Self> {
        let read = |(at, repeat): (&str, &str)| Some(Self { at: at.parse().ok()?, repeat: repeat.parse().ok()? });
        cursor.split_once('.').and_then(read).ok_or_else(|| {
            Problem::invalid("invalid_cursor", "`cursor` is not one that this list gave; begin without one.")
        })
    }

    /// Whether it comes later in the list, that is, is older.
    fn is_behind(self, other: Self) -> bool {
        self.at < other.at || (self.at == other.at && self.repeat > other.repeat)
    }
}
