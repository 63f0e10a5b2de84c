//! Watching a response pass: nothing can fail here, and nothing grows with the response.

mod inflate;
mod reply;

use bytes::Bytes;

use self::inflate::Inflate;
use self::reply::Reply;
use super::finding::Tally;
use super::sse::Sse;
use super::{Encoding, Finding, Watch};

/// What may be passed on of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The bytes: the chunk itself (the same memory) unless something is held back or taken out. They may be empty; then
    /// there is nothing to pass on yet.
    pub bytes: Bytes,
    /// Where in `bytes` the end mark begins, in the one chunk that has it: from there on, bytes wait for the settlement
    /// (LEDGER 9). For a JSON reply that is the whole chunk in which its object is closed.
    pub end_at: Option<usize>,
}

/// The observer of one response.
#[derive(Debug)]
pub struct Observer(Kind);

#[derive(Debug)]
enum Kind {
    Stream(Box<Sse>),
    Reply(Box<Reply>),
    Encoded(Box<Inflate>),
}

/// What is looked for in bytes that are not encoded.
#[derive(Debug)]
enum Body {
    Stream(Box<Sse>),
    Reply(Box<Reply>),
}

impl Observer {
    /// An observer for a response of this content type and encoding. With `strip_usage`, the usage chunk that the client
    /// did not ask for is taken out of the stream; an encoded stream passes as it is.
    #[must_use]
    pub fn new(watch: Watch, content_type: Option<&str>, encoding: Encoding, strip_usage: bool) -> Self {
        let plain = encoding == Encoding::Identity;
        let body = if is_event_stream(content_type) {
            Body::Stream(Box::new(Sse::new(watch, strip_usage && plain)))
        } else {
            Body::Reply(Box::new(Reply::new(watch)))
        };
        Self(match body {
            Body::Stream(stream) if plain => Kind::Stream(stream),
            Body::Reply(reply) if plain => Kind::Reply(reply),
            body @ (Body::Stream(_) | Body::Reply(_)) => Kind::Encoded(Box::new(Inflate::new(encoding, body))),
        })
    }

    /// Looks at the next chunk. Chunks may be cut anywhere.
    pub fn observe(&mut self, chunk: Bytes) -> Seen {
        let closes = match &mut self.0 {
            Kind::Stream(stream) => return stream.observe(chunk),
            Kind::Reply(reply) => reply.observe(&chunk),
            Kind::Encoded(inflate) => inflate.observe(&chunk),
        };
        Seen { bytes: chunk, end_at: closes.then_some(0) }
    }

    /// The body ended: `clean` where it came to its proper end, not where it was cut off. Gives the bytes that were held
    /// back and must still be passed on.
    pub fn end(&mut self, clean: bool) -> Bytes {
        match &mut self.0 {
            Kind::Stream(stream) => return stream.end(clean),
            Kind::Reply(reply) => reply.end(),
            Kind::Encoded(inflate) => inflate.end(clean),
        }
        Bytes::new()
    }

    /// What is known so far. After the end mark or [`end`](Self::end) it is what can be settled.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match &self.0 {
            Kind::Stream(stream) => stream.tally.finding(),
            Kind::Reply(reply) => reply.tally.finding(),
            Kind::Encoded(inflate) => inflate.finding(),
        }
    }
}

impl Body {
    /// Looks at decoded bytes; gives whether the end mark is among them.
    fn watch(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Stream(stream) => stream.observe(Bytes::copy_from_slice(bytes)).end_at.is_some(),
            Self::Reply(reply) => reply.observe(bytes),
        }
    }

    fn end(&mut self, clean: bool) {
        match self {
            Self::Stream(stream) => drop(stream.end(clean)),
            Self::Reply(reply) => reply.end(),
        }
    }

    fn tally(&mut self) -> &mut Tally {
        match self {
            Self::Stream(stream) => &mut stream.tally,
            Self::Reply(reply) => &mut reply.tally,
        }
    }

    fn finding(&self) -> Finding {
        match self {
            Self::Stream(stream) => stream.tally.finding(),
            Self::Reply(reply) => reply.tally.finding(),
        }
    }
}

/// Whether a content type is that of an event stream, with whatever parameters (W 2.4).
fn is_event_stream(content_type: Option<&str>) -> bool {
    let name = content_type.and_then(|header| header.split(';').next()).unwrap_or_default();
    name.trim().eq_ignore_ascii_case("text/event-stream")
}
