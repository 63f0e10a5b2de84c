//! An event stream read at once, by other means than the observer's: what must pass, and what must be found.

use serde_json::Value;

/// What a whole stream says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The bytes for the client.
    pub(crate) bytes: Vec<u8>,
    /// Where in them the end mark begins.
    pub(crate) mark: Option<usize>,
    /// Every usage, in order, as input and output.
    pub(crate) usages: Vec<(u64, u64)>,
    /// Whether the last frame by form, one without choices, had a usage.
    pub(crate) last: bool,
    /// The codes of the errors.
    pub(crate) errors: Vec<String>,
    /// Frames that are no errors.
    pub(crate) others: usize,
    /// Whether every data event is a JSON object, so that the rest can be relied on.
    pub(crate) sound: bool,
}

/// Lines with their ends.
fn lines(stream: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut lines = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
        let after = &rest[end..];
        let length = if after.starts_with(b"\r\n") { 2 } else { after.len().min(1) };
        lines.push((&rest[..end], &after[..length]));
        rest = &after[length..];
    }
    lines
}

/// Reads a stream; with `strip` the usage chunk is left out of the bytes.
pub(crate) fn tell(stream: &[u8], strip: bool) -> Told {
    let mut told = Told { sound: true, ..Told::default() };
    let (mut event, mut data, mut mark): (Vec<u8>, Option<Vec<u8>>, Option<usize>) = (Vec::new(), None, None);
    let mut all = lines(stream);
    // The end of the stream ends the last event, too.
    all.push((b"", b""));
    for (line, end) in all {
        let payload = line.strip_prefix(b"data:").map(|p| p.strip_prefix(b" ").unwrap_or(p));
        match payload {
            Some(p) if p.starts_with(b"[DONE]") => mark = mark.or(Some(event.len())),
            Some(p) => {
                let so_far = data.get_or_insert_default();
                so_far.extend_from_slice(p);
                so_far.push(b'\n');
            }
            None => {}
        }
        event.extend_from_slice(line);
        event.extend_from_slice(end);
        if line.is_empty() {
            finish(&mut told, std::mem::take(&mut event), data.take(), mark.take(), strip);
        }
    }
    told
}

fn finish(told: &mut Told, event: Vec<u8>, data: Option<Vec<u8>>, mark: Option<usize>, strip: bool) {
    let mut usage_chunk = false;
    if let Some(data) = data.filter(|data| !data.iter().all(|b| *b == b'\n')) {
        let value: Option<Value> = serde_json::from_slice(&data).ok();
        match value.as_ref().and_then(Value::as_object) {
            None => {
                told.others += 1;
                told.sound = false;
            }
            Some(object) => {
                let usage = object.get("usage").filter(|usage| !usage.is_null());
                let empty = object.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
                usage_chunk = empty && usage.is_some_and(Value::is_object);
                if let Some((input, output)) = usage.and_then(counts) {
                    told.usages.push((input, output));
                    told.last |= usage_chunk;
                } else if usage.is_some() {
                    told.sound = false;
                }
                match object.get("error").filter(|error| !error.is_null()) {
                    Some(error) => told.errors.push(error["code"].as_str().unwrap_or_default().to_owned()),
                    None => told.others += 1,
                }
            }
        }
    }
    if usage_chunk && strip && mark.is_none() && event.len() <= 64 * 1024 {
        return;
    }
    if told.mark.is_none() {
        told.mark = mark.map(|at| told.bytes.len() + at);
    }
    told.bytes.extend_from_slice(&event);
}

fn counts(usage: &Value) -> Option<(u64, u64)> {
    let number = |name: &str| usage.get(name).and_then(Value::as_u64).filter(|n| *n <= 1 << 31);
    let (input, output) = (number("prompt_tokens")?, number("completion_tokens")?);
    let total = match usage.get("total_tokens") {
        None | Some(Value::Null) => input + output,
        Some(_) => number("total_tokens")?,
    };
    Some((input, output.max(total.saturating_sub(input))))
}
