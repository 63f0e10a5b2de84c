//! What a client gets instead of a response. The only place of the request path where a status of ours is chosen.

mod refused;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::dialect::{DialectError, ErrorEnvelope, ErrorShape, Kind, render_error};
use crate::ledger::{Refusal, Shortfall};
use crate::store::{StoreError, StoreErrorKind};

use super::headers::{ERROR_SOURCE, SHOULD_RETRY};
use super::metered_body::ReplyBody;

/// Why a request gets no response of the upstream.
#[derive(Clone, PartialEq, Debug)]
pub enum Rejection {
    /// Nothing of the kind is metered here (A7).
    NotMetered,
    /// The route exists with another method.
    MethodNotAllowed {
        /// The one that it exists with.
        allow: &'static str,
    },
    /// The head is none that all servers read alike; says what is wrong with it.
    Malformed(&'static str),
    /// The path and query are longer than the limit, in bytes.
    UriTooLong(usize),
    /// No key, an unknown one, a disabled one, or two that differ.
    InvalidApiKey,
    /// The request cannot be read, or asks for something that cannot be bounded.
    InvalidRequest(DialectError),
    /// The body is encoded: what the upstream would see is not what was read here.
    EncodedBody,
    /// The body is larger than the limit, in bytes.
    BodyTooLarge(usize),
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body broke off.
    BodyBroken,
    /// The model is not in the catalogue, or the key may not ask for it.
    ModelNotFound(String),
    /// No such thing, or one of another account (F-AUT-4).
    NotOwned,
    /// The upstream's reply to a call that costs nothing is larger than is kept, or no reply.
    ReplyUnreadable,
    /// The ledger said no; what is missing, where the call does not fit.
    Refused(Refusal, Option<Shortfall>),
    /// Free quota only, and these parameters are billed beside the quota.
    NotCovered(Vec<String>),
    /// Free quota only, and calls of this kind are never covered by it.
    KindNotCovered(Kind),
    /// The store could not answer.
    Store(StoreError),
    /// There is no place for another call, or no memory.
    Overloaded,
    /// Too many calls of this key are in progress.
    TooManyOfKey,
    /// The process is going down.
    ShuttingDown,
    /// The upstream, or what is known of it.
    Upstream(UpstreamTrouble),
    /// A fault of ours.
    Internal,
}

/// Why the upstream gives no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamTrouble {
    /// Its breaker is open: too many of its replies could not be read.
    Paused,
    /// It said that its account is overdue.
    Overdue,
    /// No connection; nothing was sent.
    Unreachable,
    /// The connection broke, or the reply was none; the call is presumed at its hold.
    Broken,
    /// No reply in time; the call is presumed at its hold until it arrives.
    Timeout,
}

/// Whether a client's retry can help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    AfterSeconds(u32),
    Yes,
}

/// What a rejection says where no response can carry it.
pub(super) struct Said {
    pub(super) code: &'static str,
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) param: Option<String>,
    /// Whether trying again can help.
    pub(super) again: bool,
}

/// The answer to a WebSocket handshake (RFC 6455 4.2.2).
pub(super) fn switching(headers: HeaderMap) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// How a rejection looks on the wire.
struct Shape {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
    param: Option<String>,
    gateway: bool,
    retry: Retry,
}

const EXHAUSTED: &str = "The free tier of the model has been exhausted. If you wish to continue access the model on a \
     paid basis, please disable the \"use free tier only\" mode in the management console.";
const FREE_TIER_ONLY: &str = "AllocationQuota.FreeTierOnly";

impl Shape {
    /// Refused at the gateway: the reply carries no `id` (W 1.2).
    fn gateway(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let retry = Retry::Never;
        Self { status, code, kind, message: message.into(), param: None, gateway: true, retry }
    }

    /// Refused where the model service refuses: code and type are the same, and there is an `id` (W 1.2).
    fn service(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: code, gateway: false, ..Self::gateway(status, code, message) }
    }

    fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

impl Rejection {
    /// The figures of a call that does not fit.
    pub(super) fn shortfall(&self) -> Option<Shortfall> {
        if let Self::Refused(_, shortfall) = self { *shortfall } else { None }
    }

    /// The ledger's no, where it is one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal, _) => Some(*refusal),
            Self::NotCovered(_) | Self::KindNotCovered(_) => Some(Refusal::NotCovered),
            Self::ModelNotFound(_) => Some(Refusal::ModelNotAllowed),
            Self::NotMetered
            | Self::MethodNotAllowed { .. }
            | Self::InvalidApiKey
            | Self::InvalidRequest(_)
            | Self::NotOwned
            | Self::ReplyUnreadable
            | Self::Malformed(_)
            | Self::UriTooLong(_)
            | Self::TooManyOfKey
            | Self::EncodedBody
            | Self::BodyTooLarge(_)
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::Store(_)
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::Upstream(_)
            | Self::Internal => None,
        }
    }

    /// The code that the client sees; also the label of the metric.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.shape().code
    }

    /// What it says.
    pub(super) fn said(&self) -> Said {
        let Shape { code, kind, message, param, retry, .. } = self.shape();
        Said { code, kind, message, param, again: retry != Retry::Never }
    }

    /// The response in the dialect's shape. `request_id` is a UUID.
    #[must_use]
    pub fn response(&self, errors: ErrorShape, request_id: &str) -> Response<ReplyBody> {
        let shape = self.shape();
        let body = render_error(
            errors,
            &ErrorEnvelope {
                status: shape.status.as_u16(),
                code: shape.code,
                kind: shape.kind,
                message: &shape.message,
                param: shape.param.as_deref(),
                gateway: shape.gateway,
                request_id,
            },
        );
        let mut response = Response::new(ReplyBody::whole(body.bytes));
        *response.status_mut() = shape.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        headers.insert(ERROR_SOURCE, HeaderValue::from_static("gratis"));
        match shape.retry {
            Retry::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Retry::AfterSeconds(seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Retry::Yes => {}
        }
        if let Self::MethodNotAllowed { allow } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn shape(&self) -> Shape {
        match self {
            Self::NotMetered => Shape::gateway(
                StatusCode::NOT_FOUND,
                "not_metered",
                "Gratis does not meter this path, so it is not passed on. GET /admin/v1/coverage lists what is.",
            ),
            Self::MethodNotAllowed { allow } => Shape::gateway(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This path takes {allow} only."),
            ),
            Self::Malformed(why) => Shape::gateway(StatusCode::BAD_REQUEST, "invalid_request_error", *why),
            Self::UriTooLong(limit) => {
                let message = format!("The path and query are longer than {limit} bytes.");
                Shape::gateway(StatusCode::URI_TOO_LONG, "uri_too_long", message)
            }
            Self::InvalidApiKey => {
                Shape::gateway(StatusCode::UNAUTHORIZED, "invalid_api_key", "Incorrect API key provided.")
            }
            Self::InvalidRequest(error) => Shape {
                kind: "invalid_request_error",
                param: error.param.clone(),
                ..Shape::service(StatusCode::BAD_REQUEST, error.code, error.message.clone())
            },
            Self::EncodedBody => Shape::gateway(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_content_encoding",
                "Request bodies must not be compressed: send them without Content-Encoding.",
            ),
            Self::BodyTooLarge(limit) => Shape::gateway(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("The request body is larger than {limit} bytes."),
            ),
            Self::BodyTimeout => Shape::gateway(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request body did not arrive in time.",
            )
            .retry(Retry::Yes),
            Self::BodyBroken => {
                Shape::gateway(StatusCode::BAD_REQUEST, "invalid_request_error", "The request body broke off.")
            }
            Self::ModelNotFound(model) => model_not_found(model),
            Self::NotOwned => Shape::gateway(
                StatusCode::NOT_FOUND,
                "not_found",
                "There is no such thing, or it was not made with this account's keys.",
            ),
            Self::ReplyUnreadable => Shape::gateway(
                StatusCode::BAD_GATEWAY,
                "gratis_upstream_broken",
                "The reply of the model endpoint cannot be read.",
            ),
            Self::Refused(refusal, _) => refused::shape(*refusal),
            Self::NotCovered(parameters) => not_covered(parameters),
            Self::KindNotCovered(kind) => kind_not_covered(*kind),
            Self::Store(error) => store(error.kind),
            Self::Overloaded => {
                unavailable("gratis_overloaded", "Too many calls, or too large ones, are in progress.", 1)
            }
            Self::TooManyOfKey => too_many_of_key(),
            Self::ShuttingDown => unavailable("gratis_shutting_down", "This instance is going down.", 1),
            Self::Upstream(trouble) => trouble.shape(),
            Self::Internal => {
                Shape::gateway(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Gratis failed on this request.")
            }
        }
    }
}

impl UpstreamTrouble {
    fn shape(self) -> Shape {
        match self {
            Self::Paused => unavailable(
                "gratis_upstream_paused",
                "The last replies of the model endpoint could not be read, and each of them may have been charged; \
                 calls go on after a pause.",
                5,
            ),
            Self::Overdue => Shape::service(
                StatusCode::BAD_REQUEST,
                "Arrearage",
                "Access denied, please make sure your account is in good standing.",
            ),
            Self::Unreachable => Shape::gateway(
                StatusCode::BAD_GATEWAY,
                "gratis_upstream_unreachable",
                "The model endpoint cannot be reached; nothing was sent, nothing was used.",
            )
            .retry(Retry::Yes),
            Self::Broken => Shape::gateway(
                StatusCode::BAD_GATEWAY,
                "gratis_upstream_broken",
                "The connection to the model endpoint broke before a reply; the call may have been charged.",
            ),
            Self::Timeout => Shape::gateway(
                StatusCode::GATEWAY_TIMEOUT,
                "gratis_upstream_timeout",
                "The model endpoint did not answer in time; the call may have been charged.",
            ),
        }
    }
}

fn model_not_found(model: &str) -> Shape {
    Shape::gateway(
        StatusCode::NOT_FOUND,
        "model_not_found",
        format!("The model `{model}` does not exist or you do not have access to it."),
    )
}

fn not_covered(parameters: &[String]) -> Shape {
    let message = format!(
        "The free quota does not cover what is billed for: {}. Leave it out, or disable the \"use free tier only\" mode.",
        parameters.join(", ")
    );
    Shape { param: parameters.first().cloned(), ..Shape::service(StatusCode::FORBIDDEN, FREE_TIER_ONLY, message) }
}

fn kind_not_covered(kind: Kind) -> Shape {
    let what = if kind == Kind::Batch { "Batch calls" } else { "Apps" };
    let message = format!("{what} are not covered by the free quota and free quota only mode is on.");
    Shape::service(StatusCode::FORBIDDEN, FREE_TIER_ONLY, message)
}

fn too_many_of_key() -> Shape {
    let message = "Too many calls of this key are in progress.";
    Shape::service(StatusCode::TOO_MANY_REQUESTS, "limit_requests", message).retry(Retry::AfterSeconds(1))
}

fn unavailable(code: &'static str, message: &str, seconds: u32) -> Shape {
    Shape::gateway(StatusCode::SERVICE_UNAVAILABLE, code, message).retry(Retry::AfterSeconds(seconds))
}

fn store(kind: StoreErrorKind) -> Shape {
    let lost = unavailable(
        "gratis_store_unavailable",
        "The quota counters cannot be read or written, so nothing is let through.",
        1,
    );
    match kind {
        StoreErrorKind::Unavailable | StoreErrorKind::TimedOut | StoreErrorKind::Deferred => lost,
        // Only an operator can go on, so that a client's repeat is of no use.
        StoreErrorKind::Corrupt => lost.retry(Retry::Never),
        StoreErrorKind::NotInitialised => Shape::gateway(
            StatusCode::SERVICE_UNAVAILABLE,
            "gratis_no_ledger",
            "There is no ledger yet, so nothing is let through. Make one with: gratis init --assume-full",
        ),
        StoreErrorKind::UnknownAccount => Rejection::InvalidApiKey.shape(),
    }
}
