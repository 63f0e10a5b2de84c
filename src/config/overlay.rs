//! Variables of the environment that override single settings: `GRATIS_SERVER__LISTEN` is `listen` of `[server]`.

use super::env::Env;
use super::report::{Origin, Report, Spot};
use super::tree::{Found, Table, Value};

/// What such a variable begins with.
const PREFIX: &str = "GRATIS_";
/// What stands between the parts of a key; a variable without it is no override.
const BETWEEN: &str = "__";

/// Puts every override onto the tree. Values are never shown in messages: only the variable's name is.
pub(super) fn apply(tree: &mut Table, env: &Env, report: &mut Report) {
    for (name, value) in env.starting_with(PREFIX) {
        let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
        if !path.contains(BETWEEN) {
            continue;
        }
        let source = report.add_source(name, Origin::Variable, name);
        let spot = Spot { source, start: 0, end: name.len() };
        let parts: Vec<&str> = path.split(BETWEEN).collect();
        if parts.iter().any(|part| part.is_empty()) {
            report.mistake(spot, format!("`{name}` names no setting"), "this variable", None);
            continue;
        }
        insert(tree, &parts, Found { key: spot, spot, value: Value::Text(value.to_owned()) }, report);
    }
}

fn insert(tree: &mut Table, parts: &[&str], found: Found, report: &mut Report) {
    let Some((first, rest)) = parts.split_first() else { return };
    // A name in the file may hold a dash, which a variable's name cannot.
    let key = tree.keys().find(|key| key.replace('-', "_") == **first).cloned().unwrap_or_else(|| (*first).to_owned());
    if rest.is_empty() {
        tree.insert(key, found);
        return;
    }
    let entry = tree.entry(key).or_insert_with(|| Found { value: Value::Table(Table::new()), ..found.clone() });
    // Where a secret is to be found is said by one of two keys: the new one replaces the other.
    let is_reference = matches!(rest, ["env" | "file"]);
    match &mut entry.value {
        Value::Table(table) if !is_reference => insert(table, rest, found, report),
        Value::Table(_) | Value::Text(_) if is_reference => {
            let mut table = Table::new();
            insert(&mut table, rest, found.clone(), report);
            *entry = Found { value: Value::Table(table), ..found };
        }
        Value::Table(_)
        | Value::Text(_)
        | Value::Integer(_)
        | Value::Boolean(_)
        | Value::Array(_)
        | Value::Other(_) => {
            report.mistake(found.spot, format!("`{}` has no keys of its own", parts.join(".")), "this variable", None);
        }
    }
}

/// Warns of variables that would be overrides with one more underscore: they are not read, and were surely meant.
pub(super) fn warn_of_near_misses(env: &Env, report: &mut Report) {
    let near: Vec<(String, String)> = env
        .starting_with(PREFIX)
        .filter(|(name, _)| !name.contains(BETWEEN))
        .filter_map(|(name, _)| {
            let meant = report.known.iter().find(|key| name == variable_of(key, "_"))?;
            Some((name.to_owned(), variable_of(meant, BETWEEN)))
        })
        .collect();
    for (name, meant) in near {
        let help = Some(format!("did you mean {meant}?"));
        report.warning(None, format!("the variable {name} is not read"), "", help);
    }
}

/// The variable of a key, its parts joined by this.
fn variable_of(key: &str, between: &str) -> String {
    format!("{PREFIX}{}", key.replace("*", "default").replace('.', between).to_ascii_uppercase())
}
