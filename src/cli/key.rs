//! `gratis key`.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account, segment};
use super::out::{Column, Out};

/// API keys.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Whose keys.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// All keys of the account, without their secrets.
    List,
    /// Make a key. It is shown once.
    Create {
        /// A label.
        #[arg(long)]
        name: Option<String>,
        /// A model that it may ask for; without any, all. Can be repeated.
        #[arg(long = "model", value_name = "CODE")]
        models: Vec<String>,
        /// The workspace that it belongs to.
        #[arg(long)]
        workspace: Option<String>,
        /// Whose it is: a user of the account.
        #[arg(long)]
        user: Option<String>,
    },
    /// Switch a key off. Calls in progress complete.
    Disable {
        /// The key's id.
        key: String,
    },
    /// Switch a key on again.
    Enable {
        /// The key's id.
        key: String,
    },
    /// Delete a key for good.
    Delete {
        /// The key's id.
        key: String,
    },
}

const COLUMNS: [Column; 8] = [
    ("KEY", "/id"),
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("LAST FOUR", "/last4"),
    ("MODELS", "/models"),
    ("WORKSPACE", "/workspace"),
    ("USER", "/user"),
    ("MADE", "/created"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, account, admin } = args;
    let is_list = matches!(what, What::List);
    let keys = of_account(&account, "/keys");
    let one = |key: &str| format!("{keys}/{}", segment(key));
    let answer = admin.call(async |api: Admin| match what {
        What::List => api.list(&keys).await,
        What::Create { name, models, workspace, user } => {
            let name = name.unwrap_or_default();
            let body = json!({ "name": name, "models": models, "workspace": workspace, "user": user });
            api.send(Method::POST, &keys, &body).await
        }
        What::Disable { key } => api.send(Method::PATCH, &one(&key), &json!({ "state": "disabled" })).await,
        What::Enable { key } => api.send(Method::PATCH, &one(&key), &json!({ "state": "active" })).await,
        What::Delete { key } => api.send(Method::DELETE, &one(&key), &json!({})).await,
    })?;
    if admin.is_json() {
        return out.json(&answer);
    }
    if is_list {
        return out.table(&COLUMNS, items(&answer), "no keys; `gratis key create` makes one");
    }
    // The secret alone goes to the standard output, so that it can be put into a variable.
    match answer.get("secret").and_then(Value::as_str) {
        Some(secret) => {
            out.remark("This is the only time that the key is shown:")?;
            out.line(secret)
        }
        None => out.fields(&COLUMNS, &answer),
    }
}
