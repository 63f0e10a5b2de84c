//! The handshake with an upstream: bytes are passed on only once it has answered 101 (RUSTSEC-2026-0033).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::dialect::{Dialect, Encoding, Observer, Protocol, UpstreamSignal, Watch};
use crate::proxy::headers;
use crate::proxy::rejection::{Rejection, UpstreamTrouble};
use crate::proxy::upstream::{Upstream, UpstreamFailure};

use super::fault::{Fault, Refused};

/// A connection on which frames go.
pub(super) type Io = TokioIo<Upgraded>;

/// The longest that a handshake may take, whatever an ordinary call may.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 * 1024;
/// What a client may tell the upstream of its messages (W 2.3).
const DATA_INSPECTION: HeaderName = HeaderName::from_static("x-dashscope-datainspection");

/// Connects, with a key of our own and no extensions.
pub(super) async fn connect(upstream: &Upstream, protocol: &Protocol, client: &HeaderMap) -> Result<Io, Fault> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let Ok(waiting) = upstream.upgrade(&protocol.upstream_path(), request_headers(upstream, client, &key)) else {
        return Err(trouble(UpstreamTrouble::Unreachable));
    };
    let most = upstream.head_timeout().min(HANDSHAKE);
    let response = match tokio::time::timeout(most, waiting).await {
        Err(_) => return Err(trouble(UpstreamTrouble::Timeout)),
        Ok(Err(error)) => {
            tracing::warn!(upstream = upstream.name(), error = %error, "the upstream failed at a handshake");
            return Err(trouble(match UpstreamFailure::of(&error.into()) {
                UpstreamFailure::NotSent => UpstreamTrouble::Unreachable,
                UpstreamFailure::Broken => UpstreamTrouble::Broken,
            }));
        }
        Ok(Ok(response)) => response,
    };
    if response.status().as_u16() != SWITCHING {
        return Err(refused(response, most).await);
    }
    let answer = response.headers();
    let accepted =
        answer.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|v| v.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    // What was not offered cannot be agreed on; frames of an extension could not be read.
    let plain = !answer.contains_key(SEC_WEBSOCKET_EXTENSIONS) && !answer.contains_key(SEC_WEBSOCKET_PROTOCOL);
    if !accepted || !plain {
        tracing::warn!(upstream = upstream.name(), "the upstream's answer to a handshake is none");
        return Err(trouble(UpstreamTrouble::Broken));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|_| trouble(UpstreamTrouble::Broken))?;
    Ok(TokioIo::new(upgraded))
}

/// The status of an answered handshake (RFC 6455 4.2.2).
pub(super) const SWITCHING: u16 = 101;

fn trouble(trouble: UpstreamTrouble) -> Fault {
    Fault::Ours(Rejection::Upstream(trouble))
}

fn request_headers(upstream: &Upstream, client: &HeaderMap, key: &str) -> HeaderMap {
    let mut headers = headers::to_upstream(client, upstream.authorization(), Dialect::OpenAi, true);
    if let Some(value) = client.get(&DATA_INSPECTION) {
        headers.insert(DATA_INSPECTION, value.clone());
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    headers
}

/// Reads why a handshake was refused.
async fn refused(response: Response<Incoming>, most: Duration) -> Fault {
    let (mut head, body) = response.into_parts();
    let body = match tokio::time::timeout(most, Limited::new(body, MAX_REFUSAL).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    head.headers.remove(CONTENT_LENGTH);
    let mut observer = Observer::new(Watch::default(), Some("application/json"), Encoding::Identity, false);
    observer.observe(body.clone());
    observer.end(true);
    let error = observer.finding().error;
    let signal = error.as_ref().map_or(UpstreamSignal::Other, |error| error.signal);
    let code = error.map(|error| error.code).unwrap_or_default();
    Fault::Upstream(Box::new(Refused { status: head.status, headers: head.headers, body, code, signal }))
}

/// The headers of our answer to a client's handshake.
pub(super) fn answer(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    headers
}
