//! The models of the demo: what is granted of them, and what the simulator knows of them.

use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Catalogue, Model, Thinking};
use crate::cli::Failure;
use crate::cli::init::plan::Planned;
use crate::ledger::{Side, Timestamp, Unit};
use crate::simulator::{SimModel, SimUnit};

/// A model of the demo and what is granted of it.
pub(super) type Chosen = (Arc<Model>, u64);

pub(super) fn chosen(catalogue: &Catalogue, granted: &[(String, u64)]) -> Result<Vec<Chosen>, Failure> {
    let models = granted.iter().map(|(code, amount)| match catalogue.model(code) {
        Some(model) if model.is_bounded() => Ok((Arc::clone(model), *amount)),
        Some(_) => Err(Failure::Usage(format!("--grant {code}: no sound bound is known of this model"))),
        None => Err(Failure::Usage(format!("--grant {code}: the catalogue has no such model"))),
    });
    models.collect()
}

pub(super) fn planned(models: &[Chosen], now: Timestamp) -> Vec<Planned> {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
    let plan = models.iter().map(|(model, amount)| Planned {
        model: model.code.clone(),
        pool: model.pool.clone(),
        side: Side::Both,
        unit: model.unit,
        amount: *amount,
        spent: 0,
        start: now,
        end: u64::try_from(days(model.validity_days).as_millis()).ok().map(|ms| now.plus(ms)),
    });
    plan.collect()
}

pub(super) fn simulated(models: &[Chosen]) -> Vec<SimModel> {
    let models = models.iter().map(|(model, _)| {
        let mut sim = SimModel::new(model.code.as_str());
        if let Some(bounds) = &model.bounds {
            sim.window = bounds.window;
            sim.max_output = bounds.max_output;
            sim.max_thinking = bounds.max_thinking;
            sim.thinks_by_default = matches!(bounds.thinking, Thinking::On | Thinking::Always);
            sim.per_media_max = bounds.per_image_max.unwrap_or(bounds.window);
        }
        sim.unit = match model.unit {
            Unit::Tokens => SimUnit::Tokens,
            Unit::Images => SimUnit::Images,
            Unit::Seconds => SimUnit::Seconds,
            Unit::Characters => SimUnit::Characters,
            Unit::Voices => SimUnit::Voices,
        };
        sim.max_units = model.max_units.unwrap_or(1);
        sim
    });
    models.collect()
}

/// What so much is granted of.
pub(super) const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Tokens => "tokens",
        Unit::Images => "images",
        Unit::Seconds => "seconds",
        Unit::Characters => "characters",
        Unit::Voices => "voices",
    }
}
