//! What `gratis check` says: every mistake, or that the configuration is sound, and what may not be meant.

use std::fmt::Write as _;
use std::path::Path;

use super::env::Env;
use super::report::Report;
use super::{Loaded, QuotaConfig, load};
use crate::catalogue::{Catalogue, Model};
use crate::ledger::Amount;

/// The result of `gratis check`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckReport {
    /// What to print.
    pub text: String,
    /// 0 = sound, with or without warnings; 2 = there are mistakes. 1 is left to failures of the program itself.
    pub exit_code: u8,
}

/// Checks the configuration as [`load`] would load it.
#[must_use]
pub fn check_report(path: Option<&Path>, env: &Env, colour: bool) -> CheckReport {
    match load(path, env) {
        Ok(loaded) => CheckReport { text: sound(&loaded, colour), exit_code: 0 },
        Err(errors) => CheckReport { text: errors.render(colour), exit_code: 2 },
    }
}

fn sound(loaded: &Loaded, colour: bool) -> String {
    let mut text = String::new();
    for warning in &loaded.warnings {
        text.push_str(&warning.render(colour));
        text.push('\n');
    }
    let models = loaded.catalogue.models().count();
    let bounded = loaded.catalogue.models().filter(|model| model.is_bounded()).count();
    let upstreams: Vec<String> =
        loaded.config.upstreams.iter().map(|upstream| format!("{} -> {}", upstream.name, upstream.base_url)).collect();
    let _ = writeln!(
        text,
        "configuration is sound: {models} models, {bounded} with a sound bound, site {}",
        loaded.config.site.name
    );
    let _ = writeln!(text, "upstream {}", upstreams.join(", "));
    match loaded.warnings.len() {
        0 => {}
        1 => text.push_str("1 warning\n"),
        count => {
            let _ = writeln!(text, "{count} warnings");
        }
    }
    text
}

/// Warns where a single call that names no bounds would hold more than an eighth of a fresh grant (LEDGER 7).
pub(super) fn warn_of_large_holds(report: &mut Report, quota: &QuotaConfig, catalogue: &Catalogue) {
    let mut large: Vec<(&str, Amount, Amount)> = catalogue
        .models()
        .filter_map(|model| {
            let grant = model.free_quota?.output_side();
            let hold = default_hold(model, grant, quota)?;
            (hold > grant / 8).then_some((model.code.as_str(), hold, grant))
        })
        .collect();
    large.sort_unstable();
    let Some((code, hold, grant)) = large.first() else { return };
    let more =
        if large.len() > 1 { format!(", and the like for {} more models", large.len() - 1) } else { String::new() };
    let message =
        format!("a call of {code} that names no bounds would hold {hold} of {grant}, more than an eighth{more}");
    let help = "raise `hold_share`, lower `hold_share_floor`, or set `max_output_default` in [quota]".to_owned();
    report.warning(None, message, "", Some(help));
}

/// What a call without bounds of its own holds for its answer while the whole grant is left.
fn default_hold(model: &Model, grant: Amount, quota: &QuotaConfig) -> Option<Amount> {
    let bounds = model.bounds.as_ref()?;
    let answer = bounds.max_output.min(quota.max_output_default.unwrap_or(Amount::MAX));
    let most = answer.saturating_add(bounds.max_thinking);
    let share = (grant / quota.hold_share.max(1)).max(quota.hold_share_floor);
    Some(most.min(share))
}
