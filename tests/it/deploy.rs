//! What is watched (`config/deploy`): every metric that an alert or a panel names is one that Gratis exports, in the form in which it
//! is exported, and what should wake somebody is watched at all.

use std::collections::BTreeMap;

use gratis::telemetry::Metrics;

const ALERTS: &str = include_str!("../../config/deploy/alerts.yaml");
const DASHBOARD: &str = include_str!("../../config/deploy/dashboard.json");

/// Every family that is exported, with its kind.
fn exported() -> BTreeMap<String, String> {
    let metrics = Metrics::new("test", ["qwen-plus"]);
    // A family that has no sample yet is not on the page.
    metrics.rejection("gratis_overloaded");
    metrics.store.calls("reserve", "ok").inc();
    metrics.store.seconds("reserve").observe(0.001);
    let page = metrics.render();
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The metrics that a text names. What stands in quotes inside of an expression is a value.
fn named(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("gratis_")).map(str::to_owned).collect()
}

/// The name under which a family's samples are read.
fn complaint(families: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let suffixes: [(&str, &[&str]); 4] = [
        ("counter", &["_total"]),
        ("histogram", &["_bucket", "_sum", "_count"]),
        ("info", &["_info"]),
        ("gauge", &[""]),
    ];
    let known = suffixes.iter().any(|(kind, suffixes)| {
        let families = suffixes.iter().filter_map(|suffix| families.get(name.strip_suffix(suffix)?));
        families.into_iter().any(|of| of == kind)
    });
    (!known).then(|| format!("{name} is not exported"))
}

/// The expressions of the alerts, without the values that labels are compared with.
fn expressions() -> Vec<String> {
    let lines = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    lines.map(|line| line.split('"').step_by(2).collect()).collect()
}

#[test]
fn alerts_and_panels_name_what_is_exported() {
    let families = exported();
    let board: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let panels = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let all: Vec<String> = expressions().into_iter().chain(panels).collect();
    let names: Vec<String> = all.iter().flat_map(|expression| named(expression)).collect();
    assert!(all.len() > 40 && all.iter().all(|expression| !named(expression).is_empty()), "{all:?}");
    let complaints: Vec<String> = names.iter().filter_map(|name| complaint(&families, name)).collect();
    assert!(complaints.is_empty(), "{complaints:?}\n{families:?}");
    for wrong in ["gratis_overspent", "gratis_nothing_total", "gratis_connections_total", "gratis_admission_seconds"] {
        assert!(complaint(&families, wrong).is_some(), "{wrong}");
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let elsewhere = ["gratis_build", "gratis_config_reloads"];
    for (family, kind) in exported() {
        let shown = named(DASHBOARD).iter().any(|name| name.starts_with(&family));
        assert!(shown || elsewhere.contains(&family.as_str()), "{kind} {family} is on no panel");
    }
}

#[test]
fn what_breaks_the_promise_wakes_somebody() {
    for metric in
        ["gratis_overspent_total", "gratis_settle_failed_total", "gratis_store_suspended", "gratis_panics_total"]
    {
        let critical =
            ALERTS.split("- alert:").any(|alert| alert.contains(metric) && alert.contains("severity: critical"));
        assert!(critical, "{metric}");
    }
}
