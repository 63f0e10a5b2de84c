//! The error that a client gets, in its dialect's shape.

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

use super::facts::asks_for_events;
use super::{Dialect, family};

/// Which shape an error of ours has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorShape {
    /// Whose.
    pub dialect: Dialect,
    /// Whether the request asked by its headers for a stream of events; only the DashScope dialect then answers an error with one
    /// (W 0.4, 1.3).
    pub events: bool,
}

impl ErrorShape {
    /// The shape for a request: that of its path's family, whether or not the path exists.
    #[must_use]
    pub fn of(path: &str, headers: &HeaderMap) -> Self {
        let dialect = family(path);
        Self { dialect, events: asks_for_events(dialect, headers) }
    }
}

/// What an error says, before it takes a dialect's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorEnvelope<'a> {
    /// The status of the reply.
    pub status: u16,
    /// The code that clients match on, as the OpenAI dialect has it.
    pub code: &'a str,
    /// The `type`; with some codes it is the code itself (W 0.2).
    pub kind: &'a str,
    /// One sentence.
    pub message: &'a str,
    /// The parameter at fault.
    pub param: Option<&'a str>,
    /// Refused at the gateway (a key, an unknown model): such replies carry no `id` (W 1.2).
    pub gateway: bool,
    /// The id of the request, a UUID.
    pub request_id: &'a str,
}

/// An error as it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorBody {
    /// Its content type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Bytes,
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct NativeBody<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
}

#[derive(Serialize)]
struct NativeEvent<'a> {
    request_id: &'a str,
    code: &'a str,
    r#type: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
    code: &'a str,
}

/// The body of an error reply.
#[must_use]
pub fn render_error(shape: ErrorShape, envelope: &ErrorEnvelope<'_>) -> ErrorBody {
    const JSON: &str = "application/json";
    match shape.dialect {
        Dialect::OpenAi => ErrorBody { content_type: JSON, bytes: json(&openai(envelope)).into() },
        Dialect::Anthropic => ErrorBody { content_type: JSON, bytes: anthropic(envelope) },
        Dialect::DashScope if shape.events => {
            ErrorBody { content_type: "text/event-stream;charset=UTF-8", bytes: native_event(envelope) }
        }
        Dialect::DashScope => {
            let code = native_code(envelope.code);
            let body = NativeBody { code, message: envelope.message, request_id: envelope.request_id };
            ErrorBody { content_type: JSON, bytes: json(&body).into() }
        }
    }
}

/// The key order is that of the service (W 1.2).
fn openai<'a>(envelope: &ErrorEnvelope<'a>) -> OpenAiBody<'a> {
    let error =
        OpenAiError { message: envelope.message, r#type: envelope.kind, param: envelope.param, code: envelope.code };
    let id = (!envelope.gateway).then(|| format!("chatcmpl-{}", envelope.request_id));
    OpenAiBody { error, id, request_id: envelope.request_id }
}

/// The one event of a refused stream: no space behind the colons, or an SDK does not see it (W 1.3, 5).
fn native_event(envelope: &ErrorEnvelope<'_>) -> Bytes {
    let code = native_code(envelope.code);
    let event = NativeEvent { request_id: envelope.request_id, code, r#type: code, message: envelope.message };
    let mut bytes = format!("id:1\nevent:error\n:HTTP_STATUS/{}\ndata:", envelope.status).into_bytes();
    bytes.extend(json(&event));
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// The real body of a billing refusal is not known: the shape is Anthropic's, and the code stands in it twice so that no reader
/// misses it (W 1.4).
fn anthropic(envelope: &ErrorEnvelope<'_>) -> Bytes {
    let billing = envelope.kind == envelope.code;
    let message =
        if billing { format!("{}: {}", envelope.code, envelope.message) } else { envelope.message.to_owned() };
    let error = AnthropicError { r#type: anthropic_type(envelope.status), message: &message, code: envelope.code };
    json(&AnthropicBody { r#type: "error", error, request_id: envelope.request_id }).into()
}

/// The type that goes with a status (W 1.4).
const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        408 | 504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The provider's own code for one of the OpenAI dialect; what has none stays (W 1.1).
pub(super) fn native_code(code: &str) -> &str {
    match code {
        "invalid_api_key" => "InvalidApiKey",
        "invalid_parameter_error" | "invalid_request_error" => "InvalidParameter",
        "model_not_found" => "ModelNotFound",
        "limit_requests" => "Throttling.RateQuota",
        "access_denied" => "AccessDenied",
        "internal_error" => "InternalError",
        "not_found" => "NotFound",
        other => other,
    }
}

/// A struct of strings always serialises; an empty body would still be an error to every client.
fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}
