//! Content: texts and parts, and what in them has no bound.

use std::fmt;

use memchr::memmem;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::names::{names_media, names_moving};
use super::skim::{Skim, TOO_DEEP, Text, is_sound};
use super::{Facts, MAX_TOOL_DEPTH, bound};
use crate::dialect::Kind;
use crate::ledger::Unit;

/// The content of a message: text, or a list of parts.
pub(super) struct Content<'f> {
    pub(super) facts: &'f mut Facts,
    pub(super) left: u8,
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
        let inner = self.left.checked_sub(2).ok_or_else(|| de::Error::custom(TOO_DEEP))?;
        while seq.next_element_seed(Part::new(&mut *self.facts, inner))?.is_some() {}
        Ok(())
    }
}

/// Texts of which each is read by itself: one, or a list of them, of parts, or of token ids. Each counts as a message.
pub(super) struct Texts<'f> {
    pub(super) facts: &'f mut Facts,
    pub(super) left: u8,
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of texts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.facts.input.messages = self.facts.input.messages.saturating_add(1);
        self.facts.count_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.left.checked_sub(2).ok_or_else(|| de::Error::custom(TOO_DEEP))?;
        while seq.next_element_seed(Part::new(&mut *self.facts, inner))?.is_some() {
            self.facts.input.messages = self.facts.input.messages.saturating_add(1);
        }
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
    /// Sound of a known length: its tokens are not known all the same.
    heard: bool,
}

impl<'f> Part<'f> {
    fn new(facts: &'f mut Facts, left: u8) -> Self {
        Self {
            facts,
            left,
            known_type: false,
            other_type: false,
            image_type: false,
            images: 0,
            unknown_member: false,
            heard: false,
        }
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "type" => match &*map.next_value_seed(Text)? {
                "text" | "refusal" | "input_text" | "output_text" | "summary_text" | "reasoning_text" => {
                    self.known_type = true;
                }
                // What a template writes around these is bounded as JSON, like what is in them.
                kind @ ("tool_use" | "tool_result" | "thinking" | "redacted_thinking") => {
                    self.known_type = true;
                    self.facts.count_member(key, kind);
                }
                "image_url" | "image" | "input_image" => (self.known_type, self.image_type) = (true, true),
                _ => self.other_type = true,
            },
            "text" | "refusal" | "content" | "thinking" => self.content(map)?,
            "image_url" | "image" | "source" => {
                self.images = self.images.saturating_add(1);
                if !map.next_value_seed(Image { facts: &mut *self.facts, left: self.left })? {
                    self.facts.unbound("an image part of an unknown form");
                }
            }
            "file_id" | "fileid" => {
                self.other_type = true;
                let id = map.next_value_seed(Text)?;
                self.facts.refer(Kind::File, id.into_owned());
            }
            "file" => {
                self.other_type = true;
                map.next_value_seed(Image { facts: &mut *self.facts, left: self.left })?;
            }
            "audio" => {
                self.facts.count_member(key, "");
                let raw: &RawValue = map.next_value()?;
                self.facts.count_json(raw)?;
                if self.facts.hear(raw) { self.heard = true } else { self.other_type = true }
            }
            "min_pixels" | "max_pixels" | "detail" => map.next_value_seed(Skim { left: self.left })?,
            "cache_control" => {
                self.facts.surcharge("cache_control");
                map.next_value_seed(Skim { left: self.left })?;
            }
            name => {
                self.unknown_member = true;
                self.other_type |= names_media(name);
                self.facts.units.video |= names_moving(name);
                self.facts.count_member(name, "");
                let raw: &RawValue = map.next_value()?;
                if names_media(name) {
                    self.facts.units.record(raw);
                }
                self.facts.count_json(raw)?;
            }
        }
        Ok(())
    }

    fn content<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Content { facts: &mut *self.facts, left: self.left })
    }

    /// Judges the members together.
    fn finish(self) {
        let images = self.images.max(u64::from(self.image_type));
        self.facts.input.images = self.facts.input.images.saturating_add(images);
        if self.heard {
            self.facts.input.unbounded.get_or_insert("sound");
        }
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

    /// The id of a token.
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.facts.input.text = self.facts.input.text.saturating_add(1);
        Ok(())
    }

    /// The ids of one text's tokens.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<u32>()?.is_some() {
            self.facts.input.text = self.facts.input.text.saturating_add(1);
        }
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
struct Image<'f> {
    facts: &'f mut Facts,
    left: u8,
}

impl<'de> DeserializeSeed<'de> for Image<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Image<'_> {
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
                "url" | "data" | "media_type" => drop(map.next_value_seed(Text)?),
                "type" => one &= matches!(&*map.next_value_seed(Text)?, "base64" | "url"),
                "file_id" => {
                    one = false;
                    let id = map.next_value_seed(Text)?;
                    self.facts.refer(Kind::File, id.into_owned());
                }
                other => {
                    one &= matches!(other, "detail" | "min_pixels" | "max_pixels");
                    map.next_value_seed(Skim { left: self.left - 1 })?;
                }
            }
        }
        Ok(one)
    }
}

/// How a text refers to a file that is kept at the provider.
const FILE_SCHEME: &str = "fileid://";

impl Facts {
    pub(super) fn count_text(&mut self, text: &str) {
        self.input.text = self.input.text.saturating_add(bound::text(text, self.input.text));
        if self.api.counts(Unit::Characters) {
            let (all, spoken) = bound::characters(text);
            self.units.characters = self.units.characters.saturating_add(all);
            // Tags are known to be free in a text that is marked as a whole (W 4).
            let marked = text.trim_start().starts_with("<speak");
            self.units.spoken = self.units.spoken.saturating_add(if marked { spoken } else { all });
        }
        if memmem::find(text.as_bytes(), FILE_SCHEME.as_bytes()).is_none() {
            return;
        }
        for part in text.split(FILE_SCHEME).skip(1) {
            let end =
                part.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(part.len());
            self.refer(Kind::File, part.get(..end).unwrap_or_default().to_owned());
            self.unbound("a file");
        }
    }

    /// Counts the name of a member, with the punctuation around it, and a plain text in it.
    fn count_member(&mut self, name: &str, value: &str) {
        let punctuation = bound::json(r#""":"",{}"#);
        self.input.json = self.input.json.saturating_add(bound::json(name) + bound::json(value) + punctuation);
    }

    pub(super) fn count_json<E: de::Error>(&mut self, raw: &RawValue) -> Result<(), E> {
        if !is_sound(raw, MAX_TOOL_DEPTH) {
            return Err(E::custom(TOO_DEEP));
        }
        self.count_other(raw.get());
        Ok(())
    }

    /// Counts JSON of which it is not known what becomes of it: it may end up in the prompt, and it may be spoken, of which the bytes
    /// as they are written are a bound.
    pub(super) fn count_other(&mut self, raw: &str) {
        self.input.json = self.input.json.saturating_add(bound::json(raw));
        let length = bound::ids(raw.len());
        self.units.characters = self.units.characters.saturating_add(length);
        self.units.spoken = self.units.spoken.saturating_add(length);
    }
}
