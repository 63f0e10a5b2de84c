//! Pages of a list: a cursor says behind which item the page begins, so that what is added or removed meanwhile shifts nothing.

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Answer, Problem};

/// Items on a page where nothing else is said.
const LIMIT: usize = 100;
/// The most on a page.
pub(super) const LIMIT_MAX: usize = 1_000;

/// A list. `next` is the cursor of the following page, `None` at the end.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// Which page of a list that has no other parameters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paged {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items on a page; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Paged {
    pub(super) fn page(&self) -> Answer<Page> {
        Page::of(self.cursor.as_deref(), self.limit)
    }
}

/// Where a page begins, and how long it is.
#[derive(Debug)]
pub(super) struct Page {
    /// The name of the item before the first.
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl Page {
    /// The page that a request means.
    pub(super) fn of(cursor: Option<&str>, limit: Option<usize>) -> Answer<Self> {
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::invalid("invalid_parameter", format!("`limit` is between 1 and {LIMIT_MAX}.")));
        }
        Ok(Self { after: cursor.map(read).transpose()?, limit })
    }

    /// The page of a whole list, which is put in the order of its names.
    pub(super) fn cut<T: Serialize>(self, items: Vec<T>, name: impl Fn(&T) -> String) -> Json<List<T>> {
        let mut named: Vec<(String, T)> = items.into_iter().map(|item| (name(&item), item)).collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(after) = &self.after {
            named.retain(|(name, _)| name > after);
        }
        self.first(named)
    }

    /// The page of named items that already begin where it does.
    pub(super) fn first<T: Serialize>(self, mut named: Vec<(String, T)>) -> Json<List<T>> {
        let more = named.len() > self.limit;
        named.truncate(self.limit);
        let next = if more { named.last().map(|(name, _)| URL_SAFE_NO_PAD.encode(name)) } else { None };
        Json(List { items: named.into_iter().map(|(_, item)| item).collect(), next })
    }
}

fn read(cursor: &str) -> Answer<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Problem::invalid("invalid_cursor", "`cursor` is not one that a list gave as `next`; begin without one.")
    })
}
