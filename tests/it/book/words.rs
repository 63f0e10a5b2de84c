//! A line as words, and the small words: times, amounts, names.

use std::str::FromStr;

use gratis::ledger::{HoldId, Timestamp, Usage};

/// 00:00 of the first day of every transcript.
pub const DAY_ZERO: u64 = 1_798_761_600_000;

/// The words of a line, from left to right. Every mistake in a transcript is a panic that shows the place.
pub struct Words<'a> {
    place: &'a str,
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    pub fn new(place: &'a str, text: &'a str) -> Self {
        Self { place, words: text.split([' ', ',']).filter(|word| !word.is_empty()).collect(), next: 0 }
    }

    pub fn wrong(&self, why: &str) -> ! {
        panic!("{}: {why} in {:?}", self.place, self.words.join(" "))
    }

    /// The next word, if there is one.
    pub fn maybe(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next).copied();
        self.next += usize::from(word.is_some());
        word
    }

    pub fn word(&mut self) -> &'a str {
        self.maybe().unwrap_or_else(|| self.wrong("a word is missing"))
    }

    pub fn expect(&mut self, word: &str) {
        if self.word() != word {
            self.wrong(&format!("expected {word:?}"));
        }
    }

    /// The next word as a number; `_` may group digits.
    pub fn number<T: FromStr>(&mut self) -> T {
        let word = self.word();
        word.replace('_', "").parse().unwrap_or_else(|_| self.wrong(&format!("{word:?} is no number")))
    }

    /// `90+210`: input and output.
    pub fn usage(&mut self) -> Usage {
        let word = self.word();
        let parts = word.split_once('+').and_then(|(input, output)| Some((input.parse().ok()?, output.parse().ok()?)));
        let Some((input, output)) = parts else { self.wrong(&format!("{word:?} is not input+output")) };
        Usage { input, output }
    }

    /// `09:01`, `09:01:30`, or on a later day `3d09:01`.
    pub fn time(&mut self) -> Timestamp {
        let word = self.word();
        self.time_of(word)
    }

    pub fn time_of(&self, word: &str) -> Timestamp {
        let (days, clock) = word.split_once('d').unwrap_or(("0", word));
        let parts: Option<Vec<u64>> =
            std::iter::once(days).chain(clock.split(':')).map(|part| part.parse().ok()).collect();
        let seconds = match parts.as_deref() {
            Some([days, hours, minutes]) => days * 86_400 + hours * 3_600 + minutes * 60,
            Some([days, hours, minutes, seconds]) => days * 86_400 + hours * 3_600 + minutes * 60 + seconds,
            Some(_) | None => self.wrong(&format!("{word:?} is no time")),
        };
        Timestamp(DAY_ZERO + seconds * 1000)
    }

    /// `10d`, `10m`, `30s`, in milliseconds.
    pub fn span(&mut self) -> u64 {
        let word = self.word();
        let (number, unit) = word.split_at(word.len() - 1);
        let Ok(number) = number.parse::<u64>() else { self.wrong(&format!("{word:?} is no span")) };
        match unit {
            "s" => number * 1000,
            "m" => number * 60_000,
            "h" => number * 3_600_000,
            "d" => number * 86_400_000,
            _ => self.wrong(&format!("{word:?} is no span")),
        }
    }
}

/// The id of a hold that a transcript calls by a name.
pub fn hold(name: &str) -> HoldId {
    HoldId(name.bytes().fold(0, |id, byte| (id << 8) | u128::from(byte)))
}
