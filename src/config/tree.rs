//! Sources as a tree whose every key and value knows where it stands, and how one tree overrides another.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mask;
use super::report::{Report, Spot};

/// A table of a source: values by key.
pub(super) type Table = BTreeMap<String, Found>;

/// A value with the places of its key and of itself.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Where the key stands; of an element of an array: where the element stands.
    pub(super) key: Spot,
    /// Where the value stands.
    pub(super) spot: Spot,
    /// The value.
    pub(super) value: Value,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A whole number; `None` = one that no counter takes.
    Integer(Option<i64>),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    Array(Vec<Found>),
    /// A table.
    Table(Table),
    /// What no setting takes: a fraction, a date.
    Other(&'static str),
}

impl Value {
    /// What it is, for a message.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Parses a source. What cannot be parsed is reported; what could be is returned all the same.
pub(super) fn parse(text: &str, source: usize, report: &mut Report) -> Table {
    let (parsed, errors) = DeTable::parse_recoverable(text);
    // First the tree: it hides the secrets, which the carets of the errors would show.
    let table = convert_table(parsed.get_ref(), source, report);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let end = span.end.max(span.start.saturating_add(1)).min(text.len());
        let spot = Spot { source, start: span.start.min(end), end };
        report.mistake(spot, format!("this is not TOML: {}", error.message()), "here", None);
    }
    table
}

fn convert_table(table: &DeTable<'_>, source: usize, report: &mut Report) -> Table {
    let mut converted = Table::new();
    for (key, value) in table {
        let found = Found {
            key: spot_of(key, source),
            spot: spot_of(value, source),
            value: convert(value.get_ref(), source, report),
        };
        if mask::is_secret_name(key.get_ref()) && matches!(found.value, Value::Text(_)) {
            report.hide(found.spot);
        }
        converted.insert(key.get_ref().to_string(), found);
    }
    converted
}

fn convert(value: &DeValue<'_>, source: usize, report: &mut Report) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(elements) => Value::Array(
            elements
                .iter()
                .map(|element| {
                    let spot = spot_of(element, source);
                    Found { key: spot, spot, value: convert(element.get_ref(), source, report) }
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, source, report)),
    }
}

fn spot_of<T>(spanned: &Spanned<T>, source: usize) -> Spot {
    let span = spanned.span();
    Spot { source, start: span.start, end: span.end }
}

/// Whether a table says where a secret is to be found: it is replaced as a whole, never mixed.
fn is_reference(table: &Table) -> bool {
    !table.is_empty() && table.keys().all(|key| key == "env" || key == "file")
}

/// Puts `over` on top of `base`, key by key. A table that both have stands where `over` has it.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (name, above) in over {
        let Some(below) = base.get_mut(&name) else {
            base.insert(name, above);
            continue;
        };
        match (&mut below.value, above.value) {
            (Value::Table(under), Value::Table(table)) if !is_reference(under) && !is_reference(&table) => {
                merge(under, table);
            }
            (under, value) => *under = value,
        }
        (below.key, below.spot) = (above.key, above.spot);
    }
}

/// Gives every upstream of the operator's what it leaves out, and lets the built-in one step aside where there are others.
pub(super) fn inherit_upstreams(base: &mut Table, over: &Table) {
    let Some(Found { value: Value::Table(theirs), .. }) = over.get("upstream") else { return };
    let Some(Found { value: Value::Table(ours), .. }) = base.get_mut("upstream") else { return };
    let Some(template) = ours.remove("default") else { return };
    for name in theirs.keys() {
        let mut copy = template.clone();
        if let Value::Table(table) = &mut copy.value
            && name != "default"
        {
            table.remove("api_key");
        }
        ours.insert(name.clone(), copy);
    }
}
