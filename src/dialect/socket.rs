//! The APIs that are spoken over WebSocket (W 2.2): denied by default, like every other route.

use http::{HeaderMap, Method};
use serde::Serialize;

/// The longest model id of a query, in bytes.
const MAX_MODEL: usize = 128;

/// What is spoken on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Tasks one after another; each names its model.
    Inference,
    /// Responses of one model, which the query names.
    Realtime {
        /// The model code, exactly as written.
        model: String,
    },
}

/// What a request line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Socket {
    /// Such an API.
    Found(Protocol),
    /// The path is one, and takes another method or query.
    Wrong(&'static str),
}

/// One row of the coverage page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SocketRow {
    /// The path.
    pub path: &'static str,
    /// Whose shapes it has.
    pub dialect: &'static str,
    /// How it is metered.
    pub metering: &'static str,
    /// Where it is documented.
    pub source: &'static str,
}

/// The path of the tasks.
pub(super) const INFERENCE: &str = "/api-ws/v1/inference";
/// The same as the provider's own pages have it too.
const INFERENCE_SLASH: &str = "/api-ws/v1/inference/";
/// The path of the responses.
const REALTIME: &str = "/api-ws/v1/realtime";

const ROW: SocketRow =
    SocketRow { path: INFERENCE, dialect: "dashscope", metering: "websocket-tasks", source: "W 1.5, 2.2, 3.5" };

const TABLE: [SocketRow; 3] = [
    ROW,
    SocketRow { path: INFERENCE_SLASH, ..ROW },
    SocketRow { path: REALTIME, dialect: "openai", metering: "websocket-responses", ..ROW },
];

/// Every such API.
#[must_use]
pub fn sockets() -> &'static [SocketRow] {
    &TABLE
}

/// Looks a request line up; `None` where the path is of another kind. Nothing is decoded, folded or normalised.
#[must_use]
pub fn socket(method: &Method, path: &str, query: Option<&str>) -> Option<Socket> {
    let query = query.unwrap_or_default();
    let found = match path {
        INFERENCE | INFERENCE_SLASH if query.is_empty() => Socket::Found(Protocol::Inference),
        INFERENCE | INFERENCE_SLASH => Socket::Wrong("The path takes no query."),
        REALTIME => match query.strip_prefix("model=").filter(|model| is_plain(model)) {
            Some(model) => Socket::Found(Protocol::Realtime { model: model.to_owned() }),
            None => Socket::Wrong("The query must be `model=` with the code of a model, and nothing else."),
        },
        _ => return None,
    };
    if method != Method::GET {
        return Some(Socket::Wrong("A WebSocket begins with GET."));
    }
    Some(found)
}

impl Protocol {
    /// The path and query below the upstream's root.
    #[must_use]
    pub fn upstream_path(&self) -> String {
        match self {
            Self::Inference => INFERENCE.to_owned(),
            Self::Realtime { model } => format!("{REALTIME}?model={model}"),
        }
    }

    /// Its name in logs.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Inference => "ws.inference",
            Self::Realtime { .. } => "ws.realtime",
        }
    }
}

/// The key of a handshake (RFC 6455 4.2.1), where the headers are one and nothing else.
#[must_use]
pub fn handshake_key(headers: &HeaderMap) -> Option<&str> {
    use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.map(str::trim).filter(|_| values.next().is_none())
    };
    let upgrades = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let upgrades = upgrades.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let websocket = only(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let version = only(SEC_WEBSOCKET_VERSION) == Some("13");
    // Sixteen bytes in base64: twenty-two characters and two signs of padding.
    let key = only(SEC_WEBSOCKET_KEY).filter(|key| {
        let (body, padding) = key.split_at_checked(22).unwrap_or_default();
        padding == "==" && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    });
    key.filter(|_| upgrades && websocket && version)
}

fn is_plain(model: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
    !model.is_empty() && model.len() <= MAX_MODEL && !model.starts_with('.') && model.bytes().all(allowed)
}
