//! `gratis notify`.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::account::OnOff;
use super::client::{Admin, AdminArgs, of_account, segment};
use super::out::{Column, Out};
use super::{Done, Failure};

/// Notices by mail and webhook.
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
    /// Send a trial by every channel that is set up.
    Test,
    /// The channels that are set up.
    Channels,
    /// Which notices the account, or one of its models, gets.
    Show {
        /// The model's exact code.
        code: Option<String>,
    },
    /// Choose them; what is not named is as the site, or the account, has it.
    Set {
        /// The model's exact code; without it, the whole account.
        code: Option<String>,
        /// Whether there are any.
        #[arg(long, value_enum)]
        on: Option<OnOff>,
        /// At which shares that are left, in percent: `20,0`.
        #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=99))]
        remaining: Option<Vec<u8>>,
        /// How many days before the end: `7,1`.
        #[arg(long, value_name = "DAYS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=365))]
        days: Option<Vec<u32>>,
    },
}

const CHANNELS: [Column; 2] = [("CHANNEL", "/channel"), ("PLACE", "/place")];
const TRIALS: [Column; 4] = [("CHANNEL", "/channel"), ("PLACE", "/place"), ("TAKEN", "/taken"), ("ERROR", "/error")];
const NOTICES: [Column; 4] = [
    ("ON", "/on"),
    ("REMAINING PERCENT", "/remaining_percent"),
    ("DAYS BEFORE END", "/days_before_end"),
    ("CHOSEN HERE", "/chosen"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, account, admin } = args;
    let notices = |code: Option<&str>| match code {
        Some(code) => of_account(&account, &format!("/models/{}/notices", segment(code))),
        None => of_account(&account, "/notices"),
    };
    match what {
        What::Test => test(&admin, out),
        What::Channels => {
            let answer = admin.call(async |api: Admin| api.get("/admin/v1/notify/channels").await)?;
            rows(&CHANNELS, &answer, &admin, out)
        }
        What::Show { code } => {
            let answer = admin.call(async |api: Admin| api.get(&notices(code.as_deref())).await)?;
            if admin.is_json() { out.json(&answer) } else { out.fields(&NOTICES, &answer) }
        }
        What::Set { code, on, remaining, days } => {
            let body = json!({ "on": on.map(OnOff::is_on), "remaining_percent": remaining, "days_before_end": days });
            let path = notices(code.as_deref());
            let answer = admin.call(async |api: Admin| api.send(Method::PUT, &path, &body).await)?;
            if admin.is_json() { out.json(&answer) } else { out.fields(&NOTICES, &answer) }
        }
    }
}

fn test(admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let answer = admin.call(async |api: Admin| api.send(Method::POST, "/admin/v1/notify/test", &json!({})).await)?;
    rows(&TRIALS, &answer, admin, out)?;
    let taken = |trial: &Value| trial.get("taken").and_then(Value::as_bool) == Some(true);
    if answer.as_array().is_some_and(|trials| trials.iter().all(taken)) { Ok(()) } else { Err(Failure::Said) }
}

fn rows(columns: &[Column], answer: &Value, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if admin.is_json() {
        out.json(answer)
    } else {
        out.table(
            columns,
            rows,
            "no channel is set up: [notify.mail] and [notify.webhook] of the configuration do that",
        )
    }
}
