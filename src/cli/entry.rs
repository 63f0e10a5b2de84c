//! `gratis entry`.

use clap::Subcommand;

use super::Done;
use super::client::{Admin, AdminArgs, items, of_account, segment};
use super::out::{Column, Out};

/// Lines of the ledger.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Whose entries.
    #[arg(long, default_value = "default", global = true)]
    account: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// The newest lines of the ledger, newest first.
    List {
        /// Only those of this pool; it is usually named like the model.
        #[arg(long)]
        pool: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
}

const COLUMNS: [Column; 9] = [
    ("AT", "/at"),
    ("KIND", "/kind"),
    ("POOL", "/pool"),
    ("GRANT", "/grant"),
    ("GRANTED", "/granted"),
    ("HELD", "/held"),
    ("SPENT", "/spent"),
    ("PRESUMED", "/presumed"),
    ("HOLD", "/hold"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what: What::List { pool, limit }, account, admin } = args;
    let pool = pool.map(|pool| format!("&pool={}", segment(&pool))).unwrap_or_default();
    let path = of_account(&account, &format!("/entries?limit={limit}{pool}"));
    let answer = admin.call(async |api: Admin| api.get(&path).await)?;
    if admin.is_json() { out.json(&answer) } else { out.table(&COLUMNS, items(&answer), "no entries") }
}
