//! Reading a request body whole, before anything is reserved (FAULTS F-ACC-3, F-ACC-8): in time, and not too slowly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;

use crate::clock::{Clock, Stopwatch};

use super::rejection::Rejection;
use super::room::{Kept, Room};
use super::settings::Settings;

/// How long a body may come as slowly as it likes: nothing is said about a connection by its first seconds.
const GRACE: Duration = Duration::from_secs(10);

/// Reads the body within the limits. A large one comes with what is set aside for it.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    settings: &Settings,
    room: &Arc<Room>,
) -> Result<(Bytes, Option<Kept>), Rejection>
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
    let bounds = Bounds { limit, all: settings.max_bodies, rate: settings.body_min_rate };
    match tokio::time::timeout(settings.body_timeout, collect(body, bounds, room)).await {
        Ok(read) => read,
        Err(_) => Err(Rejection::BodyTimeout),
    }
}

/// What the connection of a body that is still coming holds of it, beside what is set aside: as much as a head may have by default.
const BUFFER: usize = 64 << 10;

/// What one body may take.
#[derive(Clone, Copy)]
struct Bounds {
    /// Bytes of this one.
    limit: usize,
    /// Bytes of all bodies.
    all: u64,
    /// The least bytes a second.
    rate: u64,
}

/// The first frame is used as it is where it is the whole body: the usual case, without a copy.
async fn collect<B>(mut body: B, bounds: Bounds, room: &Arc<Room>) -> Result<(Bytes, Option<Kept>), Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest: Option<(Vec<u8>, Kept)> = None;
    let mut pace = Pace { since: Clock::stopwatch(), rate: bounds.rate, bytes: 0 };
    while !body.is_end_stream() {
        let frame = match pace.left() {
            Some(left) => tokio::time::timeout(left, body.frame()).await.map_err(|_| Rejection::BodyTimeout)?,
            None => body.frame().await,
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Rejection::BodyBroken)?.into_data() else { continue };
        pace.bytes = pace.bytes.saturating_add(data.len() as u64);
        let came = rest.as_ref().map_or(0, |(whole, _)| whole.len()).saturating_add(first.len());
        let length = came.saturating_add(data.len());
        if length > bounds.limit {
            return Err(Rejection::BodyTooLarge(bounds.limit));
        }
        let Some((whole, kept)) = &mut rest else {
            first = data;
            if !body.is_end_stream() {
                let mut kept = Kept::nothing(room);
                kept.grow(BUFFER, bounds.all)?;
                rest = Some((Vec::new(), kept));
            }
            continue;
        };
        if length > whole.capacity() {
            // Twice what has come, so that whoever declares much and sends little takes little.
            let declared = body.size_hint().exact().and_then(|left| usize::try_from(left).ok());
            let most = declared.map_or(bounds.limit, |left| length.saturating_add(left));
            let capacity = length.saturating_mul(2).min(most).max(length);
            kept.grow(BUFFER.saturating_add(capacity), bounds.all)?;
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    Ok(match rest {
        Some((whole, mut kept)) if first.is_empty() => {
            kept.shrink(whole.capacity());
            (whole.into(), Some(kept))
        }
        Some(_) | None => (first, None),
    })
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

    use crate::telemetry::Gauge;

    use super::*;

    /// A body of `pieces` pieces of `size` bytes, one a second.
    fn drip(pieces: usize, size: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces = futures_util::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        StreamBody::new(Box::pin(pieces))
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(Gauge::default()))
    }

    fn bounds(rate: u64) -> Bounds {
        Bounds { limit: 1 << 20, all: 1 << 20, rate }
    }

    async fn collected(pieces: usize, size: usize, rate: u64) -> Result<usize, Rejection> {
        collect(drip(pieces, size), bounds(rate), &room()).await.map(|(bytes, _)| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn f_acc_3_a_body_may_begin_slowly_and_must_not_go_on_so() {
        // The machine's own clock does not run while time is paused, so only the wait for one piece can be too long here.
        assert_eq!(collected(5, 10, 256).await, Ok(50), "within the grace");
        assert_eq!(collected(60, 300, 256).await, Ok(18_000), "as fast as it must be");
        assert_eq!(collected(60, 1, 0).await, Ok(60), "no rate is asked for");
        let stuck = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(collect(stuck, bounds(256), &room()).await.map(|_| ()), Err(Rejection::BodyTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn f_lif_6_only_what_came_is_set_aside_and_all_bodies_share_one_room() {
        let room = room();
        let all = |all| Bounds { all, ..bounds(0) };
        let one = Declared { left: 300, parts: [Bytes::from(vec![b'x'; 300])].into() };
        let (body, kept) = collect(one, all(0), &room).await.unwrap();
        assert_eq!((body.len(), kept.is_none()), (300, true), "what comes in one piece takes no room");
        assert!(
            collect(drip(2, 300), all(0), &room).await.is_err(),
            "what is still coming takes its connection's buffer"
        );
        let (body, kept) = collect(drip(1, 300), all(1 << 20), &room).await.unwrap();
        assert_eq!((body.len(), kept.is_none()), (300, true), "and gives it back");
        let (body, kept) = collect(drip(5, 300), all(1 << 20), &room).await.unwrap();
        let first = kept.unwrap();
        assert_eq!((body.len(), first.bytes()), (1_500, 3_000));
        assert!(body.iter().all(|byte| *byte == b'x'));
        let most = all(6_000 + BUFFER as u64);
        let (_, second) = collect(drip(5, 300), most, &room).await.unwrap();
        assert_eq!(collect(drip(2, 300), most, &room).await.map(|_| ()), Err(Rejection::Overloaded));
        drop((first, second));
        let most = all(3_000 + BUFFER as u64);
        assert!(collect(drip(5, 300), most, &room).await.is_ok(), "what was refused keeps nothing");
    }

    #[tokio::test]
    async fn a_body_of_a_declared_length_takes_no_more_than_that() {
        let parts = [300, 400, 100].map(|size| Bytes::from(vec![b'x'; size])).into();
        let (body, kept) = collect(Declared { left: 800, parts }, bounds(0), &room()).await.unwrap();
        assert_eq!((body.len(), kept.unwrap().bytes()), (800, 800));
    }

    /// A body that says how long it is.
    struct Declared {
        left: u64,
        parts: std::collections::VecDeque<Bytes>,
    }

    impl Body for Declared {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let part = self.parts.pop_front();
            self.left -= part.as_ref().map_or(0, |part| part.len() as u64);
            std::task::Poll::Ready(part.map(|part| Ok(Frame::data(part))))
        }

        fn is_end_stream(&self) -> bool {
            self.left == 0
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.left)
        }
    }
}
