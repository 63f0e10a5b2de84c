//! Responses over WebSocket (`/api-ws/v1/realtime`, W 1.5, 2.2, 3.5): what a client's event may bring about, and what a server's
//! tells.

use serde::Serialize;

use super::Reference;
use super::error::{DialectError, UpstreamError};
use super::inference::voices;
use super::members::{members, string};
use crate::ledger::Usage;

/// No response uses more; a larger figure is a mistake of the upstream's and must not empty a grant.
const MAX_TOKENS: u64 = 1 << 31;

/// What a client's event may bring about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientEvent {
    /// The model that it names, where it names one.
    pub model: Option<String>,
    /// What it turns on that is billed beside the quota (W 4).
    pub surcharge: Option<&'static str>,
    /// The voice that it names, which may be an account's own.
    pub references: Vec<Reference>,
}

/// What a server's event tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerEvent {
    /// A response began.
    Created,
    /// A response ended. Its usage is for it alone: turns are added (W 3.5).
    Done(Option<Usage>),
    /// An error.
    Error(UpstreamError),
    /// Anything else.
    Other,
}

/// Reads a client's event.
///
/// # Errors
/// It is no event of this API, or could be read as another one. The text is meant for the client.
pub fn client_event(text: &str) -> Result<ClientEvent, DialectError> {
    let [kind, session, response] = members(text, ["type", "session", "response"])?;
    let kind = string(kind).ok_or_else(|| DialectError::request("The event has no `type`."))?;
    let settings = match kind.as_str() {
        "session.update" | "transcription_session.update" => session,
        "response.create" => response,
        _ => None,
    };
    let Some(settings) = settings else { return Ok(ClientEvent::default()) };
    let [model, search, tools, voice] = members(settings, ["model", "enable_search", "tools", "voice"])?;
    let on = |raw: Option<&str>| raw.is_some_and(|raw| raw != "false");
    let surcharge = if on(search) {
        Some("enable_search")
    } else if tools.is_some_and(|tools| !only_functions(tools)) {
        Some("tools")
    } else {
        None
    };
    let model = model.map(|raw| string(Some(raw)).unwrap_or_default());
    Ok(ClientEvent { model, surcharge, references: voices([voice])? })
}

/// Whether every tool is a function of the client's; others run at the provider and are billed apart.
fn only_functions(tools: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool {
        r#type: Option<String>,
    }
    let tools: Option<Vec<Tool>> = serde_json::from_str(tools).ok();
    tools.is_some_and(|tools| tools.iter().all(|tool| tool.r#type.as_deref() == Some("function")))
}

/// Reads a server's event. Nothing can fail here: what cannot be read counts for nothing.
#[must_use]
pub fn server_event(text: &str) -> ServerEvent {
    let Ok([kind, response, error]) = members(text, ["type", "response", "error"]) else { return ServerEvent::Other };
    match string(kind).as_deref() {
        Some("response.created") => ServerEvent::Created,
        Some("response.done") => {
            let usage = response.and_then(|response| members(response, ["usage"]).ok()).and_then(|[usage]| usage);
            ServerEvent::Done(usage.and_then(count))
        }
        Some("error") => {
            let found = error.and_then(|error| members(error, ["code", "message"]).ok()).unwrap_or_default();
            let [code, message] = found.map(|raw| string(raw).unwrap_or_default());
            ServerEvent::Error(UpstreamError::new(&code, &message))
        }
        _ => ServerEvent::Other,
    }
}

/// Tokens of one response. Never less than the total says: what it has beyond its parts is counted as output.
fn count(usage: &str) -> Option<Usage> {
    let found = members(usage, ["input_tokens", "output_tokens", "total_tokens"]).ok()?;
    let [input, output, total] = found;
    let number = |raw: &str| raw.parse::<u64>().ok().filter(|number| *number <= MAX_TOKENS);
    let (input, output) = (number(input?)?, number(output?)?);
    let total = match total {
        Some(total) => number(total)?,
        None => input.saturating_add(output),
    };
    Some(Usage { input, output: output.max(total.saturating_sub(input)) })
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: &'a str,
    r#type: &'a str,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    r#type: &'a str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
}

/// An error event, as the service has it (W 1.5). `id` is a UUID.
#[must_use]
pub fn error_event(id: &str, kind: &str, code: &str, message: &str, param: Option<&str>) -> String {
    let event_id = format!("event_{}", id.replace('-', ""));
    let error = Error { r#type: kind, code, message, param };
    serde_json::to_string(&Event { event_id: &event_id, r#type: "error", error }).unwrap_or_default()
}
