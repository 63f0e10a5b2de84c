//! ETags: whoever changes what another has changed meanwhile is told so instead of undoing it.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::AdminState;
use super::problem::{Answer, Problem};
use crate::ledger::{Decline, Expect, Operation};
use crate::store::Shelf;

/// The ETag of what a client is shown.
pub(super) fn etag(shown: &impl Serialize) -> String {
    let hash = Sha256::digest(serde_json::to_vec(shown).unwrap_or_default());
    let digits: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// An answer with its ETag.
pub(super) fn tagged<T: Serialize>(tag: &str, body: T) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// `If-Match`: what the client believes to change.
pub(super) struct IfMatch(Option<String>);

impl IfMatch {
    /// Refuses where something else is there now.
    pub(super) fn check(&self, tag: &str) -> Answer<()> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        if wanted.split(',').map(str::trim).any(|wanted| wanted == "*" || wanted == tag) {
            return Ok(());
        }
        Err(Problem::from(Decline::ChangedMeanwhile).with("etag", tag))
    }

    /// Whether the client says what it believes to change.
    fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// The change, as one that is carried out only where what was looked at is still so: another replica may have been faster.
    pub(super) fn guard(&self, expect: Expect, operation: Operation) -> Operation {
        if self.is_given() { Operation::If { expect, then: Box::new(operation) } } else { operation }
    }

    /// Sets or removes a note, in the same way.
    pub(super) async fn put(
        &self,
        state: &AdminState,
        (shelf, name): (Shelf, &str),
        was: Option<&str>,
        value: Option<String>,
    ) -> Answer<()> {
        match value {
            value if self.is_given() => {
                let same = state.notes.put_if(shelf, name, was, value).await?;
                if same { Ok(()) } else { Err(Decline::ChangedMeanwhile.into()) }
            }
            Some(value) => Ok(state.notes.put(shelf, vec![(name.to_owned(), value)]).await?),
            None => Ok(state.notes.remove(shelf, name).await.map(drop)?),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = parts.headers.get(header::IF_MATCH).map(HeaderValue::to_str).transpose();
        value
            .map(|value| Self(value.map(str::to_owned)))
            .map_err(|_| Problem::invalid("invalid_header", "`If-Match` has characters that no ETag has."))
    }
}
