//! Gratis: a reverse proxy that keeps its clients inside the free quota of hosted models.
//!
//! # The promise
//!
//! In free-quota-only mode the upstream never charges a token beyond the grant, under any concurrency, crash or disconnect.
//! What this rests on: sound bounds in the catalogue, a true starting figure, and nobody else spending the same quota.
//!
//! # The path of a request
//!
//! ```text
//! accept -> [load shed, panic guard]                          server, proxy/layers    know no domain word
//!   handle(request)                                           proxy/handler
//!     1 route     = dialect::route(method, path)              else Rejection::NotMetered
//!     2 caller    = authenticate(headers)                     else Rejection::InvalidApiKey
//!     3 facts     = Facts::read(api, body)                    else Rejection::InvalidRequest; nothing is re-serialised
//!     4 admission = gate.admit(reserve)                       else Rejection::Refused; one store call, before a byte goes up
//!       (refused for quota: the same with a model that the caller allows instead, free quota only; nothing else is tried)
//!     5 response  = upstream.send(body with its bounds)       else the hold is released or presumed
//!       body      = MeteredBody(response, observer, admission)
//!   the client reads the bytes; only the end mark waits for the settlement
//!   the body ends | breaks | is dropped -> the hold is resolved once: settled | released | presumed
//!                                          or stays open for a task, whose end proxy/tasks settles
//! ```
//!
//! A WebSocket goes the same way with other steps in the middle (`proxy/websocket`): after the handshake bytes pass as they came, and
//! each call that a frame asks for is admitted before the frame goes up.
//!
//! # Rooms, and what each must not know
//!
//! * [`ledger`]: the rules, one pure function. Knows no clock, store or wire format; every store is tested against it.
//! * [`catalogue`]: models and sites as values. Pure.
//! * [`dialect`]: one API's shapes: bytes in, values out. Pure; knows no quota.
//! * [`clock`], [`telemetry`], [`trust`]: time, metrics, log lines and spans, whose certificates are trusted. Know no domain type.
//! * [`store`]: keeps books durably, for one process or for replicas that share them, and notes beside them. Adds no rule of its own.
//! * [`provider`]: what the provider says of accounts and upstreams, and what that closes. Kept in the store, for every replica.
//! * [`notify`]: tells by mail and webhook when a grant passes a mark. On no call's path.
//! * [`proxy`]: the request path. The only way upstream; knows no rule of the quota.
//! * [`admin`]: the operator's JSON API. Meets the request path only in the store. Every change is written down.
//! * [`load`]: the load client. Names nothing else of ours.
//! * [`server`]: listeners, TLS, limits. Knows no domain word.
//! * [`config`]: what was written, checked. Known to `app` and `cli` only.
//! * [`app`]: puts the parts together. [`cli`]: the command line.
//! * [`simulator`]: an upstream with a ledger of its own. Names no other room: an oracle must not share our code.
//!
//! A room names only rooms above it in this order: ledger, trust; catalogue; dialect, clock, telemetry; store; notify, provider; proxy, admin, load;
//! server; config; app; cli. `tests/it/tidy.rs` fails the build where this is broken.
//!
//! # What is always true
//!
//! 1. Every balance equals the fold of its entries and open holds.
//! 2. What the upstream charged is covered by held + spent + presumed, given sound bounds.
//! 3. When every call has ended and one lease has passed, nothing is held; what fits `available` is admitted.
//! 4. A hold is resolved at most once; a repeat is a named outcome and changes nothing.
//! 5. What exceeds a hold is recorded, also below zero, and counted as an incident.
//! 6. An absent, unreadable or rolled-back counter refuses. No counter of a grant expires.
//! 7. Editing a limit never changes `spent`.
//! 8. No byte of a response is changed or lost because metering failed; the usage chunk that a client did not ask for is the
//!    one thing taken out.
//! 9. No key is stored or logged, only its keyed hash and last four characters.

pub mod admin;
pub mod app;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod ledger;
pub mod load;
pub mod notify;
pub mod provider;
pub mod proxy;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod trust;
