//! The parts of a site's rule set that have a shape of their own: cohorts, what a grant covers, notices.

use super::reader::Reader;
use super::report::Spot;
use super::tree::{Table, Value};
use crate::catalogue::{Cohort, Covers, Notices};
use crate::ledger::Timestamp;

/// `[[cohort]]`: may be absent. The latest comes first.
pub(super) fn cohorts(r: &mut Reader<'_, '_>, zone: &str) -> Option<Vec<Cohort>> {
    let Some(found) = r.find("cohort") else { return Some(Vec::new()) };
    let Value::Array(rows) = &found.value else {
        r.report.mistake(found.spot, "cohorts are written as [[cohort]]", "not a list of tables", None);
        return None;
    };
    let mut cohorts = Vec::new();
    for row in rows {
        let Value::Table(table) = &row.value else {
            r.report.mistake(row.spot, "cohorts are written as [[cohort]]", "not a table", None);
            return None;
        };
        cohorts.push(cohort(r, table, row.spot, zone)?);
    }
    cohorts.sort_by_key(|cohort| std::cmp::Reverse(cohort.activated_from));
    Some(cohorts)
}

fn cohort(r: &mut Reader<'_, '_>, table: &Table, spot: Spot, zone: &str) -> Option<Cohort> {
    let mut r = Reader::new(r.report, table, spot, "cohort");
    let from = r.text("activated_from", "\"2025-09-08T11:00\"", |text| instant(text, zone));
    let days = r.count("validity_days", 1..=3_650);
    r.finish();
    Some(Cohort { activated_from: from?, validity_days: u32::try_from(days?).ok()? })
}

/// A local time in the site's zone.
fn instant(text: &str, zone: &str) -> Result<Timestamp, String> {
    let wrong = || format!("\"{text}\" is no time: write 2025-09-08T11:00, as a clock of the site shows it");
    let zone = jiff::tz::TimeZone::get(zone).map_err(|_| wrong())?;
    let local: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
    let stamp = local.to_zoned(zone).map_err(|_| wrong())?.timestamp();
    u64::try_from(stamp.as_millisecond()).map(Timestamp).map_err(|_| wrong())
}

/// `[covers]`.
pub(super) fn covers(r: &mut Reader<'_, '_>) -> Option<Covers> {
    let (table, spot) = section(r, "covers")?;
    let mut r = Reader::new(r.report, table, spot, "covers");
    let explicit_cache = r.flag("explicit_cache");
    r.finish();
    Some(Covers { explicit_cache: explicit_cache? })
}

/// `[notices]`.
pub(super) fn notices(r: &mut Reader<'_, '_>) -> Option<Notices> {
    let (table, spot) = section(r, "notices")?;
    let mut r = Reader::new(r.report, table, spot, "notices");
    let on = r.flag("on");
    let percent = counts(&mut r, "remaining_percent", 99);
    let days = counts(&mut r, "days_before_end", 365);
    r.finish();
    let percent = percent?.into_iter().filter_map(|count| u8::try_from(count).ok()).collect();
    Some(Notices { on: on?, remaining_percent: percent, days_before_end: days? })
}

fn counts(r: &mut Reader<'_, '_>, key: &'static str, most: u64) -> Option<Vec<u32>> {
    let found = r.find(key);
    let Some(Value::Array(elements)) = found.map(|found| &found.value) else {
        let spot = found.map_or(r.spot, |found| found.spot);
        r.report.mistake(spot, format!("`{key}` is a list of numbers"), "here", Some("for example [20, 0]".to_owned()));
        return None;
    };
    let read = elements.iter().map(|element| r.number(element, 0..=most).and_then(|count| u32::try_from(count).ok()));
    let counts: Vec<Option<u32>> = read.collect();
    counts.into_iter().collect()
}

fn section<'t>(r: &mut Reader<'_, 't>, key: &'static str) -> Option<(&'t Table, Spot)> {
    match r.find(key) {
        Some(found) => match &found.value {
            Value::Table(table) => Some((table, found.spot)),
            Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Array(_) | Value::Other(_) => {
                r.report.mistake(found.spot, format!("`{key}` is a section: [{key}]"), "not a section", None);
                None
            }
        },
        None => {
            r.report.mistake(r.spot, format!("the section [{key}] is missing"), "in this file", None);
            None
        }
    }
}
