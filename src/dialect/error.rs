//! Errors: what a request did wrong, the envelope that a client gets, and what an upstream's refusal means.

use bytes::Bytes;
use serde::Serialize;

use super::Dialect;

/// Why a request cannot be read. It names the parameter and the place, never what the caller wrote there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DialectError {
    /// The code of the envelope: `invalid_parameter_error` or `invalid_request_error` (W 1.1).
    pub code: &'static str,
    /// One bounded sentence.
    pub message: String,
    /// The parameter at fault, where it is one that we know.
    pub param: Option<String>,
}

impl DialectError {
    /// A parameter has a value that it must not have.
    pub(super) fn parameter(name: &str, must: &str) -> Self {
        Self {
            code: "invalid_parameter_error",
            message: format!("The parameter `{name}` {must}."),
            param: Some(name.to_owned()),
        }
    }

    /// The request as a whole cannot be read.
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self { code: "invalid_request_error", message: message.into(), param: None }
    }
}

/// What an error says, before it takes a dialect's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorEnvelope<'a> {
    /// The code that clients match on.
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

/// The body of an error reply, in the key order of the service (W 1.2). Its content type is `application/json`, also
/// for a request that asked for a stream (W 0.4).
#[must_use]
pub fn render_error(dialect: Dialect, envelope: &ErrorEnvelope<'_>) -> Bytes {
    let Dialect::OpenAi = dialect;
    let error =
        OpenAiError { message: envelope.message, r#type: envelope.kind, param: envelope.param, code: envelope.code };
    let id = (!envelope.gateway).then(|| format!("chatcmpl-{}", envelope.request_id));
    // A struct of strings always serialises; an empty body would still be an error to every client.
    serde_json::to_vec(&OpenAiBody { error, id, request_id: envelope.request_id }).map(Bytes::from).unwrap_or_default()
}

/// What an upstream's refusal means for what may be sent to it next (W 1.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamSignal {
    /// The free quota of the model is used up: closes the (upstream, model).
    FreeTierOnly,
    /// The account is overdue or has not bought the service: closes the upstream.
    Arrearage,
    /// Too many requests or tokens in a moment; says nothing of the free quota.
    RateLimited,
    /// Anything else.
    Other,
}

impl UpstreamSignal {
    /// Judges by the code. The message is looked at for one code only, which rate limits and a used-up free quota
    /// share; texts change, codes have not (W 0.3).
    #[must_use]
    pub fn of(code: &str, message: &str) -> Self {
        match code {
            "AllocationQuota.FreeTierOnly" => Self::FreeTierOnly,
            "Throttling.AllocationQuota" | "insufficient_quota" if message.starts_with(FREE_ALLOCATED) => {
                Self::FreeTierOnly
            }
            "Arrearage" | "CommodityNotPurchased" | "PrepaidBillOverdue" | "PostpaidBillOverdue" => Self::Arrearage,
            "Throttling" | "LimitRequests" | "limit_requests" | "limit_burst_rate" | "insufficient_quota" => {
                Self::RateLimited
            }
            _ if code.starts_with("Throttling.") => Self::RateLimited,
            _ => Self::Other,
        }
    }
}

/// The message that tells a free quota's end from a rate limit (W 1.1).
const FREE_ALLOCATED: &str = "Free allocated quota exceeded";

/// The longest code of an upstream that is kept, in bytes.
const MAX_CODE: usize = 64;

/// An error that an upstream sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamError {
    /// Its code, made safe to log: at most 64 bytes of letters, digits, `.`, `_` and `-`; empty where there was none.
    pub code: String,
    /// What it means.
    pub signal: UpstreamSignal,
}

impl UpstreamError {
    /// Judges and keeps an upstream's code; the message is read and forgotten.
    pub(super) fn new(code: &str, message: &str) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        Self { code: code.chars().filter(plain).take(MAX_CODE).collect(), signal: UpstreamSignal::of(code, message) }
    }
}
