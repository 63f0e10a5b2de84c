//! `gratis model`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::account::OnOff;
use super::client::{Admin, AdminArgs, items, of_account, segment};
use super::out::{Column, Out};
use super::{Done, Failure, estimate, grant};
use crate::admin::figure::{self, Figure};

/// Models.
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
    /// How the models of the account stand: quota, expiry, switch.
    List {
        /// All models that are known instead, with what a call can cost at most.
        #[arg(long)]
        catalogue: bool,
    },
    /// The balances, one line a grant.
    Balance {
        /// The model's exact code; without it, all.
        code: Option<String>,
    },
    /// The switch "free quota only": of one model, of several, or of all that are eligible.
    Switch {
        /// On: a call is refused once the free quota is used up.
        #[arg(value_enum)]
        on: OnOff,
        /// The models' exact codes.
        #[arg(required_unless_present = "all")]
        codes: Vec<String>,
        /// All models with free quota whose switch was never set.
        #[arg(long, conflicts_with = "codes")]
        all: bool,
        /// Say what would become of it, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put in what the provider's console says is left: of one model, or of a whole table.
    Sync {
        /// The model's exact code.
        #[arg(required_unless_present = "table")]
        code: Option<String>,
        /// The console's figure: `362,917/1,000,000`, or what is left alone.
        #[arg(value_parser = figure_text, required_unless_present = "table")]
        figure: Option<String>,
        /// Many at once: a file with a table as it was copied from the console, or CSV; `-` is the standard input.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["code", "figure", "grant"])]
        table: Option<PathBuf>,
        /// Let the figure raise what is available here.
        #[arg(long)]
        raise: bool,
        /// Which grant, where the model has several.
        #[arg(long)]
        grant: Option<u32>,
    },
    /// How many tokens a text is, by a vocabulary or by the bound.
    Estimate(estimate::Args),
    /// Let calls of a model through again that the provider itself had refused.
    Reopen {
        /// The model's exact code, or the pool's name.
        code: String,
    },
}

/// Checks a figure before it goes anywhere, and leaves it as it was written.
fn figure_text(text: &str) -> Result<String, String> {
    text.parse::<Figure>().map(|_| text.trim().to_owned())
}

const STANDING: [Column; 11] = [
    ("MODEL", "/model"),
    ("FREE QUOTA", "/granted"),
    ("SPENT", "/spent"),
    ("PRESUMED", "/presumed"),
    ("HELD", "/held"),
    ("AVAILABLE", "/available"),
    ("UNIT", "/unit"),
    ("EXPIRES", "/expires"),
    ("STATUS", "/status"),
    ("SWITCH", "/switch"),
    ("BILLING", "/billing"),
];

const CATALOGUE: [Column; 8] = [
    ("MODEL", "/code"),
    ("TYPE", "/type"),
    ("UNIT", "/unit"),
    ("FREE QUOTA", "/free_quota"),
    ("DAYS", "/validity_days"),
    ("WINDOW", "/bounds/window"),
    ("CONFIDENCE", "/confidence"),
    ("BOUNDS", "/bounds_confidence"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, account, admin } = args;
    match what {
        What::List { catalogue } => list(catalogue, &account, &admin, out),
        What::Balance { code } => balance(code.as_deref(), &account, &admin, out),
        What::Switch { on, codes, all, dry_run } => switch(on, &codes, (all, dry_run), &account, &admin, out),
        What::Estimate(args) => estimate::run(&args, admin.config(), admin.output, out),
        What::Sync { table: Some(file), raise, .. } => table(&file, raise, &account, &admin, out),
        What::Sync { code, figure, raise, grant, table: None } => {
            let mut body = json!({ "model": code, "remaining": figure, "raise": raise });
            if let (Some(grant), Value::Object(fields)) = (grant, &mut body) {
                fields.insert("grant".to_owned(), grant.into());
            }
            let answer =
                admin.call(async |api: Admin| api.send(Method::POST, &of_account(&account, "/sync"), &body).await)?;
            synced(&answer, &admin, out)
        }
        What::Reopen { code } => reopen(&code, &account, &admin, out),
    }
}

fn list(catalogue: bool, account: &str, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let path = if catalogue { "/admin/v1/models".to_owned() } else { of_account(account, "/models") };
    let answer = admin.call(async |api: Admin| api.list(&path).await)?;
    if admin.is_json() {
        out.json(&answer)
    } else if catalogue {
        out.table(&CATALOGUE, items(&answer), "the catalogue is empty")
    } else {
        out.table(&STANDING, items(&answer), "no free quota; `gratis grant add MODEL AMOUNT` adds some")
    }
}

fn balance(code: Option<&str>, account: &str, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let query = code.map(|code| format!("?model={}", segment(code))).unwrap_or_default();
    let path = of_account(account, &format!("/balances{query}"));
    let answer = admin.call(async |api: Admin| api.get(&path).await)?;
    if admin.is_json() {
        return out.json(&answer);
    }
    let rows = answer.get("balances").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    out.table(&grant::COLUMNS, rows, "no free quota")
}

fn switch(
    on: OnOff,
    codes: &[String],
    (all, dry_run): (bool, bool),
    account: &str,
    admin: &AdminArgs,
    out: &mut Out<'_>,
) -> Done {
    if let ([code], false) = (codes, dry_run) {
        let path = of_account(account, &format!("/models/{}/switch", segment(code)));
        let body = json!({ "free_quota_only": on.is_on() });
        let answer = admin.call(async |api: Admin| api.send(Method::PUT, &path, &body).await)?;
        let columns = [
            ("MODEL", "/model"),
            ("FREE QUOTA ONLY", "/free_quota_only"),
            ("RESULT", "/result"),
            ("BILLING", "/billing"),
        ];
        return if admin.is_json() { out.json(&answer) } else { out.fields(&columns, &answer) };
    }
    let mut body = json!({ "free_quota_only": on.is_on(), "dry_run": dry_run });
    if let Value::Object(fields) = &mut body {
        if all {
            fields.insert("all_eligible".to_owned(), true.into());
        } else {
            fields.insert("models".to_owned(), codes.into());
        }
    }
    let path = of_account(account, "/switches");
    let answer = admin.call(async |api: Admin| api.send(Method::POST, &path, &body).await)?;
    if admin.is_json() {
        out.json(&answer)?;
    } else {
        let rows = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let columns = [("MODEL", "/model"), ("RESULT", "/result"), ("CODE", "/code"), ("WHY", "/detail")];
        out.table(&columns, rows, "no model is eligible: none has usable free quota and a switch that was never set")?;
        if dry_run {
            out.remark("nothing was changed: this was a rehearsal")?;
        }
    }
    let refused = answer.get("refused").and_then(Value::as_u64).unwrap_or(0);
    if refused == 0 { Ok(()) } else { Err(Failure::Said) }
}

fn table(file: &Path, raise: bool, account: &str, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock())
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    let (path, body) = (of_account(account, "/sync/table"), json!({ "table": text, "raise": raise }));
    let answer = admin.call(async |api: Admin| api.send(Method::POST, &path, &body).await)?;
    let rows = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if admin.is_json() {
        out.json(&answer)?;
    } else {
        let columns = [
            ("LINE", "/line"),
            ("MODEL", "/model"),
            ("CONSOLE", "/remaining"),
            ("DRIFT", "/drift"),
            ("AVAILABLE", "/available"),
            ("CODE", "/code"),
            ("WHY", "/detail"),
        ];
        out.table(&columns, rows, "no line names a known model and a figure")?;
        let skipped = super::out::text(answer.get("skipped").unwrap_or(&Value::Null));
        out.remark(format!("lines without a known model and a figure: {skipped}"))?;
    }
    let refused = answer.get("refused").and_then(Value::as_u64).unwrap_or(0);
    if refused == 0 && !rows.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

fn synced(answer: &Value, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    if admin.is_json() {
        return out.json(answer);
    }
    let drift = answer.get("drift").and_then(Value::as_i64).unwrap_or(0);
    let count = figure::show(drift.unsigned_abs());
    out.line(match drift {
        0 => "the console and the ledger agree".to_owned(),
        1.. => format!("drift {count}: used elsewhere, and counted as spent now"),
        ..0 => format!("drift -{count}: more was left than the ledger knew, and it is available now"),
    })?;
    out.fields(&grant::COLUMNS, answer)
}

fn reopen(code: &str, account: &str, admin: &AdminArgs, out: &mut Out<'_>) -> Done {
    let answer = admin.call(async |api: Admin| {
        // A model is known by its code; its pool has another name only where it is shared.
        let catalogue = api.list("/admin/v1/models").await?;
        let row = items(&catalogue).iter().find(|row| row.get("code").and_then(Value::as_str) == Some(code));
        let pool = row.and_then(|row| row.get("pool")).and_then(Value::as_str).unwrap_or(code);
        let path = of_account(account, &format!("/pools/{}/reopen", segment(pool)));
        api.send(Method::POST, &path, &json!({})).await
    })?;
    let columns = [("POOL", "/pool"), ("MODELS", "/models"), ("WAS CLOSED", "/was_closed")];
    if admin.is_json() { out.json(&answer) } else { out.fields(&columns, &answer) }
}
