//! What reads a server's answers about itself, for the fuzz targets and their smoke run alone.

use redis::Value;

use super::facts::Facts;
use super::layout;

/// Reads an answer by everything that asks a server for what it is.
pub(in super::super) fn read(value: &Value) {
    let answers = if let Value::Array(answers) = value { answers.as_slice() } else { std::slice::from_ref(value) };
    if let Ok(facts) = Facts::read(answers) {
        facts.is_new_enough();
    }
    let _ = (layout::primary(value, "service"), layout::epoch(value), layout::replicas(value));
    for names in [false, true] {
        if let Ok(layout) = layout::masters(value, names, "asked:6379") {
            assert!(!layout.seats.is_empty());
        }
    }
}
