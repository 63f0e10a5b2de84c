//! What a row of the catalogue must satisfy, whoever wrote it.

use std::collections::HashMap;

use super::model::{Bounds, Model, Price, Thinking};
use crate::ledger::{Amount, MAX_AMOUNT, ModelCode, Unit};

/// One thing that cannot be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inconsistency {
    /// The key of the row, or of its `bounds`, that it is about.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

fn wrong(key: &'static str, problem: impl Into<String>) -> Inconsistency {
    Inconsistency { key, problem: problem.into() }
}

/// Everything that one row gets wrong by itself; empty = it is sound.
#[must_use]
pub fn model_inconsistencies(model: &Model) -> Vec<Inconsistency> {
    let mut found = Vec::new();
    if let Some(bounds) = &model.bounds {
        check_bounds(bounds, &mut found);
    }
    check_unit(model, &mut found);
    check_prices(&model.prices, &mut found);
    found
}

fn check_bounds(bounds: &Bounds, found: &mut Vec<Inconsistency>) {
    if bounds.window == 0 || bounds.window > MAX_AMOUNT {
        found.push(wrong("window", format!("a window of {} tokens holds nothing that can be counted", bounds.window)));
    }
    let parts: [(&'static str, Amount); 4] = [
        ("max_input", bounds.max_input),
        ("max_output", bounds.max_output),
        ("max_thinking", bounds.max_thinking),
        ("per_image_max", bounds.per_image_max.unwrap_or(0)),
    ];
    for (key, amount) in parts {
        if amount > bounds.window {
            found.push(wrong(key, format!("{amount} is more than the window of {}", bounds.window)));
        }
    }
    let thinks = bounds.thinking != Thinking::Never;
    if thinks && bounds.max_thinking == 0 {
        found.push(wrong("max_thinking", "it thinks, so the most that it thinks cannot be 0"));
    }
    if !thinks && bounds.max_thinking > 0 {
        found.push(wrong("max_thinking", "it never thinks, so this must be 0"));
    }
    if !thinks && bounds.thinking_budget {
        found.push(wrong("thinking_budget", "it never thinks, so nothing bounds its thinking"));
    }
    if bounds.max_n == 0 {
        found.push(wrong("max_n", "a call has at least one choice"));
    }
}

fn check_unit(model: &Model, found: &mut Vec<Inconsistency>) {
    let tokens = model.unit == Unit::Tokens;
    if !tokens && model.bounds.is_some() {
        found.push(wrong("bounds", "bounds are in tokens; a model of another unit has `max_units`"));
    }
    if tokens && model.max_units.is_some() {
        found.push(wrong("max_units", "a model that counts tokens has `[model.bounds]` instead"));
    }
    if model.max_units == Some(0) {
        found.push(wrong("max_units", "a call that can cost nothing needs no bound"));
    }
    if !tokens && model.free_quota.is_some_and(super::FreeQuota::is_split) {
        found.push(wrong("free_quota", "only tokens are counted apart as input and output"));
    }
}

fn check_prices(prices: &[Price], found: &mut Vec<Inconsistency>) {
    let mut before = 0;
    for (index, price) in prices.iter().enumerate() {
        match price.input_up_to {
            Some(limit) if limit <= before => {
                found.push(wrong("prices", format!("tier {} does not reach further than the one before", index + 1)));
            }
            Some(limit) => before = limit,
            None if index + 1 < prices.len() => {
                found.push(wrong("prices", format!("tier {} has no limit, so the next is never used", index + 1)));
            }
            None => {}
        }
        if price.rates.is_empty() {
            found.push(wrong("prices", format!("tier {} has no price", index + 1)));
        }
        for (name, rate) in price.rates.iter().filter(|(_, rate)| !is_decimal(rate)) {
            found.push(wrong("prices", format!("`{name} = \"{rate}\"` is no decimal price such as \"0.05\"")));
        }
    }
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Models that share a pool and disagree about what it counts: the later row of each pair, with what is wrong.
#[must_use]
pub fn pool_inconsistencies<'a>(models: impl IntoIterator<Item = &'a Model>) -> Vec<(ModelCode, Inconsistency)> {
    let mut first: HashMap<&str, &Model> = HashMap::new();
    let mut found = Vec::new();
    for model in models {
        let Some(other) = first.get(model.pool.as_str()) else {
            first.insert(model.pool.as_str(), model);
            continue;
        };
        if other.unit != model.unit {
            let problem = format!("{} draws on the same pool and counts another unit", other.code);
            found.push((model.code.clone(), wrong("unit", problem)));
        } else if other.free_quota != model.free_quota {
            let problem = format!("{} draws on the same pool and names another free quota", other.code);
            found.push((model.code.clone(), wrong("free_quota", problem)));
        }
    }
    found
}
