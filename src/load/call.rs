//! One call from its sending to its end.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

use super::Settings;
use super::body::{Abort, Order};

/// Sends calls to one target.
pub(super) type Caller = Client<HttpConnector, Full<Bytes>>;

/// The most of a plain reply that is kept to be read, and of the end of a stream.
const KEPT_PLAIN: usize = 16 * 1024 * 1024;
const KEPT_STREAM: usize = 8 * 1024;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The whole reply came; with the total of its usage if it had one.
    Completed(Option<u64>),
    /// The client went away as it was told.
    Aborted,
    /// Anything else, in words that can be counted: `403 CODE`, `connection refused`.
    Failed(String),
}

/// A call that is over.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) ending: Ending,
    /// From the planned instant to the end.
    pub(super) latency: Duration,
    /// From the planned instant to the first piece of a streamed body.
    pub(super) first_chunk: Option<Duration>,
}

/// A client with its own pool.
pub(super) fn caller(settings: &Settings) -> Caller {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    // Never sends anything twice by itself: one call counted here is at most one call there.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(settings.concurrency)
        .retry_canceled_requests(false)
        .build(connector)
}

/// Makes one call. `planned` is when it should have been sent.
pub(super) async fn make(caller: &Caller, settings: &Settings, url: &Uri, order: Order, planned: Instant) -> Outcome {
    let mut first_chunk = None;
    let call = attempt(caller, settings, url, order, planned, &mut first_chunk);
    let ending = match tokio::time::timeout(settings.call_timeout, call).await {
        Ok(Ok(ending)) => ending,
        Ok(Err(problem)) => Ending::Failed(problem),
        Err(_) => Ending::Failed("no end within the call's time limit".to_owned()),
    };
    Outcome { ending, latency: planned.elapsed(), first_chunk }
}

async fn attempt(
    caller: &Caller,
    settings: &Settings,
    url: &Uri,
    order: Order,
    planned: Instant,
    first_chunk: &mut Option<Duration>,
) -> Result<Ending, String> {
    let request = Request::post(url.clone())
        .header(AUTHORIZATION, format!("Bearer {}", settings.key))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(order.body))
        .map_err(|error| error.to_string())?;
    let response = caller.request(request);
    let response = match order.abort {
        Some(Abort::BeforeHead(ms)) => match tokio::time::timeout(Duration::from_millis(ms), response).await {
            Ok(response) => response,
            Err(_) => return Ok(Ending::Aborted),
        },
        Some(Abort::AfterPieces(_)) | None => response.await,
    };
    let response = response.map_err(|error| in_words(&error).to_owned())?;
    let limit = match order.abort {
        Some(Abort::AfterPieces(pieces)) => Some(pieces),
        Some(Abort::BeforeHead(_)) | None => None,
    };
    let streamed = order.stream && response.status() == StatusCode::OK;
    let mut arrived = |_: &Bytes| {
        if streamed && first_chunk.is_none() {
            *first_chunk = Some(planned.elapsed());
        }
    };
    read(response, streamed, limit, &mut arrived).await
}

/// Reads the reply, up to `limit` pieces if the client is to go away.
async fn read(
    response: Response<Incoming>,
    streamed: bool,
    limit: Option<u64>,
    arrived: &mut (dyn FnMut(&Bytes) + Send),
) -> Result<Ending, String> {
    let status = response.status();
    let mut body = response.into_body();
    let (mut kept, mut pieces) = (Vec::new(), 0_u64);
    loop {
        if limit == Some(pieces) {
            return Ok(Ending::Aborted);
        }
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| format!("{} in the body", in_words(&error)))?;
        if let Ok(bytes) = frame.into_data() {
            arrived(&bytes);
            pieces = pieces.saturating_add(1);
            keep(&mut kept, &bytes, streamed);
        }
    }
    if streamed { stream_ending(&kept) } else { plain_ending(status, &kept) }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], streamed: bool) {
    kept.extend_from_slice(bytes);
    if streamed && kept.len() > 2 * KEPT_STREAM {
        kept.drain(..kept.len() - KEPT_STREAM);
    }
    if !streamed {
        kept.truncate(KEPT_PLAIN);
    }
}

fn plain_ending(status: StatusCode, body: &[u8]) -> Result<Ending, String> {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status != StatusCode::OK {
        let code = value.pointer("/error/code").and_then(Value::as_str).unwrap_or("(no error code)");
        return Err(format!("{} {code}", status.as_u16()));
    }
    if value.get("choices").is_none() {
        return Err("200 without a completion".to_owned());
    }
    Ok(Ending::Completed(total(&value)))
}

fn stream_ending(tail: &[u8]) -> Result<Ending, String> {
    let text = String::from_utf8_lossy(tail);
    let events = || text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    if let Some(code) = events().find_map(error_code) {
        return Err(format!("200 with the error event {code}"));
    }
    if !events().any(|event| event == "[DONE]") {
        return Err("stream without its end mark".to_owned());
    }
    let usage = events().rev().filter_map(|event| serde_json::from_str(event).ok()).find_map(|event| total(&event));
    Ok(Ending::Completed(usage))
}

fn error_code(event: &str) -> Option<String> {
    if !event.contains("\"error\"") {
        return None;
    }
    let value: Value = serde_json::from_str(event).ok()?;
    let error = value.get("error").filter(|error| error.is_object())?;
    Some(error.get("code").and_then(Value::as_str).unwrap_or("(no code)").to_owned())
}

fn total(value: &Value) -> Option<u64> {
    value.pointer("/usage/total_tokens").and_then(Value::as_u64)
}

const IO_WORDS: &[(io::ErrorKind, &str)] = &[
    (io::ErrorKind::ConnectionRefused, "connection refused"),
    (io::ErrorKind::ConnectionReset, "connection reset"),
    (io::ErrorKind::BrokenPipe, "broken pipe"),
    (io::ErrorKind::TimedOut, "connecting timed out"),
    (io::ErrorKind::UnexpectedEof, "connection closed early"),
    (io::ErrorKind::AddrNotAvailable, "no local port is free"),
];

/// What went wrong with a connection, in one of a few words.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    let mut word = "connection failed";
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some((_, word)) = IO_WORDS.iter().find(|(kind, _)| *kind == error.kind())
        {
            return word;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_incomplete_message() {
                word = "connection closed early";
            } else if error.is_canceled() {
                word = "connection closed before sending";
            } else if error.is_parse() {
                word = "reply that is no HTTP";
            }
        }
        next = error.source();
    }
    word
}
