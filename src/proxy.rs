//! The request path: route, authenticate, read the facts, admit, send, meter (ARCHITECTURE 2).
//!
//! There is one way upstream, `upstream`, and it takes an `admission::Admission` for everything that costs. Nothing here
//! knows a rule of the quota: the ledger decides, behind the store.

mod admission;
mod apps;
mod authenticate;
mod body;
mod bound;
mod breaker;
mod crowd;
mod drain;
mod exchange;
mod fallback;
mod forward;
mod gather;
mod handler;
mod headers;
mod layers;
mod metered_body;
mod not_covered;
mod parts;
mod record;
mod rejection;
mod room;
pub mod rules;
mod send;
mod settings;
mod settlement;
mod shadow;
mod strict;
mod tasks;
mod trace;
mod truth;
mod uncovered;
mod upstream;
mod websocket;

pub use layers::service;
pub use metered_body::{ReplyBody, ReplyError};
pub use parts::Proxy;
pub use rejection::{Rejection, UpstreamTrouble};
pub use settings::{
    App, ClampPolicy, OnDisconnect, QuotaSettings, Settings, Shared, SocketSettings, UpstreamSettings, Upstreams,
};
pub use trace::Explain;
pub use upstream::Upstream;
