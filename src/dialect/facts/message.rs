//! Messages: text is counted as it streams past, images are counted, everything that has no bound is named.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::names::names_media;
use super::skim::{Skim, TOO_DEEP, Text, is_sound};
use super::{Facts, MAX_TOOL_DEPTH, bound};

/// The list of messages; `left` is how deep its value may be nested.
pub(super) struct Messages<'f> {
    pub(super) facts: &'f mut Facts,
    pub(super) left: u8,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
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
                "content" | "reasoning_content" | "refusal" | "name" | "tool_call_id" => {
                    map.next_value_seed(Content { facts: &mut *self.facts, left: self.left })?;
                }
                "role" => {
                    let role = map.next_value_seed(Text)?;
                    if !matches!(&*role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
                        self.facts.count_text(&role);
                    }
                }
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

/// The content of a message: text, or a list of parts.
struct Content<'f> {
    facts: &'f mut Facts,
    left: u8,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of content parts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.facts.count_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Part::new(&mut *self.facts, self.left - 2))?.is_some() {}
        Ok(())
    }
}

/// One content part. A part of a known type, or with known members only, is bounded; whatever else it may be is not.
struct Part<'f> {
    facts: &'f mut Facts,
    left: u8,
    known_type: bool,
    /// Of another type, or with a member that may be media.
    other_type: bool,
    image_type: bool,
    images: u64,
    unknown_member: bool,
}

impl<'f> Part<'f> {
    fn new(facts: &'f mut Facts, left: u8) -> Self {
        Self { facts, left, known_type: false, other_type: false, image_type: false, images: 0, unknown_member: false }
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "type" => match &*map.next_value_seed(Text)? {
                "text" | "refusal" => self.known_type = true,
                "image_url" | "image" => (self.known_type, self.image_type) = (true, true),
                _ => self.other_type = true,
            },
            "text" | "refusal" => map.next_value_seed(Content { facts: &mut *self.facts, left: self.left })?,
            "image_url" | "image" => {
                self.images = self.images.saturating_add(1);
                if !map.next_value_seed(Image { left: self.left })? {
                    self.facts.unbound("an image part of an unknown form");
                }
            }
            "min_pixels" | "max_pixels" | "detail" => map.next_value_seed(Skim { left: self.left })?,
            "cache_control" => {
                self.facts.surcharge("cache_control");
                map.next_value_seed(Skim { left: self.left })?;
            }
            name => {
                self.unknown_member = true;
                self.other_type |= names_media(name);
                self.facts.count_json(map.next_value()?)?;
            }
        }
        Ok(())
    }

    /// Judges the members together.
    fn finish(self) {
        let images = self.images.max(u64::from(self.image_type));
        self.facts.input.images = self.facts.input.images.saturating_add(images);
        if self.other_type || (self.unknown_member && !self.known_type) {
            self.facts.unbound("a content part that is neither text nor an image");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content part")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.facts.count_text(text);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            self.member(&key, &mut map)?;
        }
        self.finish();
        Ok(())
    }
}

/// The value of an image part; gives whether it is one image for certain.
struct Image {
    left: u8,
}

impl<'de> DeserializeSeed<'de> for Image {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Image {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image")
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut one = true;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "url" => drop(map.next_value_seed(Text)?),
                other => {
                    one &= matches!(other, "detail" | "min_pixels" | "max_pixels");
                    map.next_value_seed(Skim { left: self.left - 1 })?;
                }
            }
        }
        Ok(one)
    }
}

impl Facts {
    fn count_text(&mut self, text: &str) {
        self.input.text = self.input.text.saturating_add(bound::text(text, self.input.text));
    }

    fn count_json<E: de::Error>(&mut self, raw: &RawValue) -> Result<(), E> {
        if !is_sound(raw, MAX_TOOL_DEPTH) {
            return Err(E::custom(TOO_DEEP));
        }
        self.input.json = self.input.json.saturating_add(bound::json(raw.get()));
        Ok(())
    }
}
