//! The watermark: what the disk promises of a balance, so that not every hold needs an fsync.

use crate::ledger::{Amount, Balance};

/// The promise of one balance, and the highest sum since the last two flushes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// W: whatever is lost in a power loss, this much counts as taken (LEDGER 3).
    pub promised: Amount,
    peak: Amount,
    last_peak: Amount,
}

impl Mark {
    /// A promise that was read from the disk.
    #[must_use]
    pub fn new(promised: Amount) -> Self {
        Self { promised, peak: 0, last_peak: 0 }
    }

    /// After a step: raises the promise where the sum passed it. `true` = the step needs a durable commit before it is answered.
    pub fn rise(&mut self, balance: &Balance, block_max: Amount) -> bool {
        let sum = balance.taken();
        self.peak = self.peak.max(sum);
        if sum <= self.promised {
            return false;
        }
        self.promised = above(sum, balance.granted, block_max);
        true
    }

    /// At a flush: follows refunds down, but not below what was reached lately: a load that goes up and down would otherwise buy
    /// each way up with an fsync. `true` = the promise fell and has to be written durably.
    pub fn fall(&mut self, balance: &Balance, block_max: Amount) -> bool {
        let level = self.peak.max(self.last_peak).max(balance.taken());
        self.last_peak = self.peak;
        self.peak = balance.taken();
        let lower = above(level, balance.granted, block_max);
        let falls = lower < self.promised;
        self.promised = self.promised.min(lower);
        falls
    }
}

/// One block above `sum`, never above the grant, never below the sum: a recorded overrun takes the promise with it.
fn above(sum: Amount, granted: Amount, block_max: Amount) -> Amount {
    let block = (granted.saturating_sub(sum) / 16).min(block_max);
    granted.min(sum.saturating_add(block)).max(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(granted: Amount, held: Amount, spent: Amount) -> Balance {
        Balance { granted, held, spent, presumed: 0 }
    }

    #[test]
    fn the_promise_is_one_block_ahead() {
        let mut mark = Mark::default();
        assert!(mark.rise(&balance(16_000, 160, 0), 50_000));
        assert_eq!(mark.promised, 160 + 15_840 / 16);
        assert!(!mark.rise(&balance(16_000, 160, 990), 50_000));
        assert!(mark.rise(&balance(16_000, 160, 991), 50_000));
    }

    #[test]
    fn a_block_is_bounded_and_stays_within_the_grant() {
        let mut mark = Mark::default();
        assert!(mark.rise(&balance(100_000_000, 1, 0), 50_000));
        assert_eq!(mark.promised, 50_001);
        assert!(mark.rise(&balance(10, 0, 10), 50_000) || mark.promised >= 10);
    }

    #[test]
    fn an_overrun_takes_the_promise_with_it() {
        let mut mark = Mark::default();
        assert!(mark.rise(&balance(100, 0, 130), 50_000));
        assert_eq!(mark.promised, 130);
        assert!(mark.rise(&balance(100, 0, 131), 50_000));
    }

    #[test]
    fn it_follows_refunds_down_after_two_quiet_flushes_and_never_below_the_sum() {
        let mut mark = Mark::default();
        mark.rise(&balance(1_600, 800, 0), 50_000);
        let before = mark.promised;
        let refunded = balance(1_600, 0, 10);
        assert!(!mark.fall(&refunded, 50_000), "the peak was just reached");
        assert!(!mark.fall(&refunded, 50_000));
        assert!(mark.fall(&refunded, 50_000));
        assert!(mark.promised < before && mark.promised >= 10);
        assert_eq!(mark.promised, 10 + 1_590 / 16);
    }
}
