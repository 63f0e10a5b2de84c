//! `[app.ID]`: the models of the provider's apps.

use std::collections::{BTreeMap, HashMap};

use super::reader::{Reader, closest};
use super::report::{Report, Spot};
use super::tree::{Found, Value};
use super::upstream::UpstreamConfig;
use crate::catalogue::Catalogue;
use crate::ledger::ModelCode;

/// How often one request to an app may call each of its models.
pub type AppModels = BTreeMap<ModelCode, u64>;

/// So many calls of models one request to an app may make.
const MOST_CALLS: usize = 64;

/// Reads all of them.
pub(super) fn read_all(
    report: &mut Report,
    apps: Option<&Found>,
    catalogue: &Catalogue,
    upstreams: Option<&[UpstreamConfig]>,
) -> Option<HashMap<String, AppModels>> {
    let mut read = HashMap::new();
    let Some(apps) = apps else { return Some(read) };
    let Value::Table(apps) = &apps.value else {
        report.mistake(apps.spot, "an app is a table: [app.ID]", "not a table", None);
        return None;
    };
    let mut sound = true;
    for (id, found) in apps {
        let Value::Table(table) = &found.value else {
            report.mistake(found.spot, format!("an app is a table: [app.{id}]"), "not a table", None);
            sound = false;
            continue;
        };
        if !crate::dialect::Kind::is_id(id) {
            let help = Some("the app's id as the console shows it".to_owned());
            report.mistake(found.key, format!("`{id}` cannot be the id of an app"), "this id", help);
        }
        let mut reader = Reader::new(report, table, found.key, "app.*");
        let models = reader.texts("models");
        let spot = reader.spot_of("models");
        reader.finish();
        let Some(models) = models else {
            sound = false;
            continue;
        };
        if models.is_empty() || models.len() > MOST_CALLS {
            let message = format!("an app has 1 to {MOST_CALLS} models, each as often as one request may call it");
            report.mistake(spot, message, "this list", None);
        }
        let mut counted = AppModels::new();
        for (code, spot) in models {
            check(report, (&code, spot), catalogue, upstreams.unwrap_or_default());
            *counted.entry(ModelCode::from(code)).or_default() += 1;
        }
        read.insert(id.clone(), counted);
    }
    sound.then_some(read)
}

/// A model that the catalogue has, and that is served where apps are.
fn check(report: &mut Report, (code, spot): (&str, Spot), catalogue: &Catalogue, upstreams: &[UpstreamConfig]) {
    if catalogue.model(code).is_none() {
        let known: Vec<&str> = catalogue.models().map(|model| model.code.as_str()).collect();
        let help = closest(code, &known).map(|close| format!("did you mean \"{close}\"?"));
        report.mistake(spot, format!("the catalogue has no model \"{code}\""), "unknown model", help);
    }
    let elsewhere = upstreams.iter().find(|upstream| upstream.models.iter().any(|model| model.as_str() == code));
    // Without an upstream that names no models, there is one alone that serves everything.
    if let Some(upstream) = elsewhere.filter(|_| upstreams.len() > 1) {
        let message = format!("`{code}` is served by [upstream.{}], and apps by the one without models", upstream.name);
        report.mistake(spot, message, "its quota is another one", None);
    }
}
