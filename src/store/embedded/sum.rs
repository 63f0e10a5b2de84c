//! The checksum of a row.

/// FNV-1a: every step is a bijection of the state, so a single changed byte always shows.
pub(in crate::store) struct Sum(u64);

impl Sum {
    pub(in crate::store) fn new(table: u8) -> Self {
        Self(0xcbf2_9ce4_8422_2325).byte(table)
    }

    fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    pub(in crate::store) fn bytes(self, bytes: &[u8]) -> Self {
        let sum = bytes.iter().fold(self, |sum, byte| sum.byte(*byte));
        sum.int(i64::try_from(bytes.len()).unwrap_or(-1))
    }

    /// Like [`bytes`](Self::bytes), eight at a time: for what is long.
    pub(in crate::store) fn block(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().fold(self, |sum, word| sum.int(i64::from_le_bytes(*word))).bytes(rest)
    }

    pub(in crate::store) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// One step for the whole number: it is a bijection as well.
    pub(in crate::store) fn int(self, number: i64) -> Self {
        let mixed = (self.0 ^ number.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed ^ (mixed >> 32))
    }

    pub(in crate::store) fn amount(self, amount: u64) -> Self {
        self.int(amount.cast_signed())
    }

    pub(in crate::store) fn end(self) -> i64 {
        self.0.cast_signed()
    }
}
