//! What is known of models and of provider sites: units, windows, bounds, prices; validity, coverage and switch rules.
//!
//! Pure. Values are made by `config` from `config/catalogue.toml` and `config/sites/*.toml`.

mod consistency;
mod model;
mod site;

pub use consistency::{Inconsistency, model_inconsistencies, pool_inconsistencies};
pub use model::{
    Bounds, Catalogue, Confidence, FreeQuota, Model, ModelType, Price, TEMPLATE_BASE, TEMPLATE_MESSAGE, TEMPLATE_TOOLS,
    Thinking,
};
pub use site::{Beginnings, Cohort, Covers, Endpoint, Notices, Site};
