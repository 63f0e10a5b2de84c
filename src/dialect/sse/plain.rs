//! Events that can be passed over without reading their JSON: nearly all of them.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// The length of the event at the start of `bytes`, where it is one data line with its blank line and neither the end
/// mark nor a usage nor an error can be in it.
pub(super) fn plain_event(bytes: &[u8]) -> Option<usize> {
    let payload = bytes.strip_prefix(b"data:")?;
    let end = memchr2(b'\n', b'\r', payload)?;
    let (payload, rest) = payload.split_at_checked(end)?;
    let line_ends = match rest {
        [b'\n', b'\n', ..] => 2,
        [b'\r', b'\n', b'\r', b'\n', ..] => 4,
        _ => return None,
    };
    let text = payload.strip_prefix(b" ").unwrap_or(payload);
    if text.is_empty() || text.starts_with(b"[DONE]") || ERROR.find(text).is_some() || has_usage(text) {
        return None;
    }
    Some(b"data:".len() + payload.len() + line_ends)
}

/// Whether a member called `usage` may have a value, at any depth: whatever is not plainly `null` may be one.
fn has_usage(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = USAGE.find(rest) {
        rest = rest.get(at + USAGE.needle().len()..).unwrap_or_default();
        if !begins_with_null(rest) {
            return true;
        }
    }
    false
}

/// Whether what follows a key is `null` and then the next member or the end of the object.
fn begins_with_null(text: &[u8]) -> bool {
    let value = text.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    let behind = value.and_then(|value| value.strip_prefix(b"null")).map(<[u8]>::trim_ascii_start);
    behind.and_then(<[u8]>::first).is_some_and(|byte| matches!(byte, b',' | b'}'))
}
