//! What every change goes through: one at a time, to its end, repeated only once, and written down with what it changed.
//!
//! **One at a time.** Changes of this process are carried out one after the other, so that `If-Match` and the difference between
//! before and after are exact where one process owns the ledger.
//!
//! **Idempotency-Key.** The first answer to a POST with a key is kept for a day, without secrets, and given again to a repeat. The
//! key is claimed before anything is done: where the process dies in between, a repeat is told to look first.
//!
//! **Audit.** A change that cannot be written down is answered by 503 although it was made: an operator must know of both.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::AdminState;
use super::guard::{Actor, only_looks};
use super::problem::Problem;
use super::snapshot::{self, Snapshot};
use crate::store::{Log, Shelf, StoreErrorKind};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key.
const KEY_MAX: usize = 255;
/// The most bytes of a request or an answer that an audit line carries.
const CARRIED: usize = 4_096;
/// The most bytes of an answer that are looked at.
const ANSWER_MAX: usize = 4 << 20;

/// After so many lines the audit log is looked at for those that are too old.
const SHORTENED_EVERY: u64 = 64;

/// The first answer to a key.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The hash of the first request's body.
    request: String,
    /// `None` = it was begun, and nobody knows how it ended.
    answer: Option<KeptAnswer>,
}

#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    status: u16,
    location: Option<String>,
    content_type: String,
    body: Value,
}

/// The changes in progress: one is carried out at a time, and to its end.
#[derive(Clone, Default, Debug)]
pub struct Changes {
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    tasks: TaskTracker,
}

impl Changes {
    /// Waits until those that were begun are written down.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Carries out a change and writes it down, also where the client does not wait for it.
pub(super) async fn journal(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    if only_looks(request.method()) {
        return next.run(request).await;
    }
    let Changes { one_at_a_time, tasks } = state.changes.clone();
    let change = tasks.spawn(async move {
        let _mine = one_at_a_time.lock().await;
        carry_out(&state, request, next).await
    });
    match change.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(panicked) => super::system::panicked(Box::new(panicked)),
    }
}

async fn carry_out(state: &AdminState, request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, state.body_max).await else {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is larger than is allowed here, or did not arrive.",
        ));
    };
    let actor = head.extensions.get::<Actor>().cloned();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let key = if method == Method::POST { idempotency_key(&head.headers)? } else { None };
    let claim = match key {
        Some(key) => match claim(state, &key, &path, &body).await? {
            Ok(name) => Some(name),
            Err(repeated) => return Ok(repeated),
        },
        None => None,
    };
    let account = snapshot::account_of(&path, &body);
    // What is spent changes by itself all the time, and by an operator's figure.
    let with_spent = path.contains("/sync");
    let before = snapshot::of(state, account.as_deref(), with_spent).await;
    let response = next.run(Request::from_parts(head, Body::from(body.clone()))).await;
    let (parts, answer) = response.into_parts();
    let answer = to_bytes(answer, ANSWER_MAX).await.unwrap_or_default();
    let after = snapshot::of(state, account.as_deref(), with_spent).await;
    let change = Change { actor, method, path, account, request: &body, status: parts.status, answer: &answer };
    let written = state.notes.append(Log::Audit, change.line(state, &before, &after)).await;
    if matches!(written, Ok(number) if number % SHORTENED_EVERY == 0)
        && let Err(error) = state.notes.shorten(Log::Audit, state.audit_lines).await
    {
        tracing::warn!(error = %error, "the oldest lines of the audit log could not be removed");
    }
    if let Some(name) = claim {
        keep(state, &name, &body, parts.status, &parts.headers, &answer).await;
    }
    if let Err(error) = written.or_else(|error| match error.kind {
        // Without a state folder there is no ledger either, so nothing of it was changed; the answer says that.
        StoreErrorKind::NotInitialised => Ok(0),
        StoreErrorKind::Unavailable
        | StoreErrorKind::TimedOut
        | StoreErrorKind::Deferred
        | StoreErrorKind::Corrupt
        | StoreErrorKind::UnknownAccount => Err(error),
    }) {
        tracing::error!(error = %error, "a change was made that could not be written into the audit log");
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            "The request was carried out and answered, but could not be written into the audit log. Look before you repeat it.",
        )
        .with("answer_status", parts.status.as_u16()));
    }
    Ok(Response::from_parts(parts, Body::from(answer)))
}

/// One change, for the audit log.
struct Change<'a> {
    actor: Option<Actor>,
    method: Method,
    path: String,
    account: Option<String>,
    request: &'a Bytes,
    status: StatusCode,
    answer: &'a Bytes,
}

impl Change<'_> {
    fn line(&self, state: &AdminState, before: &Snapshot, after: &Snapshot) -> String {
        let (before, after) = snapshot::difference(before, after);
        let mut line = Map::new();
        line.insert("at".to_owned(), json!(super::when::show(state.store.now())));
        line.insert("actor".to_owned(), json!(self.actor));
        line.insert("method".to_owned(), json!(self.method.as_str()));
        line.insert("path".to_owned(), json!(self.path));
        line.insert("account".to_owned(), json!(self.account));
        line.insert("status".to_owned(), json!(self.status.as_u16()));
        line.insert("request".to_owned(), carried(self.request));
        line.insert("before".to_owned(), before);
        line.insert("after".to_owned(), after);
        line.insert("answer".to_owned(), carried(self.answer));
        Value::Object(line).to_string()
    }
}

/// A body as far as an audit line carries it: JSON without secrets, or its size.
fn carried(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    match serde_json::from_slice(body) {
        Ok(value) if body.len() <= CARRIED => without_secrets(value),
        Ok(_) | Err(_) => json!({ "bytes": body.len() }),
    }
}

/// The same without what may be shown once.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let cleaned = members.into_iter().map(|(name, value)| {
                let value = if name == "secret" { Value::Null } else { without_secrets(value) };
                (name, value)
            });
            Value::Object(cleaned.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_secrets).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=KEY_MAX).contains(&text.len()));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        Problem::invalid("invalid_header", format!("`Idempotency-Key` has 1 to {KEY_MAX} visible characters."))
    })
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Claims a key: its name on the shelf, or the first answer.
async fn claim(state: &AdminState, key: &str, path: &str, body: &Bytes) -> Result<Result<String, Response>, Problem> {
    let name = hash(&[path.as_bytes(), key.as_bytes()]);
    let request = hash(&[body]);
    let claimed = json!(Kept { request: request.clone(), answer: None }).to_string();
    let Some(found) = state.notes.put_if_absent(Shelf::Idempotency, &name, claimed).await? else {
        return Ok(Ok(name));
    };
    let kept: Option<Kept> = serde_json::from_str(&found).ok();
    match kept {
        Some(kept) if kept.request != request => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key came with another body before; nothing was done. Use a new key for a new change.",
        )),
        Some(Kept { answer: Some(answer), .. }) => Ok(Err(answer.into_response())),
        Some(Kept { answer: None, .. }) | None => Err(Problem::conflict(
            "idempotency_unknown",
            "A request with this Idempotency-Key was begun, and its answer is not known. Look before you use a new key.",
        )),
    }
}

impl IntoResponse for KeptAnswer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        if let Ok(value) = HeaderValue::from_str(&self.content_type) {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if let Some(value) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            headers.insert(header::LOCATION, value);
        }
        response
    }
}

/// Keeps the answer of a key. A failure of the store is no answer to keep: the key is free again.
async fn keep(state: &AdminState, name: &str, body: &Bytes, status: StatusCode, headers: &HeaderMap, answer: &Bytes) {
    let done = if status.is_server_error() {
        state.notes.remove(Shelf::Idempotency, name).await.map(drop)
    } else {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        let kept = Kept {
            request: hash(&[body]),
            answer: Some(KeptAnswer {
                status: status.as_u16(),
                location: text(header::LOCATION),
                content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
                body: without_secrets(serde_json::from_slice(answer).unwrap_or_default()),
            }),
        };
        state.notes.put(Shelf::Idempotency, vec![(name.to_owned(), json!(kept).to_string())]).await
    };
    if let Err(error) = done {
        tracing::error!(error = %error, "the answer to an idempotency key could not be kept");
    }
}
