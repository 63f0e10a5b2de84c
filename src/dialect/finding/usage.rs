//! Reading a usage object (W 3.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::UsageDetails;
use crate::ledger::Usage;

/// No call uses more; a larger figure is a mistake of the upstream's and must not empty a grant.
const MAX_TOKENS: u64 = 1 << 31;

/// A usage object that can be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub(super) usage: Usage,
    pub(super) details: UsageDetails,
    /// Whether the total says something else than the sum of its parts.
    pub(super) mismatch: bool,
}

/// The members that count. A number that is negative, a float or a string fails the whole object, and so does a member
/// that is given twice.
#[derive(Deserialize)]
struct Object<'a> {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
}

/// Details are for statistics: those that cannot be read are as if they were absent.
#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// Reads a usage object; `None` where it is malformed or incomplete.
pub(super) fn read(json: &[u8]) -> Option<Read> {
    // A list would be taken for the members in their order.
    if json.first() != Some(&b'{') {
        return None;
    }
    let object: Object<'_> = serde_json::from_slice(json).ok()?;
    let input = object.prompt_tokens?;
    let output = object.completion_tokens?;
    let total = object.total_tokens.unwrap_or(input.saturating_add(output));
    if input.max(output).max(total) > MAX_TOKENS {
        return None;
    }
    let beside = object.cached_tokens.and_then(|raw| raw.get().parse().ok());
    let details = UsageDetails {
        cached: part(object.prompt_tokens_details, |d| d.cached_tokens).or(beside),
        reasoning: part(object.completion_tokens_details, |d| d.reasoning_tokens),
    };
    // Never less than the total says: what it has beyond its parts is counted as output, the dearer side.
    let usage = Usage { input, output: output.max(total.saturating_sub(input)) };
    Some(Read { usage, details, mismatch: total != input + output })
}

fn part(raw: Option<&RawValue>, field: impl Fn(Details) -> Option<u64>) -> Option<u64> {
    let raw = raw.filter(|raw| raw.get().starts_with('{'))?;
    serde_json::from_str::<Details>(raw.get()).ok().and_then(field)
}
