//! `gratis hold`.

use clap::Subcommand;

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account};
use super::out::{Column, Out};

/// Holds.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Whose holds.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// Calls in progress, and what was posted because nobody knew.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = ["open", "presumed"])]
        state: Option<String>,
    },
}

const COLUMNS: [Column; 7] = [
    ("HOLD", "/id"),
    ("MODEL", "/model"),
    ("KEY", "/key"),
    ("AMOUNT", "/amount"),
    ("STATE", "/state"),
    ("DEADLINE", "/deadline"),
    ("SINCE", "/since"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what: What::List { state }, account, admin } = args;
    let query = state.map(|state| format!("?state={state}")).unwrap_or_default();
    let path = of_account(&account, &format!("/holds{query}"));
    let answer = admin.call(async |api: Admin| api.list(&path).await)?;
    if admin.is_json() { out.json(&answer) } else { out.table(&COLUMNS, items(&answer), "no holds") }
}
