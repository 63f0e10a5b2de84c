//! What is known of models and of provider sites: units, windows, bounds, prices; validity, coverage and switch rules.
//!
//! Pure. Values are made by `config` from `config/catalogue.toml` and `config/sites/*.toml`.

mod model;
mod site;

pub use model::{Bounds, Catalogue, Confidence, FreeQuota, Model, ModelType, Price, Thinking};
pub use site::Site;
