//! What each parameter's value says.

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use super::body::{Place, Reader};
use super::names::{Known, Role};
use super::skim::is_sound;
use super::splice_spans::Slot;
use super::values::{count, model, references, switch};
use super::{MAX_TOOL_DEPTH, Options, Reference, Switch, bound, stream_options, tools};
use crate::dialect::error::DialectError;
use crate::dialect::{Api, Kind};

/// What is wrong with a value that another parser might read differently.
const UNSOUND: &str = "is nested too deeply or holds an invalid string or number";

impl<'de> Reader<'de> {
    /// Takes the value of a parameter that decides the cost.
    pub(super) fn parameter(&mut self, known: &Known, raw: &'de RawValue) -> Result<(), DialectError> {
        let name = known.name;
        let said = raw.get() != "null";
        match known.role {
            Role::Model => self.model(name, raw)?,
            Role::Stream => self.facts.stream = switch(name, raw)?.unwrap_or(false),
            Role::StreamOptions => self.stream_options(raw)?,
            Role::Choices => self.n = count(name, raw)?,
            Role::BestOf => self.best_of = count(name, raw)?,
            Role::Answer => self.answer(name, raw)?,
            Role::ThinkingBudget => self.thinking_budget(name, raw)?,
            Role::EnableThinking => {
                let asked = switch(name, raw)?;
                self.thinking(name, asked, raw);
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
            Role::Recordings => self.facts.units.record(raw),
            Role::Action => self.action(name, raw)?,
            Role::Voice => {
                if self.facts.api == Api::Voice {
                    self.refer(name, Kind::Voice, raw)?;
                } else if said {
                    let must = |_| DialectError::parameter(name, "must be text");
                    let voice = Reference::voice(serde_json::from_str(raw.get()).map_err(must)?);
                    if let Some(voice) = voice {
                        self.facts.refer_to(voice);
                    }
                }
            }
            // They are read as they stream past and never come here.
            Role::Messages | Role::Harmless | Role::Input | Role::Content | Role::Query | Role::Documents => {}
        }
        Ok(())
    }

    /// The model. An app may be told one as well, by two names; an empty one is none there.
    fn model(&mut self, name: &str, raw: &'de RawValue) -> Result<(), DialectError> {
        if self.facts.api == Api::App && raw.get() == "\"\"" {
            return Ok(());
        }
        let model = model(raw)?;
        if !self.facts.model.is_empty() && self.facts.model != model {
            return Err(DialectError::parameter(name, "disagrees with another model that is named"));
        }
        self.facts.model = model;
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
        if raw.get() == "null" {
            self.thinking("thinking", None, raw);
            return Ok(());
        }
        let must = "must be an object with a known `type` and `budget_tokens` at most once";
        let found: tools::Thinking<'de> = serde_json::from_str(raw.get())
            .ok()
            .filter(|_| raw.get().starts_with('{') && is_sound(raw, MAX_TOOL_DEPTH))
            .ok_or_else(|| DialectError::parameter("thinking", must))?;
        let asked = match &*found.r#type {
            "enabled" | "adaptive" => true,
            "disabled" => false,
            _ => return Err(DialectError::parameter("thinking", must)),
        };
        self.thinking("thinking", Some(asked), raw);
        found.budget_tokens.map_or(Ok(()), |budget| self.thinking_budget("thinking.budget_tokens", budget))
    }

    /// Takes what one parameter says about thinking. Of two, the one that asks for it is believed.
    fn thinking(&mut self, name: &str, asked: Option<bool>, raw: &'de RawValue) {
        let thinking = &mut self.facts.thinking;
        thinking.enabled = match (thinking.enabled, asked) {
            (Some(before), Some(asked)) => Some(before || asked),
            (before, asked) => before.or(asked),
        };
        let found = self.switch_span(raw);
        let spans = &mut self.facts.spans;
        // Where nothing is said, it is written in place of the `null` of its own name alone.
        let takes = match found {
            Switch::Said => true,
            Switch::Null(_) => spans.enable_thinking == Switch::Absent && spans.no_thinking.0 == name,
            Switch::Absent => false,
        };
        if takes {
            spans.enable_thinking = found;
        }
    }

    /// Takes a budget of thinking; two of them could be read as either.
    fn thinking_budget(&mut self, name: &str, raw: &'de RawValue) -> Result<(), DialectError> {
        let asked = count(name, raw)?;
        if asked.is_some() && self.facts.thinking.budget.is_some() {
            return Err(DialectError::parameter(name, "says again what another parameter says"));
        }
        if asked.is_some() || self.facts.spans.thinking_budget.is_none() {
            self.facts.thinking.budget = asked;
            self.facts.spans.thinking_budget = Some(self.span(raw.get()));
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
        self.facts.count_other(raw.get());
        Ok(())
    }

    /// Counts the value of a parameter that we do not know: it may end up in the prompt, too.
    pub(super) fn unknown(&mut self, raw: &RawValue) -> Result<(), DialectError> {
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
}
