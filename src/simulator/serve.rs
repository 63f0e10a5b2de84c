//! The listener and its connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::state::State;
use super::{Running, Settings};
use super::{route, socket};

/// The wait after a failed accept, so that a shortage of descriptors does not turn into a spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn start(settings: Settings) -> io::Result<Running> {
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(accept(listener, Arc::new(State::new(settings)), stop.clone(), tasks.clone()));
    tasks.close();
    Ok(Running { address, stop, tasks })
}

async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let keeper = Keeper { stop: stop.clone(), tasks: tasks.clone() };
                keeper.clone().keep(connection(stream, Arc::clone(&state), keeper));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Runs what ends when the simulator does.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Keeper {
    pub(super) fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => (),
                () = work => (),
            }
        });
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, keeper: Keeper) {
    // Without this, small events of a stream would wait for one another.
    let _ = stream.set_nodelay(true);
    let fate = Fate::default();
    let socket = Socket { stream, fate: fate.clone() };
    let service = service_fn(move |request| {
        let (state, fate, keeper) = (Arc::clone(&state), fate.clone(), keeper.clone());
        async move {
            if socket::is_wanted(&request) {
                return Ok(socket::accept(&state, &keeper, &fate, request));
            }
            route::answer(&state, &fate, request).await
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    // How a connection ends is the client's affair, or was arranged by a mode: there is nobody to tell.
    let _ended: Result<(), _> = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
}

/// Whether the connection is to end with a reset. Shared by the connection and the replies on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<AtomicBool>);

impl Fate {
    /// Lets the connection end with a TCP reset instead of an orderly close.
    pub(super) fn reset(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A TCP stream that can be made to close with a reset.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    fate: Fate,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.fate.0.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fate.0.load(Ordering::SeqCst) {
            // An orderly shutdown would send FIN first and make the reset invisible.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
