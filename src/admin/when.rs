//! Instants as people write them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::ledger::Timestamp;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// RFC 3339 in UTC.
#[must_use]
pub fn show(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

/// Reads RFC 3339, or a date or a local date and time in the zone of that name.
///
/// # Errors
/// What is wrong and what would be right.
pub fn parse(text: &str, zone: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let stamp = match text.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => {
            let zone = TimeZone::get(zone).map_err(|_| format!("the time zone {zone} of the site is not known"))?;
            let local = text
                .parse::<Date>()
                .map(DateTime::from)
                .or_else(|_| text.parse::<DateTime>())
                .map_err(|_| format!("`{text}` is no time: write 2026-11-21 or 2026-11-21T08:00:00Z"))?;
            local.to_zoned(zone).map_err(|_| format!("`{text}` is out of range"))?.timestamp()
        }
    };
    u64::try_from(stamp.as_millisecond()).map(Timestamp).map_err(|_| format!("`{text}` is before 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_where_the_site_is() {
        let singapore = parse("2026-11-21", "Asia/Singapore").unwrap();
        assert_eq!(show(singapore), "2026-11-20T16:00:00Z");
        assert_eq!(parse("2026-11-20T16:00:00Z", "Asia/Singapore").unwrap(), singapore);
        assert_eq!(parse("2026-11-21T00:00:00+08:00", "UTC").unwrap(), singapore);
        assert_eq!(parse("2026-11-21 00:00:00", "Asia/Singapore").unwrap(), singapore);
        assert_eq!(show(Timestamp(1)), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "soon", "21.11.2026", "2026-13-01", "2026-11-21T25:00:00Z", "1969-12-31", "0001-01-01"] {
            assert!(parse(text, "Asia/Singapore").is_err(), "{text}");
        }
        assert!(parse("2026-11-21", "Mars/Olympus").is_err());
        assert!(!show(Timestamp(u64::MAX)).is_empty());
    }
}
