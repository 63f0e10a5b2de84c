//! What `gratis init` says: what was made, what was assumed, where to point the client.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::plan::Planned;
use super::{Kept, Made, Place, Wanted};
use crate::admin::{figure, when};
use crate::catalogue::{Confidence, ModelType};
use crate::cli::Done;
use crate::cli::out::Out;
use crate::ledger::Side;

/// For programs.
pub(super) fn json(place: &Place, made: &Made, out: &mut Out<'_>) -> Done {
    let grant = |grant: &Planned| {
        json!({
            "model": grant.model,
            "pool": grant.pool,
            "side": grant.side,
            "unit": grant.unit,
            "granted": grant.amount,
            "spent": grant.spent,
            "start": when::show(grant.start),
            "end": grant.end.map(when::show),
        })
    };
    out.json(&json!({
        "state_dir": place.state_dir,
        "store": place.shared.as_ref().map_or_else(|| "embedded".to_owned(), |shared| shared.url.to_string()),
        "pepper_file": pepper_file(place),
        "account": made.furnished.account,
        "site": place.site.name,
        "never_pay": true,
        "api_key": made.furnished.secret.expose(),
        "key": made.furnished.key,
        "admin_token_file": made.token_file,
        "base_url": place.base_url,
        "grants": made.grants.iter().map(grant).collect::<Vec<Value>>(),
    }))
}

/// For people.
pub(super) fn text(place: &Place, made: &Made, wanted: &Wanted, out: &mut Out<'_>) -> Done {
    match &place.shared {
        None => out.line(format_args!("ledger       {}", place.state_dir.display()))?,
        Some(shared) => {
            out.line(format_args!("ledger       {}, keys begin with `{}`", shared.url, shared.prefix))?;
            replicas(place, out)?;
        }
    }
    if let Some(file) = &made.token_file {
        out.line(format_args!("admin token  {} (only you can read it)", file.display()))?;
    }
    out.line(format_args!(
        "account      {} by the rules of {} ({})",
        made.furnished.account, place.site.title, place.site.name
    ))?;
    out.line("never_pay    on: no model of this account can cost money; `gratis account never-pay off` changes that")?;
    grants(place, made, wanted, out)?;
    out.line(format_args!("\nAPI key, shown this once:\n\n    {}\n", made.furnished.secret.expose()))?;
    out.line("Point the client at Gratis:\n")?;
    let first = example(place, made);
    let (url, key) = (&place.base_url, made.furnished.secret.expose());
    out.line(format_args!("    export OPENAI_BASE_URL={url}\n    export OPENAI_API_KEY={key}\n"))?;
    out.line(format_args!("    client = OpenAI(base_url=\"{url}\", api_key=\"{key}\")\n"))?;
    out.line(format_args!(
        "    curl {url}/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n      -d \
         '{{\"model\":\"{first}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
    ))?;
    out.line(format_args!("Next: gratis serve{}", place.serve_arguments))
}

/// The file of the pepper, where it is kept in one of ours.
fn pepper_file(place: &Place) -> Option<&PathBuf> {
    match &place.pepper {
        Kept::InFile(file) => Some(file),
        Kept::Elsewhere(_) => None,
    }
}

/// What the other replicas need.
fn replicas(place: &Place, out: &mut Out<'_>) -> Done {
    out.line(match pepper_file(place) {
        Some(file) => format!(
            "pepper       {}: every other replica needs the same, as `pepper` in its own state folder or as keys.pepper",
            file.display()
        ),
        None => "pepper       that of keys.pepper: every other replica needs the same".to_owned(),
    })?;
    out.line("replicas     each has a state folder of its own; the admin token may be another one in each")
}

/// A model that the example can be tried with: one that chats.
fn example<'a>(place: &Place, made: &'a Made) -> &'a str {
    let chats = |grant: &&Planned| {
        place
            .catalogue
            .model(grant.model.as_str())
            .is_some_and(|model| model.kind == ModelType::Text && model.is_bounded())
    };
    let grant = made.grants.iter().find(chats).or(made.grants.first());
    grant.map_or("qwen-max", |grant| grant.model.as_str())
}

/// Few grants one by one, many in sum, and what was only assumed about them.
fn grants(place: &Place, made: &Made, wanted: &Wanted, out: &mut Out<'_>) -> Done {
    const FEW: usize = 8;
    out.line(format_args!("grants       {}", made.grants.len()))?;
    for grant in made.grants.iter().take(FEW) {
        let side = match grant.side {
            Side::Both => "",
            Side::Input => " input",
            Side::Output => " output",
        };
        let left = figure::show(grant.amount.saturating_sub(grant.spent));
        let end = grant.end.map(when::show).unwrap_or_default();
        let model = &grant.model;
        out.line(format_args!(
            "             {model}{side}: {left} left of {}, until {end}",
            figure::show(grant.amount)
        ))?;
    }
    if made.grants.len() > FEW {
        out.line(format_args!("             and {} more: `gratis grant list` once it runs", made.grants.len() - FEW))?;
    }
    if made.grants.iter().any(|grant| grant.end.is_some_and(|end| end <= made.now)) {
        out.remark("warning: some grants have ended already; calls of their models will be refused")?;
    }
    assumptions(place, made, wanted, out)
}

fn assumptions(place: &Place, made: &Made, wanted: &Wanted, out: &mut Out<'_>) -> Done {
    if wanted.start.is_none() {
        out.remark(
            "assumed: the quota begins now. If it began earlier it ends earlier too: say when by --start DATE.",
        )?;
    }
    if wanted.stated.is_some() {
        return Ok(());
    }
    out.remark(
        "assumed: the whole free quota is left. If some of it is used, put in the console's figure: \
         gratis model sync qwen-max 362,917/1,000,000",
    )?;
    let is_sure = |grant: &&Planned| {
        place.catalogue.model(grant.model.as_str()).is_some_and(|model| model.confidence == Confidence::Ok)
    };
    let unsure = made.grants.len() - made.grants.iter().filter(is_sure).count();
    if unsure > 0 {
        out.remark(format_args!(
            "{unsure} of the amounts are not certain: see CONFIDENCE in `gratis model list --catalogue`."
        ))?;
    }
    Ok(())
}
