//! Tools: which of them run at the provider and are billed apart.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_TOOL_DEPTH;
use super::skim::{Skim, Text};
use crate::dialect::Api;

/// What a list of tools is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Tools {
    /// Whether there is any.
    pub(super) any: bool,
    /// Whether one is not a function that the client runs itself.
    pub(super) server_side: bool,
    /// Whether one carries an explicit cache marker.
    pub(super) cache_control: bool,
}

/// Reads the value of `tools`; `None` where it is not a list of objects that are nested at most 32 deep.
pub(super) fn read(raw: &RawValue, api: Api) -> Option<Tools> {
    let mut tools = Tools::default();
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    List(&mut tools, api).deserialize(&mut reader).ok()?;
    Some(tools)
}

/// Anthropic's `thinking`; a member that is given twice fails it.
#[derive(serde::Deserialize)]
pub(super) struct Thinking<'a> {
    pub(super) r#type: String,
    #[serde(borrow)]
    pub(super) budget_tokens: Option<&'a RawValue>,
}

struct List<'t>(&'t mut Tools, Api);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tools")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Tool(&mut *self.0, self.1))?.is_some() {
            self.0.any = true;
        }
        Ok(())
    }
}

struct Tool<'t>(&'t mut Tools, Api);

impl<'de> DeserializeSeed<'de> for Tool<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tool<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // An Anthropic tool without a type is one that the client runs.
        let anthropic = self.1 == Api::Messages;
        let mut function = anthropic;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "type" => {
                    function = map.next_value_seed(Text)? == if anthropic { "custom" } else { "function" };
                    self.0.server_side |= !function;
                }
                name => {
                    self.0.cache_control |= name == "cache_control";
                    map.next_value_seed(Skim { left: MAX_TOOL_DEPTH - 2 })?;
                }
            }
        }
        self.0.server_side |= !function;
        Ok(())
    }
}
