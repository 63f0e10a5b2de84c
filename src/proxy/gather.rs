//! Chunks that came together go on together: one write to the client instead of one for each.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::clock::{Clock, Stopwatch};

/// So many bytes go on without waiting for more.
const ENOUGH: usize = 16 << 10;

/// So often the reader is told to come back before a chunk goes on alone. The server asks twice in one turn of its task, so the
/// third time is the first at which the upstream's connection certainly had its own turn.
const TURNS: u8 = 2;

/// Chunks that come within this time of the one before belong to a burst. A chunk that comes alone goes on at once.
const BURST: Duration = Duration::from_millis(1);

/// Chunks that have come and were not passed on yet.
#[derive(Default)]
pub(super) struct Gather {
    /// The only chunk, uncopied: the usual case.
    one: Bytes,
    /// All chunks, where there are several.
    many: BytesMut,
    /// How often the connection was given a turn to bring more.
    turns: u8,
    /// Since the last chunk came.
    since: Option<Stopwatch>,
    /// Whether the last chunk came right after the one before.
    burst: bool,
}

impl Gather {
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_empty() && self.many.is_empty()
    }

    pub(super) fn is_enough(&self) -> bool {
        self.one.len() + self.many.len() >= ENOUGH
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.turns = 0;
        self.burst = self.since.is_some_and(|since| since.elapsed() < BURST);
        self.since = Some(Clock::stopwatch());
        if self.is_empty() {
            self.one = chunk;
        } else {
            let one = std::mem::take(&mut self.one);
            self.many.extend_from_slice(&one);
            self.many.extend_from_slice(&chunk);
        }
    }

    /// Whether the connection is to have a turn before what is here goes on; in a burst `true` a fixed number of times after
    /// each chunk.
    pub(super) fn turns(&mut self) -> bool {
        let more = self.burst && !self.is_empty() && self.turns < TURNS;
        self.turns += u8::from(more);
        more
    }

    /// Takes out everything.
    pub(super) fn take(&mut self) -> Bytes {
        self.turns = 0;
        if self.many.is_empty() { std::mem::take(&mut self.one) } else { self.many.split().freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_a_burst_are_joined_in_order_and_each_buys_a_few_turns() {
        let mut gather = Gather { burst: true, ..Gather::default() };
        assert!(!gather.turns());
        gather.push(Bytes::from_static(b"a"));
        gather.burst = true;
        assert!(gather.turns() && gather.turns() && !gather.turns());
        gather.push(Bytes::from_static(b"b"));
        gather.push(Bytes::from_static(b"c"));
        gather.burst = true;
        assert!(gather.turns() && gather.turns() && !gather.turns());
        assert_eq!(gather.take(), "abc");
        assert!(gather.is_empty() && !gather.turns());
    }

    #[test]
    fn a_chunk_that_comes_alone_goes_on_at_once() {
        let mut gather = Gather::default();
        gather.push(Bytes::from_static(b"d"));
        assert!(!gather.turns(), "there was no chunk before it");
        assert_eq!(gather.take(), "d");
        assert!(gather.is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let mut gather = Gather::default();
        gather.push(Bytes::from(vec![0; ENOUGH / 2]));
        assert!(!gather.is_enough());
        gather.push(Bytes::from(vec![0; ENOUGH / 2]));
        assert!(gather.is_enough());
    }
}
