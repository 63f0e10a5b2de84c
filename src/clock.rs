//! The time of day and the passing of time, behind a value, so that a test can turn it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::ledger::Timestamp;

/// A source of time. Cloning is cheap; clones of a hand-turned clock show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Hand(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands at `now` until it is turned.
    #[must_use]
    pub fn by_hand(now: Timestamp) -> Self {
        Self(Kind::Hand(Arc::new(AtomicU64::new(now.0))))
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => system_now(),
            Kind::Hand(ms) => Timestamp(ms.load(Ordering::SeqCst)),
        }
    }

    /// Turns a clock by hand; the machine's clock stays as it is.
    pub fn advance(&self, ms: u64) {
        if let Kind::Hand(now) = &self.0 {
            now.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// Begins to measure a duration. Always the machine's monotonic clock: for figures, never for rules.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    pub fn stopwatch() -> Stopwatch {
        Stopwatch(Instant::now())
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A measurement in progress.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// The time since it was started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
