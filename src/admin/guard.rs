//! The door: who may come in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::AdminState;
use super::problem::Problem;

/// The only paths that need no token. Every other one does, also those that do not exist.
pub const OPEN_PATHS: [&str; 4] = ["/livez", "/healthz", "/readyz", "/metrics"];

/// The operator's token. Only its hash is kept, so that a comparison takes the same time whatever its length.
#[derive(Clone)]
pub struct Token(Arc<Zeroizing<[u8; 32]>>);

impl Token {
    /// The token of this text; white space around it is ignored. `None` for an empty one, which would let everyone in.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| Self(Arc::new(Zeroizing::new(hash(text.as_bytes())))))
    }

    fn is(&self, given: &[u8]) -> bool {
        self.0.as_slice().ct_eq(&hash(given)).into()
    }
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// What a token allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Looking.
    Read,
    /// Everything.
    Operate,
}

/// Who asks: the role is proven by the token, the name is what they say of themselves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Actor {
    pub(super) role: Role,
    pub(super) name: Option<String>,
}

/// Where a client says who it is.
const ACTOR: &str = "x-gratis-actor";
/// The longest such name.
const NAME_MAX: usize = 64;

/// Whether a request only looks.
pub(super) fn only_looks(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// Lets a request pass that needs no token or brings the right one. Changes leave a line in the log.
pub(super) async fn guard(State(state): State<AdminState>, mut request: Request, next: Next) -> Response {
    if !OPEN_PATHS.contains(&request.uri().path()) {
        let role = match admit(&state, request.headers()) {
            Ok(Role::Read) if !only_looks(request.method()) => {
                let detail = "This token may read, and not change. A change needs the operator's token.";
                return Problem::new(StatusCode::FORBIDDEN, "read_only_token", detail).into_response();
            }
            Ok(role) => role,
            Err(problem) => return problem.into_response(),
        };
        let name = named(request.headers());
        request.extensions_mut().insert(Actor { role, name });
    }
    let change = (!only_looks(request.method())).then(|| (request.method().clone(), request.uri().path().to_owned()));
    let mut response = next.run(request).await;
    if let Some((method, path)) = change {
        tracing::info!(%method, path, status = response.status().as_u16(), "operator's change");
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The name that a client gives itself, cut to what a log can carry.
fn named(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(ACTOR)?.to_str().ok()?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

fn admit(state: &AdminState, headers: &HeaderMap) -> Result<Role, Problem> {
    let refused = |code, detail: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, code, detail));
    if state.token.is_none() && state.read_token.is_none() {
        return refused(
            "admin_token_not_set",
            "No admin token is configured, so nobody can be let in. `gratis init` makes one; otherwise put one into a file and \
             name it in the configuration, or set GRATIS_ADMIN_TOKEN, and start again.",
        );
    };
    let Some(given) = bearer(headers) else {
        return refused(
            "admin_token_missing",
            "This needs the admin token: `Authorization: Bearer TOKEN`. `gratis init` wrote it into the state directory.",
        );
    };
    // Both are compared whatever the first one says, so that the time tells nothing.
    let is = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.is(given));
    let (operates, reads) = (is(&state.token), is(&state.read_token));
    if operates {
        Ok(Role::Operate)
    } else if reads {
        Ok(Role::Read)
    } else {
        refused("admin_token_wrong", "This is not the admin token. An API key does not open this door.")
    }
}

/// The credential of the one `Authorization` header; two of them are none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
