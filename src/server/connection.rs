//! One connection: HTTP/1.1 or HTTP/2 under limits.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::flood::{FloodGuard, Version};
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

/// How both versions are served.
pub(super) struct Builder {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Builder {
    pub(super) fn new(limits: &Limits) -> Self {
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_header_bytes)
            .pipeline_flush(false);
        if limits.max_headers != USUAL_HEADERS {
            http1.max_headers(limits.max_headers);
        }
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1, http2 }
    }
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
    builder: &Builder,
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
    let mut io = FloodGuard::new(io, limits.max_control_frames);
    let begun = CancellationToken::new();
    let version = tokio::select! {
        biased;
        version = tokio::time::timeout(limits.first_byte_timeout, io.version()) => version??,
        () = going_down(stop, &begun) => return Ok(()),
    };
    let io = TokioIo::new(WriteLimit::new(io, limits.write_timeout));
    let service = TowerToHyperService::new(Noting { service, begun: begun.clone() });
    let stopped = going_down(stop, &begun);
    match version {
        Version::Http1 => {
            let connection = pin!(builder.http1.serve_connection(io, service).with_upgrades());
            until(connection, stopped, http1::UpgradeableConnection::graceful_shutdown).await?;
        }
        Version::Http2 => {
            // Its state is large, and few connections speak it.
            let mut connection = Box::pin(builder.http2.serve_connection(io, service));
            until(connection.as_mut(), stopped, http2::Connection::graceful_shutdown).await?;
        }
    }
    Ok(())
}

/// The connection's end; where it is stopped before, what is in progress ends first.
async fn until<C: Future>(
    mut connection: Pin<&mut C>,
    stopped: impl Future<Output = ()>,
    stop: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    // The connection first: what is rare is only looked at when it has nothing to do.
    tokio::select! {
        biased;
        end = connection.as_mut() => return end,
        () = stopped => {}
    }
    stop(connection.as_mut());
    connection.await
}
