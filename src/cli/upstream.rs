//! `gratis upstream`.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::Done;
use super::client::{Admin, AdminArgs, segment};
use super::out::{Column, Out};

/// Upstreams that said that their account is overdue.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// Those that are closed.
    List,
    /// Let calls through again: the bill is paid.
    Reopen {
        /// Its name in the configuration.
        name: String,
    },
}

const COLUMNS: [Column; 5] = [
    ("UPSTREAM", "/upstream"),
    ("SINCE", "/since"),
    ("REFUSALS", "/refusals"),
    ("POOLS", "/pools"),
    ("ACCOUNT", "/account"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, admin } = args;
    let answer = admin.call(async |api: Admin| match &what {
        What::List => api.get("/admin/v1/upstreams/closed").await,
        What::Reopen { name } => {
            api.send(Method::POST, &format!("/admin/v1/upstreams/{}/reopen", segment(name)), &json!({})).await
        }
    })?;
    match answer.as_array() {
        _ if admin.is_json() => out.json(&answer),
        Some(rows) => out.table(&COLUMNS, rows, "no upstream is closed"),
        None => out.fields(&COLUMNS, &answer),
    }
}
