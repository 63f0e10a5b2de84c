//! `gratis grant`.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account};
use super::out::{Column, Out};
use crate::admin::figure::parse_amount;

/// Grants of free quota.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Whose grants.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// All grants of the account.
    List,
    /// Add a grant.
    Add(Box<New>),
    /// Change the amount of a grant; what was spent of it stays.
    Set {
        /// The grant's number.
        grant: u32,
        /// The whole amount, `1,000,000` for example.
        #[arg(value_parser = parse_amount)]
        amount: u64,
    },
}

#[derive(clap::Args)]
struct New {
    /// The model's exact code; its pool, unit and validity come from the catalogue.
    model: String,
    /// The whole amount, `1,000,000` for example.
    #[arg(value_parser = parse_amount)]
    amount: u64,
    /// What was used of it before Gratis counted.
    #[arg(long, value_parser = parse_amount, default_value = "0")]
    spent: u64,
    /// The part of a call that it pays.
    #[arg(long, value_parser = ["both", "input", "output"])]
    side: Option<String>,
    /// From when on: a date in the site's zone, or RFC 3339 [default: the latest of the next three, else now]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// When the account was activated [default: as its standing has it]
    #[arg(long, value_name = "TIME")]
    activated: Option<String>,
    /// When the model was released.
    #[arg(long, value_name = "TIME")]
    released: Option<String>,
    /// When the application for the model was approved.
    #[arg(long, value_name = "TIME")]
    approved: Option<String>,
    /// Until when: a date, RFC 3339, or `never`.
    #[arg(long, value_name = "TIME", conflicts_with = "valid_days")]
    end: Option<String>,
    /// For how many days from its start [default: as the site and the catalogue have it]
    #[arg(long, value_name = "DAYS")]
    valid_days: Option<u32>,
}

pub(super) const COLUMNS: [Column; 11] = [
    ("MODEL", "/model"),
    ("GRANT", "/grant"),
    ("SIDE", "/side"),
    ("GRANTED", "/granted"),
    ("SPENT", "/spent"),
    ("PRESUMED", "/presumed"),
    ("HELD", "/held"),
    ("AVAILABLE", "/available"),
    ("UNIT", "/unit"),
    ("END", "/end"),
    ("STATUS", "/status"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, account, admin } = args;
    let is_list = matches!(what, What::List);
    let grants = of_account(&account, "/grants");
    let answer = admin.call(async |api: Admin| match what {
        What::List => api.list(&grants).await,
        What::Add(new) => api.send(Method::POST, &grants, &body(*new)).await,
        What::Set { grant, amount } => {
            api.send(Method::PATCH, &format!("{grants}/{grant}"), &json!({ "amount": amount })).await
        }
    })?;
    if admin.is_json() {
        out.json(&answer)
    } else if is_list {
        out.table(&COLUMNS, items(&answer), "no grants; `gratis grant add MODEL AMOUNT` adds one")
    } else {
        out.fields(&COLUMNS, &answer)
    }
}

/// What is not said is left out, so that the API's own rules apply.
fn body(new: New) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), new.model.into());
    body.insert("amount".to_owned(), new.amount.into());
    body.insert("spent".to_owned(), new.spent.into());
    let texts = [
        ("side", new.side),
        ("start", new.start),
        ("activated", new.activated),
        ("released", new.released),
        ("approved", new.approved),
        ("end", new.end),
    ];
    body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
    if let Some(days) = new.valid_days {
        body.insert("valid_days".to_owned(), days.into());
    }
    Value::Object(body)
}
