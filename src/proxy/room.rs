//! How many bytes of request bodies are kept at once, so that many large ones cannot take all memory (F-LIF-6).
//!
//! A body that is whole in its first piece is not counted: it is as small as a connection's buffer. Of any other the buffer of its
//! connection counts while it comes, and every byte that is set aside for it, from before it is set aside until its last copy is gone
//! upstream.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::telemetry::Gauge;

use super::rejection::Rejection;

/// Of the memory that the process may have, so much is used before calls are refused: tenths.
const FULL: u64 = 9;

/// The room for bodies of the process.
pub(super) struct Room {
    /// The bytes that are kept; also the metric.
    kept: Gauge,
    /// The most that may be kept, by the memory that was left when it was last looked at.
    ceiling: AtomicI64,
    short: AtomicBool,
    /// Calls that began; after a few the memory is looked at again.
    calls: AtomicU32,
    /// How it is looked at: what is used of what may be. Without it there is no limit.
    look: OnceLock<Look>,
}

/// Gives the bytes that are used, and those that may be.
type Look = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// After so many calls the memory is looked at, whatever the time: a crowd is faster than a clock.
const OFTEN: u32 = 64;

/// Bytes that are kept; they are given back when it is dropped.
pub(super) struct Kept {
    room: Arc<Room>,
    bytes: i64,
}

impl Room {
    pub(super) fn new(kept: Gauge) -> Self {
        Self {
            kept,
            ceiling: AtomicI64::new(i64::MAX),
            short: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            look: OnceLock::new(),
        }
    }

    /// Says how the memory is looked at, once.
    pub(super) fn look_by(&self, look: impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static) {
        // A second time changes nothing: whoever came first is kept.
        let _ = self.look.set(Box::new(look));
    }

    /// Looks at the memory.
    pub(super) fn look(&self) {
        if let Some((used, limit)) = self.look.get().and_then(|look| look()) {
            self.heed(used, limit);
        }
    }

    /// Takes note of the memory that is used, of the most that may be.
    fn heed(&self, used: u64, limit: u64) {
        let left = signed(limit / 10 * FULL) - signed(used);
        self.ceiling.store(self.kept.get().saturating_add(left), Ordering::Relaxed);
        self.short.store(left <= 0, Ordering::Relaxed);
    }

    /// Whether there is no memory for another call.
    pub(super) fn is_short(&self) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed) % OFTEN == OFTEN - 1 {
            self.look();
        }
        self.short.load(Ordering::Relaxed)
    }
}

impl Kept {
    pub(super) fn nothing(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), bytes: 0 }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0)
    }

    /// Keeps so many bytes in all, where all bodies together then have at most `most`.
    pub(super) fn grow(&mut self, bytes: usize, most: u64) -> Result<(), Rejection> {
        let more = signed(bytes as u64) - self.bytes;
        let room = &self.room;
        let all = room.kept.inc_by(more).saturating_add(more);
        if all > signed(most).min(room.ceiling.load(Ordering::Relaxed)) {
            room.kept.dec_by(more);
            return Err(Rejection::Overloaded);
        }
        self.bytes += more;
        Ok(())
    }

    /// Keeps only so many bytes any more.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes - signed(bytes as u64).min(self.bytes);
        self.room.kept.dec_by(less);
        self.bytes -= less;
    }

    /// The body, which from here on gives its room back with its last copy.
    pub(super) fn with(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Counted { body, _kept: self })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.kept.dec_by(self.bytes);
    }
}

struct Counted {
    body: Bytes,
    _kept: Kept,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_most_and_comes_back_with_the_last_copy() {
        let room = Arc::new(Room::new(Gauge::default()));
        let (mut one, mut other) = (Kept::nothing(&room), Kept::nothing(&room));
        assert_eq!(one.grow(60, 100), Ok(()));
        assert_eq!(other.grow(41, 100), Err(Rejection::Overloaded));
        assert_eq!(other.grow(40, 100), Ok(()));
        assert_eq!((one.grow(61, 100), room.kept.get()), (Err(Rejection::Overloaded), 100));
        let body = one.with(Bytes::from_static(b"body"));
        let copy = body.slice(1..);
        drop(body);
        assert_eq!((&copy[..], room.kept.get()), (&b"ody"[..], 100));
        drop(copy);
        assert_eq!(room.kept.get(), 40);
        drop(other);
        assert_eq!(room.kept.get(), 0);
    }

    #[test]
    fn what_is_left_of_the_memory_bounds_it_too() {
        let room = Arc::new(Room::new(Gauge::default()));
        let mut kept = Kept::nothing(&room);
        assert_eq!(kept.grow(50, 1_000), Ok(()));
        room.heed(800, 1_000);
        assert!(!room.is_short());
        assert_eq!((kept.grow(151, 1_000), kept.grow(150, 1_000)), (Err(Rejection::Overloaded), Ok(())));
        room.heed(900, 1_000);
        assert!(room.is_short());
        assert_eq!(kept.grow(151, 1_000), Err(Rejection::Overloaded));
        room.heed(899, 1_000);
        assert!(!room.is_short());
        assert_eq!(kept.grow(151, 1_000), Ok(()));
        kept.shrink(20);
        assert_eq!(room.kept.get(), 20);
    }

    #[test]
    fn a_crowd_has_it_looked_at() {
        let room = Room::new(Gauge::default());
        room.look_by(|| Some((900, 1_000)));
        assert!((1..OFTEN).all(|_| !room.is_short()));
        assert!(room.is_short());
    }
}
