//! Which calls exist: a table that is denied by default.

use std::borrow::Cow;

use http::Method;
use serde::Serialize;

use super::socket::INFERENCE;
use super::table::TABLE;
use super::{Base, Dialect, Kind, Metering};

/// The longest id that a path may carry, in bytes.
const MAX_ID: usize = 128;

/// The longest query that a free route passes on, in bytes.
const MAX_QUERY: usize = 256;

/// A call that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Whose shapes it has.
    pub dialect: Dialect,
    /// How it is metered.
    pub metering: Metering,
    /// Its name in logs and metrics, such as `chat.completions`.
    pub operation: &'static str,
    /// What `upstream_path` is appended to.
    pub base: Base,
    /// What is appended to the upstream's base, a query included where one may be passed on.
    pub upstream_path: Cow<'static, str>,
    /// The id in the path; empty where there is none.
    pub id: String,
}

/// What the table says about a request line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteMatch {
    /// The call exists.
    Found(Route),
    /// The path exists, with this method only.
    MethodNotAllowed {
        /// The value for an `Allow` header.
        allow: &'static str,
    },
    /// Nothing of the kind is metered here, so nothing of the kind is passed on.
    NotMetered,
}

/// One row of the table, as the coverage page shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RouteRow {
    /// The method.
    pub method: &'static str,
    /// The path; `{model}` stands for a model id, `{id}` for another one.
    pub path: &'static str,
    /// Whose shapes it has.
    pub dialect: Dialect,
    /// How it is metered.
    pub metering: Metering,
    /// Its name in logs and metrics.
    pub operation: &'static str,
    /// Where the route is documented.
    pub source: &'static str,
    /// What the upstream's path is appended to.
    #[serde(skip)]
    pub(super) base: Base,
    /// The path below that base, with the same placeholder.
    #[serde(skip)]
    pub(super) upstream: &'static str,
}

/// What stands in a row's path where a model id belongs.
const MODEL: &str = "{model}";
/// What stands there where another id belongs.
const ID: &str = "{id}";

/// Every call that exists, for the coverage page.
#[must_use]
pub fn coverage() -> &'static [RouteRow] {
    TABLE
}

/// Whose errors a path gets, whether or not it exists: its family decides.
#[must_use]
pub fn family(path: &str) -> Dialect {
    match () {
        () if path.starts_with("/apps/anthropic") => Dialect::Anthropic,
        () if path.starts_with("/api/v2/apps/protocols/compatible-mode") => Dialect::OpenAi,
        () if path.starts_with("/api/") || path.starts_with("/api-task/") => Dialect::DashScope,
        () if path.starts_with(INFERENCE) => Dialect::DashScope,
        () => Dialect::OpenAi,
    }
}

/// Looks a request line up. `path` and `query` are the raw bytes of the request: nothing is decoded, folded or
/// normalised, so whatever another server might read as the same path is not found here.
#[must_use]
pub fn route(method: &Method, path: &str, query: Option<&str>) -> RouteMatch {
    let mut rows = TABLE.iter().filter_map(|row| Some((row, matches(row.path, path)?))).peekable();
    let Some((other, _)) = rows.peek().copied() else { return RouteMatch::NotMetered };
    let Some((row, id)) = rows.find(|(row, _)| method.as_str() == row.method) else {
        return RouteMatch::MethodNotAllowed { allow: other.method };
    };
    let query = query.unwrap_or_default();
    let passes = matches!(row.metering, Metering::Free | Metering::Owned(_)) && is_plain_query(query);
    if !query.is_empty() && !passes {
        return RouteMatch::NotMetered;
    }
    let path = match row.upstream.split_once('{').zip(row.upstream.split_once('}')) {
        Some(((start, _), (_, end))) => Cow::Owned(format!("{start}{id}{end}")),
        None => Cow::Borrowed(row.upstream),
    };
    let upstream_path = if query.is_empty() { path } else { Cow::Owned(format!("{path}?{query}")) };
    RouteMatch::Found(Route {
        dialect: row.dialect,
        metering: row.metering,
        operation: row.operation,
        base: row.base,
        upstream_path,
        id: id.to_owned(),
    })
}

/// The id that `path` carries where `row` has one, else the empty string; `None` where the path is another.
fn matches<'p>(row: &str, path: &'p str) -> Option<&'p str> {
    let (start, end, known): (&str, &str, fn(&str) -> bool) = match (row.split_once(MODEL), row.split_once(ID)) {
        (Some((start, end)), _) => (start, end, is_model_id),
        (None, Some((start, end))) => (start, end, |id| is_model_id(id) && !id.contains('/')),
        (None, None) => return (row == path).then_some(""),
    };
    path.strip_prefix(start)?.strip_suffix(end).filter(|id| known(id))
}

/// Whether `id` is what a model may be called: parts of letters, digits, `-`, `_`, `:` and `.` between slashes, none of
/// them empty or with a dot in front, so that no part can climb.
fn is_model_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && p.bytes().all(allowed);
    id.len() <= MAX_ID && !id.contains("..") && id.split('/').all(part)
}

/// Whether a free route may pass this query on: names and numbers only.
fn is_plain_query(query: &str) -> bool {
    query.len() <= MAX_QUERY
        && query.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'&' | b'.'))
}

impl Kind {
    /// Whether an id that a client names can be one of ours at all.
    #[must_use]
    pub fn is_id(id: &str) -> bool {
        is_model_id(id) && !id.contains('/')
    }
}
