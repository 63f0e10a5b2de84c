//! Health, readiness, metrics, and what is known of the program itself.

use std::any::Any;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Params;
use super::problem::{Answer, NO_LEDGER, Problem};
use super::{AdminState, Check, Coverage, Reloaded, StoreState};
use crate::store::StoreErrorKind;

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// What the text format of Prometheus is called.
const METRICS: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];

/// What an operator does about a suspended store.
const LOOK_AND_RESUME: &str = "look at it with `gratis store status`, then `gratis store resume`";

/// The process runs and answers. Nothing is asked of anyone else, so that a store that is down kills no process.
pub(super) async fn live() -> Response {
    (TEXT, "ok\n").into_response()
}

/// How readiness is asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    verbose: Option<String>,
}

/// Whether calls can be admitted. Never asks an upstream: a probe must not spend tokens.
pub(super) async fn ready(State(state): State<AdminState>, Params(how): Params<How>) -> Response {
    let mut checks = (state.checks)();
    checks.insert(0, ledger(&state).await);
    let well = checks.iter().all(|check| check.problem.is_none());
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if how.verbose.is_some_and(|verbose| verbose != "false" && verbose != "0") {
        in_detail(&checks, &(state.store_state)().promise, well)
    } else {
        in_short(&checks)
    };
    (status, TEXT, text).into_response()
}

async fn ledger(state: &AdminState) -> Check {
    let checked = state.store.check().await;
    let problem = match (checked, (state.store_state)().suspended) {
        (Ok(()), None) => None,
        (_, Some(why)) => Some(format!("suspended: {why} ({LOOK_AND_RESUME})")),
        (Err(error), None) => Some(match error.kind {
            StoreErrorKind::NotInitialised => NO_LEDGER.to_owned(),
            StoreErrorKind::Unavailable
            | StoreErrorKind::TimedOut
            | StoreErrorKind::Deferred
            | StoreErrorKind::Corrupt
            | StoreErrorKind::UnknownAccount => error.kind.to_string(),
        }),
    };
    Check { name: "ledger", problem }
}

fn in_short(checks: &[Check]) -> String {
    let wrong: String =
        checks.iter().filter_map(|check| Some(format!("{}: {}\n", check.name, check.problem.as_ref()?))).collect();
    if wrong.is_empty() { "ok\n".to_owned() } else { wrong }
}

fn in_detail(checks: &[Check], promise: &[String], well: bool) -> String {
    let mut text: String = checks
        .iter()
        .map(|check| match &check.problem {
            None => format!("[+] {} ok\n", check.name),
            Some(problem) => format!("[-] {} failed: {problem}\n", check.name),
        })
        .collect();
    text.extend(promise.iter().map(|line| format!("    {line}\n")));
    text.push_str(if well { "ready\n" } else { "not ready\n" });
    text
}

pub(super) async fn metrics(State(state): State<AdminState>) -> Response {
    (METRICS, (state.metrics)()).into_response()
}

#[utoipa::path(
    get,
    path = "/coverage",
    tag = "system",
    responses((status = 200, description = "Done", body = Vec<Coverage>))
)]
pub(super) async fn coverage(State(state): State<AdminState>) -> Json<Vec<Coverage>> {
    Json((state.coverage)())
}

/// What this program is.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    version: String,
}

#[utoipa::path(
    get,
    path = "/version",
    tag = "system",
    responses((status = 200, description = "Done", body = Version))
)]
pub(super) async fn version(State(state): State<AdminState>) -> Json<Version> {
    Json(Version { version: state.version.to_string() })
}

/// What is seen of the store behind the books.
#[utoipa::path(
    get,
    path = "/store",
    tag = "system",
    responses((status = 200, description = "Done", body = StoreState))
)]
pub(super) async fn store(State(state): State<AdminState>) -> Json<StoreState> {
    Json((state.store_state)())
}

/// Goes on from what the store holds now.
#[utoipa::path(
    post,
    path = "/store/resume",
    tag = "system",
    params(("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    responses((status = 200, description = "Done", body = StoreState))
)]
pub(super) async fn resume(State(state): State<AdminState>) -> Answer<Json<StoreState>> {
    let Some(resume) = &state.resume else {
        let detail =
            "The embedded store is never suspended; `gratis store recover` is for a file that refuses to open.";
        return Err(Problem::conflict("not_shared", detail));
    };
    let before = (state.store_state)().suspended;
    resume().await?;
    tracing::warn!(before, "an operator goes on from what the shared store holds");
    Ok(Json((state.store_state)()))
}

/// Reads the configuration again. One with mistakes changes nothing.
#[utoipa::path(
    post,
    path = "/config/reload",
    tag = "system",
    params(("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    responses((status = 200, description = "Done", body = Reloaded))
)]
pub(super) async fn reload(State(state): State<AdminState>) -> Answer<Json<Reloaded>> {
    (state.reload)().await.map(Json).map_err(|mistakes| {
        let detail = format!("The configuration was not taken over; the old one stays in force.\n{mistakes}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", detail)
    })
}

pub(super) async fn no_such_route() -> Problem {
    Problem::unknown("no_such_route", "There is no such route here.")
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        "This route does not take this method; `Allow` says which.",
    )
}

/// A panic ends its request alone. What it said goes to the log by the panic hook, never to the caller.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> http::Response<Body> {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong; the log says what.")
        .into_response()
}
