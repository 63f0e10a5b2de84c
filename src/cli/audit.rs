//! `gratis audit`.

use serde_json::{Map, Value, json};

use super::Done;
use super::client::{Admin, AdminArgs, items, segment};
use super::out::{Column, Out};

/// The audit log, newest first.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Only changes of this account.
    #[arg(long)]
    account: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
}

const COLUMNS: [Column; 7] = [
    ("NUMBER", "/number"),
    ("AT", "/at"),
    ("BY", "/by"),
    ("CHANGE", "/change"),
    ("STATUS", "/status"),
    ("BEFORE", "/before"),
    ("AFTER", "/after"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { account, limit, admin } = args;
    let account = account.map(|account| format!("&account={}", segment(&account))).unwrap_or_default();
    let answer = admin.call(async |api: Admin| api.get(&format!("/admin/v1/audit?limit={limit}{account}")).await)?;
    if admin.is_json() {
        return out.json(&answer);
    }
    let rows: Vec<Value> = items(&answer).iter().map(row).collect();
    out.table(&COLUMNS, &rows, "nothing was changed yet")
}

fn row(line: &Value) -> Value {
    let text = |place: &str| line.pointer(place).and_then(Value::as_str).unwrap_or_default();
    let path = text("/path").trim_start_matches("/admin/v1");
    let by = match text("/actor/name") {
        "" => text("/actor/role").to_owned(),
        name => format!("{} ({name})", text("/actor/role")),
    };
    json!({
        "number": line.get("number"),
        "at": text("/at"),
        "by": by,
        "change": match text("/request/kind") {
            "" => format!("{} {path}", text("/method")),
            kind => format!("{} {path} {kind}", text("/method")),
        },
        "status": line.get("status"),
        "before": short(line.get("before")),
        "after": short(line.get("after")),
    })
}

/// What changed, `name=value` each.
fn short(side: Option<&Value>) -> String {
    let members = side.and_then(Value::as_object).into_iter().flatten();
    let shown = members.map(|(name, value)| match value {
        Value::Object(members) => format!("{name}={}", inner(members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            format!("{name}={}", super::out::text(value))
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The most characters of an object that a cell shows.
const CELL: usize = 60;

/// The members of an object, `name:value` each; those that say nothing are left out.
fn inner(members: &Map<String, Value>) -> String {
    if let (1, Some(only)) = (members.len(), members.values().next()) {
        return super::out::text(only);
    }
    let said = members.iter().filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)));
    let said: Vec<String> = said.map(|(name, value)| format!("{name}:{}", super::out::text(value))).collect();
    let said = said.join(",");
    match said.char_indices().nth(CELL) {
        Some((end, _)) => format!("{{{}..}}", said.get(..end).unwrap_or_default()),
        None => format!("{{{said}}}"),
    }
}
