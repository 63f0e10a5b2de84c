//! From a credential to a caller.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use crate::ledger::KeyState;
use crate::store::{Caller, Pepper, Store, StoreErrorKind};

use super::rejection::Rejection;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The longest key that is looked at, in bytes.
const MAX_KEY: usize = 256;

/// Who calls. Every cause of a failure gives the same answer; two credentials that differ are refused (FAULTS F-AUT-1).
pub(super) async fn authenticate(headers: &HeaderMap, pepper: &Pepper, store: &dyn Store) -> Result<Caller, Rejection> {
    let Some(key) = credential(headers) else { return Err(without_key(pepper, store).await) };
    let digest = pepper.digest(key);
    let caller = store.caller(&digest).await.map_err(Rejection::Store)?;
    caller.filter(|caller| caller.key.state == KeyState::Active).ok_or(Rejection::InvalidApiKey)
}

/// Why a caller without a usable key is refused: where there is no ledger yet, no key would help, and that is what is said.
async fn without_key(pepper: &Pepper, store: &dyn Store) -> Rejection {
    match store.caller(&pepper.digest("")).await {
        Err(error) if error.kind == StoreErrorKind::NotInitialised => Rejection::Store(error),
        Ok(_) | Err(_) => Rejection::InvalidApiKey,
    }
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearers = headers.get_all(AUTHORIZATION).iter().map(|value| value.to_str().ok().and_then(bearer));
    let others = [X_API_KEY, API_KEY].into_iter();
    let others = others.flat_map(|name| headers.get_all(name)).map(|value| value.to_str().ok().map(str::trim));
    let mut found = None;
    for key in bearers.chain(others) {
        let key = key.filter(|key| !key.is_empty() && key.len() <= MAX_KEY)?;
        if found.is_some_and(|known| known != key) {
            return None;
        }
        found = Some(key);
    }
    found
}

/// The token of a `Bearer` credential; the scheme's case does not matter (W 2.2).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
