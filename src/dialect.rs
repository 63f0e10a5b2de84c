//! One API's shapes: where the model is named, what bounds a call, where usage stands, what an error looks like.
//!
//! Pure: bytes in, values out; nothing here knows a clock, a store or a connection.
//!
//! * [`route`] decides which calls exist at all: what is not in its table is refused.
//! * [`Facts`] reads what decides the cost of a request in one pass and splices bounds into it, byte for byte.
//! * [`Observer`] watches a response pass, finds its usage and its end, and cannot fail.
//! * [`socket`] names the WebSocket APIs, [`FrameReader`] finds their messages, [`command`] and [`client_event`] read them.
//! * [`render_error`] and [`UpstreamSignal`] write and read the error envelope.
//!
//! [`Api`] names the metered calls. What two of them share is written once; where their shapes differ each has its own reader.

mod api;
mod encoding;
mod envelope;
mod error;
mod facts;
mod finding;
mod finish;
mod frame;
mod inference;
mod json_scan;
mod members;
mod observer;
mod realtime;
mod route;
mod socket;
mod splice;
mod sse;
mod strip;
mod table;
mod task;
mod written;

use serde::{Deserialize, Serialize};

use crate::ledger::Unit;

pub use api::Api;
pub use encoding::Encoding;
pub use envelope::{ErrorBody, ErrorEnvelope, ErrorShape, render_error};
pub use error::{DialectError, UpstreamError, UpstreamSignal};
pub use facts::{Facts, InputBound, Reference, ThinkingAsk, UnitsAsk};
pub use finding::{Finding, Flags, ModelUsage, Reading, UsageDetails};
pub use frame::{Ended, FrameError, FrameReader, OwnFrame, PROTOCOL_ERROR, Part, Sender, Stretch, own_frame};
pub use inference::{Audio, Command, Run, TaskEvent, TaskState, command, finish_task, task_event, task_failed};
pub use observer::{Observer, Seen};
pub use realtime::{ClientEvent, ServerEvent, client_event, error_event, server_event};
pub use route::{Route, RouteMatch, RouteRow, coverage, family, route};
pub use socket::{Protocol, Socket, SocketRow, handshake_key, socket, sockets};
pub use splice::Clamp;
pub use strip::{STRIPPABLE, strip};
pub use task::TaskOutcome;

/// Whose shapes a call has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The OpenAI-compatible API (W 1.2, 2.2, 3.1, 3.3).
    OpenAi,
    /// The provider's own API (W 1.3, 3.2, 3.5).
    DashScope,
    /// The Anthropic-compatible API (W 1.4, 3.4).
    Anthropic,
}

/// What is looked for in a reply: the shape of its call, and what its model is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Watch {
    /// The shape.
    pub api: Api,
    /// The unit.
    pub unit: Unit,
}

impl Default for Watch {
    fn default() -> Self {
        Self { api: Api::Chat, unit: Unit::Tokens }
    }
}

/// How a call is metered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Metering {
    /// It is held, sent and settled, as this API has it.
    Call(Api),
    /// It costs nothing and holds nothing (W 0.19).
    Free,
    /// It costs nothing; what it makes belongs to the account that made it.
    Creates(Kind),
    /// It costs nothing, and is about one thing, for the account that made it alone.
    Owned(Kind),
    /// It asks what became of a task: for its account alone, and the first answer that tells settles the task's hold (W 0.12).
    Task,
    /// An app of the provider's console: the configuration declares its models, each of which is held at its maximum. One that is
    /// not declared is as if it were not covered (W 0.14).
    App,
    /// The free quota never covers it, and its models are not known before (W 0.14): refused where only free quota may be used.
    NotCovered(Kind),
}

impl Metering {
    /// Its name on the coverage page.
    #[must_use]
    pub fn name(self) -> String {
        let api = |api: Api| serde_json::to_value(api).ok().and_then(|name| name.as_str().map(str::to_owned));
        match self {
            Self::Call(of) => api(of).unwrap_or_default(),
            Self::Free => "free".to_owned(),
            Self::Creates(_) | Self::Owned(_) => "owned".to_owned(),
            Self::Task => "task".to_owned(),
            Self::App => "app".to_owned(),
            Self::NotCovered(_) => "not-covered".to_owned(),
        }
    }
}

impl Serialize for Metering {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// A thing that is kept at the provider and belongs to the account that made it through Gratis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A task (W 1.6).
    Task,
    /// A file.
    File,
    /// A conversation.
    Conversation,
    /// A response that another one may go on from.
    Response,
    /// A batch.
    Batch,
    /// A voice or a list of words.
    Voice,
    /// An app of the provider's console: made there, never here.
    App,
}

/// What the path of an upstream's route is appended to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// The base URL of its OpenAI routes.
    OpenAi,
    /// What the base URL is below of, without `/compatible-mode/v1` or `/v1` (W 2.1: all families share the host).
    Root,
}
