//! Leaving out of a body what is billed beside the free quota, where the operator prefers that to a refusal (C11).
//!
//! What is left is read and judged anew like any request, so nothing here decides about cost: what could not be left out is
//! refused as before.

use std::fmt;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// What can be left out without changing what the rest of a request means. Tools that run at the provider cannot: the model is
/// told to use them.
pub const STRIPPABLE: [&str; 9] = [
    "cache_control",
    "enable_code_interpreter",
    "enable_search",
    "plugins",
    "prompt_cache_retention",
    "search_options",
    "service_tier",
    "skill",
    "web_search_options",
];

/// The marker that may stand in messages, their parts, and tools as well.
const MARKER: &str = "cache_control";

/// The body without the members of these names; every other byte stays. `None` where there is none of them.
#[must_use]
pub fn strip(body: &Bytes, names: &[String]) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let whole: &RawValue = serde_json::from_str(text).ok()?;
    let mut cut = Cut { text, names, ranges: Vec::new() };
    cut.object(whole, true);
    let mut ranges = cut.ranges;
    if ranges.is_empty() {
        return None;
    }
    ranges.sort_by_key(|range| range.start);
    let mut rest = BytesMut::with_capacity(body.len());
    let mut from = 0;
    for range in ranges {
        rest.put_slice(body.get(from..range.start)?);
        from = range.end;
    }
    rest.put_slice(body.get(from..)?);
    Some(rest.freeze())
}

/// A member of an object: its name, its value, and where the two stand in the body.
struct Member<'t> {
    name: String,
    value: &'t RawValue,
    span: Range<usize>,
}

struct Cut<'t> {
    text: &'t str,
    names: &'t [String],
    ranges: Vec<Range<usize>>,
}

impl<'t> Cut<'t> {
    fn object(&mut self, raw: &'t RawValue, is_top: bool) {
        let Some(members) = self.members(raw) else { return };
        let goes = |member: &Member<'_>| {
            let named = self.names.contains(&member.name);
            named && (is_top || member.name == MARKER)
        };
        let gone: Vec<bool> = members.iter().map(goes).collect();
        let mut at = 0;
        for run in gone.chunk_by(|one, other| one == other) {
            let (first, next) = (at, at + run.len());
            at = next;
            if run.first() == Some(&true) {
                self.ranges.extend(stretch(self.text, &members, first, next));
            }
        }
        for (member, _) in members.iter().zip(&gone).filter(|(_, gone)| !**gone) {
            match (member.name.as_str(), is_top) {
                ("parameters", true) => self.object(member.value, true),
                ("input", true) if member.value.get().starts_with('{') => self.object(member.value, true),
                ("messages" | "system" | "tools" | "input", true) | ("content", false) => self.list(member.value),
                _ => {}
            }
        }
    }

    fn list(&mut self, raw: &'t RawValue) {
        let things: Vec<&'t RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        for thing in things.into_iter().filter(|thing| thing.get().starts_with('{')) {
            self.object(thing, false);
        }
    }

    fn members(&self, raw: &'t RawValue) -> Option<Vec<Member<'t>>> {
        let found = serde_json::Deserializer::from_str(raw.get()).deserialize_map(Members).ok()?;
        let member = |(name, value): (String, &'t RawValue)| {
            let start = value.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
            // In front of a value stand a colon and its name. No name that is left out has a quote in it; of another name the
            // beginning is not used.
            let name_end = self.text.get(..start)?.rfind('"')?;
            let name_start = self.text.get(..name_end)?.rfind('"')?;
            Some(Member { name, value, span: name_start..start + value.get().len() })
        };
        found.into_iter().map(member).collect()
    }
}

/// Where a run of neighbours stands, with the comma that goes with it: the one in front of it, else the one behind it.
fn stretch(text: &str, members: &[Member<'_>], first: usize, next: usize) -> Option<Range<usize>> {
    let (begin, end) = (members.get(first)?.span.start, members.get(next.checked_sub(1)?)?.span.end);
    if let Some(before) = first.checked_sub(1).and_then(|before| members.get(before)) {
        return Some(before.span.end..end);
    }
    let behind = text.get(end..)?;
    let comma = behind.trim_start().starts_with(',');
    Some(begin..if comma { end + behind.find(',')? + 1 } else { end })
}

/// The members of an object, in their order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(text: &str, names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rest = strip(&Bytes::copy_from_slice(text.as_bytes()), &names)?;
        serde_json::from_slice::<serde_json::Value>(&rest).expect("what is left is JSON");
        Some(String::from_utf8(rest.to_vec()).expect("what is left is text"))
    }

    #[test]
    fn a_member_goes_with_one_comma_wherever_it_stands() {
        let all = ["plugins", "enable_search", "skill"];
        for (text, rest) in [
            (r#"{"plugins":1}"#, r"{}"),
            (r#"{ "plugins" : [1] , "a": 1 }"#, r#"{  "a": 1 }"#),
            (r#"{"a":1,"plugins":{"x":"}"}}"#, r#"{"a":1}"#),
            (r#"{"a":1 , "plugins":1 ,"b":2}"#, r#"{"a":1 ,"b":2}"#),
            (r#"{"plugins":1,"enable_search":true,"a":1,"skill":null}"#, r#"{"a":1}"#),
            (r#"{"plugins":1,"enable_search":true}"#, r"{}"),
            (r#"{"plug\u0069ns":1,"a":1}"#, r#"{"a":1}"#),
            (r#"{"a\"b":1,"plugins":1,"c\"d":2}"#, r#"{"a\"b":1,"c\"d":2}"#),
        ] {
            assert_eq!(stripped(text, &all).as_deref(), Some(rest), "{text}");
        }
    }

    #[test]
    fn only_what_is_named_goes_and_only_from_where_it_is_billed() {
        assert_eq!(stripped(r#"{"a":{"plugins":1},"messages":[{"plugins":1}]}"#, &["plugins"]), None);
        assert_eq!(stripped(r#"{"enable_search":true}"#, &["plugins"]), None);
        assert_eq!(stripped("[]", &["plugins"]), None);
        assert_eq!(stripped("nothing", &["plugins"]), None);
        let rest = stripped(r#"{"input":{"x":1},"parameters":{"enable_search":true,"n":1}}"#, &["enable_search"]);
        assert_eq!(rest.as_deref(), Some(r#"{"input":{"x":1},"parameters":{"n":1}}"#));
    }

    #[test]
    fn markers_go_from_messages_parts_and_tools_and_stay_in_what_is_the_callers_own() {
        let text = r#"{"system":[{"text":"a","cache_control":{"type":"ephemeral"}}],"messages":[{"cache_control":1,"content":
            [{"cache_control":{},"text":"cache_control"}]}],"tools":[{"cache_control":{},"input_schema":{"cache_control":1}}]}"#;
        let rest = r#"{"system":[{"text":"a"}],"messages":[{"content":
            [{"text":"cache_control"}]}],"tools":[{"input_schema":{"cache_control":1}}]}"#;
        assert_eq!(stripped(text, &["cache_control"]).as_deref(), Some(rest));
    }
}
