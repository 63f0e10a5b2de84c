//! `gratis user` and `gratis workspace`.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account, segment};
use super::out::{Column, Out};

/// Users or workspaces of an account; they share its quota.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// In which account.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// All of them.
    List,
    /// Add one.
    Add {
        /// Its id.
        id: String,
        /// What a person reads.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Remove one; with a user go all of its keys.
    Remove {
        /// Its id.
        id: String,
    },
}

const COLUMNS: [Column; 3] = [("ID", "/id"), ("NAME", "/name"), ("CREATED", "/created")];

pub(super) fn run(args: Args, list: &str, out: &mut Out<'_>) -> Done {
    let Args { what, account, admin } = args;
    let path = of_account(&account, &format!("/{list}"));
    let answer = admin.call(async |api: Admin| match &what {
        What::List => api.list(&path).await,
        What::Add { id, name } => api.send(Method::POST, &path, &json!({ "id": id, "name": name })).await,
        What::Remove { id } => api.send(Method::DELETE, &format!("{path}/{}", segment(id)), &json!({})).await,
    })?;
    match what {
        _ if admin.is_json() => out.json(&answer),
        What::List => out.table(&COLUMNS, items(&answer), "none yet"),
        What::Add { .. } | What::Remove { .. } => out.fields(&COLUMNS, &answer),
    }
}
