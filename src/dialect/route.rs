//! Which calls exist: a table that is denied by default.

use std::borrow::Cow;

use http::Method;
use serde::Serialize;

use super::{Dialect, Metering};

/// The longest model id that a path may carry, in bytes.
const MAX_MODEL_ID: usize = 128;

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
    /// What is appended to the upstream's base URL, a query included where one may be passed on.
    pub upstream_path: Cow<'static, str>,
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
    /// The path; `{model}` stands for a model id.
    pub path: &'static str,
    /// Whose shapes it has.
    pub dialect: Dialect,
    /// How it is metered.
    pub metering: Metering,
    /// Its name in logs and metrics.
    pub operation: &'static str,
    /// Where the route is documented.
    pub source: &'static str,
    /// The path below the upstream's base URL, without a model id.
    #[serde(skip)]
    upstream: &'static str,
}

/// What stands at the end of a row's path where a model id belongs.
const MODEL: &str = "{model}";

const CHAT: RouteRow = RouteRow {
    method: "POST",
    path: "/compatible-mode/v1/chat/completions",
    dialect: Dialect::OpenAi,
    metering: Metering::Chat,
    operation: "chat.completions",
    source: "W 2.2, 3.1",
    upstream: "/chat/completions",
};

const MODELS: RouteRow = RouteRow {
    method: "GET",
    path: "/compatible-mode/v1/models",
    metering: Metering::Free,
    operation: "models.list",
    source: "W 2.2",
    upstream: "/models",
    ..CHAT
};

const ONE_MODEL: RouteRow =
    RouteRow { path: "/compatible-mode/v1/models/{model}", operation: "models.get", upstream: "/models/", ..MODELS };

const TABLE: [RouteRow; 6] = [
    CHAT,
    RouteRow { path: "/v1/chat/completions", ..CHAT },
    MODELS,
    RouteRow { path: "/v1/models", ..MODELS },
    ONE_MODEL,
    RouteRow { path: "/v1/models/{model}", ..ONE_MODEL },
];

/// Every call that exists, for the coverage page.
#[must_use]
pub fn coverage() -> &'static [RouteRow] {
    &TABLE
}

/// Looks a request line up. `path` and `query` are the raw bytes of the request: nothing is decoded, folded or
/// normalised, so whatever another server might read as the same path is not found here.
#[must_use]
pub fn route(method: &Method, path: &str, query: Option<&str>) -> RouteMatch {
    let Some((row, model)) = TABLE.iter().find_map(|row| Some((row, matches(row.path, path)?))) else {
        return RouteMatch::NotMetered;
    };
    if method.as_str() != row.method {
        return RouteMatch::MethodNotAllowed { allow: row.method };
    }
    let query = query.unwrap_or_default();
    let metered = match row.metering {
        Metering::Chat => true,
        Metering::Free => false,
    };
    if !query.is_empty() && (metered || !is_plain_query(query)) {
        return RouteMatch::NotMetered;
    }
    let upstream_path = match (model, query) {
        ("", "") => Cow::Borrowed(row.upstream),
        (model, "") => Cow::Owned(format!("{}{model}", row.upstream)),
        (model, query) => Cow::Owned(format!("{}{model}?{query}", row.upstream)),
    };
    let Dialect::OpenAi = row.dialect;
    RouteMatch::Found(Route { dialect: row.dialect, metering: row.metering, operation: row.operation, upstream_path })
}

/// The model id that `path` carries where `row` has one, else the empty string; `None` where the path is another.
fn matches<'p>(row: &str, path: &'p str) -> Option<&'p str> {
    match row.strip_suffix(MODEL) {
        None => (row == path).then_some(""),
        Some(start) => path.strip_prefix(start).filter(|id| is_model_id(id)),
    }
}

/// Whether `id` is what a model may be called: parts of letters, digits, `-`, `_`, `:` and `.` between slashes, none of
/// them empty or with a dot in front, so that no part can climb.
fn is_model_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && p.bytes().all(allowed);
    id.len() <= MAX_MODEL_ID && !id.contains("..") && id.split('/').all(part)
}

/// Whether a free route may pass this query on: names and numbers only.
fn is_plain_query(query: &str) -> bool {
    query.len() <= MAX_QUERY
        && query.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'&' | b'.'))
}
