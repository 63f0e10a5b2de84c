//! Reading a few members of a JSON object so that no other parser can read other ones.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::error::DialectError;
use super::facts::looks_like;

/// The values of the members `names`, each as it is written; `null` counts as absent.
///
/// # Errors
/// It is not one object, or a member is given twice, or is spelled so that a lenient parser takes it for one of `names`.
pub(super) fn members<'a, const N: usize>(
    json: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], DialectError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = Members { names }.deserialize(&mut reader).and_then(|found| reader.end().map(|()| found));
    let found = found.map_err(|error| match error.classify() {
        // What the visitor says names a member of ours; what the parser says of the text may quote the caller.
        Category::Data => DialectError::request("A member of the message is given twice, disguised, or no object."),
        Category::Io | Category::Syntax | Category::Eof => DialectError::request("The message is not JSON."),
    })?;
    Ok(found.map(|value| value.map(RawValue::get).filter(|raw| *raw != "null")))
}

/// A string; `None` where the value is something else.
pub(super) fn string(raw: Option<&str>) -> Option<String> {
    serde_json::from_str(raw?).ok()
}

struct Members<const N: usize> {
    names: [&'static str; N],
}

type Found<'a, const N: usize> = [Option<&'a RawValue>; N];

impl<'a, const N: usize> DeserializeSeed<'a> for Members<N> {
    type Value = Found<'a, N>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for Members<N> {
    type Value = Found<'a, N>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(key) = map.next_key::<Cow<'a, str>>()? {
            let value: &RawValue = map.next_value()?;
            match self.names.iter().zip(&mut found).find(|(name, _)| ***name == *key) {
                Some((_, place)) if place.is_some() => return Err(serde::de::Error::custom("given twice")),
                Some((_, place)) => *place = Some(value),
                None if self.names.iter().any(|name| looks_like(&key, name)) => {
                    return Err(serde::de::Error::custom("disguised"));
                }
                None => {}
            }
        }
        Ok(found)
    }
}
