//! Values that decide the cost, as strictly as they can be read.

use serde_json::value::RawValue;

use super::{MAX_COUNT, MAX_MODEL};
use crate::dialect::Kind;
use crate::dialect::error::DialectError;

/// A model code.
pub(super) fn model(raw: &RawValue) -> Result<String, DialectError> {
    if raw.get() == "null" {
        return Ok(String::new());
    }
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    text.filter(|model| (1..=MAX_MODEL).contains(&model.len()))
        .ok_or_else(|| DialectError::parameter("model", "must be a string of 1 to 128 bytes"))
}

/// A whole number from 1 to 2^31, written as nothing but digits; `null` is as if it were absent.
pub(super) fn count(name: &str, raw: &RawValue) -> Result<Option<u64>, DialectError> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    // Of what JSON can be, only digits and nothing else are read as one.
    let number = text.parse().ok().filter(|n| (1..=MAX_COUNT).contains(n));
    number.map(Some).ok_or_else(|| DialectError::parameter(name, "must be a whole number from 1 to 2147483648"))
}

/// True or false; `null` is as if it were absent.
pub(super) fn switch(name: &str, raw: &RawValue) -> Result<Option<bool>, DialectError> {
    match raw.get() {
        "null" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(DialectError::parameter(name, "must be true or false")),
    }
}

/// The ids of things: text, an object with an `id`, or a list of those.
pub(super) fn references(raw: &RawValue) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum One {
        Plain(String),
        Named { id: String },
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Any {
        One(One),
        Many(Vec<One>),
    }
    let found = match serde_json::from_str(raw.get()).ok()? {
        Any::One(one) => vec![one],
        Any::Many(many) => many,
    };
    let ids = found.into_iter().map(|one| match one {
        One::Plain(id) | One::Named { id } => Some(id).filter(|id| Kind::is_id(id)),
    });
    ids.collect()
}
