//! One row of the catalogue.

use super::reader::Reader;
use super::report::{Report, Spot};
use super::rows::Defaults;
use super::tree::{Found, Table, Value};
use super::values;
use crate::catalogue::{
    Bounds, Confidence, FreeQuota, Model, ModelType, Price, TEMPLATE_BASE, TEMPLATE_MESSAGE, TEMPLATE_TOOLS, Thinking,
};
use crate::ledger::{Amount, MAX_AMOUNT, ModelCode, PoolId, Unit};

/// The longest code that is taken (F-PAR-6).
const LONGEST_CODE: usize = 128;

const TYPES: [(&str, ModelType); 10] = [
    ("text", ModelType::Text),
    ("vision", ModelType::Vision),
    ("omni", ModelType::Omni),
    ("embedding", ModelType::Embedding),
    ("rerank", ModelType::Rerank),
    ("image", ModelType::Image),
    ("video", ModelType::Video),
    ("tts", ModelType::Tts),
    ("asr", ModelType::Asr),
    ("voice", ModelType::Voice),
];

const UNITS: [(&str, Unit); 5] = [
    ("tokens", Unit::Tokens),
    ("images", Unit::Images),
    ("seconds", Unit::Seconds),
    ("characters", Unit::Characters),
    ("voices", Unit::Voices),
];

const CONFIDENCES: [(&str, Confidence); 4] = [
    ("ok", Confidence::Ok),
    ("conservative", Confidence::Conservative),
    ("uncertain", Confidence::Uncertain),
    ("unknown", Confidence::Unknown),
];

const THINKING: [(&str, Thinking); 4] =
    [("never", Thinking::Never), ("off", Thinking::Off), ("on", Thinking::On), ("always", Thinking::Always)];

/// Reads one `[[model]]`.
pub(super) fn read(report: &mut Report, table: &Table, spot: Spot, defaults: &Defaults) -> Option<Model> {
    let mut r = Reader::new(report, table, spot, "model");
    let code = r.text("code", "\"qwen-max\"", code);
    let pool = r.optional_text("pool", "\"qwen-max\"", self::code);
    let kind = r.choice("type", &TYPES);
    let unit = r.choice("unit", &UNITS);
    let free_quota = free_quota(&mut r);
    let validity_days = r.optional_count("validity_days", 1..=3_650);
    let currency = r.optional_text("currency", "\"USD\"", currency);
    let prices = prices(&mut r);
    let confidence = r.choice("confidence", &CONFIDENCES);
    let source = r.text("source", "\"price list of 2026-11\"", |text| Ok(text.to_owned()));
    let max_units = r.optional_count("max_units", 0..=MAX_AMOUNT);
    let heeds_duration = if table.contains_key("heeds_duration") { r.flag("heeds_duration") } else { Some(false) };
    let bounds_confidence = r.optional_choice("bounds_confidence", &CONFIDENCES);
    let bounds_source = r.optional_text("bounds_source", "\"model page of 2026-11\"", |text| Ok(text.to_owned()));
    let bounds = bounds(&mut r);
    r.finish();
    let code = code?;
    let pool = pool?.unwrap_or_else(|| code.clone());
    Some(Model {
        pool: PoolId::from(pool),
        code: ModelCode::from(code),
        kind: kind?,
        unit: unit?,
        free_quota: free_quota?,
        validity_days: match validity_days? {
            Some(days) => u32::try_from(days).ok()?,
            None => defaults.validity_days,
        },
        bounds: bounds?,
        max_units: max_units?,
        heeds_duration: heeds_duration?,
        currency: currency?.unwrap_or_else(|| defaults.currency.clone()),
        prices: prices?,
        confidence: confidence?,
        bounds_confidence: bounds_confidence?.unwrap_or(Confidence::Unknown),
        source: source?,
        bounds_source: bounds_source?.unwrap_or_default(),
    })
}

fn code(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if text.is_empty() || text.len() > LONGEST_CODE || !text.bytes().all(plain) {
        return Err(format!("\"{text}\" is no model code: letters, digits and . _ - : / only, {LONGEST_CODE} at most"));
    }
    Ok(text.to_owned())
}

/// A currency as ISO 4217 writes it.
pub(super) fn currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{text}\" is no currency; write \"USD\" or \"CNY\""))
}

#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
fn free_quota(r: &mut Reader<'_, '_>) -> Option<Option<FreeQuota>> {
    let Some(found) = r.find("free_quota") else { return Some(None) };
    let Value::Table(table) = &found.value else {
        return r.number(found, 1..=MAX_AMOUNT).map(|amount| Some(FreeQuota::Total(amount)));
    };
    let mut sides = Reader::new(r.report, table, found.spot, "model.free_quota");
    let input = sides.count("input", 1..=MAX_AMOUNT);
    let output = sides.count("output", 1..=MAX_AMOUNT);
    sides.finish();
    Some(Some(FreeQuota::Split { input: input?, output: output? }))
}

#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
fn bounds(r: &mut Reader<'_, '_>) -> Option<Option<Bounds>> {
    let Some(found) = r.find("bounds") else { return Some(None) };
    let Value::Table(table) = &found.value else {
        r.report.mistake(found.spot, "bounds are written as [model.bounds]", "not a table", None);
        return None;
    };
    let mut b = Reader::new(r.report, table, found.key, "model.bounds");
    let window = b.count("window", 0..=MAX_AMOUNT);
    let max_input = b.count("max_input", 0..=MAX_AMOUNT);
    let max_output = b.count("max_output", 0..=MAX_AMOUNT);
    let max_thinking = b.count("max_thinking", 0..=MAX_AMOUNT);
    let thinking = b.choice("thinking", &THINKING);
    let thinking_budget = if table.contains_key("thinking_budget") { b.flag("thinking_budget") } else { Some(false) };
    let per_image_max = b.optional_count("per_image_max", 1..=MAX_AMOUNT);
    let max_n = b.optional_count("max_n", 0..=1_000);
    let mut template = |key, default: Amount| Some(b.optional_count(key, 0..=MAX_AMOUNT)?.unwrap_or(default));
    let template_base = template("template_base", TEMPLATE_BASE);
    let template_message = template("template_message", TEMPLATE_MESSAGE);
    let template_tools = template("template_tools", TEMPLATE_TOOLS);
    b.finish();
    Some(Some(Bounds {
        window: window?,
        max_input: max_input?,
        max_output: max_output?,
        max_thinking: max_thinking?,
        thinking: thinking?,
        thinking_budget: thinking_budget?,
        per_image_max: per_image_max?,
        max_n: u32::try_from(max_n?.unwrap_or(1)).ok()?,
        template_base: template_base?,
        template_message: template_message?,
        template_tools: template_tools?,
    }))
}

fn prices(r: &mut Reader<'_, '_>) -> Option<Vec<Price>> {
    let Some(found) = r.find("prices") else { return Some(Vec::new()) };
    let help = || Some("for example prices = [{ input_up_to = \"32K\", in = \"1.2\", out = \"6\" }]".to_owned());
    let Value::Array(tiers) = &found.value else {
        r.report.mistake(found.spot, "prices are a list of tiers", "not a list", help());
        return None;
    };
    let read: Vec<Option<Price>> = tiers
        .iter()
        .map(|tier| match &tier.value {
            Value::Table(table) => tier_of(r, table),
            Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Array(_) | Value::Other(_) => {
                r.report.mistake(tier.spot, "a tier of prices is a table", "not a table", help());
                None
            }
        })
        .collect();
    read.into_iter().collect()
}

fn tier_of(r: &mut Reader<'_, '_>, table: &Table) -> Option<Price> {
    let mut price = Price { input_up_to: None, rates: Vec::new() };
    let mut sound = true;
    for (name, found) in table {
        match (name.as_str(), &found.value) {
            ("input_up_to", Value::Text(text)) => match values::token_limit(text) {
                Ok(limit) => price.input_up_to = Some(limit),
                Err(problem) => sound = wrong_price(r, found, &problem),
            },
            (_, Value::Text(rate)) => price.rates.push((name.clone(), rate.clone())),
            (_, Value::Table(by_kind)) => {
                for (kind, found) in by_kind {
                    match &found.value {
                        Value::Text(rate) => price.rates.push((format!("{name} {kind}"), rate.clone())),
                        Value::Integer(_) | Value::Boolean(_) | Value::Array(_) | Value::Table(_) | Value::Other(_) => {
                            sound = wrong_price(r, found, "a price is decimal text, such as \"0.05\"");
                        }
                    }
                }
            }
            _ => sound = wrong_price(r, found, "a price is decimal text, such as \"0.05\""),
        }
    }
    sound.then_some(price)
}

/// Reports a price that cannot be read; `false`, so that the tier is dropped.
fn wrong_price(r: &mut Reader<'_, '_>, found: &Found, problem: &str) -> bool {
    r.report.mistake(found.spot, problem, "this price", None);
    false
}
