//! The body's top level.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::message::Messages;
use super::names::{self, Known, Role};
use super::skim::{Skim, TOO_DEEP, Text, is_sound};
use super::values::{count, model, switch};
use super::{Facts, MAX_DEPTH, MAX_NAME, MAX_TOOL_DEPTH, MAX_UNKNOWN, Options, Switch, bound, stream_options, tools};
use crate::dialect::error::DialectError;

/// What is wrong with a value that another parser might read differently.
const UNSOUND: &str = "is nested too deeply or holds an invalid string or number";

/// Reads a whole body.
pub(super) fn read(body: &[u8]) -> Result<Facts, DialectError> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(DialectError::request("The request body is not valid UTF-8."));
    };
    let mut reader = Reader::new(text);
    let mut json = serde_json::Deserializer::from_str(text);
    let read = (&mut reader).deserialize(&mut json).and_then(|()| json.end());
    if let Some(problem) = reader.problem.take() {
        return Err(problem);
    }
    read.map_err(|error| reader.explain(&error))?;
    reader.finish()
}

/// What is being read, and what was found so far.
struct Reader<'de> {
    body: &'de str,
    facts: Facts,
    /// The known parameters that were seen, one bit each.
    seen: u64,
    /// The names of the unknown ones.
    others: Vec<Cow<'de, str>>,
    /// The parameter that is being read.
    at: Option<&'static str>,
    /// An error of ours, which the JSON reader's own error type has no room for.
    problem: Option<DialectError>,
    n: Option<u64>,
    best_of: Option<u64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    other_thinking: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Reader<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            let known = self.identify(key).map_err(|problem| self.fail(problem))?;
            self.at = known.as_ref().map(|known| known.name);
            match known {
                Some(Known { role: Role::Messages, .. }) => {
                    map.next_value_seed(Messages { facts: &mut self.facts, left: MAX_DEPTH - 1 })?;
                }
                Some(Known { role: Role::Harmless, .. }) => map.next_value_seed(Skim { left: MAX_DEPTH - 1 })?,
                Some(known) => {
                    let raw: &'de RawValue = map.next_value()?;
                    self.parameter(&known, raw).map_err(|problem| self.fail(problem))?;
                }
                None => {
                    let raw: &'de RawValue = map.next_value()?;
                    self.unknown(raw).map_err(|problem| self.fail(problem))?;
                }
            }
            self.at = None;
        }
        Ok(())
    }
}

impl<'de> Reader<'de> {
    fn new(body: &'de str) -> Self {
        let mut facts = Facts { choices: 1, ..Facts::default() };
        facts.spans.length = body.len();
        facts.spans.open = body.find('{').map_or(0, |at| at + 1);
        Self {
            body,
            facts,
            seen: 0,
            others: Vec::new(),
            at: None,
            problem: None,
            n: None,
            best_of: None,
            max_tokens: None,
            max_completion_tokens: None,
            other_thinking: false,
        }
    }

    /// Keeps a problem of ours and stops the JSON reader.
    fn fail<E: de::Error>(&mut self, problem: DialectError) -> E {
        self.problem = Some(problem);
        E::custom("refused")
    }

    /// Which parameter a key is; refuses a second one of the same name and one that only looks like a metered one.
    fn identify(&mut self, key: Cow<'de, str>) -> Result<Option<Known>, DialectError> {
        if let Some(known) = names::known(&key) {
            let bit = 1_u64 << known.index;
            if self.seen & bit != 0 {
                return Err(DialectError::parameter(known.name, "is given twice"));
            }
            self.seen |= bit;
            return Ok(Some(known));
        }
        if key.len() > MAX_NAME {
            return Err(DialectError::request("The request body has a parameter whose name is too long."));
        }
        if let Some(name) = names::disguised(&key) {
            return Err(DialectError::parameter(name, "is written in another way than this; use exactly this name"));
        }
        if self.others.contains(&key) {
            return Err(DialectError::request("The request body gives a parameter twice."));
        }
        if self.others.len() == MAX_UNKNOWN {
            return Err(DialectError::request("The request body has too many unknown parameters."));
        }
        if names::names_media(&key) {
            self.facts.unbound("an unknown parameter that may refer to media");
        }
        self.others.push(key);
        Ok(None)
    }

    /// Takes the value of a parameter that decides the cost.
    fn parameter(&mut self, known: &Known, raw: &'de RawValue) -> Result<(), DialectError> {
        let name = known.name;
        let said = raw.get() != "null";
        match known.role {
            Role::Model => self.facts.model = model(raw)?,
            Role::Stream => self.facts.stream = switch(name, raw)?.unwrap_or(false),
            Role::StreamOptions => self.stream_options(raw)?,
            Role::Choices => self.n = count(name, raw)?,
            Role::BestOf => self.best_of = count(name, raw)?,
            Role::MaxTokens => {
                self.max_tokens = count(name, raw)?;
                self.facts.spans.max_tokens = Some(self.span(raw.get()));
            }
            Role::MaxCompletionTokens => {
                self.max_completion_tokens = count(name, raw)?;
                self.facts.spans.max_completion_tokens = Some(self.span(raw.get()));
            }
            Role::ThinkingBudget => {
                self.facts.thinking.budget = count(name, raw)?;
                self.facts.spans.thinking_budget = Some(self.span(raw.get()));
            }
            Role::EnableThinking => {
                self.facts.thinking.enabled = switch(name, raw)?;
                self.facts.spans.enable_thinking = if said { Switch::Said } else { Switch::Null(self.span(raw.get())) };
            }
            Role::OtherThinking => {
                self.prompt(name, raw, MAX_DEPTH - 1)?;
                self.other_thinking |= said;
            }
            Role::Tools => self.tools(raw)?,
            Role::Functions => {
                self.prompt(name, raw, MAX_TOOL_DEPTH)?;
                self.facts.input.has_tools |= said;
            }
            Role::Prompt => self.prompt(name, raw, MAX_TOOL_DEPTH)?,
            Role::BilledApart => {
                self.prompt(name, raw, MAX_DEPTH - 1)?;
                if said && raw.get() != "false" {
                    self.facts.surcharge(name);
                    self.facts.unbound(name);
                }
            }
            Role::ServiceTier => {
                self.prompt(name, raw, MAX_DEPTH - 1)?;
                if said && !matches!(raw.get(), "\"auto\"" | "\"default\"") {
                    self.facts.surcharge(name);
                }
            }
            Role::Unbounded => {
                self.prompt(name, raw, MAX_DEPTH - 1)?;
                if said {
                    self.facts.unbound(name);
                }
            }
            // Both are read as they stream past and never come here.
            Role::Messages | Role::Harmless => {}
        }
        Ok(())
    }

    /// Counts a value that may end up in the prompt as JSON.
    fn prompt(&mut self, name: &str, raw: &RawValue, depth: u8) -> Result<(), DialectError> {
        if !is_sound(raw, depth) {
            return Err(DialectError::parameter(name, UNSOUND));
        }
        self.facts.input.json = self.facts.input.json.saturating_add(bound::json(raw.get()));
        Ok(())
    }

    /// Counts the value of a parameter that we do not know: it may end up in the prompt, too.
    fn unknown(&mut self, raw: &RawValue) -> Result<(), DialectError> {
        self.prompt("", raw, MAX_DEPTH - 1)
            .map_err(|_| DialectError::request(format!("The value of an unknown parameter {UNSOUND}.")))
    }

    fn tools(&mut self, raw: &RawValue) -> Result<(), DialectError> {
        let Some(found) = tools::read(raw) else {
            return Err(DialectError::parameter("tools", "must be a list of tools, nested at most 32 deep"));
        };
        self.facts.input.json = self.facts.input.json.saturating_add(bound::json(raw.get()));
        self.facts.input.has_tools |= found.any;
        if found.server_side {
            self.facts.surcharge("tools");
            self.facts.unbound("tools that run at the provider");
        }
        if found.cache_control {
            self.facts.surcharge("cache_control");
        }
        Ok(())
    }

    fn stream_options(&mut self, raw: &'de RawValue) -> Result<(), DialectError> {
        let name = "stream_options";
        let text = raw.get();
        let span = self.span(text);
        if text == "null" {
            self.facts.spans.options = Options::Null(span);
            return Ok(());
        }
        let Some(found) = stream_options::read(raw) else {
            return Err(DialectError::parameter(name, "must be an object with `include_usage` at most once"));
        };
        self.facts.spans.options = match found.include_usage {
            None => Options::Silent { at: span.start + 1, empty: !found.any },
            Some(raw) => {
                self.facts.usage_asked = switch("stream_options.include_usage", raw)?.unwrap_or(false);
                Options::Said(self.span(raw.get()))
            }
        };
        Ok(())
    }

    /// Where a part of the body stands in it.
    fn span(&self, part: &str) -> Range<usize> {
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
        if self.facts.model.is_empty() {
            // The service's own words (W 1.1).
            let error = DialectError::request("you must provide a model parameter.");
            return Err(DialectError { param: Some("model".to_owned()), ..error });
        }
        if !self.has("messages") {
            return Err(DialectError::parameter("messages", "must be a list of messages"));
        }
        self.facts.answer = match (self.max_tokens, self.max_completion_tokens) {
            (Some(one), Some(other)) if one != other => {
                let must = "disagrees with `max_completion_tokens`; give one of them";
                return Err(DialectError::parameter("max_tokens", must));
            }
            (one, other) => one.or(other),
        };
        let choices = self.n.unwrap_or(1).max(self.best_of.unwrap_or(1));
        self.facts.choices = u32::try_from(choices).unwrap_or(u32::MAX);
        if self.other_thinking {
            self.facts.thinking.enabled = Some(true);
        }
        Ok(self.facts)
    }

    fn has(&self, name: &str) -> bool {
        names::known(name).is_some_and(|known| self.seen & (1 << known.index) != 0)
    }
}
