//! Reading the wire vectors.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use serde_json::Value;

/// The vectors of these protocols, by file name.
pub fn of_protocols(protocols: &[&str]) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json") && !path.ends_with("index.json"))
        .map(|path| {
            let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), vector)
        })
        .filter(|(_, vector)| vector["protocol"].as_str().is_some_and(|protocol| protocols.contains(&protocol)))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The exact bytes of a request or a reply.
pub fn bytes_of(part: &Value) -> Vec<u8> {
    if let Some(text) = part["body_text"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = part["body_base64"].as_str() {
        return base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    }
    part.get("body_json").map(|json| serde_json::to_vec(json).unwrap()).unwrap_or_default()
}

pub fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// `part` is a deep subset of `whole`.
pub fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value)))
        }
        _ => whole == part,
    }
}
