//! A connection whose peer has stopped reading is given up (FAULTS F-ACC-4), and one that is closed while its peer still
//! writes is closed so that the peer can read the last reply.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Writes fail once none of them has gone forward for `limit`.
pub(super) struct WriteLimit<I> {
    io: I,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
}

/// The end of a connection: our side is closed, and what the peer still sends is read and thrown away. Closed with bytes
/// unread, the kernel would reset the connection, and the reset would take a refusal with it that the peer, busy with
/// sending its body, has not read yet.
struct Linger {
    quiet: Pin<Box<Sleep>>,
    left: usize,
}

/// How long a peer may be silent before it is taken to have sent everything.
const QUIET: Duration = Duration::from_millis(500);
/// The most bytes that are thrown away for one refusal.
const MOST_LEFT: usize = 64 << 20;

impl<I> WriteLimit<I> {
    pub(super) fn new(io: I, limit: Duration) -> Self {
        Self { io, limit, stalled: None, linger: None }
    }

    /// Passes an answer on; while there is none, time runs.
    fn judge<T>(&mut self, cx: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.stalled = None;
            return answer;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin> WriteLimit<I> {
    /// Ready once the peer has closed its side too, has been silent for a while, or has sent far too much.
    fn throw_away(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = &mut self.linger else { return Poll::Ready(()) };
        let mut room = [0; 8_192];
        loop {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return linger.quiet.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && linger.left > 0 => {
                    linger.left = linger.left.saturating_sub(buf.filled().len());
                    linger.quiet = Box::pin(tokio::time::sleep(QUIET));
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WriteLimit<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteLimit<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.judge(cx, answer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.judge(cx, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, answer)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let answer = Pin::new(&mut self.io).poll_shutdown(cx);
            std::task::ready!(self.judge(cx, answer))?;
            self.linger = Some(Linger { quiet: Box::pin(tokio::time::sleep(QUIET)), left: MOST_LEFT });
        }
        self.throw_away(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up_and_one_that_reads_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut writer = WriteLimit::new(ours, Duration::from_secs(60));
        let stuck = writer.write_all(b"more than fits").await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let mut got = [0; 4];
        theirs.read_exact(&mut got).await.unwrap();
        writer.write_all(b"four").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_still_writes_is_heard_out_and_a_silent_one_is_not_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut writer = WriteLimit::new(ours, Duration::from_secs(60));
        writer.write_all(b"413").await.unwrap();
        let closing = writer.shutdown();
        let sending = async {
            theirs.write_all(&[0; 100_000]).await.unwrap();
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            (got, theirs)
        };
        // The peer stays open: silence is what ends the wait.
        let (closed, (got, _open)) = tokio::join!(closing, sending);
        closed.unwrap();
        assert_eq!(got, b"413");
    }
}
