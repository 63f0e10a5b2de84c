//! What an operator gets instead of an answer: RFC 9457 documents with a stable code and a sentence that says what to do.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::ledger::Decline;
use crate::store::{StoreError, StoreErrorKind};

/// Seconds after which a failure of the store is worth another try.
const RETRY_AFTER: u16 = 2;

/// The command that makes a ledger.
pub(super) const NO_LEDGER: &str = "There is no ledger yet. Make one with `gratis init --assume-full`, or with the console's figures: \
     `gratis init --balance qwen-max=362,917/1,000,000`. In a shared store it is noticed; otherwise start gratis again.";

/// An error answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after: Option<u16>,
    more: Map<String, Value>,
}

/// What a route answers.
pub(super) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// What was asked makes no sense as it stands.
    pub(super) fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// What was named does not exist.
    pub(super) fn unknown(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// As things stand it cannot be done.
    pub(super) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The sentence alone.
    pub(super) fn into_detail(self) -> String {
        self.detail
    }

    /// The code and the sentence alone.
    pub(super) fn into_parts(self) -> (String, String) {
        (self.code.to_owned(), self.detail)
    }

    /// Says one thing more, under a name of its own.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, retry_after, more } = self;
        let mut document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        if let Value::Object(members) = &mut document {
            members.extend(more);
        }
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gratis admin\""));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable = |code, detail: &str| Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        };
        match error.kind {
            StoreErrorKind::UnknownAccount => {
                return Self::unknown("unknown_account", "There is no such account; `gratis account list` shows all.");
            }
            StoreErrorKind::NotInitialised => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_ledger", NO_LEDGER);
            }
            StoreErrorKind::Unavailable
            | StoreErrorKind::TimedOut
            | StoreErrorKind::Deferred
            | StoreErrorKind::Corrupt => {
                tracing::error!(error = %error, "the store did not answer the operator");
            }
        }
        match error.kind {
            StoreErrorKind::TimedOut => unavailable(
                "store_timed_out",
                "The ledger did not answer in time; the change may or may not have been made. Look before you repeat it.",
            ),
            StoreErrorKind::Corrupt => unavailable(
                "store_corrupt",
                "What the ledger holds cannot be trusted, so nothing is admitted. The log says why. The way out of an embedded one \
                 is `gratis store recover --presume-all`; of a shared one, `gratis store status` and `gratis store resume`.",
            ),
            StoreErrorKind::Unavailable
            | StoreErrorKind::Deferred
            | StoreErrorKind::NotInitialised
            | StoreErrorKind::UnknownAccount => {
                unavailable("store_unavailable", "The ledger cannot be reached; nothing was changed. The log says why.")
            }
        }
    }
}

/// The stable code of a refused change.
pub(super) fn code_of(decline: &Decline) -> &'static str {
    match decline {
        Decline::NoGrant => "no_grant",
        Decline::Ended => "expired",
        Decline::UsedUp => "used_up",
        Decline::NotUsedUp => "not_used_up",
        Decline::UnknownGrant => "unknown_grant",
        Decline::UnknownKey => "unknown_key",
        Decline::UnknownPool => "unknown_pool",
        Decline::KeyDeleted => "key_deleted",
        Decline::AccountClosed => "account_closed",
        Decline::WouldRaise => "would_raise",
        Decline::TooLarge => "too_large",
        Decline::EndsBeforeStart => "ends_before_start",
        Decline::ChangedMeanwhile => "changed_meanwhile",
    }
}

/// What happened, and what to do.
pub(super) fn sentence_of(decline: &Decline) -> &'static str {
    match decline {
        Decline::NoGrant => {
            "The model has no free quota, so the switch cannot be turned on. Add a grant first, or protect the whole account \
             with never_pay."
        }
        Decline::Ended => {
            "The free quota has expired, so the switch cannot be turned on. Add a new grant, or protect the whole account with \
             never_pay."
        }
        Decline::UsedUp => {
            "The free quota is used up, so the switch cannot be turned on. Add a grant or put in the console's figure, or protect \
             the whole account with never_pay."
        }
        Decline::NotUsedUp => {
            "The rule of this site: once on, the switch can be turned off only after the free quota is used up or has expired."
        }
        Decline::UnknownGrant => "There is no such grant; `gratis grant list` shows all.",
        Decline::UnknownKey => "There is no such key; `gratis key list` shows all.",
        Decline::UnknownPool => "The account has nothing of this pool; `gratis grant list` shows its grants.",
        Decline::KeyDeleted => "The key was deleted, which is final. Make a new one.",
        Decline::AccountClosed => "The account is closed, which is final.",
        Decline::WouldRaise => {
            "The console says that more is left than is left here. Say `raise` if the figure is right and no call is in progress; \
             a figure of the console may be an hour old."
        }
        Decline::TooLarge => "The amount is too large, or more is spent than granted.",
        Decline::EndsBeforeStart => "The grant would end before it starts.",
        Decline::ChangedMeanwhile => {
            "It was changed meanwhile, so nothing was done. Read it again, and send its ETag in `If-Match`."
        }
    }
}

impl From<Decline> for Problem {
    fn from(decline: Decline) -> Self {
        let status = match decline {
            Decline::UnknownGrant | Decline::UnknownKey | Decline::UnknownPool => StatusCode::NOT_FOUND,
            Decline::TooLarge | Decline::EndsBeforeStart => StatusCode::BAD_REQUEST,
            Decline::ChangedMeanwhile => StatusCode::PRECONDITION_FAILED,
            Decline::NoGrant
            | Decline::Ended
            | Decline::UsedUp
            | Decline::NotUsedUp
            | Decline::KeyDeleted
            | Decline::AccountClosed
            | Decline::WouldRaise => StatusCode::CONFLICT,
        };
        Self::new(status, code_of(&decline), sentence_of(&decline))
    }
}
