//! `config/sites/*.toml`: the rule sets of provider sites.

use std::path::Path;

use super::reader::Reader;
use super::report::{Origin, Report, Spot};
use super::site_rules;
use super::tree::{self, Table, Value};
use super::values;
use crate::catalogue::{Endpoint, Site};
use crate::ledger::{Overrun, SwitchOff};

/// The rule sets that are compiled in, by name.
const BUILT_IN: [(&str, &str); 3] = [
    ("qwen-cloud", include_str!("../../config/sites/qwen-cloud.toml")),
    ("model-studio-intl", include_str!("../../config/sites/model-studio-intl.toml")),
    ("model-studio-cn", include_str!("../../config/sites/model-studio-cn.toml")),
];

/// Reads the compiled-in rule sets and those of a folder; one of the folder replaces a compiled-in one of the same name.
pub(super) fn read_all(report: &mut Report, folder: Option<(&Path, Spot)>) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for (name, text) in BUILT_IN {
        let source = report.add_source(&format!("sites/{name}.toml"), Origin::BuiltIn, text);
        sites.extend(read(report, name, text, source));
    }
    let Some((folder, spot)) = folder else { return sites };
    let mut files: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => {
            report.mistake(spot, format!("cannot read the folder {}: {error}", folder.display()), "this folder", None);
            return sites;
        }
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    for path in files {
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let source = report.add_source(&path.display().to_string(), Origin::File(path.clone()), &text);
                if let Some(site) = read(report, name, &text, source) {
                    sites.retain(|known| known.name != site.name);
                    sites.push(site);
                }
            }
            Err(error) => {
                report.mistake(spot, format!("cannot read {}: {error}", path.display()), "in this folder", None)
            }
        }
    }
    sites
}

fn read(report: &mut Report, name: &str, text: &str, source: usize) -> Option<Site> {
    let table = tree::parse(text, source, report);
    let whole = Spot { source, start: 0, end: 0 };
    let mut r = Reader::new(report, &table, whole, "");
    let title = r.text("title", "\"My site\"", text_of);
    let time_zone = r.text("time_zone", "\"Asia/Singapore\"", |zone| {
        jiff::tz::TimeZone::get(zone).map(|_| zone.to_owned()).map_err(|_| format!("\"{zone}\" is no time zone"))
    });
    let validity_days = r.count("validity_days", 1..=3_650);
    let switch_default_on = r.choice("switch_default", &[("off", false), ("on", true)]);
    let switch_offs = [("once-used-up", SwitchOff::OnceUsedUp), ("any-time", SwitchOff::AnyTime)];
    let switch_off = r.choice("switch_off", &switch_offs);
    let overrun = r.choice("overrun", &[("never", Overrun::Never), ("last-call", Overrun::LastCall)]);
    let overdue_grace_days = r.count("overdue_grace_days", 0..=365);
    let unverified_is_free_only = r.flag("unverified_is_free_only");
    let console_lag_minutes = r.count("console_lag_minutes", 0..=10_080);
    let cohorts = site_rules::cohorts(&mut r, time_zone.as_deref().unwrap_or("UTC"));
    let covers = site_rules::covers(&mut r);
    let notices = site_rules::notices(&mut r);
    let other_products = r.texts("other_products");
    let other_keys = r.texts("other_keys");
    let regions = read_regions(&mut r);
    r.finish();
    let (regions, endpoints) = regions?;
    Some(Site {
        name: name.to_owned(),
        title: title?,
        time_zone: time_zone?,
        regions,
        validity_days: u32::try_from(validity_days?).ok()?,
        switch_default_on: switch_default_on?,
        switch_off: switch_off?,
        overrun: overrun?,
        overdue_grace_days: u32::try_from(overdue_grace_days?).ok()?,
        unverified_is_free_only: unverified_is_free_only?,
        console_lag_minutes: u32::try_from(console_lag_minutes?).ok()?,
        endpoints,
        cohorts: cohorts?,
        covers: covers?,
        notices: notices?,
        other_products: plain(other_products?),
        other_keys: plain(other_keys?),
    })
}

fn plain(texts: Vec<(String, Spot)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text).collect()
}

fn text_of(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("nothing is written here".to_owned()) } else { Ok(text.to_owned()) }
}

fn read_regions(r: &mut Reader<'_, '_>) -> Option<(Vec<String>, Vec<Endpoint>)> {
    let Some(found) = r.find("region") else {
        let help = Some("write [[region]] with name, title, free_quota and openai_base_url".to_owned());
        r.report.mistake(r.spot, "a site has at least one region", "in this file", help);
        return None;
    };
    let Value::Array(rows) = &found.value else {
        r.report.mistake(found.spot, "regions are written as [[region]]", "not a list of tables", None);
        return None;
    };
    let (mut with_grant, mut endpoints) = (Vec::new(), Vec::<Endpoint>::new());
    let mut sound = true;
    for row in rows {
        let Value::Table(table) = &row.value else {
            r.report.mistake(row.spot, "regions are written as [[region]]", "not a table", None);
            return None;
        };
        let Some((endpoint, free_quota)) = read_region(r.report, table, row.spot) else {
            sound = false;
            continue;
        };
        if endpoints.iter().any(|known| known.region == endpoint.region) {
            r.report.mistake(row.spot, format!("region `{}` is there twice", endpoint.region), "the second", None);
            sound = false;
        }
        if free_quota {
            with_grant.push(endpoint.region.clone());
        }
        endpoints.push(endpoint);
    }
    if sound && with_grant.is_empty() {
        r.report.mistake(found.spot, "no region has a free quota, so this site has nothing to keep", "these", None);
        return None;
    }
    sound.then_some((with_grant, endpoints))
}

fn read_region(report: &mut Report, table: &Table, spot: Spot) -> Option<(Endpoint, bool)> {
    let mut r = Reader::new(report, table, spot, "region");
    let region = r.text("name", "\"ap-southeast-1\"", text_of);
    let title = r.text("title", "\"Singapore\"", text_of);
    let free_quota = r.flag("free_quota");
    let url = r.text("openai_base_url", "\"https://host/compatible-mode/v1\"", |text| {
        values::base_url(text).map(|_| text.trim_end_matches('/').to_owned())
    });
    r.finish();
    Some((Endpoint { region: region?, title: title?, openai_base_url: url? }, free_quota?))
}
