//! An upstream of our own, with a ledger of its own.
//!
//! It speaks the HTTP dialects as `WIRE 1, 2.4, 3` describe them, decides how much every call produces, and writes down what it charged. It is the oracle of every test about money, so it names no other
//! room: what judges the proxy must not share the proxy's code.
//!
//! # Routes
//!
//! | route | what |
//! |---|---|
//! | `POST …/chat/completions`, `…/v1/completions`, `…/v1/responses`, `…/v1/embeddings`, `…/reranks` | the OpenAI family, behind any prefix |
//! | `POST …/apps/anthropic/v1/messages` | the Anthropic dialect |
//! | `POST /api/v1/services/…` | the DashScope dialect: generation, embeddings, rerank, images, videos, speech, transcription, voices |
//! | `GET /api/v1/tasks/{id}`, `POST …/cancel` | tasks: the second poll ends one, and it is charged then |
//! | `POST …/files`, `…/conversations`, `…/batches`, and what is below them | things with ids; never charged |
//! | `GET /api-ws/v1/inference`, `GET /api-ws/v1/realtime?model=` | the WebSocket APIs: tasks (characters, seconds of audio), responses (tokens) |
//! | `GET …/models`, `GET …/models/{id}` | the models it serves; never charged |
//! | `GET /ledger`, `POST /reset` | what was charged; start again from nothing |
//! | `GET /behave`, `POST /behave` | the rules of misbehaviour; add, replace or clear one |
//! | `GET /requests?last=N` | the last requests as they came in |
//!
//! # What is charged
//!
//! A call is charged in full, prompt and everything that it was decided to produce, under one lock, **before the
//! first byte of the reply**. A caller who goes away, or is killed, before, during or after the reply has been
//! charged all the same: the worst case for a proxy that must not overspend. What the reply *says* about usage
//! never changes what was charged. A rule may name another charge (`"charge": N`).
//!
//! | mode | the reply | charged |
//! |---|---|---|
//! | `none` | as the dialect has it | full |
//! | `bad-request` `invalid-key` `free-tier-only` `free-tier-only-new` `access-denied` `model-not-found` `rate-limit` `insufficient-quota` `free-allocated-quota` `commodity-not-purchased` `prepaid-bill-overdue` `postpaid-bill-overdue` `arrearage` `content-inspection` `internal-error` `overloaded` | a complete error envelope, and nothing else | 0 |
//! | `error-only-event` | 200, a stream whose only event is an error | 0 |
//! | `redirect` | 307 to another place | 0 |
//! | `echo` | the fixed reply that the rule carries | 0 |
//! | `error-html` | 500 with a page that is no envelope | full |
//! | `never-answer` | the request is taken, no byte comes back | full |
//! | `hang-mid-stream` | half of the reply, then silence with the connection open | full |
//! | `reset-before-head` | the connection is reset before a byte | full |
//! | `reset-mid-stream` | half of the reply, then a TCP reset | full |
//! | `truncate` | half of the reply, then the connection closes without the end of the body | full |
//! | `cut` | half of the reply, then a clean end: no usage, no `[DONE]` | full |
//! | `error-mid-stream` | half of the reply, then an error event and a clean end | full |
//! | `no-usage` | complete, no usage anywhere | full |
//! | `lie-low` `lie-high` | usage is half, or twice, the truth | full (the truth) |
//! | `negative-usage` `float-usage` `string-usage` | usage of a kind that is not a count | full |
//! | `ignore-clamp` | more answer than `max_tokens` allows, reported as it is | full |
//! | `think-past` | 1,181 or more thinking tokens whatever the request says, reported as it is | full |
//! | `double-usage` `double-done` | the usage chunk or `[DONE]` comes twice | full, once |
//! | `crlf` `comments` `no-space` `split` `split-N` | other line ends, comments, `data:` without a space, N bytes a write | full |
//! | `big-line` | one event of 10 MB | full |
//! | `invalid-utf8` `garbage` | bytes that are no UTF-8; a 200 whose body is no JSON | full |
//! | `wrong-length` | `content-length` promises more than comes | full |
//! | `gzip-stream` | the stream is gzip-compressed | full |
//! | `slow-drip` | eight bytes at a time | full |
//!
//! "Half of the reply" of a plain call is half of its bytes; there `error-mid-stream` is the same as `cut`, and a mode
//! about frames (`crlf`, `comments`, `no-space`, `double-done`, `gzip-stream`) changes nothing.
//!
//! A mode applies to a share of the calls by `POST /behave {"mode": "cut", "share": 0.1, "model": "qwen-max"}`, and
//! to one call by `[[sim:cut]]` in its last user message. `[[sim:answer=12]]` and `[[sim:thinking=3]]` fix what the
//! call wants to produce (its bounds still hold), `[[sim:tool]]` asks for a tool call.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each step of a reply heeds a few of four dozen modes and treats all others alike"
)]

mod apps;
mod behaviour;
mod chat;
mod chunks;
mod control;
mod delivery;
mod errors;
mod ledger;
mod modes;
mod plan;
mod prompt;
mod reading;
mod recorder;
mod render;
mod request;
mod route;
mod serve;
mod shapes;
mod socket;
mod state;
mod tasks;
mod transport;
mod ways;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use modes::Mode;

/// How a simulator behaves when nothing else is asked of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The models that are served. When empty every code is served as [`SimModel::new`] has it; otherwise an unknown
    /// one is `model_not_found`.
    pub models: Vec<SimModel>,
    /// The models that one request to each app calls, by the app's id; one that is called twice stands there twice.
    pub apps: BTreeMap<String, Vec<String>>,
    /// The only credential that is accepted; `None` accepts every caller.
    pub key: Option<String>,
    /// Charge the most that a call can cost: the NFC bytes of the prompt, the template maximum, the full answer and
    /// the full thinking (`LEDGER 7`). The text that is sent stays short; the usage reports what was charged.
    pub worst: bool,
    /// The wait before the head of a reply.
    pub first_delay: Duration,
    /// The wait between two chunks of a stream.
    pub chunk_delay: Duration,
    /// Tokens in one chunk of a stream (at least 1).
    pub chunk_tokens: u64,
    /// Answer tokens that a call wants to produce for each choice.
    pub answer: RangeInclusive<u64>,
    /// Thinking tokens that a call wants to produce for each choice when it thinks.
    pub thinking: RangeInclusive<u64>,
    /// The most tokens of answer, and of thinking, whose text is really sent; what is above is charged and reported.
    pub sent_max: u64,
    /// How many received requests are kept for `GET /requests`.
    pub keep_requests: usize,
    /// Decides, with the number of the call, everything that is left to chance.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            models: Vec::new(),
            apps: BTreeMap::new(),
            key: None,
            worst: false,
            first_delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            chunk_tokens: 4,
            answer: 8..=200,
            thinking: 16..=400,
            sent_max: 512,
            keep_requests: 64,
            seed: 1,
        }
    }
}

/// A model that the simulator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimModel {
    /// The exact code.
    pub code: String,
    /// Context window in tokens: a longer prompt is refused.
    pub window: u64,
    /// Most answer tokens of one choice, and the largest `max_tokens` that is accepted.
    pub max_output: u64,
    /// Most thinking tokens of one choice; 0 = the model cannot think.
    pub max_thinking: u64,
    /// Whether it thinks when the request is silent.
    pub thinks_by_default: bool,
    /// Tokens of one image, sound or video in the prompt, at most.
    pub per_media_max: u64,
    /// What it is counted in.
    pub unit: SimUnit,
    /// The most units of one call, where these are not tokens.
    pub max_units: u64,
}

/// What a model is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SimUnit {
    /// Tokens.
    #[default]
    Tokens,
    /// Images.
    Images,
    /// Seconds.
    Seconds,
    /// Characters.
    Characters,
    /// Voices.
    Voices,
}

impl SimModel {
    /// A model of ordinary size that can think when it is asked to.
    #[must_use]
    pub fn new(code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            window: 131_072,
            max_output: 16_384,
            max_thinking: 38_912,
            thinks_by_default: false,
            per_media_max: 16_384,
            unit: SimUnit::Tokens,
            max_units: 1,
        }
    }
}

/// A simulator that is running. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// The origin, e.g. `http://127.0.0.1:40000`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection where it stands and waits until they are gone.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Binds and serves until [`Running`] is dropped or shut down.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(settings: Settings) -> io::Result<Running> {
    serve::start(settings).await
}
