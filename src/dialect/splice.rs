//! Writing bounds into a body without touching anything else.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::facts::{Options, Slot, Spans, Switch};

/// What to write into a request before it goes upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clamp {
    /// The bound of one answer, in tokens. It is written wherever the client bounds the answer, else as `max_tokens`.
    pub answer: Option<u64>,
    /// The bound of thinking, in tokens, as `thinking_budget`.
    pub thinking_budget: Option<u64>,
    /// Write `enable_thinking: false` where the request is silent.
    pub disable_thinking: bool,
    /// Ask for usage in the stream.
    pub include_usage: bool,
}

/// Text that takes the place of a range of the body; an empty range inserts.
struct Edit {
    range: Range<usize>,
    text: String,
}

impl Edit {
    fn replace(range: &Range<usize>, text: impl Into<String>) -> Self {
        Self { range: range.clone(), text: text.into() }
    }
}

/// The body with the clamp written into it.
pub(super) fn splice(spans: &Spans, body: &Bytes, clamp: &Clamp) -> Bytes {
    if body.len() != spans.length {
        return Bytes::new();
    }
    let mut edits = edits(spans, clamp);
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|edit| edit.range.start);
    apply(body, &edits)
}

fn edits(spans: &Spans, clamp: &Clamp) -> Vec<Edit> {
    let mut edits = Vec::new();
    // Members that are not there yet.
    let mut added: Vec<String> = Vec::new();
    if let Some(answer) = clamp.answer {
        edits.extend(spans.answers.iter().map(|range| Edit::replace(range, answer.to_string())));
        if edits.is_empty() {
            added.push(format!("\"{}\":{answer}", spans.answer_name));
        }
    }
    if let Some(budget) = clamp.thinking_budget {
        match &spans.thinking_budget {
            Some(range) => edits.push(Edit::replace(range, budget.to_string())),
            None => added.push(format!("\"thinking_budget\":{budget}")),
        }
    }
    if clamp.disable_thinking {
        let (name, value) = spans.no_thinking;
        match &spans.enable_thinking {
            Switch::Absent => added.push(format!("\"{name}\":{value}")),
            Switch::Null(range) => edits.push(Edit::replace(range, value)),
            Switch::Said => {}
        }
    }
    if clamp.include_usage {
        match &spans.options {
            Options::Absent => added.push("\"stream_options\":{\"include_usage\":true}".to_owned()),
            Options::Null(range) => edits.push(Edit::replace(range, "{\"include_usage\":true}")),
            Options::Silent { at, empty } => {
                let comma = if *empty { "" } else { "," };
                edits.push(Edit { range: *at..*at, text: format!("\"include_usage\":true{comma}") });
            }
            Options::Said(range) => edits.push(Edit::replace(range, "true")),
        }
    }
    if !added.is_empty() {
        let Slot { range, before, after } = &spans.slot;
        edits.push(Edit { range: range.clone(), text: format!("{before}{}{after}", added.join(",")) });
    }
    edits
}

/// The body with the edits, which are in order and do not overlap.
fn apply(body: &Bytes, edits: &[Edit]) -> Bytes {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = BytesMut::with_capacity(body.len() + added);
    let mut from = 0;
    for edit in edits {
        out.put_slice(body.get(from..edit.range.start).unwrap_or_default());
        out.put_slice(edit.text.as_bytes());
        from = edit.range.end;
    }
    out.put_slice(body.get(from..).unwrap_or_default());
    out.freeze()
}
