//! How many tokens a text can be at most.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Above this length a text is not normalised but taken at what normalisation can make of it at most.
const MAX_NORMALISED: usize = 256 * 1024;

/// How much NFC lengthens UTF-8 at most (LEDGER 7).
const NFC_GROWTH: u64 = 3;

/// What re-serialising JSON and turning it into a prompt makes of a byte at most (LEDGER 7).
const JSON_GROWTH: u64 = 6;

/// The bytes that a text has at most once it is NFC-normalised; no byte-level tokenizer makes more tokens of it.
pub(super) fn text(text: &str) -> u64 {
    let length = as_u64(text.len());
    if text.is_ascii() {
        return length;
    }
    // A text that begins with a combining mark can change the one that it is appended to: marks are put in order across
    // the seam, which may take a composed letter apart again. The constant is that letter.
    let starts_combining = text.chars().next().is_some_and(|c| canonical_combining_class(c) != 0);
    if text.len() > MAX_NORMALISED || starts_combining {
        return length.saturating_mul(NFC_GROWTH).saturating_add(16);
    }
    if is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return length;
    }
    as_u64(text.nfc().map(char::len_utf8).sum())
}

/// The tokens that a piece of JSON is at most in the prompt.
pub(super) fn json(raw: &str) -> u64 {
    as_u64(raw.len()).saturating_mul(JSON_GROWTH)
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
