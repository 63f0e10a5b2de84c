//! The members of `stream_options`.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::skim::{Skim, Text};
use super::{MAX_DEPTH, names};

/// What is inside `stream_options`.
#[derive(Default)]
pub(super) struct StreamOptions<'de> {
    pub(super) include_usage: Option<&'de RawValue>,
    /// Whether there is any member.
    pub(super) any: bool,
    /// Whether `include_usage` is there twice, or something that looks like it.
    ambiguous: bool,
}

/// Reads `stream_options`; `None` where it is not an object with `include_usage` at most once.
pub(super) fn read(raw: &RawValue) -> Option<StreamOptions<'_>> {
    let mut found = StreamOptions::default();
    (&mut found).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).ok()?;
    (!found.ambiguous).then_some(found)
}

impl<'de> DeserializeSeed<'de> for &mut StreamOptions<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut StreamOptions<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            self.any = true;
            if key == "include_usage" {
                self.ambiguous |= self.include_usage.replace(map.next_value()?).is_some();
            } else {
                self.ambiguous |= names::looks_like(&key, "include_usage");
                map.next_value_seed(Skim { left: MAX_DEPTH - 2 })?;
            }
        }
        Ok(())
    }
}
