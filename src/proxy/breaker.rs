//! An upstream's breaker: replies that cannot be read may each have been charged, so an outage must not eat the quota (LEDGER 8).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::ledger::Timestamp;

/// Counts presumed calls in a row; refuses for a while once there are too many, then lets one call try.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    in_a_row: AtomicU32,
    paused_until: AtomicU64,
    /// Until when the others wait for the one call that tries; a try of which nothing is heard ends by itself.
    trying_until: AtomicU64,
    overdue_until: AtomicU64,
}

/// Why nothing may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    /// Too many replies in a row could not be read.
    Unreadable,
    /// The upstream said that its account is overdue.
    Overdue,
}

impl Breaker {
    /// Whether a call may be sent at `now`. After a pause one call tries; the others wait for what becomes of it.
    pub(super) fn check(&self, now: Timestamp, pause: Duration) -> Result<(), Paused> {
        if self.overdue_until.load(Ordering::Acquire) > now.0 {
            return Err(Paused::Overdue);
        }
        match self.paused_until.load(Ordering::Acquire) {
            0 => Ok(()),
            until if until > now.0 => Err(Paused::Unreadable),
            _ => self.begin_try(now, pause),
        }
    }

    fn begin_try(&self, now: Timestamp, pause: Duration) -> Result<(), Paused> {
        let other = self.trying_until.load(Ordering::Acquire);
        let mine = later(now, pause);
        let won = other <= now.0
            && self.trying_until.compare_exchange(other, mine, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if won { Ok(()) } else { Err(Paused::Unreadable) }
    }

    /// A call was not sent after all.
    pub(super) fn not_sent(&self) {
        self.trying_until.store(0, Ordering::Release);
    }

    /// A reply could be read to its end.
    pub(super) fn readable(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Release);
        }
        if self.paused_until.load(Ordering::Relaxed) != 0 {
            self.paused_until.store(0, Ordering::Release);
            self.trying_until.store(0, Ordering::Release);
        }
    }

    /// A reply could not be read; answers whether this opened the breaker.
    pub(super) fn unreadable(&self, now: Timestamp, most: u32, pause: Duration) -> bool {
        let seen = self.in_a_row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if most == 0 || seen < most {
            return false;
        }
        self.paused_until.store(later(now, pause), Ordering::Release);
        self.trying_until.store(0, Ordering::Release);
        true
    }

    /// The upstream said that its account is overdue: refuse for a while, then ask again (`/models` is no probe, W 0.19).
    pub(super) fn overdue(&self, now: Timestamp, pause: Duration) {
        self.overdue_until.store(later(now, pause), Ordering::Release);
    }
}

/// The instant after a pause; never 0, which stands for none.
fn later(now: Timestamp, pause: Duration) -> u64 {
    now.plus(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)).0.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn opens_after_the_third_in_a_row_and_lets_one_call_try() {
        let breaker = Breaker::default();
        assert!(!breaker.unreadable(Timestamp(0), 3, PAUSE));
        assert!(!breaker.unreadable(Timestamp(1), 3, PAUSE));
        breaker.readable();
        assert!(!breaker.unreadable(Timestamp(2), 3, PAUSE));
        assert!(!breaker.unreadable(Timestamp(3), 3, PAUSE));
        assert!(breaker.unreadable(Timestamp(4), 3, PAUSE));
        assert_eq!(breaker.check(Timestamp(5), PAUSE), Err(Paused::Unreadable));
        assert_eq!(breaker.check(Timestamp(1_004), PAUSE), Ok(()), "one call tries");
        assert_eq!(breaker.check(Timestamp(1_004), PAUSE), Err(Paused::Unreadable), "only one");
        breaker.readable();
        assert_eq!(breaker.check(Timestamp(1_005), PAUSE), Ok(()));
        assert_eq!(breaker.check(Timestamp(1_005), PAUSE), Ok(()));
    }

    #[test]
    fn a_try_that_fails_pauses_again_and_one_that_was_not_sent_leaves_the_turn() {
        let breaker = Breaker::default();
        for at in 0..3 {
            breaker.unreadable(Timestamp(at), 3, PAUSE);
        }
        assert_eq!(breaker.check(Timestamp(2_000), PAUSE), Ok(()));
        breaker.not_sent();
        assert_eq!(breaker.check(Timestamp(2_000), PAUSE), Ok(()));
        assert!(breaker.unreadable(Timestamp(2_001), 3, PAUSE));
        assert_eq!(breaker.check(Timestamp(2_002), PAUSE), Err(Paused::Unreadable));
        assert_eq!(breaker.check(Timestamp(3_001), PAUSE), Ok(()));
    }

    #[test]
    fn an_overdue_upstream_is_asked_again_after_the_pause() {
        let breaker = Breaker::default();
        breaker.overdue(Timestamp(10), PAUSE);
        assert_eq!(breaker.check(Timestamp(11), PAUSE), Err(Paused::Overdue));
        assert_eq!(breaker.check(Timestamp(1_010), PAUSE), Ok(()));
    }

    #[test]
    fn a_try_of_which_nothing_is_heard_gives_way_to_another_after_the_pause() {
        let breaker = Breaker::default();
        for at in 0..3 {
            breaker.unreadable(Timestamp(at), 3, PAUSE);
        }
        assert_eq!(breaker.check(Timestamp(2_000), PAUSE), Ok(()));
        assert_eq!(breaker.check(Timestamp(2_999), PAUSE), Err(Paused::Unreadable));
        assert_eq!(breaker.check(Timestamp(3_000), PAUSE), Ok(()));
    }
}
