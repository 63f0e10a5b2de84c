//! Decoding a copy of an encoded response, for the observer alone: the client's bytes stay as they are (F-UP-20).

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::Decompress;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::Body;
use crate::dialect::{Encoding, Finding};

/// How many times its size a response may inflate to before it is given up.
const MAX_RATIO: u64 = 100;

/// What a response may inflate to in any case, in bytes: the ratio of a small reply says nothing.
const ALLOWANCE: u64 = 64 * 1024;

/// The buffer of the brotli decoder, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// Where decoded bytes go.
struct Sink {
    body: Body,
    /// Bytes that came.
    taken: u64,
    /// Bytes that they became.
    given: u64,
    marked: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.given = self.given.saturating_add(bytes.len() as u64);
        if self.given > self.taken.saturating_mul(MAX_RATIO).saturating_add(ALLOWANCE) {
            return Err(io::Error::other("inflates too much"));
        }
        self.marked |= self.body.watch(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Gzip(MultiGzDecoder<Sink>),
    /// With or without a zlib frame.
    Deflate(ZlibDecoder<Sink>),
    Brotli(Box<DecompressorWriter<Sink>>),
    /// There is none: the encoding is unknown, or its first byte is still to come.
    None(Sink),
}

impl Decoder {
    fn new(encoding: Encoding, first: u8, sink: Sink) -> Self {
        match encoding {
            Encoding::Gzip => Self::Gzip(MultiGzDecoder::new(sink)),
            Encoding::Deflate => {
                let decompress = Decompress::new(has_zlib_frame(first));
                Self::Deflate(ZlibDecoder::new_with_decompress(sink, decompress))
            }
            Encoding::Brotli => Self::Brotli(Box::new(DecompressorWriter::new(sink, BROTLI_BUFFER))),
            Encoding::Identity | Encoding::Other => Self::None(sink),
        }
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::None(sink) => sink,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::None(_) => Err(io::Error::other("no decoder")),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::None(_) => Ok(()),
        }
    }
}

/// Whether a `deflate` body that begins with this byte has a zlib frame: method 8, a window of at most 32 KiB.
fn has_zlib_frame(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

/// The observer of an encoded response.
pub(super) struct Inflate {
    encoding: Encoding,
    /// Never empty between calls.
    decoder: Option<Decoder>,
    begun: bool,
    failed: bool,
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate")
            .field("encoding", &self.encoding)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Inflate {
    pub(super) fn new(encoding: Encoding, body: Body) -> Self {
        let sink = Sink { body, taken: 0, given: 0, marked: false };
        Self { encoding, decoder: Some(Decoder::None(sink)), begun: false, failed: false }
    }

    /// Looks at an encoded chunk; gives whether the end mark is in it.
    pub(super) fn observe(&mut self, chunk: &[u8]) -> bool {
        let Some(&first) = chunk.first() else { return false };
        if !std::mem::replace(&mut self.begun, true) {
            self.decoder = match self.decoder.take() {
                Some(Decoder::None(sink)) => Some(Decoder::new(self.encoding, first, sink)),
                other => other,
            };
        }
        let Some(decoder) = &mut self.decoder else { return false };
        if self.failed {
            return false;
        }
        let before = decoder.sink().marked;
        decoder.sink().taken = decoder.sink().taken.saturating_add(chunk.len() as u64);
        if decoder.write(chunk).is_err() {
            self.failed = true;
            decoder.sink().body.tally().undecodable();
        }
        decoder.sink().marked && !before
    }

    /// The body ended.
    pub(super) fn end(&mut self, clean: bool) {
        let Some(decoder) = &mut self.decoder else { return };
        if self.failed {
            return;
        }
        // A body that lacks its end was read as far as it came, like one that is not encoded.
        let whole = !self.begun || decoder.finish().is_ok();
        decoder.sink().body.end(clean && whole);
    }

    /// What is known so far.
    pub(super) fn finding(&self) -> Finding {
        match &self.decoder {
            Some(Decoder::Gzip(decoder)) => decoder.get_ref().body.finding(),
            Some(Decoder::Deflate(decoder)) => decoder.get_ref().body.finding(),
            Some(Decoder::Brotli(decoder)) => decoder.get_ref().body.finding(),
            Some(Decoder::None(sink)) => sink.body.finding(),
            None => Finding::default(),
        }
    }
}
