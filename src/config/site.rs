//! `[site]`: whose rules apply, and where more rules and models are.

use std::path::PathBuf;

use super::reader::{Reader, closest};
use super::report::{Report, Spot};
use super::tree::{Found, Value};
use super::{rows, sites};
use crate::catalogue::{Catalogue, Site};

/// Whose rules apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteConfig {
    /// The site that accounts are made with unless they say otherwise.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The base URL of that region's OpenAI dialect.
    pub openai_base_url: String,
    /// The folder of rule sets of the operator's.
    pub sites_dir: Option<PathBuf>,
    /// The file of models of the operator's.
    pub catalogue_file: Option<PathBuf>,
}

/// Reads the section, then the rule sets and the catalogue, which it may add to.
pub(super) fn read(report: &mut Report, found: Option<&Found>) -> (Option<SiteConfig>, Vec<Site>, Catalogue) {
    let Some((table, spot)) = found.and_then(|found| match &found.value {
        Value::Table(table) => Some((table, found.key)),
        Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Array(_) | Value::Other(_) => None,
    }) else {
        if let Some(found) = found {
            report.mistake(found.spot, "`site` is a section: [site]", "not a section", None);
        }
        return (None, sites::read_all(report, None), rows::read_all(report, None));
    };
    let mut r = Reader::new(report, table, spot, "site");
    let text = |text: &str| Ok(text.to_owned());
    let name = r.text("name", "\"model-studio-intl\"", text);
    let region = r.optional_text("region", "\"ap-southeast-1\"", text);
    let sites_dir = r.optional_path("sites_dir").flatten();
    let catalogue_file = r.optional_path("catalogue_file").flatten();
    let place = |key| r.spot_of(key);
    let spots = (place("name"), place("region"), place("sites_dir"), place("catalogue_file"));
    r.finish();
    let sites = sites::read_all(report, sites_dir.as_deref().map(|path| (path, spots.2)));
    let catalogue = rows::read_all(report, catalogue_file.as_deref().map(|path| (path, spots.3)));
    let chosen = name.zip(region).and_then(|(name, region)| {
        let (region, openai_base_url) = choose(report, &sites, &name, region, spots.0, spots.1)?;
        Some(SiteConfig { name, region, openai_base_url, sites_dir, catalogue_file })
    });
    (chosen, sites, catalogue)
}

fn choose(
    report: &mut Report,
    sites: &[Site],
    name: &str,
    region: Option<String>,
    name_spot: Spot,
    region_spot: Spot,
) -> Option<(String, String)> {
    let Some(site) = sites.iter().find(|site| site.name == name) else {
        let known: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        let help = match closest(name, &known) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("known: {}", known.join(", ")),
        };
        report.mistake(name_spot, format!("there is no site \"{name}\""), "unknown site", Some(help));
        return None;
    };
    let endpoint = match &region {
        Some(region) => site.endpoint(region),
        None => site.default_endpoint(),
    };
    let Some(endpoint) = endpoint else {
        let known: Vec<&str> = site.endpoints.iter().map(|endpoint| endpoint.region.as_str()).collect();
        let help = format!("{name} has {}", known.join(", "));
        let message = format!("{name} has no region \"{}\"", region.unwrap_or_default());
        report.mistake(region_spot, message, "unknown region", Some(help));
        return None;
    };
    if !site.regions.contains(&endpoint.region) {
        let message = format!("{} of {name} has no free quota, so free quota only refuses every call", endpoint.region);
        let help = Some(format!("with a free quota: {}", site.regions.join(", ")));
        report.warning(Some(region_spot), message, "no free quota here", help);
    }
    Some((endpoint.region.clone(), endpoint.openai_base_url.clone()))
}
