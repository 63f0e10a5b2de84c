//! `gratis store rebuild`: the ledger of a shared store, made again from the replicas' journals.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::configuration;
use crate::cli::out::{Column, Format, Out};
use crate::cli::serve::runtime;
use crate::cli::{Done, Failure};
use crate::store::redis::rebuild::{self, Plan};
use crate::store::redis::{OpenError, Settings};

/// Make the ledger again from the journals.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal of every replica. One that is left out takes with it what that replica has spent.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only show what would be written; the same as without --yes.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Write it: what is in the store under the prefix is replaced.
    #[arg(long)]
    yes: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
    /// How results are shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

const GRANTS: [Column; 9] = [
    ("ACCOUNT", "/account"),
    ("POOL", "/pool"),
    ("GRANT", "/grant"),
    ("SIDE", "/side"),
    ("UNIT", "/unit"),
    ("GRANTED", "/granted"),
    ("SPENT", "/spent"),
    ("PRESUMED", "/presumed"),
    ("LEFT", "/left"),
];

const ACCOUNTS: [Column; 6] = [
    ("ACCOUNT", "/account"),
    ("SITE", "/site"),
    ("STATE", "/state"),
    ("NEVER PAY", "/never_pay"),
    ("KEYS", "/keys"),
    ("GRANTS", "/grants"),
];

pub(super) fn run(args: &Args, out: &mut Out<'_>) -> Done {
    let config = configuration::load_local(args.config.as_deref(), out)?.config;
    let settings = configuration::shared_store(&config)?;
    let refused = |error: OpenError| Failure::Refused(error.to_string());
    let plan = if args.yes {
        runtime()?.block_on(rebuild::write(&args.files, &settings)).map_err(refused)?
    } else {
        rebuild::plan(&args.files).map_err(refused)?
    };
    match args.output {
        Format::Json => out.json(&in_json(&plan, args.yes)?)?,
        Format::Table => text(&plan, out)?,
    }
    for warning in &plan.warnings {
        out.remark(format_args!("warning: {warning}"))?;
    }
    told(&settings, args.yes, out)
}

fn told(settings: &Settings, written: bool, out: &mut Out<'_>) -> Done {
    let place = format!("{} under the prefix `{}`", settings.url, settings.prefix);
    if written {
        return out.remark(format_args!("Written to {place}. Every replica goes on within a second."));
    }
    out.remark(format_args!("Nothing was written. With --yes this replaces what is at {place}."))
}

fn in_json(plan: &Plan, written: bool) -> Result<Value, Failure> {
    let value = serde_json::to_value(plan);
    let mut value = value.map_err(|error| Failure::Refused(format!("the plan cannot be shown: {error}")))?;
    if let Value::Object(members) = &mut value {
        members.insert("written".to_owned(), json!(written));
    }
    Ok(value)
}

fn text(plan: &Plan, out: &mut Out<'_>) -> Done {
    let accounts = plan.accounts.iter().map(|account| {
        json!({
            "account": account.account, "site": account.site, "state": account.state, "never_pay": account.never_pay,
            "keys": account.keys, "grants": account.grants.len(),
        })
    });
    out.table(&ACCOUNTS, &accounts.collect::<Vec<_>>(), "The journals know no account.")?;
    out.line("")?;
    let grants = plan.accounts.iter().flat_map(|account| {
        account.grants.iter().map(|grant| {
            let left = grant.granted.saturating_sub(grant.spent.saturating_add(grant.presumed));
            json!({
                "account": account.account, "pool": grant.pool, "grant": grant.grant, "side": grant.side,
                "unit": grant.unit, "granted": grant.granted, "spent": grant.spent, "presumed": grant.presumed,
                "left": left,
            })
        })
    });
    out.table(&GRANTS, &grants.collect::<Vec<_>>(), "The journals know no grant.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{GrantId, Side, Unit};
    use crate::store::redis::rebuild::{RebuiltAccount, RebuiltGrant};

    #[test]
    fn a_plan_is_shown_in_two_tables() {
        let grant = RebuiltGrant {
            pool: "qwen-max".into(),
            grant: GrantId(3),
            side: Side::Both,
            unit: Unit::Tokens,
            granted: 1_000_000,
            spent: 600_000,
            presumed: 30_000,
        };
        let account = RebuiltAccount {
            account: "default".into(),
            site: "qwen-cloud".to_owned(),
            state: "active".to_owned(),
            never_pay: true,
            keys: 2,
            grants: vec![grant],
        };
        let plan = Plan { accounts: vec![account], warnings: vec!["one is missing".to_owned()] };
        let (mut shown, mut said) = (Vec::new(), Vec::new());
        text(&plan, &mut Out::new(&mut shown, &mut said)).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        for words in
            ["default qwen-cloud active yes 2 1", "default qwen-max 3 both tokens 1,000,000 600,000 30,000 370,000"]
        {
            let seen = shown.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
            assert!(seen, "{words:?} not in\n{shown}");
        }
        let value = in_json(&plan, false).unwrap();
        assert_eq!((&value["written"], &value["accounts"][0]["grants"][0]["spent"]), (&json!(false), &json!(600_000)));
        assert_eq!(value["warnings"][0], "one is missing");
    }
}
