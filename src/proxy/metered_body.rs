//! A reply on its way to the client: its bytes pass, a meter watches, only the end mark waits for the settlement (LEDGER 9).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::exchange::Meter;
use super::gather::Gather;
use super::settlement::Settled;
use super::upstream::UpstreamBody;

/// The body of every response.
pub struct ReplyBody(Kind);

enum Kind {
    /// Bytes that are there.
    Whole(Option<Bytes>),
    /// The upstream's, unwatched: it costs nothing.
    Plain(UpstreamBody),
    /// The upstream's, watched.
    Metered(Box<MeteredBody>),
}

/// Why a reply breaks off.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The upstream's connection failed.
    #[error("the upstream's reply broke off")]
    Upstream(#[source] hyper::Error),
    /// It took longer than a call of its route may: a grant that ends soon is not used for it (LEDGER 2).
    #[error("the reply took longer than a call may")]
    TooLong,
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn plain(body: UpstreamBody) -> Self {
        Self(Kind::Plain(body))
    }

    /// `whole`: nothing will be taken out, so that the length is the upstream's.
    pub(super) fn metered(body: UpstreamBody, meter: Meter, whole: bool) -> Self {
        let length = body.size_hint().exact().filter(|_| whole);
        Self(Kind::Metered(Box::new(MeteredBody {
            body: Some(body),
            meter: Some(meter),
            gather: Gather::default(),
            last: None,
            tail: None,
            over: None,
            flushed: false,
            limit: None,
            length,
        })))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Plain(body) => Pin::new(body).poll_frame(cx).map_err(ReplyError::Upstream),
            Kind::Metered(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Metered(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Plain(body) => body.size_hint(),
            Kind::Metered(body) => body.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

struct MeteredBody {
    body: Option<UpstreamBody>,
    meter: Option<Meter>,
    /// What came and did not go on yet.
    gather: Gather,
    /// How the upstream's body ended, while chunks from before are still on their way.
    last: Option<Option<ReplyError>>,
    /// The end mark and what is behind it, and what it waits for.
    tail: Option<Tail>,
    /// What comes after the last bytes: nothing, or the upstream's failure.
    over: Option<Option<ReplyError>>,
    /// Whether the server had a turn to write everything before a failure.
    flushed: bool,
    /// When the call has taken as long as it may.
    limit: Option<Pin<Box<Sleep>>>,
    /// The whole length, where nothing is taken out.
    length: Option<u64>,
}

struct Tail {
    bytes: Bytes,
    settled: oneshot::Receiver<()>,
    limit: Pin<Box<Sleep>>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, ReplyError>>>;

impl MeteredBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(tail) = &mut self.tail {
                let late = match Pin::new(&mut tail.settled).poll(cx) {
                    Poll::Ready(_) => false,
                    Poll::Pending => {
                        ready!(tail.limit.as_mut().poll(cx));
                        true
                    }
                };
                if let (true, Some(meter)) = (late, &self.meter) {
                    meter.parts().metrics.settled_late.inc();
                }
                let bytes = self.tail.take().map(|tail| tail.bytes).unwrap_or_default();
                if !bytes.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
            if let Some(over) = &mut self.over {
                if over.is_some() && !self.flushed {
                    // A failure makes the server drop what it has not written yet; this turn lets it write first.
                    self.flushed = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(over.take().map(Err));
            }
            if let Some(end) = self.last.take() {
                self.finish(end);
                continue;
            }
            if self.body.is_none() {
                return Poll::Ready(None);
            }
            if self.receive(cx).is_pending() {
                if !self.gather.is_empty() {
                    return Poll::Pending;
                }
                ready!(self.time_is_up(cx));
                self.finish(Some(ReplyError::TooLong));
                continue;
            }
            let chunk = self.gather.take();
            if let Some(bytes) = self.chunk(chunk) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    /// Gathers what has come. Ready once it is to go on, or nothing more will come.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(()) };
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not passed on: nothing in them was asked for.
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.gather.push(chunk);
                    if self.gather.is_enough() || body.is_end_stream() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(end) => {
                    self.last = Some(end.and_then(Result::err).map(ReplyError::Upstream));
                    return Poll::Ready(());
                }
                Poll::Pending if self.gather.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    if self.gather.turns() {
                        // The connection hands over one chunk a turn; it may hold more of them.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Ready once the call has taken as long as it may. The timer is set only where the upstream keeps somebody waiting.
    fn time_is_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(meter) = self.meter.as_ref().filter(|meter| !meter.is_resolved()) else { return Poll::Pending };
        let limit = self.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep(meter.time_left())));
        limit.as_mut().poll(cx)
    }

    /// What of a chunk goes on now.
    fn chunk(&mut self, chunk: Bytes) -> Option<Bytes> {
        if chunk.is_empty() {
            return None;
        }
        let Some(meter) = &mut self.meter else { return Some(chunk) };
        let (seen, settled) = meter.observe(chunk);
        let mut now = seen.bytes;
        if let (Some(at), Settled::Later(settled)) = (seen.end_at, settled) {
            let bytes = now.split_off(at.min(now.len()));
            self.wait(bytes, settled);
        }
        Some(now).filter(|bytes| !bytes.is_empty())
    }

    fn finish(&mut self, error: Option<ReplyError>) {
        self.body = None;
        if let Some(meter) = &mut self.meter {
            let (bytes, settled) = meter.end(error.is_none());
            match settled {
                Settled::Later(settled) => self.wait(bytes, settled),
                Settled::Now if bytes.is_empty() => {}
                Settled::Now => {
                    let (done, settled) = oneshot::channel();
                    // The receiver is at hand, so this arrives.
                    let _ = done.send(());
                    self.wait(bytes, settled);
                }
            }
        }
        self.over = Some(error);
    }

    fn wait(&mut self, bytes: Bytes, settled: oneshot::Receiver<()>) {
        let limit = self.meter.as_ref().map(Meter::settle_wait).unwrap_or_default();
        self.tail = Some(Tail { bytes, settled, limit: Box::pin(tokio::time::sleep(limit)) });
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        let (Some(body), Some(mut meter)) = (self.body.take(), self.meter.take()) else { return };
        // What did not reach the client any more may still tell the usage.
        let chunk = self.gather.take();
        if !chunk.is_empty() {
            meter.observe(chunk);
        }
        if let Some(end) = self.last.take() {
            meter.end(end.is_none());
        }
        if !meter.is_resolved() {
            let parts = Arc::clone(meter.parts());
            parts.drainer.adopt_body(body, meter);
        }
    }
}
