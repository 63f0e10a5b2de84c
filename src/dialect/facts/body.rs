//! The body, object by object.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::content::{Content, Texts};
use super::message::Messages;
use super::names::{self, Known, Role, Table};
use super::skim::{Skim, TOO_DEEP, Text};
use super::splice_spans::Slot;
use super::tables::{self, Grammar};
use super::{Facts, MAX_DEPTH, MAX_NAME, MAX_UNKNOWN};
use crate::dialect::Api;
use crate::dialect::error::DialectError;

/// What an app or a parser of ours adds to each text that is ranked, in tokens: the instruction around query and document.
const RANKED: u64 = 128;

/// Reads a whole body.
pub(super) fn read(api: Api, body: &[u8]) -> Result<Facts, DialectError> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(DialectError::request("The request body is not valid UTF-8."));
    };
    let mut reader = Reader::new(api, text);
    let mut json = serde_json::Deserializer::from_str(text);
    let root = reader.grammar.root;
    let read = reader.object(root, Place::Root).deserialize(&mut json).and_then(|()| json.end());
    if let Some(problem) = reader.problem.take() {
        return Err(problem);
    }
    read.map_err(|error| reader.explain(&error))?;
    reader.finish()
}

/// What is being read, and what was found so far.
pub(super) struct Reader<'de> {
    pub(super) body: &'de str,
    pub(super) grammar: Grammar,
    pub(super) facts: Facts,
    /// The names of the required parameters that were seen.
    required: Vec<&'static str>,
    /// The parameter that is being read.
    pub(super) at: Option<&'static str>,
    /// An error of ours, which the JSON reader's own error type has no room for.
    pub(super) problem: Option<DialectError>,
    pub(super) n: Option<u64>,
    pub(super) best_of: Option<u64>,
    /// The name and the value of the first bound of an answer.
    pub(super) answer: Option<(&'static str, u64)>,
    pub(super) other_thinking: bool,
    /// Text that is read once beside each other one, in tokens.
    query: u64,
    /// How deep a value may be nested in the object that is being read.
    pub(super) left: u8,
}

/// Which object is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Input,
    Parameters,
}

/// One object of the body.
pub(super) struct Object<'r, 'de> {
    reader: &'r mut Reader<'de>,
    table: Table,
    place: Place,
    /// The known parameters that were seen, one bit each.
    seen: u64,
    /// The names of the unknown ones.
    others: Vec<Cow<'de, str>>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Place::Root | Place::Parameters => deserializer.deserialize_map(self),
            Place::Input => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    /// An encrypted input, which only the provider can read (W 2.3).
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.reader.facts.unbound("an encrypted input");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let inner = MAX_DEPTH - if self.place == Place::Root { 1 } else { 2 };
        while let Some(key) = map.next_key_seed(Text)? {
            let known = self.identify(key).map_err(|problem| self.reader.fail(problem))?;
            let at = std::mem::replace(&mut self.reader.at, known.as_ref().map(|known| known.name));
            let reader = &mut *self.reader;
            let words = reader.facts.api == Api::Responses;
            match known.as_ref().map(|known| known.role) {
                Some(Role::Messages) => {
                    map.next_value_seed(Messages { facts: &mut reader.facts, left: inner, words })?;
                }
                Some(Role::Input) => map.next_value_seed(reader.object(reader.grammar.input, Place::Input))?,
                Some(Role::Content) => map.next_value_seed(Texts { facts: &mut reader.facts, left: inner })?,
                Some(Role::Documents) => {
                    let before = reader.facts.input.messages;
                    map.next_value_seed(Texts { facts: &mut reader.facts, left: inner })?;
                    let ranked = reader.facts.input.messages - before;
                    reader.facts.input.text = reader.facts.input.text.saturating_add(ranked.saturating_mul(RANKED));
                }
                Some(Role::Query) => {
                    let before = reader.facts.input.text;
                    map.next_value_seed(Content { facts: &mut reader.facts, left: inner })?;
                    let length = std::mem::replace(&mut reader.facts.input.text, before).saturating_sub(before);
                    reader.query = reader.query.saturating_add(length);
                }
                Some(Role::Harmless) => map.next_value_seed(Skim { left: inner })?,
                Some(_) => {
                    let raw: &'de RawValue = map.next_value()?;
                    let taken = known.as_ref().map_or(Ok(()), |known| reader.parameter(known, raw));
                    taken.map_err(|problem| reader.fail(problem))?;
                }
                None => {
                    let raw: &'de RawValue = map.next_value()?;
                    if self.others.last().is_some_and(|key| names::names_media(key)) {
                        reader.facts.units.record(raw);
                    }
                    reader.unknown(raw).map_err(|problem| reader.fail(problem))?;
                }
            }
            self.reader.at = at;
        }
        Ok(())
    }
}

impl<'de> Object<'_, 'de> {
    /// Which parameter a key is; refuses a second one of the same name and one that only looks like a metered one.
    fn identify(&mut self, key: Cow<'de, str>) -> Result<Option<Known>, DialectError> {
        if let Some(known) = names::known(self.table, &key) {
            let bit = 1_u64 << known.index;
            if self.seen & bit != 0 {
                return Err(DialectError::parameter(known.name, "is given twice"));
            }
            self.seen |= bit;
            if self.place == Place::Root {
                self.reader.required.push(known.name);
            }
            return Ok(Some(known));
        }
        if key.len() > MAX_NAME {
            return Err(DialectError::request("The request body has a parameter whose name is too long."));
        }
        if let Some(name) = names::disguised(self.table, &key) {
            return Err(DialectError::parameter(name, "is written in another way than this; use exactly this name"));
        }
        if self.place == Place::Root
            && let Some(name) = names::disguised(self.reader.grammar.parameters, &key)
        {
            return Err(DialectError::parameter(name, "belongs into `parameters`"));
        }
        if self.others.contains(&key) {
            return Err(DialectError::request("The request body gives a parameter twice."));
        }
        if self.others.len() == MAX_UNKNOWN {
            return Err(DialectError::request("The request body has too many unknown parameters."));
        }
        if names::names_media(&key) {
            self.reader.facts.unbound("an unknown parameter that may refer to media");
            self.reader.facts.units.video |= names::names_moving(&key);
        }
        self.others.push(key);
        Ok(None)
    }
}

impl<'de> Reader<'de> {
    fn new(api: Api, body: &'de str) -> Self {
        let grammar = tables::grammar(api);
        let mut facts = Facts { api, choices: 1, ..Facts::default() };
        let open = body.find('{').map_or(0, |at| at + 1);
        facts.spans.length = body.len();
        facts.spans.answer_name = grammar.answer;
        facts.spans.no_thinking = grammar.no_thinking;
        facts.spans.slot = match grammar.parameters {
            [] => Slot::in_object(open, false),
            _ => Slot::before(open, "\"parameters\":{", "},"),
        };
        facts.thinking.adds_budget = grammar.adds_budget;
        // Whoever names no action may make a voice.
        facts.units.made = 1;
        Self {
            body,
            grammar,
            facts,
            required: Vec::new(),
            at: None,
            problem: None,
            n: None,
            best_of: None,
            answer: None,
            other_thinking: false,
            query: 0,
            left: MAX_DEPTH - 1,
        }
    }

    pub(super) fn object(&mut self, table: Table, place: Place) -> Object<'_, 'de> {
        Object { reader: self, table, place, seen: 0, others: Vec::new() }
    }

    /// Keeps a problem of ours and stops the JSON reader.
    fn fail<E: de::Error>(&mut self, problem: DialectError) -> E {
        // The first one is told: what contains it fails because of it.
        self.problem.get_or_insert(problem);
        E::custom("refused")
    }

    /// Where a part of the body stands in it.
    pub(super) fn span(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr().saturating_sub(self.body.as_ptr().addr());
        start..start + part.len()
    }

    /// Explains an error of the JSON reader without a word of the caller's content.
    fn explain(&self, error: &serde_json::Error) -> DialectError {
        let place = format!("line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let reason = match error.classify() {
            // These texts are fixed ones of the JSON reader.
            Category::Syntax | Category::Eof | Category::Io => text.split(" at line ").next().unwrap_or_default(),
            Category::Data if text.starts_with(TOO_DEEP) => TOO_DEEP,
            Category::Data => match self.at {
                Some(name) => return DialectError::parameter(name, &format!("is not what it must be at {place}")),
                None => "a JSON object is needed",
            },
        };
        DialectError::request(format!("The request body cannot be read as JSON: {reason} at {place}."))
    }

    /// Judges the parts together.
    fn finish(mut self) -> Result<Facts, DialectError> {
        if self.facts.model.is_empty() && self.facts.api != Api::App {
            // The service's own words (W 1.1).
            let error = DialectError::request("you must provide a model parameter.");
            return Err(DialectError { param: Some("model".to_owned()), ..error });
        }
        if let Some((name, must)) = self.grammar.required.iter().find(|(name, _)| !self.required.contains(name)) {
            return Err(DialectError::parameter(name, must));
        }
        self.facts.answer = self.answer.map(|(_, value)| value);
        self.facts.units.images = self.n;
        let texts = self.facts.input.messages.max(1);
        self.facts.input.text = self.facts.input.text.saturating_add(self.query.saturating_mul(texts));
        let choices = self.n.unwrap_or(1).max(self.best_of.unwrap_or(1));
        self.facts.choices = u32::try_from(choices).unwrap_or(u32::MAX);
        if self.other_thinking {
            self.facts.thinking.enabled = Some(true);
        }
        Ok(self.facts)
    }
}
