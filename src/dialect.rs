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
//! A later API is a further variant of [`Dialect`] beside its own readers; nothing is shared by accident.

mod encoding;
mod error;
mod facts;
mod finding;
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

use serde::Serialize;

pub use encoding::Encoding;
pub use error::{DialectError, ErrorEnvelope, UpstreamError, UpstreamSignal, render_error};
pub use facts::{Facts, InputBound, ThinkingAsk};
pub use finding::{Finding, Flags, Reading, UsageDetails};
pub use frame::{Ended, FrameError, FrameReader, OwnFrame, PROTOCOL_ERROR, Part, Sender, Stretch, own_frame};
pub use inference::{Audio, Command, Run, TaskEvent, TaskState, command, finish_task, task_event, task_failed};
pub use observer::{Observer, Seen};
pub use realtime::{ClientEvent, ServerEvent, client_event, error_event, server_event};
pub use route::{Route, RouteMatch, RouteRow, coverage, route};
pub use socket::{Protocol, Socket, SocketRow, handshake_key, socket, sockets};
pub use splice::Clamp;

/// Whose shapes a call has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The OpenAI-compatible API (W 1.2, 2.2, 3.1).
    OpenAi,
}

/// How a call is metered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metering {
    /// Input and output tokens of a chat (W 3.1).
    Chat,
    /// It costs nothing and holds nothing (W 0.19).
    Free,
}
