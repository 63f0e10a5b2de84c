//! HTTP/2 frames that cost their sender nothing and us an answer: the library limits resets and empty frames, but neither pings nor
//! settings (FAULTS F-ACC-12). A connection that sends too many of them is ended. Who counts them knows also which version the peer
//! speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What an HTTP/2 connection begins with (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames are counted for so long, and then anew.
const WINDOW: Duration = Duration::from_secs(10);
/// Priority, settings and ping (RFC 9113 6.3, 6.5, 6.7): each asks for work and carries no request.
const COUNTED: [u8; 3] = [0x2, 0x4, 0x6];
/// Bytes of a frame's header (RFC 9113 4.1).
const HEADER: usize = 9;
/// Bytes that are read at once to learn the version: the usual head comes whole, and the library gets it in one piece.
const FIRST: usize = 4_096;

/// A connection whose control frames are counted as they are read; of HTTP/1 nothing is.
pub(super) struct FloodGuard<I> {
    io: I,
    watch: Watch,
    most: u32,
    frames: u32,
    since: Instant,
    /// What was read to learn the version, and how much of it has been handed on.
    first: Vec<u8>,
    handed: usize,
}

/// What a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    /// HTTP/1.0 or 1.1, or nothing at all.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How far the bytes have been followed.
enum Watch {
    /// So many bytes were those of the preface.
    Preface(usize),
    /// A header of which so many bytes have come; the first four are kept.
    Header([u8; 4], usize),
    /// Inside a frame, with so many bytes left.
    Payload(usize),
    /// It is not HTTP/2.
    Other,
}

impl<I> FloodGuard<I> {
    /// At most `most` control frames in 10 seconds.
    pub(super) fn new(io: I, most: u32) -> Self {
        let (first, handed) = (Vec::new(), 0);
        Self { io, watch: Watch::Preface(0), most, frames: 0, since: Instant::now(), first, handed }
    }

    /// Follows bytes that have come; answers whether they may go on.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let used = match &mut self.watch {
                Watch::Other => return true,
                Watch::Preface(seen) => {
                    let expected = PREFACE.get(*seen..).unwrap_or_default();
                    let used = expected.len().min(bytes.len());
                    if bytes.get(..used) != expected.get(..used) {
                        self.watch = Watch::Other;
                        return true;
                    }
                    *seen += used;
                    if *seen == PREFACE.len() {
                        self.watch = Watch::Header([0; 4], 0);
                    }
                    used
                }
                Watch::Payload(left) => {
                    let used = bytes.len().min(*left);
                    *left -= used;
                    if *left == 0 {
                        self.watch = Watch::Header([0; 4], 0);
                    }
                    used
                }
                Watch::Header(start, seen) => {
                    if let (Some(place), Some(byte)) = (start.get_mut(*seen), bytes.first()) {
                        *place = *byte;
                    }
                    *seen += 1;
                    if *seen == HEADER {
                        let [a, b, c, kind] = *start;
                        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
                        self.watch = if length == 0 { Watch::Header([0; 4], 0) } else { Watch::Payload(length) };
                        if COUNTED.contains(&kind) && !self.count() {
                            return false;
                        }
                    }
                    1
                }
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        true
    }

    fn count(&mut self) -> bool {
        if self.since.elapsed() >= WINDOW {
            (self.since, self.frames) = (Instant::now(), 0);
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= self.most
    }
}

impl<I: AsyncRead + Unpin> FloodGuard<I> {
    /// Waits until the peer has said what it speaks, without a limit of its own. What was read for it is handed on afterwards.
    pub(super) async fn version(&mut self) -> io::Result<Version> {
        self.first.reserve_exact(FIRST);
        loop {
            let read = self.io.read_buf(&mut self.first).await?;
            let known = self.first.len().min(PREFACE.len());
            if self.first.get(..known) != PREFACE.get(..known) || read == 0 {
                return Ok(Version::Http1);
            }
            if known == PREFACE.len() {
                return Ok(Version::Http2);
            }
        }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = self.first.get(self.handed..).unwrap_or_default();
        let part = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..part).unwrap_or_default());
        self.handed += part;
        if self.handed == self.first.len() {
            (self.first, self.handed) = (Vec::new(), 0);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FloodGuard<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let answer = match self.first.is_empty() {
            false => {
                self.hand_on(buf);
                Poll::Ready(Ok(()))
            }
            true => Pin::new(&mut self.io).poll_read(cx, buf),
        };
        let came = buf.filled().get(before..).unwrap_or_default();
        if !matches!(self.watch, Watch::Other) && !self.follow(came) {
            return Poll::Ready(Err(io::Error::other("too many control frames")));
        }
        answer
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FloodGuard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_version_is_known_by_the_first_bytes_in_any_pieces_and_no_byte_is_lost() {
        let http2 = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[7; 9_000]].concat();
        let long = [&b"POST / HTTP/1.1\r\n"[..], &[b'x'; 9_000]].concat();
        let cases: [(&[u8], Version); 6] = [
            (&http2, Version::Http2),
            (PREFACE, Version::Http2),
            (&long, Version::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", Version::Http1),
            (b"PRI * HTTP/2.0\r\n", Version::Http1),
            (b"", Version::Http1),
        ];
        for (bytes, expected) in cases {
            for size in [1, 7, 24, 100, 20_000] {
                let (mut theirs, ours) = tokio::io::duplex(20_000);
                let mut guard = FloodGuard::new(ours, 10);
                let send = async {
                    for piece in bytes.chunks(size) {
                        theirs.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    drop(theirs);
                };
                let read = async {
                    assert_eq!(guard.version().await.unwrap(), expected, "{size}");
                    let mut got = Vec::new();
                    guard.read_to_end(&mut got).await.unwrap();
                    got
                };
                assert!(tokio::join!(send, read).1 == bytes, "{expected:?} in pieces of {size}");
            }
        }
    }
}
