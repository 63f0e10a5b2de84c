//! A map by what this process itself numbered or made at random: such keys need no secret hash to be spread evenly.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::sum::Sum;

/// A map by accounts, grants and holds.
pub(super) type MixMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// One multiplication a number.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = Sum::new(0).int(self.0.cast_signed()).block(bytes).end().cast_unsigned();
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_u128(&mut self, number: u128) {
        let [low, high] = [number, number >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        self.write_u64(high);
        self.write_u64(low);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
