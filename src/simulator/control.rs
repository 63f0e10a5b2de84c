//! The routes by which a test looks into the simulator and turns it.

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};

use super::behaviour::Rule;
use super::state::State;

/// Requests shown when the query names no number.
const DEFAULT_LAST: usize = 16;

/// Answers a control request; `None` = it is none. Control requests are neither recorded nor counted.
pub(super) fn answer(state: &State, method: &Method, uri: &Uri, body: &Bytes) -> Option<(StatusCode, Value)> {
    let ok = |value: Value| Some((StatusCode::OK, value));
    match (method, uri.path()) {
        (&Method::GET, "/ledger") => {
            let shared = state.shared();
            ok(shared.ledger.to_json(shared.recorder.count()))
        }
        (&Method::POST, "/reset") => {
            state.reset();
            ok(json!({"reset": true}))
        }
        (&Method::GET, "/behave") => ok(state.shared().rules.to_json()),
        (&Method::POST, "/behave") => Some(behave(state, body)),
        (&Method::GET, "/requests") => ok(state.shared().recorder.to_json(last(uri))),
        (_, "/ledger" | "/reset" | "/behave" | "/requests") => {
            Some((StatusCode::METHOD_NOT_ALLOWED, json!({"problem": format!("{method} is not for {}", uri.path())})))
        }
        _ => None,
    }
}

fn behave(state: &State, body: &Bytes) -> (StatusCode, Value) {
    let rule: Result<Rule, String> = serde_json::from_slice(body).map_err(|error| error.to_string());
    let mut shared = state.shared();
    match rule.and_then(|rule| shared.rules.put(rule)) {
        Ok(()) => (StatusCode::OK, shared.rules.to_json()),
        Err(problem) => (StatusCode::BAD_REQUEST, json!({"problem": problem})),
    }
}

fn last(uri: &Uri) -> usize {
    let query = uri.query().unwrap_or("");
    query.split('&').find_map(|pair| pair.strip_prefix("last=")).and_then(|n| n.parse().ok()).unwrap_or(DEFAULT_LAST)
}
