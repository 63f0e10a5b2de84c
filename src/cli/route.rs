//! `gratis route` and `gratis reload`: what a running gratis meters, and its configuration.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::Done;
use super::client::{Admin, AdminArgs};
use super::out::{Column, Out};

/// Metered routes.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// Every route that is let through; all others are refused.
    List,
}

/// Read the configuration again.
#[derive(clap::Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

const COLUMNS: [Column; 5] = [
    ("METHOD", "/method"),
    ("PATH", "/path"),
    ("DIALECT", "/dialect"),
    ("METERING", "/metering"),
    ("SOURCE", "/source"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what: What::List, admin } = args;
    let answer = admin.call(async |api: Admin| api.get("/admin/v1/coverage").await)?;
    if admin.is_json() {
        out.json(&answer)
    } else {
        out.table(&COLUMNS, answer.as_array().map(Vec::as_slice).unwrap_or_default(), "no routes")
    }
}

pub(super) fn reload(args: ReloadArgs, out: &mut Out<'_>) -> Done {
    let ReloadArgs { admin } = args;
    let answer = admin.call(async |api: Admin| api.send(Method::POST, "/admin/v1/config/reload", &json!({})).await)?;
    if admin.is_json() {
        return out.json(&answer);
    }
    out.line("the configuration was read again")?;
    for note in answer.get("notes").and_then(Value::as_array).into_iter().flatten() {
        out.line(format_args!("note: {}", note.as_str().unwrap_or_default()))?;
    }
    Ok(())
}
