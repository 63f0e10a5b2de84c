//! Messages: text is counted as it streams past, images are counted, everything that has no bound is named.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::Facts;
use super::content::Content;
use super::names::names_media;
use super::skim::Text;

/// The list of messages; `left` is how deep its value may be nested.
pub(super) struct Messages<'f> {
    pub(super) facts: &'f mut Facts,
    pub(super) left: u8,
    /// Whether plain text may take the list's place.
    pub(super) words: bool,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.words { deserializer.deserialize_any(self) } else { deserializer.deserialize_seq(self) }
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.facts.input.messages = self.facts.input.messages.saturating_add(1);
        self.facts.count_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Message { facts: &mut *self.facts, left: self.left - 2 })?.is_some() {
            self.facts.input.messages = self.facts.input.messages.saturating_add(1);
        }
        Ok(())
    }
}

/// One message.
struct Message<'f> {
    facts: &'f mut Facts,
    left: u8,
}

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "content" | "reasoning_content" | "refusal" | "name" | "tool_call_id" | "output" | "summary" => {
                    map.next_value_seed(Content { facts: &mut *self.facts, left: self.left })?;
                }
                "role" => {
                    let role = map.next_value_seed(Text)?;
                    if !matches!(&*role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
                        self.facts.count_text(&role);
                    }
                }
                "type" => match &*map.next_value_seed(Text)? {
                    "message" | "function_call" | "function_call_output" | "reasoning" => {}
                    // Whose it is cannot be told by its id.
                    "item_reference" => return Err(de::Error::custom("an item by reference")),
                    _ => self.facts.unbound("an item that is no message"),
                },
                name => {
                    if name == "cache_control" {
                        self.facts.surcharge("cache_control");
                    }
                    if names_media(name) {
                        self.facts.unbound("a message with an unknown member that may refer to media");
                    }
                    self.facts.count_json(map.next_value()?)?;
                }
            }
        }
        Ok(())
    }
}
