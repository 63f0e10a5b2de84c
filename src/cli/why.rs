//! `gratis why`.

use serde_json::Value;

use super::Done;
use super::client::{Admin, AdminArgs, segment};
use super::out::{Column, Out};

/// Why a call was decided as it was.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The `x-gratis-request-id` of its response.
    request: String,
    #[command(flatten)]
    admin: AdminArgs,
}

const COLUMNS: [Column; 12] = [
    ("AT", "/at"),
    ("ACCOUNT", "/account"),
    ("USER", "/user"),
    ("KEY", "/key"),
    ("MODEL", "/model"),
    ("POOL", "/pool"),
    ("UPSTREAM", "/upstream"),
    ("STATUS", "/status"),
    ("CODE", "/code"),
    ("BILLING", "/hold/mode"),
    ("ENDING", "/ending"),
    ("MS", "/ms"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { request, admin } = args;
    let path = format!("/admin/v1/requests/{}", segment(&request));
    let answer = admin.call(async |api: Admin| api.get(&path).await)?;
    if admin.is_json() {
        return out.json(&answer);
    }
    out.fields(&COLUMNS, &answer)?;
    for sentence in answer.get("because").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        out.line(format_args!("* {sentence}"))?;
    }
    Ok(())
}
