//! Accepting connections, and stopping without cutting a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::telemetry::Metrics;

use super::connection::{self, Limits};
use super::tls::Certificates;

/// How a listener behaves.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens; port 0 = a free one.
    pub listen: SocketAddr,
    /// TLS, where it is wanted.
    pub certificates: Option<Arc<Certificates>>,
    /// How long a TLS handshake may take.
    pub tls_timeout: Duration,
    /// What a client may take of one connection.
    pub limits: Limits,
    /// Connections at once; more wait in the socket's queue.
    pub max_connections: usize,
}

/// A listener that is bound and not served yet.
pub struct Listening {
    listener: TcpListener,
    settings: Settings,
    metrics: Arc<Metrics>,
}

/// Binds the address, or takes the socket that was handed over, whatever its address is.
///
/// # Errors
/// The address cannot be bound, or the socket cannot be used; the text names it.
pub async fn listen(
    settings: Settings,
    handed_over: Option<std::net::TcpListener>,
    metrics: Arc<Metrics>,
) -> Result<Listening, String> {
    let address = settings.listen;
    let bound = match handed_over {
        Some(socket) => socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)),
        None => TcpListener::bind(address).await,
    };
    let listener = bound.map_err(|e| format!("cannot listen on {address}: {e}"))?;
    Ok(Listening { listener, settings, metrics })
}

/// How long accepting pauses when the process is out of descriptors (FAULTS F-ACC-6).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Listening {
    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.listen)
    }

    /// Serves until `stop`; then no connection is accepted any more, requests in progress get `drain` to end, and the
    /// rest is cut. Answers whether everything ended by itself.
    ///
    /// # Errors
    /// The TLS settings cannot be used.
    pub async fn serve<S, B>(self, service: S, stop: CancellationToken, drain: Duration) -> Result<bool, String>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { listener, settings, metrics } = self;
        let acceptor = match &settings.certificates {
            Some(certificates) => Some(TlsAcceptor::from(certificates.server_config()?)),
            None => None,
        };
        let builder = connection::Builder::new(&settings.limits);
        let door = Arc::new(Door { builder, acceptor, settings, metrics, stop: stop.clone() });
        let places = Arc::new(Semaphore::new(door.settings.max_connections));
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
        loop {
            let next = accept(&listener, &places);
            let (stream, place) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            let (door, service, cut) = (Arc::clone(&door), service.clone(), cut.clone());
            tasks.spawn(async move {
                door.metrics.connections.inc();
                tokio::select! {
                    biased;
                    () = door.admit(stream, service) => {}
                    () = cut.cancelled() => {}
                }
                door.metrics.connections.dec();
                drop(place);
            });
        }
        drop(listener);
        tasks.close();
        let drained = tokio::time::timeout(drain, tasks.wait()).await.is_ok();
        cut.cancel();
        tasks.wait().await;
        Ok(drained)
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed; without a permit a connection would only go uncounted.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Door {
    builder: connection::Builder,
    acceptor: Option<TlsAcceptor>,
    settings: Settings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Door {
    async fn admit<S, B>(&self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Without this, small writes wait for the peer's acknowledgement; a socket that refuses it is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let limits = &self.settings.limits;
        // A connection that says nothing is not kept (FAULTS F-ACC-1), and without TLS's buffers until it says something.
        let silent = CancellationToken::new();
        tokio::select! {
            first = tokio::time::timeout(limits.first_byte_timeout, stream.readable()) => {
                if !matches!(first, Ok(Ok(()))) {
                    return;
                }
            }
            () = connection::going_down(&self.stop, &silent) => return,
        }
        let result = match &self.acceptor {
            None => connection::serve(stream, limits, &self.builder, service, &self.stop).await,
            Some(acceptor) => match tokio::time::timeout(self.settings.tls_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => connection::serve(stream, limits, &self.builder, service, &self.stop).await,
                Ok(Err(error)) => {
                    tracing::debug!(error = %error, "a TLS handshake failed");
                    return;
                }
                Err(_) => return,
            },
        };
        if let Err(error) = result {
            tracing::debug!(error = %error, "a connection ended early");
        }
    }
}
