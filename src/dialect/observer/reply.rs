//! Watching a reply that is one JSON object.

use crate::dialect::Watch;
use crate::dialect::finding::Tally;
use crate::dialect::json_scan::{JsonScan, Progress};

/// The observer of one JSON reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) tally: Tally,
    scan: JsonScan,
    closed: bool,
}

impl Reply {
    pub(super) fn new(watch: Watch) -> Self {
        let tally = Tally::new(watch);
        Self { scan: tally.scan(), tally, closed: false }
    }

    /// Looks at a chunk; gives whether the object is closed in it.
    pub(super) fn observe(&mut self, chunk: &[u8]) -> bool {
        if self.closed {
            return false;
        }
        let read = self.scan.feed(chunk);
        self.tally.written.feed(chunk.get(..read).unwrap_or_default());
        self.closed = self.scan.progress == Progress::Closed;
        if self.closed {
            self.tally.reply(&self.scan);
        }
        self.closed
    }

    /// The body ended; where the object was not closed, a usage that was complete in it is at least a part.
    pub(super) fn end(&mut self) {
        if !self.closed {
            self.closed = true;
            self.tally.cut(&self.scan);
        }
    }
}
