//! One connection: HTTP/1.1 or HTTP/2 under limits.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::flood::FloodGuard;
use super::stall::WriteLimit;

/// What a client may take of one connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the head of a request may take, from the end of the request before it: also how long a connection idles.
    pub header_timeout: Duration,
    /// How long a new connection may stay silent.
    pub first_byte_timeout: Duration,
    /// How long a client may leave what is sent to it unread.
    pub write_timeout: Duration,
    /// Headers of one request.
    pub max_headers: usize,
    /// Bytes of one request's head.
    pub max_header_bytes: usize,
    /// Streams of one HTTP/2 connection.
    pub max_streams: u32,
    /// Pings, settings and priorities of one HTTP/2 connection in 10 seconds.
    pub max_control_frames: u32,
}

/// The number of headers that hyper has room for without allocating; named to it, it would allocate all the same.
const USUAL_HEADERS: usize = 100;

pub(super) fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes)
        .pipeline_flush(false);
    if limits.max_headers != USUAL_HEADERS {
        builder.http1().max_headers(limits.max_headers);
    }
    let list = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(list)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// How long a connection may take to bring its first request once the process goes down. Closed before, it would take along what
/// its client has sent already and nobody has read.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Ends once the process goes down and the connection has brought a request, or had time to.
pub(super) async fn going_down(stop: &CancellationToken, begun: &CancellationToken) {
    stop.cancelled().await;
    // Either way it is over.
    let _ = tokio::time::timeout(LAST_WORD, begun.cancelled()).await;
}

/// A service that notes when it was first asked.
#[derive(Clone)]
struct Noting<S> {
    service: S,
    begun: CancellationToken,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        if !self.begun.is_cancelled() {
            self.begun.cancel();
        }
        self.service.call(request)
    }
}

/// Serves the connection until it ends; once `stop` says so, after the requests in progress.
pub(super) async fn serve<I, S, B>(
    io: I,
    limits: &Limits,
    builder: &auto::Builder<TokioExecutor>,
    service: S,
    stop: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = WriteLimit::new(
        FloodGuard::new(io, limits.max_control_frames, limits.first_byte_timeout),
        limits.write_timeout,
    );
    let begun = CancellationToken::new();
    let service = TowerToHyperService::new(Noting { service, begun: begun.clone() });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    // The connection first: what is rare is only looked at when it has nothing to do.
    tokio::select! {
        biased;
        result = connection.as_mut() => return result,
        () = going_down(stop, &begun) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
