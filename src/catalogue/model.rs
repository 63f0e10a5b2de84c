//! Models.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Amount, ModelCode, PoolId, Unit};

/// What kind of model it is (S0's tabs, finer).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    /// Text in, text out.
    Text,
    /// Images or video in, text out.
    Vision,
    /// Several kinds in and out.
    Omni,
    /// Vectors.
    Embedding,
    /// Ranking.
    Rerank,
    /// Images out.
    Image,
    /// Video out.
    Video,
    /// Speech out.
    Tts,
    /// Speech in.
    Asr,
    /// Voices made.
    Voice,
}

/// Whether a model thinks before it answers (LEDGER 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// It cannot.
    Never,
    /// It can, and does not unless asked.
    Off,
    /// It can, and does unless asked not to.
    On,
    /// It always does.
    Always,
}

/// How far a row of the catalogue can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Stated by the provider.
    Ok,
    /// The larger of several statements.
    Conservative,
    /// Carried over from a sibling or an old page.
    Uncertain,
    /// Not found: no free quota is listed, or no bound.
    Unknown,
}

/// Template tokens of a request where a row says nothing (LEDGER 7).
pub const TEMPLATE_BASE: Amount = 512;
/// Template tokens of a message where a row says nothing (LEDGER 7).
pub const TEMPLATE_MESSAGE: Amount = 16;
/// Template tokens of tools where a row says nothing (LEDGER 7).
pub const TEMPLATE_TOOLS: Amount = 512;

/// The most that a call can cost, in tokens: what a sound hold needs (LEDGER 7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Context window in tokens; of all texts of one request where the provider states it by text (embeddings).
    pub window: Amount,
    /// Most input tokens.
    pub max_input: Amount,
    /// Most answer tokens.
    pub max_output: Amount,
    /// Most thinking tokens.
    pub max_thinking: Amount,
    /// Whether it thinks.
    pub thinking: Thinking,
    /// Whether `thinking_budget` is known to bound its thinking.
    pub thinking_budget: bool,
    /// Most tokens that one image costs; `None` = images are not bounded apart, the window is.
    pub per_image_max: Option<Amount>,
    /// Most choices (`n`) of one call.
    pub max_n: u32,
    /// Template tokens of a request (LEDGER 7: 512).
    pub template_base: Amount,
    /// Template tokens of a message (LEDGER 7: 16).
    pub template_message: Amount,
    /// Template tokens of a request with tools, beside the base (LEDGER 7: 512).
    pub template_tools: Amount,
}

/// One price tier. Rates are kept as written, so that a later round can bill without a rounding in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    /// The tier holds up to this many input units; `None` = without limit.
    pub input_up_to: Option<Amount>,
    /// What is priced and the decimal price: `in`, `out`, `out_thinking` and their kinds per 1,000,000 tokens; `per_image`,
    /// `per_second`, `per_10k_characters`, `per_voice` per unit. A price by resolution is named `per_second 720P`.
    pub rates: Vec<(String, String)>,
}

/// One row of the catalogue.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The exact code.
    pub code: ModelCode,
    /// The counter it draws on.
    pub pool: PoolId,
    /// Its kind.
    pub kind: ModelType,
    /// What is counted.
    pub unit: Unit,
    /// The free quota that a new account is granted; (amount, and output amount where the two are counted apart).
    pub free_quota: Option<FreeQuota>,
    /// Days that a grant is valid; the site's rule may differ.
    pub validity_days: u32,
    /// The bounds in tokens; a row with neither these nor `max_units` has no sound bound and is refused in free quota only.
    pub bounds: Option<Bounds>,
    /// The most units that one call can cost, where the unit is not tokens.
    pub max_units: Option<Amount>,
    /// Whether a request's `duration` is known to bound the seconds of the video that is made.
    pub heeds_duration: bool,
    /// The currency of the prices, ISO 4217.
    pub currency: String,
    /// Price tiers; empty = it cannot be pay-as-you-go.
    pub prices: Vec<Price>,
    /// How far the quota and the price can be trusted.
    pub confidence: Confidence,
    /// How far the bounds can be trusted.
    pub bounds_confidence: Confidence,
    /// Where quota and price come from.
    pub source: String,
    /// Where the bounds come from.
    pub bounds_source: String,
}

impl Model {
    /// Whether the most that a call can cost is known (LEDGER 7); without it a call is refused in free quota only.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.bounds.is_some() || self.max_units.is_some()
    }

    /// Whether it has a price; without one it cannot be pay-as-you-go.
    #[must_use]
    pub fn is_priced(&self) -> bool {
        !self.prices.is_empty()
    }
}

/// The free quota that comes with a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FreeQuota {
    /// One counter.
    Total(Amount),
    /// Input and output counted apart.
    Split {
        /// Input units.
        input: Amount,
        /// Output units.
        output: Amount,
    },
}

impl FreeQuota {
    /// The granted amount of the counter that pays for output: the whole, or the output side.
    #[must_use]
    pub const fn output_side(self) -> Amount {
        match self {
            Self::Total(amount) | Self::Split { output: amount, .. } => amount,
        }
    }

    /// Whether input and output are counted apart.
    #[must_use]
    pub const fn is_split(self) -> bool {
        matches!(self, Self::Split { .. })
    }
}

/// Every known model by its exact code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    models: HashMap<ModelCode, Arc<Model>>,
}

impl Catalogue {
    /// A catalogue of these models. A later row of the same code replaces the earlier one.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = Model>) -> Self {
        Self { models: models.into_iter().map(|model| (model.code.clone(), Arc::new(model))).collect() }
    }

    /// The model of this exact code; nothing is folded or trimmed (B2).
    #[must_use]
    pub fn model(&self, code: &str) -> Option<&Arc<Model>> {
        self.models.get(code)
    }

    /// All models, in no order.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }
}
