//! `gratis store status`: what can be seen of the store from here.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::configuration;
use crate::cli::out::{Column, Format, Out};
use crate::cli::serve::runtime;
use crate::cli::{Done, Failure};
use crate::config::StoreKind;
use crate::store::embedded;
use crate::store::redis::{self, Settings, Status};

/// What the store is, and how it stands.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
    /// How results are shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The titles of what is shown, and where each value stands.
const COLUMNS: [Column; 9] = [
    ("store", "/store"),
    ("server", "/server"),
    ("class", "/class"),
    ("prefix", "/prefix"),
    ("ledger", "/ledger"),
    ("run id", "/run_id"),
    ("epoch", "/epoch"),
    ("replicas", "/replicas_seen"),
    ("suspended", "/suspended"),
];

pub(super) fn run(args: &Args, out: &mut Out<'_>) -> Done {
    let config = configuration::load_local(args.config.as_deref(), out)?.config;
    if matches!(config.store.kind, StoreKind::Embedded) {
        let file = embedded::ledger_in(&config.store.state_dir);
        let value = json!({
            "store": "embedded",
            "class": "embedded",
            "state_dir": config.store.state_dir,
            "ledger": if file.is_some() { "ready" } else { "absent" },
        });
        return match args.output {
            Format::Json => out.json(&value),
            Format::Table => out.fields(
                &[("store", "/store"), ("class", "/class"), ("folder", "/state_dir"), ("ledger", "/ledger")],
                &value,
            ),
        };
    }
    let settings = configuration::shared_store(&config)?;
    let status = ask(&settings)?;
    match args.output {
        Format::Json => out.json(&in_json(&settings, &status)?),
        Format::Table => text(&settings, &status, out),
    }
}

/// Asks the store.
pub(super) fn ask(settings: &Settings) -> Result<Status, Failure> {
    runtime()?.block_on(redis::status(settings)).map_err(|error| Failure::Unreachable(error.to_string()))
}

fn in_json(settings: &Settings, status: &Status) -> Result<Value, Failure> {
    let value = serde_json::to_value(status);
    let mut value = value.map_err(|error| Failure::Refused(format!("the answer cannot be shown: {error}")))?;
    if let Value::Object(members) = &mut value {
        members.insert("store".to_owned(), json!(settings.url.to_string()));
        members.insert("prefix".to_owned(), json!(settings.prefix));
    }
    Ok(value)
}

/// For people: the same in a few lines, then what the class promises.
pub(super) fn text(settings: &Settings, status: &Status, out: &mut Out<'_>) -> Done {
    let mut value = in_json(settings, status)?;
    let seen = status.replicas.iter().map(|replica| {
        let suspended = if replica.suspended.is_some() { ", suspended" } else { "" };
        format!("{} ({}{suspended})", replica.name, replica.seen.to_rfc3339())
    });
    let seen: Vec<String> = seen.collect();
    if let Value::Object(members) = &mut value {
        members.insert("replicas_seen".to_owned(), json!(seen));
    }
    out.fields(&COLUMNS, &value)?;
    for line in &status.promise {
        out.line(line)?;
    }
    Ok(())
}
