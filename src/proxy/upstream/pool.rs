//! Connections to one upstream over HTTP/1.1. Each is driven by the call that uses it, inside that call's own task: nothing is handed
//! from one task to another, and what comes in one read goes on in one turn.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::clock::{Clock, Stopwatch};

use super::SendError;

/// One connection with both its ends: the one that takes requests and the one that does the work.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Full<Bytes>>,
}

impl Wire {
    /// Lets the connection do what it can. Ready: it has ended; what failed is told to the request or the body it was for.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.connection).poll(cx).map(|_| ())
    }
}

/// The connections of one upstream that no call uses now, the newest last.
pub(super) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    /// Scheme and authority of the upstream.
    origin: Uri,
    max_idle: usize,
    idle_timeout: Duration,
    idle: Mutex<VecDeque<(Stopwatch, Box<Wire>)>>,
    swept: Once,
}

impl Pool {
    pub(super) fn new(
        connector: HttpsConnector<HttpConnector>,
        origin: Uri,
        max_idle: usize,
        idle_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { connector, origin, max_idle, idle_timeout, idle: Mutex::default(), swept: Once::new() })
    }

    /// The response's head, from a connection that was idle or a new one. A request goes out a second time only where it came back
    /// unread from an idle connection that had been closed meanwhile.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        loop {
            let (wire, used_before) = match self.take() {
                Some(wire) => (wire, true),
                // Put aside, so that the future of a request on a connection that is there stays small.
                None => (Box::pin(self.connect()).await?, false),
            };
            let (answer, wire) = exchange(wire, request).await;
            let mut error = match answer {
                Ok(response) => {
                    let back = wire.map(|wire| (wire, self));
                    return Ok(response.map(|incoming| UpstreamBody { incoming, ended: false, back }));
                }
                Err(error) => error,
            };
            match error.take_message().filter(|_| used_before) {
                Some(unread) => request = unread,
                None => return Err(SendError::Broken(error.into_error())),
            }
        }
    }

    async fn connect(&self) -> Result<Box<Wire>, SendError> {
        let stream = self.connector.clone().oneshot(self.origin.clone()).await.map_err(SendError::Connect)?;
        let (sender, connection) = http1::handshake(stream).await.map_err(SendError::Broken)?;
        Ok(Box::new(Wire { sender, connection }))
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Stopwatch, Box<Wire>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest idle connection: the one that is least likely to have been closed.
    fn take(&self) -> Option<Box<Wire>> {
        let (since, wire) = self.idle().pop_back()?;
        // Where the newest is too old, all are; the sweep takes the others away.
        (since.elapsed() < self.idle_timeout).then_some(wire)
    }

    fn put(self: &Arc<Self>, wire: Box<Wire>) {
        let mut idle = self.idle();
        if idle.len() < self.max_idle {
            idle.push_back((Clock::stopwatch(), wire));
        }
        drop(idle);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.swept.call_once(|| drop(runtime.spawn(sweep(Arc::downgrade(self), self.idle_timeout))));
        }
    }
}

/// Closes what has been idle for too long, until the upstream itself is gone.
async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        let old = idle.iter().take_while(|(since, _)| since.elapsed() >= every).count();
        let closed: Vec<_> = idle.drain(..old).collect();
        drop(idle);
        drop(closed);
    }
}

type Answer = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>;

/// Sends a request and drives the connection until its response begins. The connection comes back unless it ended.
async fn exchange(mut wire: Box<Wire>, request: Request<Full<Bytes>>) -> (Answer, Option<Box<Wire>>) {
    let mut answer = std::pin::pin!(wire.sender.try_send_request(request));
    let mut wire = Some(wire);
    let answer = std::future::poll_fn(|cx| {
        if let Some(driven) = &mut wire
            && driven.drive(cx).is_ready()
        {
            // Whoever waits for it hears of it.
            wire = None;
        }
        answer.as_mut().poll(cx)
    });
    (answer.await, wire)
}

/// The body of an upstream's response. Its connection is driven while it is read, and goes back to the pool when it was read to its
/// end; dropped before, it closes the connection.
pub(in crate::proxy) struct UpstreamBody {
    incoming: Incoming,
    ended: bool,
    back: Option<(Box<Wire>, Arc<Pool>)>,
}

impl UpstreamBody {
    /// Of a connection that something else drives.
    pub(super) fn shared(incoming: Incoming) -> Self {
        Self { incoming, ended: false, back: None }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some((wire, _)) = &mut this.back
        {
            if wire.drive(cx).is_ready() {
                this.back = None;
            }
            frame = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        this.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let Some((mut wire, pool)) = self.back.take() else { return };
        if !self.ended && !self.incoming.is_end_stream() {
            return;
        }
        // One last turn: what is left is to see that the response is over. Nobody waits for an idle connection.
        let ended = wire.drive(&mut Context::from_waker(Waker::noop())).is_ready();
        if !ended && wire.sender.is_ready() {
            pool.put(wire);
        }
    }
}
