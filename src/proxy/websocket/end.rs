//! One end of a tunnel: a peer's bytes coming in, and the bytes that go to it.

use std::future::pending;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::dialect::{Ended, FrameReader, OwnFrame, Part, Sender, Stretch, own_frame};

use super::connect::Io;

/// A peer.
pub(super) struct End {
    pub(super) reader: Option<ReadHalf<Io>>,
    pub(super) writer: Option<WriteHalf<Io>>,
    /// What came and was not looked at yet.
    pub(super) input: BytesMut,
    /// What came of a message that may not go on yet.
    pub(super) held: BytesMut,
    /// What came of a control frame that has not ended.
    pub(super) control: BytesMut,
    /// What goes to this peer.
    pub(super) output: BytesMut,
    /// What the peer sends.
    pub(super) frames: FrameReader,
    /// Where the frames stand that go to this peer.
    towards: Standing,
    /// Whether this peer said that it closes.
    pub(super) closed: bool,
    unflushed: bool,
    masks: bool,
}

/// Where a direction stands between its frames.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Between two messages.
    Clear,
    /// Between two frames of a message.
    InMessage,
    /// In the middle of a frame.
    InFrame,
    /// Behind a close.
    Closed,
}

/// Bytes that are read at once.
const READ: usize = 16 * 1024;

impl End {
    pub(super) fn client(io: Io, most: usize) -> Self {
        let mut end = Self::unconnected(FrameReader::new(Sender::Client, most), false);
        end.connect(io);
        end
    }

    /// An upstream that is not connected yet.
    pub(super) fn upstream(most: usize) -> Self {
        Self::unconnected(FrameReader::new(Sender::Server, most), true)
    }

    /// In place of a client that is gone.
    pub(super) fn nobody() -> Self {
        Self::unconnected(FrameReader::new(Sender::Client, 0), false)
    }

    fn unconnected(frames: FrameReader, masks: bool) -> Self {
        Self {
            reader: None,
            writer: None,
            input: BytesMut::new(),
            held: BytesMut::new(),
            control: BytesMut::new(),
            output: BytesMut::new(),
            frames,
            towards: Standing::Clear,
            closed: false,
            unflushed: false,
            masks,
        }
    }

    pub(super) fn connect(&mut self, io: Io) {
        let (reader, writer) = tokio::io::split(io);
        (self.reader, self.writer) = (Some(reader), Some(writer));
    }

    /// Whether bytes can go to it.
    pub(super) fn takes(&self) -> bool {
        self.writer.is_some()
    }

    pub(super) fn has_output(&self) -> bool {
        self.takes() && (self.unflushed || !self.output.is_empty())
    }

    /// Queues bytes of the other peer's, which end as `stretch` says.
    pub(super) fn pass(&mut self, bytes: &[u8], stretch: &Stretch) {
        if !self.takes() || self.towards == Standing::Closed {
            return;
        }
        self.output.extend_from_slice(bytes);
        self.towards = match (stretch.part, stretch.ended) {
            (_, None) => Standing::InFrame,
            (Part::Control, Some(Ended::Close)) => Standing::Closed,
            (Part::Control, Some(_)) if self.towards == Standing::InMessage => Standing::InMessage,
            (_, Some(Ended::Fragment)) => Standing::InMessage,
            (_, Some(_)) => Standing::Clear,
        };
    }

    /// Queues a frame of our own, where one can stand now; answers whether it could.
    pub(super) fn say(&mut self, frame: OwnFrame<'_>) -> bool {
        let fits = match (self.towards, frame) {
            (Standing::Clear, _) => true,
            // A control frame may stand between the frames of a message (RFC 6455 5.4).
            (Standing::InMessage, OwnFrame::Ping(_) | OwnFrame::Pong(_) | OwnFrame::Close(..)) => true,
            (Standing::InMessage | Standing::InFrame | Standing::Closed, _) => false,
        };
        if !fits || !self.takes() {
            return false;
        }
        self.output.extend_from_slice(&own_frame(frame, self.masks.then(rand::random)));
        if let OwnFrame::Close(..) = frame {
            self.towards = Standing::Closed;
        }
        true
    }

    /// Whether a close has gone to it.
    pub(super) fn told_to_close(&self) -> bool {
        self.towards == Standing::Closed
    }

    /// Nothing more is read from it.
    pub(super) fn stop_reading(&mut self) {
        self.reader = None;
        self.input.clear();
        self.held.clear();
    }

    /// Nothing more goes to it.
    pub(super) fn stop_writing(&mut self) {
        self.writer = None;
        self.output.clear();
    }

    /// Its two directions, apart, so that both can be waited for.
    pub(super) fn halves(&mut self) -> (Reading<'_>, Writing<'_>) {
        let reading = Reading { from: self.reader.as_mut(), into: &mut self.input };
        (reading, Writing { to: self.writer.as_mut(), from: &mut self.output, unflushed: &mut self.unflushed })
    }

    /// Ends both directions in order.
    pub(super) async fn shut(mut self) {
        if let Some(mut writer) = self.writer.take() {
            // Whoever has gone already is told nothing.
            let _ = writer.shutdown().await;
        }
    }
}

/// The direction from a peer.
pub(super) struct Reading<'e> {
    from: Option<&'e mut ReadHalf<Io>>,
    into: &'e mut BytesMut,
}

impl Reading<'_> {
    /// Reads what has come; 0 = the end. May be dropped at any time without a loss.
    pub(super) async fn read(self) -> io::Result<usize> {
        let Some(from) = self.from else { return pending().await };
        self.into.reserve(READ);
        from.read_buf(self.into).await
    }
}

/// The direction to a peer.
pub(super) struct Writing<'e> {
    to: Option<&'e mut WriteHalf<Io>>,
    from: &'e mut BytesMut,
    unflushed: &'e mut bool,
}

impl Writing<'_> {
    /// Writes a part of what is queued. May be dropped at any time without a loss.
    pub(super) async fn write(self) -> io::Result<()> {
        let Some(to) = self.to else { return pending().await };
        if self.from.is_empty() {
            to.flush().await?;
            *self.unflushed = false;
            return Ok(());
        }
        let written = to.write_buf(self.from).await?;
        *self.unflushed = true;
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}
