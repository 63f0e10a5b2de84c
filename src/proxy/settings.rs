//! What the request path is told by the configuration.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Catalogue, Site};
use crate::ledger::{AccountId, ModelCode, Overrun};

use super::upstream::Upstream;

/// Whether the outgoing bounds are made explicit and smaller (LEDGER 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClampPolicy {
    /// Always: also a bound that the request named is lowered to what is left.
    #[default]
    Always,
    /// Only where the request named none; what it named is held in full or refused.
    Absent,
    /// Never: the whole bound is held or the call is refused.
    Never,
}

/// What happens to the upstream's response when the client has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDisconnect {
    /// It is read to its end, under caps, so that the usage is known.
    #[default]
    Drain,
    /// It is dropped, and the call is presumed at its hold.
    Cancel,
}

/// How calls are bounded and settled.
#[derive(Clone, Debug)]
pub struct QuotaSettings {
    /// Where a request names no bound, one call takes at most `available / hold_share`.
    pub hold_share: u64,
    /// ... but at least this.
    pub hold_share_floor: u64,
    /// The least output with which a call is worth making.
    pub min_output: u64,
    /// The answer bound where a request names none; `None` = the model's maximum.
    pub max_output_default: Option<u64>,
    /// Whether outgoing bounds are made smaller.
    pub clamp: ClampPolicy,
    /// What is left out of a call rather than refused because it is billed beside the quota (C11).
    pub strip: Vec<String>,
    /// Refuse nothing for quota, and count what would have been refused (E6). Accounts with `never_pay` are refused all the same.
    pub shadow: bool,
    /// Replaces the site's rule, where set.
    pub overrun: Option<Overrun>,
    /// How long a hold lives.
    pub lease: Duration,
    /// The longest plain call.
    pub max_call_plain: Duration,
    /// The longest streamed call.
    pub max_call_stream: Duration,
    /// How long a call waits for the holds of others.
    pub busy_wait: Duration,
    /// How many calls wait at most.
    pub busy_queue: usize,
    /// How long an end mark waits for its settlement (LEDGER 9).
    pub settle_wait: Duration,
    /// What happens when the client has gone.
    pub on_disconnect: OnDisconnect,
    /// Responses that are drained at once, at most.
    pub drain_streams: usize,
    /// Bytes that are drained of one response, at most.
    pub drain_bytes: u64,
    /// How long one response is drained, at most.
    pub drain_time: Duration,
    /// So many presumed calls in a row open an upstream's breaker; 0 = never.
    pub presumed_breaker: u32,
    /// How long the breaker stays open before one call may try.
    pub breaker_pause: Duration,
    /// How often tasks are asked about that their clients may not ask about.
    pub task_poll: Duration,
}

/// What one WebSocket connection may take.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Connections at once; read when the process starts.
    pub connections: usize,
    /// The largest frame and the largest message of a client, in bytes.
    pub max_message: usize,
    /// After so much silence a client is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to say so.
    pub ping_timeout: Duration,
    /// Control frames of a client in 10 seconds.
    pub control_frames: u32,
    /// How long the end of a connection may take.
    pub close_wait: Duration,
}

/// How the request path behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How calls are bounded and settled.
    pub quota: QuotaSettings,
    /// What one WebSocket connection may take.
    pub sockets: SocketSettings,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// The most bytes that all request bodies take together, but for those that come in one piece.
    pub max_bodies: u64,
    /// How long a request body may take.
    pub body_timeout: Duration,
    /// The least bytes a second of a body, once it has had a while; 0 = as slow as it likes.
    pub body_min_rate: u64,
    /// Calls of one key in progress.
    pub key_in_flight: usize,
    /// Whether a line is logged for each request.
    pub log_requests: bool,
    /// Whether a request goes on in the trace that its client names.
    pub accept_traceparent: bool,
}

/// One model endpoint.
#[derive(Clone)]
pub struct UpstreamSettings {
    /// Its name in the configuration.
    pub name: String,
    /// The account that owns the provider account behind it: where that is overdue, so is this one.
    pub account: Option<AccountId>,
    /// Where its OpenAI routes begin: `https://host/compatible-mode/v1`.
    pub base_url: http::Uri,
    /// The credential, as a header value marked sensitive.
    pub authorization: Option<http::HeaderValue>,
    /// A file with further roots to trust (PEM).
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a response's head may take.
    pub head_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How many idle connections are kept.
    pub max_idle: usize,
    /// Whether to speak HTTP/2.
    pub http2: bool,
}

/// What a reload replaces as one: requests in progress keep what they began with.
pub struct Shared {
    /// How the request path behaves.
    pub settings: Settings,
    /// The models.
    pub catalogue: Arc<Catalogue>,
    /// The sites by name.
    pub sites: HashMap<String, Arc<Site>>,
    /// The declared apps by their ids.
    pub apps: HashMap<String, App>,
    /// Where calls go.
    pub upstreams: Upstreams,
}

/// An app of the provider's console whose models are declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// How often one request to it may call each of its models; at least one.
    pub models: BTreeMap<ModelCode, u64>,
}

/// Which upstream serves which model.
#[derive(Clone)]
pub struct Upstreams {
    /// Serves what no other does.
    pub default: Arc<Upstream>,
    /// Models that have an upstream of their own.
    pub by_model: HashMap<ModelCode, Arc<Upstream>>,
}

impl Upstreams {
    /// The upstream of a model.
    #[must_use]
    pub fn of(&self, model: &ModelCode) -> &Arc<Upstream> {
        self.by_model.get(model).unwrap_or(&self.default)
    }
}
