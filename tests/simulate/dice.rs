//! Chance, from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Everything that a schedule leaves to chance comes from here.
pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    /// `true` so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    pub fn place(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }
}
