//! `gratis fallback`.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::json;

use super::Done;
use super::client::{Admin, AdminArgs, of_account, segment};
use super::out::{Column, Out};

/// Models that serve instead of one whose free quota is used up; never one that could cost money.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// In which account.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    /// For one key alone.
    #[arg(long, global = true)]
    key: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// What serves instead.
    Show,
    /// Choose it.
    Set {
        /// The models' exact codes.
        #[arg(required = true)]
        models: Vec<String>,
        /// Which is tried first.
        #[arg(long, value_enum, default_value_t)]
        order: Order,
    },
    /// Nothing serves instead.
    Clear,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Order {
    /// As they are listed.
    #[default]
    Listed,
    /// The one whose quota ends first.
    SoonestExpiring,
}

const COLUMNS: [Column; 2] = [("MODELS", "/models"), ("ORDER", "/order")];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, account, key, admin } = args;
    let path = match &key {
        Some(key) => of_account(&account, &format!("/keys/{}/fallback", segment(key))),
        None => of_account(&account, "/fallback"),
    };
    let order = |order| if order == Order::Listed { "listed" } else { "soonest_expiring" };
    let answer = admin.call(async |api: Admin| match what {
        What::Show => api.get(&path).await,
        What::Set { models, order: chosen } => {
            api.send(Method::PUT, &path, &json!({ "models": models, "order": order(chosen) })).await
        }
        What::Clear => api.send(Method::PUT, &path, &json!({ "models": [] })).await,
    })?;
    if admin.is_json() { out.json(&answer) } else { out.fields(&COLUMNS, &answer) }
}
