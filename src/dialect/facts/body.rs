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
use super::skim::{Skim, TOO_DEEP, Text, is_sound};
use super::splice_spans::Slot;
use super::tables::{self, Grammar};
use super::values::{count, model, references, switch};
use super::{Facts, MAX_DEPTH, MAX_NAME, MAX_TOOL_DEPTH, MAX_UNKNOWN, Options, Switch, bound, stream_options, tools};
use crate::dialect::error::DialectError;
use crate::dialect::{Api, Kind};

/// What is wrong with a value that another parser might read differently.
const UNSOUND: &str = "is nested too deeply or holds an invalid string or number";

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
struct Reader<'de> {
    body: &'de str,
    grammar: Grammar,
    facts: Facts,
    /// The names of the required parameters that were seen.
    required: Vec<&'static str>,
    /// The parameter that is being read.
    at: Option<&'static str>,
    /// An error of ours, which the JSON reader's own error type has no room for.
    problem: Option<DialectError>,
    n: Option<u64>,
    best_of: Option<u64>,
    /// The name and the value of the first bound of an answer.
    answer: Option<(&'static str, u64)>,
    other_thinking: bool,
    /// Text that is read once beside each other one, in tokens.
    query: u64,
    /// How deep a value may be nested in the object that is being read.
    left: u8,
}

/// Which object is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Input,
    Parameters,
}

/// One object of the body.
struct Object<'r, 'de> {
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

    fn object(&mut self, table: Table, place: Place) -> Object<'_, 'de> {
        Object { reader: self, table, place, seen: 0, others: Vec::new() }
    }

    /// Keeps a problem of ours and stops the JSON reader.
    fn fail<E: de::Error>(&mut self, problem: DialectError) -> E {
        // The first one is told: what contains it fails because of it.
        self.problem.get_or_insert(problem);
        E::custom("refused")
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
            Role::Answer => self.answer(name, raw)?,
            Role::ThinkingBudget => {
                self.facts.thinking.budget = count(name, raw)?;
                self.facts.spans.thinking_budget = Some(self.span(raw.get()));
            }
            Role::EnableThinking => {
                self.facts.thinking.enabled = switch(name, raw)?;
                self.facts.spans.enable_thinking = self.switch_span(raw);
            }
            Role::ThinkingObject => self.thinking_object(raw)?,
            Role::OtherThinking => {
                self.prompt(name, raw, self.left)?;
                self.other_thinking |= said;
            }
            Role::Tools => self.tools(raw)?,
            Role::Functions => {
                self.prompt(name, raw, MAX_TOOL_DEPTH)?;
                self.facts.input.has_tools |= said;
            }
            Role::Prompt => self.prompt(name, raw, MAX_TOOL_DEPTH)?,
            Role::OneText => self.one_text(name, raw)?,
            Role::BilledApart => {
                self.prompt(name, raw, self.left)?;
                if said && raw.get() != "false" {
                    self.facts.surcharge(name);
                    self.facts.unbound(name);
                }
            }
            Role::ServiceTier => {
                self.prompt(name, raw, self.left)?;
                if said && !matches!(raw.get(), "\"auto\"" | "\"default\"") {
                    self.facts.surcharge(name);
                }
            }
            Role::Unbounded => {
                self.prompt(name, raw, self.left)?;
                if said {
                    self.facts.unbound(name);
                }
            }
            Role::Reference(kind) => self.refer(name, kind, raw)?,
            Role::Parameters => self.parameters(raw)?,
            Role::Duration => self.facts.units.seconds = count(name, raw)?,
            Role::MaxImages => self.facts.units.max_images = count(name, raw)?,
            Role::Interleave => self.facts.units.interleaved = switch(name, raw)?.unwrap_or(false),
            Role::Ssml => self.facts.units.ssml = switch(name, raw)?.unwrap_or(false),
            Role::Recordings => self.facts.units.recordings += recordings(raw),
            Role::Action => self.action(name, raw)?,
            Role::Voice => {
                if said && self.facts.api == Api::Voice {
                    self.refer(name, Kind::Voice, raw)?;
                }
            }
            // They are read as they stream past and never come here.
            Role::Messages | Role::Harmless | Role::Input | Role::Content | Role::Query | Role::Documents => {}
        }
        Ok(())
    }

    /// The bound of one answer; two of them must agree.
    fn answer(&mut self, name: &'static str, raw: &'de RawValue) -> Result<(), DialectError> {
        let span = self.span(raw.get());
        self.facts.spans.answers.push(span);
        let Some(value) = count(name, raw)? else { return Ok(()) };
        match self.answer {
            Some((other, bound)) if bound != value => {
                Err(DialectError::parameter(name, &format!("disagrees with `{other}`; give one of them")))
            }
            Some(_) => Ok(()),
            None => {
                self.answer = Some((name, value));
                Ok(())
            }
        }
    }

    fn switch_span(&self, raw: &'de RawValue) -> Switch {
        if raw.get() == "null" { Switch::Null(self.span(raw.get())) } else { Switch::Said }
    }

    /// Anthropic's `thinking`: on, off, and its budget.
    fn thinking_object(&mut self, raw: &'de RawValue) -> Result<(), DialectError> {
        self.facts.spans.enable_thinking = self.switch_span(raw);
        if raw.get() == "null" {
            return Ok(());
        }
        let must = "must be an object with a known `type` and `budget_tokens` at most once";
        let found: tools::Thinking<'de> = serde_json::from_str(raw.get())
            .ok()
            .filter(|_| raw.get().starts_with('{') && is_sound(raw, MAX_TOOL_DEPTH))
            .ok_or_else(|| DialectError::parameter("thinking", must))?;
        self.facts.thinking.enabled = match &*found.r#type {
            "enabled" | "adaptive" => Some(true),
            "disabled" => Some(false),
            _ => return Err(DialectError::parameter("thinking", must)),
        };
        if let Some(budget) = found.budget_tokens {
            self.facts.thinking.budget = count("thinking.budget_tokens", budget)?;
            self.facts.spans.thinking_budget = Some(self.span(budget.get()));
        }
        Ok(())
    }

    /// A prompt that is one text, or the ids of its tokens: several would each get an answer.
    fn one_text(&mut self, name: &str, raw: &RawValue) -> Result<(), DialectError> {
        let mut text = raw.get();
        let unwrapped: Result<Vec<&RawValue>, _> = serde_json::from_str(text);
        if let Ok(list) = unwrapped {
            match list.as_slice() {
                [one] if !one.get().starts_with(|c: char| c.is_ascii_digit()) => text = one.get(),
                ids if ids.iter().all(|id| id.get().bytes().all(|b| b.is_ascii_digit())) => {
                    self.facts.input.text = self.facts.input.text.saturating_add(bound::ids(ids.len()));
                    return Ok(());
                }
                _ => return Err(DialectError::parameter(name, "must be one text")),
            }
        }
        match serde_json::from_str::<Option<Cow<'_, str>>>(text) {
            Ok(text) => {
                self.facts.count_text(&text.unwrap_or_default());
                Ok(())
            }
            Err(_) => Err(DialectError::parameter(name, "must be one text")),
        }
    }

    /// A thing kept at the provider: who may use it is decided where accounts are known.
    fn refer(&mut self, name: &'static str, kind: Kind, raw: &RawValue) -> Result<(), DialectError> {
        if raw.get() == "null" {
            return Ok(());
        }
        let ids = references(raw).ok_or_else(|| DialectError::parameter(name, "must be an id"))?;
        for id in ids {
            self.facts.refer(kind, id);
        }
        self.facts.unbound(name);
        Ok(())
    }

    /// The object with the bounds, in which further ones are added.
    fn parameters(&mut self, raw: &'de RawValue) -> Result<(), DialectError> {
        let span = self.span(raw.get());
        if raw.get() == "null" {
            self.facts.spans.slot = Slot::instead(span, "{", "}");
            return Ok(());
        }
        let empty = raw.get().trim_start_matches('{').trim_start().starts_with('}');
        self.facts.spans.slot = Slot::in_object(span.start + 1, empty);
        let table = self.grammar.parameters;
        let mut json = serde_json::Deserializer::from_str(raw.get());
        self.left -= 1;
        let read = self.object(table, Place::Parameters).deserialize(&mut json);
        self.left += 1;
        match read {
            Ok(()) => Ok(()),
            Err(_) => Err(self.problem.take().unwrap_or_else(|| {
                let name = self.at.unwrap_or("parameters");
                DialectError::parameter(name, "is not what it must be")
            })),
        }
    }

    /// What is done with a voice.
    fn action(&mut self, name: &str, raw: &RawValue) -> Result<(), DialectError> {
        let action: String =
            serde_json::from_str(raw.get()).map_err(|_| DialectError::parameter(name, "must be text"))?;
        if action.starts_with("list") {
            let must = "must be about one thing: a list would show what other accounts made";
            return Err(DialectError::parameter(name, must));
        }
        let known = ["query", "get", "update", "delete"].iter().find(|word| action.starts_with(**word));
        self.facts.units.made = u64::from(known.is_none());
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
        self.prompt("", raw, self.left)
            .map_err(|_| DialectError::request(format!("The value of an unknown parameter {UNSOUND}.")))
    }

    fn tools(&mut self, raw: &RawValue) -> Result<(), DialectError> {
        let Some(found) = tools::read(raw, self.facts.api) else {
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

/// How many recordings a list names; one where it is none.
fn recordings(raw: &RawValue) -> u64 {
    let list: Result<Vec<&RawValue>, _> = serde_json::from_str(raw.get());
    list.map_or(1, |list| bound::ids(list.len()))
}
