//! Errors: what a request did wrong, and what an upstream's refusal means.

use serde::Serialize;

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
            // What the Anthropic form does with the code is not known (W 1.4): it may stand in front of the message.
            "permission_error" | "invalid_request_error" if message.starts_with(FREE_TIER_ONLY) => Self::FreeTierOnly,
            "permission_error" | "invalid_request_error" if message.starts_with("Arrearage") => Self::Arrearage,
            "rate_limit_error" => Self::RateLimited,
            FREE_TIER_ONLY => Self::FreeTierOnly,
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

/// The code of a used-up free quota.
const FREE_TIER_ONLY: &str = "AllocationQuota.FreeTierOnly";

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
