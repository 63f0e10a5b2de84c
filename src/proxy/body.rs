//! Reading a request body whole, before anything is reserved (FAULTS F-ACC-3, F-ACC-8).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;

use super::rejection::Rejection;

/// Reads the body, at most `limit` bytes of it, within `time`.
pub(super) async fn read<B>(headers: &HeaderMap, body: B, limit: usize, time: Duration) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let encoded =
        headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Rejection::EncodedBody);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Rejection::BodyTooLarge(limit));
    }
    match tokio::time::timeout(time, collect(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(Rejection::BodyTimeout),
    }
}

/// The first frame is used as it is where it is the whole body: the usual case, without a copy.
async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|_| Rejection::BodyBroken)?.into_data() else { continue };
        let length = rest.as_ref().map_or(first.len(), BytesMut::len);
        if length.saturating_add(data.len()) > limit {
            return Err(Rejection::BodyTooLarge(limit));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let expected = body.size_hint().lower();
                let room = usize::try_from(expected).unwrap_or(0).min(limit);
                let mut joined = BytesMut::with_capacity(first.len() + data.len() + room);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}
