//! Why a connection, or a call on it, cannot go on.

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::dialect::{DialectError, FrameError, UpstreamSignal};
use crate::ledger::Refusal;
use crate::proxy::headers;
use crate::proxy::metered_body::ReplyBody;
use crate::proxy::rejection::Rejection;

/// The reason, and with it what the client gets.
pub(super) enum Fault {
    /// A refusal or a failure of ours.
    Ours(Rejection),
    /// The upstream refused the handshake.
    Upstream(Box<Refused>),
    /// The client's bytes are no frames that are taken.
    Frames(FrameError),
}

/// An upstream's answer to a handshake that was none.
pub(super) struct Refused {
    pub(super) status: http::StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The code of its error, where it has one.
    pub(super) code: String,
    pub(super) signal: UpstreamSignal,
}

/// What a client is told on the connection itself.
pub(super) struct Words {
    pub(super) code: String,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) param: Option<String>,
    /// The code of the close frame: 1013 where trying again can help, 1008 where it cannot.
    pub(super) close: u16,
}

/// The code of a close for a broken policy.
const POLICY: u16 = 1008;
/// The code of a close that asks to come again.
const AGAIN: u16 = 1013;

impl Fault {
    /// The client's message is one that cannot be taken.
    pub(super) fn invalid(message: &str) -> Self {
        let message = message.to_owned();
        Self::Ours(Rejection::InvalidRequest(DialectError { code: "invalid_request_error", message, param: None }))
    }

    /// Whether only calls in progress are in the way.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Ours(Rejection::Refused(Refusal::Busy, _)))
    }

    pub(super) fn words(&self) -> Words {
        match self {
            Self::Ours(rejection) => {
                let said = rejection.said();
                let close = if said.again { AGAIN } else { POLICY };
                Words {
                    code: said.code.to_owned(),
                    kind: said.kind.to_owned(),
                    message: said.message,
                    param: said.param,
                    close,
                }
            }
            Self::Upstream(refused) => {
                let code = if refused.code.is_empty() { "gratis_upstream_broken" } else { &refused.code };
                let message =
                    format!("The model endpoint refused the connection with status {}.", refused.status.as_u16());
                Words { code: code.to_owned(), kind: code.to_owned(), message, param: None, close: POLICY }
            }
            Self::Frames(error) => Words {
                code: "invalid_request_error".to_owned(),
                kind: "invalid_request_error".to_owned(),
                message: error.reason.to_owned(),
                param: None,
                close: error.code,
            },
        }
    }

    /// What refuses a handshake: ours as a rejection, an upstream's as it came.
    pub(super) fn into_response(self) -> Result<Response<ReplyBody>, Rejection> {
        match self {
            Self::Ours(rejection) => Err(rejection),
            Self::Frames(_) => Err(Rejection::Internal),
            Self::Upstream(refused) => {
                let mut response = Response::new(ReplyBody::whole(refused.body));
                *response.status_mut() = refused.status;
                *response.headers_mut() = refused.headers;
                headers::from_upstream(response.headers_mut());
                Ok(response)
            }
        }
    }
}
