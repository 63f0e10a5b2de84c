//! `config/catalogue.toml`: rows of the catalogue, the compiled-in ones and those of the operator's.

use std::collections::HashMap;
use std::path::Path;

use super::reader::Reader;
use super::report::{Origin, Report, Spot};
use super::row;
use super::tree::{self, Found, Value};
use crate::catalogue::{Catalogue, Model, model_inconsistencies, pool_inconsistencies};
use crate::ledger::ModelCode;

/// The rows that are compiled in.
const BUILT_IN: &str = include_str!("../../config/catalogue.toml");

/// What a file's rows have in common.
pub(super) struct Defaults {
    pub(super) currency: String,
    pub(super) validity_days: u32,
}

/// A row and the places of its parts, for what is found out later.
struct Row {
    model: Model,
    spot: Spot,
    spots: HashMap<&'static str, Spot>,
}

/// Reads the compiled-in rows and those of a file; a row of the file replaces a compiled-in one of the same code.
pub(super) fn read_all(report: &mut Report, file: Option<(&Path, Spot)>) -> Catalogue {
    let source = report.add_source("catalogue.toml", Origin::BuiltIn, BUILT_IN);
    let mut rows = read(report, BUILT_IN, source);
    if let Some((path, spot)) = file {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let source = report.add_source(&path.display().to_string(), Origin::File(path.to_owned()), &text);
                let theirs = read(report, &text, source);
                rows.retain(|row| theirs.iter().all(|other| other.model.code != row.model.code));
                rows.extend(theirs);
            }
            Err(error) => report.mistake(spot, format!("cannot read {}: {error}", path.display()), "this file", None),
        }
    }
    for (code, found) in pool_inconsistencies(rows.iter().map(|row| &row.model)) {
        if let Some(row) = rows.iter().find(|row| row.model.code == code) {
            report.mistake(row.place(found.key), format!("{code}: {}", found.problem), "here", None);
        }
    }
    Catalogue::new(rows.into_iter().map(|row| row.model))
}

impl Row {
    fn place(&self, key: &str) -> Spot {
        self.spots.get(key).copied().unwrap_or(self.spot)
    }
}

fn read(report: &mut Report, text: &str, source: usize) -> Vec<Row> {
    let table = tree::parse(text, source, report);
    let whole = Spot { source, start: 0, end: 0 };
    let mut r = Reader::new(report, &table, whole, "");
    let (defaults, rows) = (r.find("defaults"), r.find("model"));
    r.finish();
    let Some(defaults) = read_defaults(report, defaults) else { return Vec::new() };
    let mut read = Vec::new();
    let mut codes: HashMap<ModelCode, Spot> = HashMap::new();
    let elements = match rows.map(|found| &found.value) {
        None => return read,
        Some(Value::Array(elements)) => elements,
        Some(_) => {
            let spot = rows.map_or(whole, |found| found.spot);
            report.mistake(spot, "models are written as [[model]]", "not a list of tables", None);
            return read;
        }
    };
    for element in elements {
        let Some(row) = read_row(report, element, &defaults) else { continue };
        if codes.insert(row.model.code.clone(), row.spot).is_some() {
            report.mistake(row.place("code"), format!("{} is there twice", row.model.code), "the second", None);
        }
        for found in model_inconsistencies(&row.model) {
            report.mistake(row.place(found.key), format!("{}: {}", row.model.code, found.problem), "here", None);
        }
        read.push(row);
    }
    read
}

fn read_defaults(report: &mut Report, found: Option<&Found>) -> Option<Defaults> {
    let Some(found) = found else { return Some(Defaults { currency: "USD".to_owned(), validity_days: 90 }) };
    let Value::Table(table) = &found.value else {
        report.mistake(found.spot, "what rows have in common is written as [defaults]", "not a table", None);
        return None;
    };
    let mut r = Reader::new(report, table, found.key, "defaults");
    let currency = r.text("currency", "\"USD\"", row::currency);
    let validity_days = r.count("validity_days", 1..=3_650);
    r.finish();
    Some(Defaults { currency: currency?, validity_days: u32::try_from(validity_days?).ok()? })
}

fn read_row(report: &mut Report, element: &Found, defaults: &Defaults) -> Option<Row> {
    let Value::Table(table) = &element.value else {
        report.mistake(element.spot, "models are written as [[model]]", "not a table", None);
        return None;
    };
    let mut spots = HashMap::new();
    for key in ["code", "unit", "free_quota", "prices", "max_units", "bounds"] {
        spots.extend(table.get(key).map(|found| (key, found.spot)));
    }
    if let Some(Value::Table(bounds)) = table.get("bounds").map(|found| &found.value) {
        let keys = ["window", "max_input", "max_output", "max_thinking", "thinking_budget", "per_image_max", "max_n"];
        spots.extend(keys.into_iter().filter_map(|key| Some((key, bounds.get(key)?.spot))));
    }
    let model = row::read(report, table, element.spot, defaults)?;
    Some(Row { model, spot: element.spot, spots })
}
