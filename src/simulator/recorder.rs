//! The last requests as they came in, for tests that look at what went upstream.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

/// The most bytes of bodies that are kept; older requests make room.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A request as it was received.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) version: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    fn to_json(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let (text, base64) = match std::str::from_utf8(&self.body) {
            Ok(text) => (Value::from(text), Value::Null),
            Err(_) => (Value::Null, Value::from(STANDARD.encode(&self.body))),
        };
        json!({
            "number": self.number, "method": self.method, "path": self.path, "version": self.version,
            "headers": headers, "body": text, "body_base64": base64, "body_bytes": self.body.len(),
        })
    }
}

/// A ring bounded in number and in bytes.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: VecDeque<Seen>,
    most: usize,
    bytes: usize,
    count: u64,
}

impl Recorder {
    pub(super) const fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most, bytes: 0, count: 0 }
    }

    /// Takes a request in and answers its number, counted from 1.
    pub(super) fn take(&mut self, mut seen: Seen) -> u64 {
        self.count = self.count.saturating_add(1);
        seen.number = self.count;
        self.bytes = self.bytes.saturating_add(seen.body.len());
        self.kept.push_back(seen);
        while self.kept.len() > self.most || self.bytes > MAX_BYTES {
            let Some(old) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.body.len());
        }
        self.count
    }

    /// How many requests came in, control requests left out.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The body of `GET /requests`: the last `last`, oldest first.
    pub(super) fn to_json(&self, last: usize) -> Value {
        let skip = self.kept.len().saturating_sub(last);
        let requests: Vec<Value> = self.kept.iter().skip(skip).map(Seen::to_json).collect();
        json!({"count": self.count, "requests": requests})
    }
}
