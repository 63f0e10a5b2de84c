//! Which headers cross: an allow-list towards the upstream, hop-by-hop headers dropped on the way back.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};

use crate::catalogue::Model;
use crate::dialect::{Clamp, Dialect, Encoding};
use crate::ledger::{HoldId, Timestamp};

use super::admission::Admission;

/// The request's id, which is also its hold's.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-gratis-request-id");
/// The model that served.
pub(super) const MODEL: HeaderName = HeaderName::from_static("x-gratis-model");
/// `free` or `paid`.
pub(super) const BILLING: HeaderName = HeaderName::from_static("x-gratis-billing");
/// What is left beside this call's hold.
pub(super) const AVAILABLE: HeaderName = HeaderName::from_static("x-gratis-available");
/// When the quota ends: RFC 3339.
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("x-gratis-expires");
/// What is held for this call.
pub(super) const HELD: HeaderName = HeaderName::from_static("x-gratis-held");
/// Which bounds were lowered, as `max_tokens=N` pairs.
pub(super) const CLAMPED: HeaderName = HeaderName::from_static("x-gratis-clamped");
/// What was left out of the request because it is billed beside the quota.
pub(super) const STRIPPED: HeaderName = HeaderName::from_static("x-gratis-stripped");
/// `gratis` on an error that is not the upstream's.
pub(super) const ERROR_SOURCE: HeaderName = HeaderName::from_static("x-gratis-error-source");
/// Tells the OpenAI, Anthropic and DashScope SDKs that a retry is useless (W 5).
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a client's request may tell the upstream. Everything else stays here, first of all its credential.
const PASSED_ON: [HeaderName; 3] = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT];

/// What it may tell beside that in the DashScope dialect (W 2.3). What asks for a cache, a plugin or a workspace is not among it.
const OF_DASHSCOPE: [HeaderName; 4] = [
    HeaderName::from_static("x-dashscope-sse"),
    HeaderName::from_static("x-dashscope-ossresourceresolve"),
    HeaderName::from_static("x-dashscope-datainspection"),
    HeaderName::from_static("x-dashscope-encryptionkey"),
];
const ASYNC: HeaderName = HeaderName::from_static("x-dashscope-async");
/// ... and in the Anthropic one.
const OF_ANTHROPIC: [HeaderName; 1] = [HeaderName::from_static("anthropic-version")];

/// The headers of the request that goes upstream.
pub(super) fn to_upstream(
    client: &HeaderMap,
    authorization: Option<&HeaderValue>,
    dialect: Dialect,
    stream: bool,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    let beside: &[HeaderName] = match dialect {
        Dialect::OpenAi => &[],
        Dialect::DashScope => &OF_DASHSCOPE,
        Dialect::Anthropic => &OF_ANTHROPIC,
    };
    for name in PASSED_ON.iter().chain(beside) {
        if let Some(value) = client.get(name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    let accepted = client.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::acceptable(accepted, stream)));
    headers
}

/// Asks for a task.
pub(super) fn ask_for_task(headers: &mut HeaderMap) {
    headers.insert(ASYNC, HeaderValue::from_static("enable"));
}

/// What a body is.
pub(super) fn json_body(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// What belongs to one connection (RFC 9110 7.6.1).
const HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out what belongs to one connection, and what only Gratis may say.
pub(super) fn from_upstream(headers: &mut HeaderMap) {
    let mut gone: Vec<HeaderName> = Vec::new();
    for name in headers.keys().filter(|name| HOP.contains(name) || name.as_str().starts_with("x-gratis-")) {
        gone.push(name.clone());
    }
    for value in headers.get_all(CONNECTION) {
        let list = value.to_str().unwrap_or_default().split(',');
        gone.extend(list.filter_map(|name| HeaderName::try_from(name.trim()).ok()));
    }
    for name in gone {
        headers.remove(name);
    }
}

/// A hold's id as the UUID that it is.
pub(super) fn request_id(id: HoldId) -> String {
    uuid::Uuid::from_u128(id.0).to_string()
}

pub(super) fn add_request_id(to: &mut HeaderMap, id: HoldId) {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = uuid::Uuid::from_u128(id.0).as_hyphenated().encode_lower(&mut buffer);
    if let Ok(id) = HeaderValue::from_str(text) {
        to.insert(REQUEST_ID, id);
    }
}

/// What the client is told of its admission (A8).
pub(super) struct AdmissionHeaders {
    pub(super) id: HoldId,
    /// The model that served; an app has several.
    pub(super) model: Option<HeaderValue>,
    pub(super) may_cost: bool,
    /// What is left beside the hold, in one pool.
    pub(super) available: Option<i64>,
    pub(super) held: u64,
    pub(super) expires: Option<Timestamp>,
    /// The bounds that went upstream, where they are below what was asked.
    pub(super) lowered: Option<Clamp>,
    pub(super) stripped: Vec<String>,
}

impl AdmissionHeaders {
    /// Of the one hold of a call.
    pub(super) fn of(admission: &Admission, model: &Model, lowered: Option<Clamp>, stripped: &[String]) -> Self {
        let admitted = &admission.admitted;
        Self {
            id: admission.hold,
            model: HeaderValue::from_str(model.code.as_str()).ok(),
            may_cost: admitted.may_cost,
            available: Some(admitted.available.max(0)),
            held: admitted.input.saturating_add(admitted.output),
            expires: admitted.expires,
            lowered,
            stripped: stripped.to_vec(),
        }
    }

    /// Of the holds of an app's models: together, and whether any of them may cost money.
    pub(super) fn of_app(id: HoldId, admissions: &[Admission]) -> Self {
        let held = |one: &Admission| one.admitted.input.saturating_add(one.admitted.output);
        Self {
            id,
            model: None,
            may_cost: admissions.iter().any(|admission| admission.admitted.may_cost),
            available: None,
            held: admissions.iter().map(held).fold(0, u64::saturating_add),
            expires: None,
            lowered: None,
            stripped: Vec::new(),
        }
    }

    pub(super) fn write(self, to: &mut HeaderMap) {
        add_request_id(to, self.id);
        if let Some(model) = self.model {
            to.insert(MODEL, model);
        }
        to.insert(BILLING, HeaderValue::from_static(if self.may_cost { "paid" } else { "free" }));
        if let Some(available) = self.available {
            to.insert(AVAILABLE, HeaderValue::from(available));
        }
        to.insert(HELD, HeaderValue::from(self.held));
        if let Some(Ok(expires)) = self.expires.map(|end| HeaderValue::try_from(end.to_rfc3339())) {
            to.insert(EXPIRES, expires);
        }
        if let Some(clamp) = self.lowered {
            let bounds = [("max_tokens", clamp.answer), ("thinking_budget", clamp.thinking_budget)];
            let said = bounds.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
            if let Ok(said) = HeaderValue::try_from(said.collect::<Vec<_>>().join(", ")) {
                to.insert(CLAMPED, said);
            }
        }
        if !self.stripped.is_empty()
            && let Ok(said) = HeaderValue::try_from(self.stripped.join(", "))
        {
            to.insert(STRIPPED, said);
        }
    }
}
