//! Figures as the provider's console shows them: `362,917/1,000,000` (S1, C10).

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::ledger::{Amount, MAX_AMOUNT};

/// What is left, and of how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure {
    /// What is left.
    pub remaining: Amount,
    /// The whole grant, where the figure names it.
    pub total: Option<Amount>,
}

impl std::str::FromStr for Figure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (remaining, total) = match text.split_once('/') {
            Some((remaining, total)) => (parse_amount(remaining)?, Some(parse_amount(total)?)),
            None => (parse_amount(text)?, None),
        };
        if total.is_some_and(|total| total < remaining) {
            return Err(format!("`{}`: more is left than there was", text.trim()));
        }
        Ok(Self { remaining, total })
    }
}

/// Reads a count with or without separators: `1000000`, `1,000,000`, `1_000_000`. Separators stand between groups of three, so
/// that a digit too many or too few is seen.
///
/// # Errors
/// What is wrong and what would be right.
pub fn parse_amount(text: &str) -> Result<Amount, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is no count: write 362917 or 362,917");
    let separator = if text.contains(',') { ',' } else { '_' };
    let grouped = text.contains(separator);
    let mut digits = String::with_capacity(text.len());
    for (place, group) in text.split(separator).enumerate() {
        let sized = !grouped || if place == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 };
        if !sized || group.is_empty() || !group.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        digits.push_str(group);
    }
    digits
        .parse::<Amount>()
        .ok()
        .filter(|amount| *amount <= MAX_AMOUNT)
        .ok_or_else(|| format!("`{text}` is larger than {MAX_AMOUNT}"))
}

/// A number, or one of the texts that [`Figure`] reads.
impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a whole number, or a text like \"362,917/1,000,000\"")]
        enum Written {
            Number(Amount),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(remaining) if remaining <= MAX_AMOUNT => Ok(Self { remaining, total: None }),
            Written::Number(_) => Err(D::Error::custom(format!("larger than {MAX_AMOUNT}"))),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// A count with separators, as the console shows it.
#[must_use]
pub fn show(amount: Amount) -> String {
    let digits = amount.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consoles_figure_is_read() {
        let read = |text: &str| text.parse::<Figure>().unwrap();
        assert_eq!(read("362,917/1,000,000"), Figure { remaining: 362_917, total: Some(1_000_000) });
        assert_eq!(read(" 362917 / 1000000 "), Figure { remaining: 362_917, total: Some(1_000_000) });
        assert_eq!(read("0"), Figure { remaining: 0, total: None });
        assert_eq!(read("1_000"), Figure { remaining: 1_000, total: None });
        let json = |text| serde_json::from_str::<Figure>(text);
        assert_eq!(json("362917").unwrap(), Figure { remaining: 362_917, total: None });
        assert_eq!(json("\"362,917/1,000,000\"").unwrap(), read("362,917/1,000,000"));
        assert!(json("-1").is_err() && json("1.5").is_err() && json("null").is_err());
    }

    #[test]
    fn a_slip_of_the_finger_is_refused() {
        for text in [
            "",
            "/",
            "1/",
            "/1",
            "36,2917",
            "1,00",
            ",1",
            "1,",
            "1,000_000",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "1 000",
            "2/1",
            "a",
            "1/2/3",
            "99999999999999999999",
            "9007199254740992",
            "1,0000",
        ] {
            assert!(text.parse::<Figure>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_is_shown_as_it_is_read() {
        for amount in [0, 7, 999, 1_000, 362_917, 1_000_000, MAX_AMOUNT] {
            assert_eq!(parse_amount(&show(amount)).unwrap(), amount);
        }
        assert_eq!(show(1_000_000), "1,000,000");
    }
}
