//! What a call produces: decided before the first byte, and charged as decided.

use rand::RngExt as _;
use serde_json::{Map, Value};

use super::behaviour::Behaviour;
use super::errors::Envelope;
use super::ledger::Charge;
use super::modes::Mode;
use super::request::Asked;
use super::{Settings, SimModel, SimUnit};

/// The thinking of a recorded call with `max_tokens: 16` (`WIRE 0.10`).
const RECORDED_THINKING: u64 = 1_181;

/// How a choice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

impl Finish {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// The decision about one call. Answer and thinking are tokens a choice.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) prompt: u64,
    pub(super) choices: u64,
    pub(super) answer: u64,
    pub(super) thinking: u64,
    pub(super) finish: Finish,
    /// The function that is called and its arguments as JSON text.
    pub(super) tool: Option<(String, String)>,
}

impl Plan {
    /// Decides. `strict` = limits of the model are enforced with an error.
    ///
    /// # Errors
    /// The envelope of a parameter out of range or a prompt above the window.
    pub(super) fn decide(
        settings: &Settings,
        (model, strict): (&SimModel, bool),
        asked: &Asked,
        behaviour: &Behaviour,
        rng: &mut impl rand::Rng,
    ) -> Result<Self, Envelope> {
        if model.unit == SimUnit::Characters && asked.units.is_none() {
            return Err(Envelope::parameter("text should not be empty"));
        }
        if model.unit != SimUnit::Tokens {
            return Ok(Self::units(settings, model, asked, rng));
        }
        if strict {
            check_ranges(model, asked)?;
        }
        let honest = asked.material.honest(rng);
        if honest > model.window {
            return Err(Envelope::parameter(&format!("Range of input length should be [1, {}]", model.window)));
        }
        let prompt = if settings.worst { asked.material.worst(model) } else { honest };
        if !asked.way.writes() {
            return Ok(Self::read_only(prompt));
        }
        let (answer, finish) = answer(settings, model, asked, behaviour, rng);
        let thinking = thinking(settings, model, asked, behaviour, rng);
        let tool = asked.tool.as_ref().map(|(name, schema)| (name.clone(), arguments(schema)));
        let finish = if tool.is_some() && finish == Finish::Stop { Finish::ToolCalls } else { finish };
        Ok(Self { prompt, choices: asked.choices, answer, thinking, finish, tool })
    }

    /// A call that is counted in another unit: what the request names, else up to the most.
    fn units(settings: &Settings, model: &SimModel, asked: &Asked, rng: &mut impl rand::Rng) -> Self {
        let most = model.max_units.max(1);
        let units = match asked.units {
            Some(units) => units,
            None if settings.worst => most,
            None => rng.random_range(1..=most),
        };
        Self::read_only(units)
    }

    /// A call that writes nothing.
    const fn read_only(prompt: u64) -> Self {
        Self { prompt, choices: 1, answer: 0, thinking: 0, finish: Finish::Stop, tool: None }
    }

    /// What it costs.
    pub(super) const fn charge(&self) -> Charge {
        Charge {
            prompt: self.prompt,
            answer: self.answer.saturating_mul(self.choices),
            thinking: self.thinking.saturating_mul(self.choices),
        }
    }
}

fn check_ranges(model: &SimModel, asked: &Asked) -> Result<(), Envelope> {
    if asked.max_tokens.is_some_and(|most| most > model.max_output) {
        return Err(Envelope::parameter(&format!("Range of max_tokens should be [1, {}]", model.max_output)));
    }
    if model.max_thinking > 0 && asked.thinking_budget.is_some_and(|budget| budget > model.max_thinking) {
        let problem = format!(
            "The thinking_budget parameter must be a positive integer and not greater than {}",
            model.max_thinking
        );
        return Err(Envelope::parameter(&problem));
    }
    Ok(())
}

fn answer(
    settings: &Settings,
    model: &SimModel,
    asked: &Asked,
    behaviour: &Behaviour,
    rng: &mut impl rand::Rng,
) -> (u64, Finish) {
    let wanted = if settings.worst {
        u64::MAX
    } else {
        let chance = rng.random_range(settings.answer.clone());
        asked.directives.answer.unwrap_or(chance)
    };
    let bound = asked.max_tokens.unwrap_or(model.max_output).min(model.max_output);
    if behaviour.mode == Mode::IgnoreClamp {
        return (bound.saturating_mul(2).max(if settings.worst { 0 } else { wanted }), Finish::Stop);
    }
    if wanted > bound { (bound, Finish::Length) } else { (wanted, Finish::Stop) }
}

/// `max_tokens` does not bound it (`WIRE 0.10`).
fn thinking(
    settings: &Settings,
    model: &SimModel,
    asked: &Asked,
    behaviour: &Behaviour,
    rng: &mut impl rand::Rng,
) -> u64 {
    let chance = rng.random_range(settings.thinking.clone());
    let budget = asked.thinking_budget.unwrap_or(model.max_thinking);
    if behaviour.mode == Mode::ThinkPast {
        return asked.thinking_budget.map_or(0, |budget| budget.saturating_mul(2)).max(RECORDED_THINKING);
    }
    let thinks = model.max_thinking > 0 && asked.enable_thinking.unwrap_or(model.thinks_by_default);
    if !thinks {
        return 0;
    }
    let wanted = if settings.worst { u64::MAX } else { asked.directives.thinking.unwrap_or(chance) };
    wanted.min(budget).min(model.max_thinking)
}

/// Arguments that fit the schema's required properties.
fn arguments(schema: &Value) -> String {
    let properties = schema.get("properties");
    let required = schema.get("required").and_then(Value::as_array);
    let arguments: Map<String, Value> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| {
            let property = properties.and_then(|all| all.get(name));
            (name.to_owned(), property.map_or(Value::Null, sample))
        })
        .collect();
    Value::Object(arguments).to_string()
}

fn sample(property: &Value) -> Value {
    if let Some(first) = property.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    match property.get("type").and_then(Value::as_str) {
        Some("string") => Value::from("sample"),
        Some("integer" | "number") => Value::from(1),
        Some("boolean") => Value::from(true),
        Some("array") => Value::Array(Vec::new()),
        Some("object") => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
