//! How long a recording is that stands in the request itself.
//!
//! Only samples that are not compressed bound their own length. Of a compressed recording a byte can be any number of seconds, and of
//! one that is kept elsewhere nothing is known: both are as long as the model takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memchr;
use serde_json::value::RawValue;

use super::{Facts, UnitsAsk, bound};

/// So many characters of the base64 text are read for the headers; the samples must begin within them.
const HEAD: usize = 4096;

/// What is added to a length, in seconds: a service may resample, pad and round.
const ROUNDING: u64 = 1;

impl Facts {
    /// Takes a recording: its seconds where its bytes say them, else that there is one more of unknown length. Gives which.
    pub(super) fn hear(&mut self, raw: &RawValue) -> bool {
        let seconds = seconds(raw);
        match seconds {
            Some(seconds) => self.units.heard = self.units.heard.saturating_add(seconds),
            None => self.units.record(raw),
        }
        seconds.is_some()
    }
}

impl UnitsAsk {
    /// Counts the recordings of unknown length that a value names: those of a list, else one.
    pub(super) fn record(&mut self, raw: &RawValue) {
        let list: Result<Vec<&RawValue>, _> = serde_json::from_str(raw.get());
        let named = list.map_or(1, |list| bound::ids(list.len()));
        self.recordings = self.recordings.saturating_add(named);
    }
}

/// The most seconds of a WAV file in a data URI.
fn seconds(raw: &RawValue) -> Option<u64> {
    let text = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', text.as_bytes()).is_some() {
        return None;
    }
    let (kind, encoded) = text.strip_prefix("data:")?.split_once(";base64,")?;
    if !matches!(kind, "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave") {
        return None;
    }
    let encoded = encoded.trim_end_matches('=');
    // What one decoder skips, another may end at.
    if !encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')) {
        return None;
    }
    // Whole groups of four characters, so that the part decodes by itself.
    let head = if encoded.len() > HEAD { encoded.get(..HEAD)? } else { encoded };
    let head = STANDARD_NO_PAD.decode(head).ok()?;
    let whole = bound::ids(encoded.len()).saturating_mul(3) / 4;
    let (start, rate) = samples(&head)?;
    Some(whole.saturating_sub(bound::ids(start)).div_ceil(rate).saturating_add(ROUNDING))
}

/// Where the samples of a WAV file begin, and how many bytes of them are a second. Everything behind their beginning counts as samples,
/// whatever the file says their size is.
fn samples(file: &[u8]) -> Option<(usize, u64)> {
    let riff = file.get(..4)? == b"RIFF" && file.get(8..12)? == b"WAVE" && file.get(12..16)? == b"fmt ";
    if !riff || file.get(16..20)? != [16, 0, 0, 0] {
        return None;
    }
    let rate = rate(file.get(20..36)?)?;
    let mut at = 36;
    loop {
        let (name, size) = (file.get(at..at + 4)?, file.get(at + 4..at + 8)?);
        match name {
            b"data" => return Some((at + 8, rate)),
            b"LIST" | b"fact" | b"JUNK" | b"bext" => {
                let size = usize::try_from(u32::from_le_bytes(size.try_into().ok()?)).ok()?;
                // Chunks begin at even places.
                at = at.checked_add(8)?.checked_add(size)?.checked_next_multiple_of(2)?;
            }
            // A second description of the samples, or what may be one.
            _ => return None,
        }
    }
}

/// The bytes of a second, from the description of samples that are not compressed and that agrees with itself.
fn rate(format: &[u8]) -> Option<u64> {
    let two = |at: usize| Some(u64::from(u16::from_le_bytes(format.get(at..at + 2)?.try_into().ok()?)));
    let four = |at: usize| Some(u64::from(u32::from_le_bytes(format.get(at..at + 4)?.try_into().ok()?)));
    let (tag, channels, rate, bytes, block, bits) = (two(0)?, two(2)?, four(4)?, four(8)?, two(12)?, two(14)?);
    let plain = matches!((tag, bits), (1, 8 | 16 | 24 | 32) | (3, 32 | 64));
    let agrees = block == channels.checked_mul(bits / 8)? && bytes == block.checked_mul(rate)?;
    (plain && agrees && (1..=8).contains(&channels) && (8_000..=192_000).contains(&rate)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn wav(tag: u16, rate: u32, bytes: u32, between: &[u8], length: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&1_u16.to_le_bytes());
        file.extend_from_slice(&rate.to_le_bytes());
        file.extend_from_slice(&bytes.to_le_bytes());
        file.extend_from_slice(&[2, 0, 16, 0]);
        file.extend_from_slice(between);
        file.extend_from_slice(b"data\x01\0\0\0");
        file.resize(file.len() + length, 0);
        file
    }

    fn heard(kind: &str, file: &[u8]) -> Option<u64> {
        let text = format!("\"data:{kind};base64,{}\"", STANDARD.encode(file));
        seconds(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn samples_bound_their_length_and_nothing_else_does() {
        // Ten seconds; what the file says of its size does not matter.
        let sound = wav(1, 16_000, 32_000, b"", 320_000);
        assert_eq!(heard("audio/wav", &sound), Some(11));
        assert_eq!(heard("audio/wav", &wav(1, 16_000, 32_000, b"LIST\x03\0\0\0abc\0", 320_001)), Some(12));
        assert_eq!(heard("audio/wav", &wav(1, 16_000, 32_000, b"", 0)), Some(1));
        assert_eq!(heard("audio/mpeg", &sound), None, "whoever goes by the kind reads it otherwise");
        assert_eq!(heard("audio/wav", b"ID3\x04 compressed"), None);
        let behind = format!("\"data:audio/wav;base64,{} A\"", STANDARD.encode(&sound));
        assert_eq!(seconds(serde_json::from_str(&behind).unwrap()), None, "not all of it is base64");
        assert_eq!(heard("audio/wav", &sound[..30]), None);
        assert_eq!(heard("audio/wav", &wav(85, 16_000, 32_000, b"", 9)), None, "compressed in a WAV file");
        assert_eq!(heard("audio/wav", &wav(1, 16_000, 320_000, b"", 9)), None, "does not agree with itself");
        assert_eq!(heard("audio/wav", &wav(1, 192_001, 384_002, b"", 9)), None);
        assert_eq!(heard("audio/wav", &wav(1, 16_000, 32_000, b"fmt \x00\0\0\0", 9)), None, "described twice");
        assert_eq!(heard("audio/wav", &wav(1, 16_000, 32_000, b"LIST\xff\xff\xff\xff", 9)), None);
        for other in [
            "\"https://example.com/a.wav\"",
            "\"data:audio/wav;base64,\\u0041\"",
            "7",
            "\"\"",
            "\"data:audio/wav;base64,é\"",
        ] {
            assert_eq!(seconds(serde_json::from_str(other).unwrap()), None, "{other}");
        }
    }
}
