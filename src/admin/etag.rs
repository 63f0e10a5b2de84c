//! ETags: whoever changes what another has changed meanwhile is told so instead of undoing it.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::{Answer, Problem};

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
        Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "changed_meanwhile",
            "It was changed meanwhile, so nothing was done. Read it again, and send its ETag in `If-Match`.",
        )
        .with("etag", tag))
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
