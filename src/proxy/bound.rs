//! From what a request asks to what it can cost at most, and from what is held to what is sent (LEDGER 7).

use crate::catalogue::{Bounds, Model, ModelType, Thinking};
use crate::dialect::{Clamp, Facts};
use crate::ledger::{Admitted, Amount, Ask, Unit};

use super::settings::{ClampPolicy, QuotaSettings};

/// The bounds of one call: the whole ask, and the parts of it for one choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct CallBound {
    /// What the ledger is asked for.
    pub(super) ask: Ask,
    /// Whether the call cannot cost more.
    pub(super) sound: bool,
    /// Whether there is an output to bound.
    writes: bool,
    choices: Amount,
    answer: Part,
    thinking: Part,
    /// `enable_thinking: false` has to be sent so that the thinking is provably off.
    disable_thinking: bool,
}

/// One part of a choice's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Part {
    /// The most that it can be.
    most: Amount,
    /// The least with which the call is worth making.
    least: Amount,
    /// Whether the request named the bound itself.
    named: bool,
    /// Whether the upstream is known to keep a bound that is sent.
    explicit: bool,
}

/// The bounds of a call. Without a model's bounds nothing is sound: the ask then carries the input alone.
pub(super) fn bound(facts: &Facts, model: &Model, quota: &QuotaSettings) -> CallBound {
    match model.unit {
        Unit::Tokens => tokens(facts, model.bounds.as_ref(), quota),
        unit @ (Unit::Images | Unit::Seconds | Unit::Characters | Unit::Voices) => units(facts, unit, model),
    }
}

/// So many calls of a model, each of which costs the most that it can: what a request asks for does not matter.
pub(super) fn at_most(model: &Model, calls: u64) -> CallBound {
    let (input, output) = most(model);
    let (input, output) = (input.saturating_mul(calls), output.saturating_mul(calls));
    let ask =
        Ask { input, named: output, least: output, ceiling_input: input, ceiling_output: output, ..Ask::default() };
    CallBound { ask, sound: model.is_bounded(), ..CallBound::default() }
}

/// The most that one call of a model can read and write; of another unit than tokens, all of it as input.
pub(super) fn most(model: &Model) -> (Amount, Amount) {
    match (&model.bounds, model.unit) {
        (Some(bounds), Unit::Tokens) => {
            (bounds.window.max(bounds.max_input), bounds.max_output.saturating_add(bounds.max_thinking))
        }
        (None, Unit::Tokens) => (0, 0),
        (_, Unit::Images | Unit::Seconds | Unit::Characters | Unit::Voices) => (model.max_units.unwrap_or_default(), 0),
    }
}

/// A call that is counted in another unit: what the request itself says it can cost, else the most that the model can.
fn units(facts: &Facts, unit: Unit, model: &Model) -> CallBound {
    let asked = &facts.units;
    let most = model.max_units;
    let units = match unit {
        Unit::Images if asked.interleaved => most.map(|most| most.max(product(asked.images, asked.max_images))),
        Unit::Images => asked.images.map(|images| product(Some(images), asked.max_images)).or(most),
        // Seconds that are made are what was asked for, where the model heeds that.
        Unit::Seconds if model.kind == ModelType::Video => {
            let heeded = asked.seconds.filter(|_| model.heeds_duration && !asked.video).or(most);
            heeded.map(|seconds| seconds.saturating_mul(asked.images.unwrap_or(1)))
        }
        // Seconds that are read are known where all that is read stands in the request, and in a form that bounds its length.
        Unit::Seconds if asked.heard > 0 && asked.recordings == 0 && !asked.elsewhere => Some(asked.heard),
        Unit::Seconds => most.map(|most| most.saturating_mul(asked.recordings.max(1)).saturating_add(asked.heard)),
        // Where nothing that is spoken was found, it may stand where nobody looks for it.
        Unit::Characters if facts.input.unbounded.is_some() || asked.characters == 0 => {
            most.map(|most| most.max(asked.characters))
        }
        Unit::Characters => Some(if asked.ssml { asked.spoken } else { asked.characters }),
        Unit::Voices => Some(asked.made),
        Unit::Tokens => None,
    };
    let input = units.unwrap_or_default();
    let ask = Ask { input, ceiling_input: most.unwrap_or(input).max(input), ..Ask::default() };
    CallBound { ask, sound: units.is_some(), ..CallBound::default() }
}

/// `n` answers of so many images each; one where the request is silent.
fn product(images: Option<Amount>, each: Option<Amount>) -> Amount {
    images.unwrap_or(1).saturating_mul(each.unwrap_or(1))
}

fn tokens(facts: &Facts, bounds: Option<&Bounds>, quota: &QuotaSettings) -> CallBound {
    let choices = Amount::from(facts.choices);
    let Some(bounds) = bounds else {
        let input = facts.input.text.saturating_add(facts.input.json);
        return CallBound { ask: Ask { input, ..Ask::default() }, choices, ..CallBound::default() };
    };
    let (answer, (thinking, disable_thinking)) = if facts.api.writes() {
        (answer(facts, bounds, quota), thinking(facts, bounds, quota))
    } else {
        Default::default()
    };
    let parts = [answer, thinking];
    let sum = |of: fn(&Part) -> Amount| parts.iter().map(of).sum::<Amount>().saturating_mul(choices);
    let most = sum(|part| part.most);
    let named = sum(|part| if part.named { part.most } else { 0 });
    let ceiling = if facts.api.writes() { bounds.max_output.saturating_add(bounds.max_thinking) } else { 0 };
    let ask = Ask {
        input: input(facts, bounds),
        named,
        silent: most - named,
        least: sum(|part| part.least),
        share_of: if quota.clamp == ClampPolicy::Never { 0 } else { quota.hold_share },
        share_floor: quota.hold_share_floor,
        ceiling_input: bounds.window.max(bounds.max_input),
        ceiling_output: choices.saturating_mul(ceiling),
    };
    CallBound { ask, sound: true, writes: facts.api.writes(), choices, answer, thinking, disable_thinking }
}

fn input(facts: &Facts, bounds: &Bounds) -> Amount {
    let asked = &facts.input;
    let window = bounds.window.max(bounds.max_input);
    let images = match bounds.per_image_max {
        Some(each) => asked.images.saturating_mul(each),
        None if asked.images > 0 => window,
        None => 0,
    };
    if asked.unbounded.is_some() {
        return window;
    }
    let template = bounds
        .template_base
        .saturating_add(asked.messages.saturating_mul(bounds.template_message))
        .saturating_add(if asked.has_tools { bounds.template_tools } else { 0 });
    [asked.text, asked.json, images].iter().fold(template, |sum, part| sum.saturating_add(*part)).min(window)
}

fn answer(facts: &Facts, bounds: &Bounds, quota: &QuotaSettings) -> Part {
    let named = facts.answer.is_some();
    let asked = facts.answer.or(quota.max_output_default).unwrap_or(bounds.max_output);
    part(asked.min(bounds.max_output), named, true, quota)
}

fn thinking(facts: &Facts, bounds: &Bounds, quota: &QuotaSettings) -> (Part, bool) {
    let enabled = facts.thinking.enabled;
    let (on, disable) = match bounds.thinking {
        Thinking::Never => (false, false),
        Thinking::Off => (enabled == Some(true), enabled.is_none()),
        Thinking::On => (enabled != Some(false), false),
        Thinking::Always => (true, false),
    };
    if !on {
        return (Part::default(), disable);
    }
    // A bound that is neither there nor may be added cannot be made explicit.
    let explicit = bounds.thinking_budget && (facts.thinking.adds_budget || facts.thinking.budget.is_some());
    let budget = facts.thinking.budget.filter(|_| bounds.thinking_budget);
    let most = budget.unwrap_or(bounds.max_thinking).min(bounds.max_thinking);
    (part(most, budget.is_some(), explicit, quota), false)
}

fn part(most: Amount, named: bool, explicit: bool, quota: &QuotaSettings) -> Part {
    let may_shrink = explicit
        && match quota.clamp {
            ClampPolicy::Always => true,
            ClampPolicy::Absent => !named,
            ClampPolicy::Never => false,
        };
    let least = if may_shrink { most.min(quota.min_output) } else { most };
    // A part that nobody can make smaller is held as if it had been named: a share of it would be no bound.
    Part { most, least, named: named || !may_shrink, explicit }
}

impl CallBound {
    /// What is sent upstream so that the call stays within what is held. `bounded` = free quota only: then the bounds are always
    /// explicit, so that soundness rests on no undocumented default.
    pub(super) fn clamp(&self, admitted: &Admitted, bounded: bool, include_usage: bool) -> Clamp {
        if !bounded || !self.writes {
            return Clamp { answer: None, thinking_budget: None, disable_thinking: false, include_usage };
        }
        let (answer, thinking) = self.split(admitted.output / self.choices.max(1));
        Clamp {
            answer: Some(answer),
            thinking_budget: (self.thinking.explicit && thinking > 0).then_some(thinking),
            disable_thinking: self.disable_thinking,
            include_usage,
        }
    }

    /// One choice's output, split into answer and thinking.
    fn split(&self, output: Amount) -> (Amount, Amount) {
        let (answer, thinking) = (self.answer, self.thinking);
        if output >= answer.most.saturating_add(thinking.most) {
            return (answer.most, thinking.most);
        }
        if thinking.most == 0 {
            return (output, 0);
        }
        let answer_first = answer.named && output >= answer.most.saturating_add(thinking.least);
        let thinking_first = thinking.named && output >= thinking.most.saturating_add(answer.least);
        if answer_first {
            return (answer.most, output - answer.most);
        }
        if thinking_first {
            return (output - thinking.most, thinking.most);
        }
        // In the ratio of the maxima; each at least what makes the call worth while.
        let whole = u128::from(answer.most) + u128::from(thinking.most);
        let ratio = u128::from(output) * u128::from(answer.most) / whole.max(1);
        let ratio = Amount::try_from(ratio).unwrap_or(output);
        let most_answer = output.saturating_sub(thinking.least).min(answer.most);
        let least_answer = answer.least.max(output.saturating_sub(thinking.most)).min(most_answer);
        let share = ratio.clamp(least_answer, most_answer);
        (share, output - share)
    }

    /// Whether the outgoing bounds are below what the request named.
    pub(super) fn lowered(&self, facts: &Facts, clamp: &Clamp) -> bool {
        let below = |named: Option<Amount>, sent: Option<Amount>| matches!((named, sent), (Some(n), Some(s)) if s < n);
        below(facts.answer, clamp.answer) || below(facts.thinking.budget, clamp.thinking_budget)
    }
}
