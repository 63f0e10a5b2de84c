//! How many tokens a text can be at most.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// So much text of one body is normalised, in bytes; what comes behind it is taken at what normalisation can make of it at
/// most, unless it is plainly normal already. Normalising is slow, and a body may be large.
const MAX_NORMALISED: u64 = 256 * 1024;

/// How much NFC lengthens UTF-8 at most (LEDGER 7).
const NFC_GROWTH: u64 = 3;

/// What re-serialising JSON and turning it into a prompt makes of a byte at most (LEDGER 7).
const JSON_GROWTH: u64 = 6;

/// The bytes that a text has at most once it is NFC-normalised; no byte-level tokenizer makes more tokens of it.
/// `before` is what was counted of the same body already.
pub(super) fn text(text: &str, before: u64) -> u64 {
    let length = as_u64(text.len());
    if text.is_ascii() {
        return length;
    }
    // A text that begins with a combining mark can change the one that it is appended to: marks are put in order across
    // the seam, which may take a composed letter apart again. The constant is that letter.
    let starts_combining = text.chars().next().is_some_and(|c| canonical_combining_class(c) != 0);
    if !starts_combining && is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return length;
    }
    if starts_combining || before.saturating_add(length) > MAX_NORMALISED {
        return length.saturating_mul(NFC_GROWTH).saturating_add(16);
    }
    as_u64(text.nfc().map(char::len_utf8).sum())
}

/// The tokens that a piece of JSON is at most in the prompt.
pub(super) fn json(raw: &str) -> u64 {
    as_u64(raw.len()).saturating_mul(JSON_GROWTH)
}

/// What so many token ids are: one token each.
pub(super) fn ids(count: usize) -> u64 {
    as_u64(count)
}

/// The characters that a text has at most where it is spoken, as they are charged: a Han character counts 2, others 1 (W 4). A
/// character outside of the basic plane counts 2 as well: it is two units where a service counts those.
/// The second figure leaves out the names in tags; what stands in quotes there may be spoken in place of the text (`alias`), and
/// after `<!` or `<?` anything may be.
pub(super) fn characters(text: &str) -> (u64, u64) {
    let (mut all, mut spoken, mut tag, mut quote) = (0_u64, 0_u64, false, None);
    for c in text.chars() {
        let weight = if is_han(c) || c > '\u{FFFF}' { 2 } else { 1 };
        all += weight;
        tag |= c == '<';
        if !tag || quote.is_some() {
            spoken += weight;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if tag && matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '>' => tag = false,
            Some(_) | None => {}
        }
    }
    let beyond_tags = ["<!", "<?"].iter().any(|mark| text.contains(mark));
    (all, if beyond_tags { all } else { spoken })
}

/// Whether a character is one of the Han script.
fn is_han(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{2FDF}' | '\u{3005}' | '\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3038}'..='\u{303B}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
