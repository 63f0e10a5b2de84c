//! Models for tests.

use gratis::catalogue::{Bounds, Confidence, Covers, Model, ModelType, Notices, Price, Site, Thinking};
use gratis::ledger::{Overrun, SwitchOff, Unit};
use gratis::proxy::App;
use gratis::simulator::{SimModel, SimUnit};

/// A model that does not think, with bounds and a price.
pub fn model(code: &str, window: u64, max_output: u64) -> Model {
    Model {
        code: code.into(),
        pool: code.into(),
        kind: ModelType::Text,
        unit: Unit::Tokens,
        free_quota: None,
        validity_days: 90,
        bounds: Some(Bounds {
            window,
            max_input: window,
            max_output,
            max_thinking: 0,
            thinking: Thinking::Never,
            thinking_budget: false,
            per_image_max: Some(16_384),
            max_n: 4,
            template_base: 512,
            template_message: 16,
            template_tools: 512,
        }),
        prices: vec![Price { input_up_to: None, rates: vec![("in".into(), "1".into()), ("out".into(), "4".into())] }],
        confidence: Confidence::Ok,
        bounds_confidence: Confidence::Ok,
        source: "test".into(),
        bounds_source: "test".into(),
        currency: "USD".into(),
        max_units: None,
        heeds_duration: false,
    }
}

/// A model that is counted in another unit than tokens.
pub fn model_of(code: &str, unit: Unit, max_units: u64) -> Model {
    let kind = match unit {
        Unit::Tokens => ModelType::Text,
        Unit::Images => ModelType::Image,
        Unit::Seconds => ModelType::Video,
        Unit::Characters => ModelType::Tts,
        Unit::Voices => ModelType::Voice,
    };
    Model { kind, unit, bounds: None, max_units: Some(max_units), heeds_duration: true, ..model(code, 0, 0) }
}

/// A model that thinks unless it is told not to, and whose thinking a budget bounds.
pub fn thinking_model(code: &str, window: u64, max_output: u64, max_thinking: u64) -> Model {
    let mut model = model(code, window, max_output);
    if let Some(bounds) = &mut model.bounds {
        bounds.max_thinking = max_thinking;
        bounds.thinking = Thinking::On;
        bounds.thinking_budget = true;
    }
    model
}

/// The same, of any kind, and perhaps without a bound of one call.
pub fn unit_model(code: &str, kind: ModelType, unit: Unit, max_units: Option<u64>) -> Model {
    Model { kind, max_units, ..model_of(code, unit, 1) }
}

/// The rules of a site for tests.
pub fn site() -> Site {
    Site {
        name: "test".into(),
        title: "Test".into(),
        time_zone: "UTC".into(),
        regions: Vec::new(),
        validity_days: 90,
        switch_default_on: false,
        switch_off: SwitchOff::AnyTime,
        overrun: Overrun::Never,
        overdue_grace_days: 0,
        unverified_is_free_only: true,
        console_lag_minutes: 60,
        endpoints: Vec::new(),
        cohorts: Vec::new(),
        covers: Covers::default(),
        notices: Notices { on: true, remaining_percent: vec![20, 0], days_before_end: vec![7] },
        other_products: Vec::new(),
        other_keys: Vec::new(),
    }
}

/// What one request to an app calls, as the simulator is told it.
pub fn calls_of(app: &App) -> Vec<String> {
    app.models.iter().flat_map(|(code, calls)| (0..*calls).map(|_| code.to_string())).collect()
}

/// The model as the simulator has it.
pub fn sim_model(model: &Model) -> SimModel {
    let mut sim = SimModel::new(model.code.as_str());
    sim.unit = match model.unit {
        Unit::Tokens => SimUnit::Tokens,
        Unit::Images => SimUnit::Images,
        Unit::Seconds => SimUnit::Seconds,
        Unit::Characters => SimUnit::Characters,
        Unit::Voices => SimUnit::Voices,
    };
    sim.max_units = model.max_units.unwrap_or(1);
    if let Some(bounds) = &model.bounds {
        sim.window = bounds.window;
        sim.max_output = bounds.max_output;
        sim.max_thinking = bounds.max_thinking;
        sim.thinks_by_default = matches!(bounds.thinking, Thinking::On | Thinking::Always);
    }
    sim
}
