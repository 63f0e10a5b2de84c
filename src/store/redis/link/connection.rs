//! One connection to a server of the store, which many callers use at once.
//!
//! What several calls want to send goes out in one write: the library's driver is polled only when the tasks that were ready beside
//! it have run. Without that the runtime would poll it right after each caller, for one command each time, and one command a write
//! costs both sides more than the command does.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::select_ok;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Commands that may wait for the driver before their callers do.
const QUEUED: usize = 1_024;

/// Bytes that are written before more are taken.
const WRITTEN_AT_ONCE: usize = 64 * 1_024;

/// A connection; clones share it. It ends with the last of them.
#[derive(Clone)]
pub(super) struct Connection {
    calls: MultiplexedConnection,
    /// Its end aborts the driver, which would otherwise wait for the answers of a server that is silent.
    _driver: Arc<JoinSet<()>>,
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(
        (host, port): (&str, u16),
        tls: Option<&Arc<ClientConfig>>,
        login: &RedisConnectionInfo,
    ) -> Result<Self, RedisError> {
        let places = tokio::net::lookup_host((host, port)).await?;
        let tries: Vec<_> = places.map(|place| Box::pin(TcpStream::connect(place))).collect();
        if tries.is_empty() {
            return Err(std::io::Error::other("the name has no address").into());
        }
        let (socket, _) = select_ok(tries).await?;
        // Nagle's algorithm holds a small call back until the answer to the one before it has come.
        socket.set_nodelay(true)?;
        match tls {
            None => Self::over(socket, login).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
                Self::over(TlsConnector::from(Arc::clone(tls)).connect(name, socket).await?, login).await
            }
        }
    }

    async fn over<S>(stream: S, login: &RedisConnectionInfo) -> Result<Self, RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED)
            .set_write_backpressure_boundary(WRITTEN_AT_ONCE);
        let (calls, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
        let mut drivers = JoinSet::new();
        drivers.spawn(last(driver));
        Ok(Self { calls, _driver: Arc::new(drivers) })
    }

    /// One command and its answer; an error that the server answers is an error.
    pub(super) async fn command(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        self.calls.clone().req_packed_command(cmd).await.and_then(Value::extract_error)
    }

    /// Several commands in one write, and an answer for each. What the server refuses stands among them.
    pub(super) async fn commands(&self, pipe: &Pipeline) -> Result<Vec<Value>, RedisError> {
        self.calls.clone().req_packed_commands(pipe, 0, pipe.len()).await
    }
}

/// Drives a connection, and lets the tasks that are ready go first each time that it is woken.
async fn last(driver: impl Future<Output = ()>) {
    let mut driver = pin!(driver);
    let mut waited = false;
    poll_fn(move |context| {
        waited = !waited;
        if waited {
            // A task that wakes itself comes behind those that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        driver.as_mut().poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};

    use super::*;

    /// Counts what is written to the server.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            to: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, to)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(cx, from)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Answers every PING.
    async fn serve(mut socket: DuplexStream) {
        let mut bytes = [0; 65_536];
        while let Ok(read @ 1..) = socket.read(&mut bytes).await {
            let asked = bytes[..read].windows(4).filter(|word| word == b"PING").count();
            socket.write_all("+PONG\r\n".repeat(asked).as_bytes()).await.unwrap();
        }
    }

    #[test]
    fn calls_that_are_ready_together_go_out_together() {
        const CALLS: usize = 64;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (ours, theirs) = tokio::io::duplex(65_536);
        let writes = Arc::new(AtomicUsize::new(0));
        let stream = Counted(ours, Arc::clone(&writes));
        let crowd = async move {
            let mut server = JoinSet::new();
            server.spawn(serve(theirs));
            let login = RedisConnectionInfo::default().set_skip_set_lib_name();
            let connection = Connection::over(stream, &login).await.unwrap();
            let mut calls = JoinSet::new();
            for _ in 0..CALLS {
                let connection = connection.clone();
                calls.spawn(async move { connection.command(&redis::cmd("PING")).await.unwrap() });
            }
            calls.join_all().await
        };
        // On the worker itself: the runtime's own thread would hand each call over one by one.
        let answers = runtime.block_on(async { runtime.spawn(crowd).await.unwrap() });
        assert_eq!(answers, vec![Value::SimpleString("PONG".to_owned()); CALLS]);
        assert!(writes.load(Ordering::Relaxed) <= CALLS / 8, "{} writes", writes.load(Ordering::Relaxed));
    }
}
