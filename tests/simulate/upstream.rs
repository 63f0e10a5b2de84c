//! The upstream's own count: what it granted, what it charged, and what of it was beyond the grants.

use crate::world::Millis;

/// One grant as the upstream has it.
#[derive(Clone, Debug)]
pub struct Given {
    pub amount: u64,
    pub used: u64,
    pub end: Option<Millis>,
}

/// What the upstream knows of a pool.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    pub given: Vec<Given>,
    pub charged: u64,
    /// What it charged beyond the grants: money.
    pub overspent: u64,
}

impl Quota {
    pub fn give(&mut self, amount: u64, end: Option<Millis>) {
        self.given.push(Given { amount, used: 0, end });
    }

    /// Charges a call, soonest-ending grants first.
    pub fn charge(&mut self, now: Millis, amount: u64) {
        self.charged += amount;
        let mut left = amount;
        let mut usable: Vec<&mut Given> =
            self.given.iter_mut().filter(|given| given.end.is_none_or(|end| now < end)).collect();
        usable.sort_by_key(|given| (given.end.is_none(), given.end));
        for given in usable {
            let part = left.min(given.amount - given.used);
            given.used += part;
            left -= part;
        }
        self.overspent += left;
    }
}
