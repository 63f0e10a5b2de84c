//! `gratis shadow`.

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account};
use super::out::{Column, Out};

/// What shadow mode counted: calls that would have been refused.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Of which account.
    #[arg(long, default_value = "default")]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

const COLUMNS: [Column; 9] = [
    ("MODEL", "/model"),
    ("WOULD BE", "/reason"),
    ("CALLS", "/calls"),
    ("INPUT", "/input"),
    ("OUTPUT", "/output"),
    ("PRICES PER MILLION", "/prices"),
    ("CURRENCY", "/currency"),
    ("FIRST", "/first"),
    ("LAST", "/last"),
];

pub(super) fn run(args: &Args, out: &mut Out<'_>) -> Done {
    let Args { account, admin } = args;
    let answer = admin.call(async |api: Admin| api.list(&of_account(account, "/shadow")).await)?;
    if admin.is_json() {
        return out.json(&answer);
    }
    out.table(&COLUMNS, items(&answer), "nothing would have been refused, or `quota.shadow` is off")
}
