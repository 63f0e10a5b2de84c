//! Grants: what a provider gave, with its end.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{known_site, operate, time};
use super::balances::{BalanceRow, codes_of, funds, model_name, unknown_model};
use super::body::{Body, Named, Params};
use super::page::{List, Paged};
use super::problem::{Answer, Problem};
use super::{AdminState, Rules, standing, when};
use crate::catalogue::{Beginnings, Model, Site};
use crate::ledger::{
    AccountId, Amount, Book, Decline, Done, GrantId, ModelCode, Operation, PoolId, Side, Timestamp, Unit,
};

/// A grant as an operator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
pub(super) struct GrantView {
    #[serde(flatten)]
    row: BalanceRow,
    /// All models that draw on it.
    #[schema(value_type = Vec<String>)]
    models: Vec<ModelCode>,
}

/// What makes a grant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
pub(super) struct NewBody {
    #[schema(value_type = Option<String>)]
    model: Option<ModelCode>,
    #[schema(value_type = Option<String>)]
    pool: Option<PoolId>,
    #[schema(value_type = u64)]
    amount: Amount,
    #[schema(value_type = Option<String>)]
    side: Option<Side>,
    #[schema(value_type = Option<String>)]
    unit: Option<Unit>,
    /// Where absent: the latest of the three below; now where none of them is known.
    start: Option<String>,
    /// When the account was activated; where absent, what the account's standing says.
    activated: Option<String>,
    /// When the model was released.
    released: Option<String>,
    /// When the application for the model was approved.
    approved: Option<String>,
    /// A time, or `never`.
    end: Option<String>,
    valid_days: Option<u32>,
    /// Used before Gratis counted.
    #[serde(default)]
    #[schema(value_type = u64)]
    spent: Amount,
}

/// What changes a grant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GrantChange)]
pub(super) struct ChangeBody {
    #[schema(value_type = u64)]
    amount: Amount,
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/grants",
    tag = "grants",
    params(("account" = String, Path, description = "The account"), Paged),
    responses((status = 200, description = "Done", body = List<GrantView>))
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Named(id): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<GrantView>>> {
    let rules = state.rules();
    let book = state.store.book(&id).await?;
    let now = state.store.now();
    // In the order of the numbers, which are padded so that text sorts like them.
    Ok(which.page()?.cut(views(&rules, &book, now).collect(), |view| format!("{:010}", view.row.grant.0)))
}

fn views<'a>(rules: &'a Rules, book: &'a Book, now: Timestamp) -> impl Iterator<Item = GrantView> + 'a {
    funds(book).map(move |fund| GrantView {
        row: BalanceRow::of(&book.account, model_name(rules, &fund.grant.pool), fund, now),
        models: codes_of(rules, &fund.grant.pool),
    })
}

async fn view(state: &AdminState, account: &AccountId, grant: GrantId) -> Answer<GrantView> {
    let rules = state.rules();
    let book = state.store.book(account).await?;
    let found = views(&rules, &book, state.store.now()).find(|view| view.row.grant == grant);
    found.ok_or_else(|| Decline::UnknownGrant.into())
}

#[utoipa::path(
    post,
    path = "/accounts/{account}/grants",
    tag = "grants",
    params(("account" = String, Path, description = "The account"), ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    request_body = NewBody,
    responses((status = 201, description = "Done", body = GrantView))
)]
pub(super) async fn add(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(body): Body<NewBody>,
) -> Answer<Response> {
    let rules = state.rules();
    let book = state.store.book(&account).await?;
    let site = known_site(&rules, &book.site)?;
    let activated = standing::of(&state, &book).await?.activated_at;
    let operation = meant(&rules, site, (state.store.now(), activated), &body)?;
    match operate(state.store.as_ref(), &account, operation).await? {
        Done::GrantAdded(grant) => {
            let made = view(&state, &account, grant).await?;
            Ok((StatusCode::CREATED, Json(made)).into_response())
        }
        Done::Balance { .. } | Done::Changed | Done::Unchanged => Err(Decline::UnknownGrant.into()),
    }
}

/// The operation that a body means, by the catalogue's and the site's rules where it is silent.
fn meant(
    rules: &Rules,
    site: &Site,
    (now, activated): (Timestamp, Option<Timestamp>),
    body: &NewBody,
) -> Answer<Operation> {
    let model = model_of(rules, body)?;
    if let Some(unit) = body.unit.filter(|unit| *unit != model.unit) {
        let detail = format!("`{}` is counted in {:?}, not in {unit:?}.", model.code, model.unit).to_lowercase();
        return Err(Problem::invalid("wrong_unit", detail));
    }
    let read = |text: &Option<String>| text.as_deref().map(|text| time(text, site)).transpose();
    let known = Beginnings {
        activated: read(&body.activated)?.or(activated),
        released: read(&body.released)?,
        approved: read(&body.approved)?,
    };
    let (start, end) = site.validity(known, model.validity_days, now);
    // A beginning that is given moves the end with it.
    let days = body.valid_days.map(u64::from).unwrap_or_else(|| (end.0 - start.0) / when::DAY_MS);
    let start = read(&body.start)?.unwrap_or(start);
    let end = match body.end.as_deref() {
        Some(_) if body.valid_days.is_some() => {
            return Err(Problem::invalid("invalid_body", "`end` and `valid_days` say the same; give one."));
        }
        Some("never") => None,
        Some(text) => Some(time(text, site)?),
        None => Some(start.plus(days * when::DAY_MS)),
    };
    Ok(Operation::AddGrant {
        pool: model.pool.clone(),
        side: body.side.unwrap_or(Side::Both),
        unit: model.unit,
        amount: body.amount,
        spent: body.spent,
        start,
        end,
    })
}

/// The model that is meant: the one named, or any of the pool named.
fn model_of<'a>(rules: &'a Rules, body: &NewBody) -> Answer<&'a Model> {
    match (&body.model, &body.pool) {
        (Some(code), None) => {
            rules.catalogue.model(code.as_str()).map(AsRef::as_ref).ok_or_else(|| unknown_model(code.as_str()))
        }
        (None, Some(pool)) => rules.models_of(pool).into_iter().next().map(AsRef::as_ref).ok_or_else(|| {
            Problem::unknown("unknown_pool", format!("No model of the catalogue draws on a pool `{pool}`."))
        }),
        (Some(_), Some(_)) | (None, None) => Err(Problem::invalid("invalid_body", "Give either `model` or `pool`.")),
    }
}

#[utoipa::path(
    patch,
    path = "/accounts/{account}/grants/{grant}",
    tag = "grants",
    params(("account" = String, Path, description = "The account"), ("grant" = u32, Path, description = "The grant's number")),
    request_body = ChangeBody,
    responses((status = 200, description = "Done", body = GrantView))
)]
pub(super) async fn change(
    State(state): State<AdminState>,
    Named((account, grant)): Named<(AccountId, GrantId)>,
    Body(body): Body<ChangeBody>,
) -> Answer<Json<GrantView>> {
    let book = state.store.book(&account).await?;
    let pool = pool_of_grant(&book, grant)?;
    operate(state.store.as_ref(), &account, Operation::Regrant { pool, grant, amount: body.amount }).await?;
    Ok(Json(view(&state, &account, grant).await?))
}

fn pool_of_grant(book: &Book, grant: GrantId) -> Answer<PoolId> {
    let found = funds(book).find(|fund| fund.grant.id == grant);
    found.map(|fund| fund.grant.pool.clone()).ok_or_else(|| Decline::UnknownGrant.into())
}
