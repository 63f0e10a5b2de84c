//! Bytes of one value, as they are written, up to a length.

/// A value that was captured as it is written.
#[derive(Clone, Debug, Default)]
pub(in crate::dialect) struct Captured {
    pub(super) bytes: Vec<u8>,
    pub(super) overflown: bool,
    pub(super) complete: bool,
}

impl Captured {
    /// The value, once it is complete; an empty one stands for a value that was too long to be kept.
    pub(in crate::dialect) fn value(&self) -> Option<&[u8]> {
        self.complete.then_some(if self.overflown { &[] } else { self.bytes.trim_ascii() })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.overflown = false;
        self.complete = false;
    }

    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        if self.bytes.len().saturating_add(bytes.len()) > limit {
            self.overflown = true;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}
