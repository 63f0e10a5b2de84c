//! Reading a request body whole, before anything is reserved (FAULTS F-ACC-3, F-ACC-8): in time, and not too slowly.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;

use crate::clock::{Clock, Stopwatch};

use super::rejection::Rejection;
use super::settings::Settings;

/// How long a body may come as slowly as it likes: nothing is said about a connection by its first seconds.
const GRACE: Duration = Duration::from_secs(10);

/// Reads the body within the limits.
pub(super) async fn read<B>(headers: &HeaderMap, body: B, settings: &Settings) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit = settings.max_body;
    let encoded =
        headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Rejection::EncodedBody);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Rejection::BodyTooLarge(limit));
    }
    match tokio::time::timeout(settings.body_timeout, collect(body, limit, settings.body_min_rate)).await {
        Ok(read) => read,
        Err(_) => Err(Rejection::BodyTimeout),
    }
}

/// The first frame is used as it is where it is the whole body: the usual case, without a copy.
async fn collect<B>(mut body: B, limit: usize, rate: u64) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    let mut pace = Pace { since: Clock::stopwatch(), rate, bytes: 0 };
    while !body.is_end_stream() {
        let frame = match pace.left() {
            Some(left) => tokio::time::timeout(left, body.frame()).await.map_err(|_| Rejection::BodyTimeout)?,
            None => body.frame().await,
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Rejection::BodyBroken)?.into_data() else { continue };
        pace.bytes = pace.bytes.saturating_add(data.len() as u64);
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

/// How fast a body comes.
struct Pace {
    since: Stopwatch,
    rate: u64,
    bytes: u64,
}

impl Pace {
    /// How long the next piece may take; `None` = as long as it likes.
    fn left(&self) -> Option<Duration> {
        let earned = Duration::from_secs(self.bytes.checked_div(self.rate)?);
        Some(GRACE.saturating_add(earned).saturating_sub(self.since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// A body of `pieces` pieces of `size` bytes, one a second.
    fn drip(pieces: usize, size: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces = futures_util::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        StreamBody::new(Box::pin(pieces))
    }

    async fn collected(pieces: usize, size: usize, rate: u64) -> Result<usize, Rejection> {
        collect(drip(pieces, size), 1 << 20, rate).await.map(|bytes| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn f_acc_3_a_body_may_begin_slowly_and_must_not_go_on_so() {
        // The machine's own clock does not run while time is paused, so only the wait for one piece can be too long here.
        assert_eq!(collected(5, 10, 256).await, Ok(50), "within the grace");
        assert_eq!(collected(60, 300, 256).await, Ok(18_000), "as fast as it must be");
        assert_eq!(collected(60, 1, 0).await, Ok(60), "no rate is asked for");
        let stuck = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(collect(stuck, 100, 256).await, Err(Rejection::BodyTimeout));
    }
}
