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
use super::{AdminState, Rules, when};
use crate::catalogue::{Model, Site};
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
    /// Now where absent.
    start: Option<String>,
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
    let operation = meant(&rules, site, state.store.now(), &body)?;
    match operate(state.store.as_ref(), &account, operation).await? {
        Done::GrantAdded(grant) => {
            let made = view(&state, &account, grant).await?;
            Ok((StatusCode::CREATED, Json(made)).into_response())
        }
        Done::Balance { .. } | Done::Changed | Done::Unchanged => Err(Decline::UnknownGrant.into()),
    }
}

/// The operation that a body means, by the catalogue's and the site's rules where it is silent.
fn meant(rules: &Rules, site: &Site, now: Timestamp, body: &NewBody) -> Answer<Operation> {
    let model = model_of(rules, body)?;
    if let Some(unit) = body.unit.filter(|unit| *unit != model.unit) {
        let detail = format!("`{}` is counted in {:?}, not in {unit:?}.", model.code, model.unit).to_lowercase();
        return Err(Problem::invalid("wrong_unit", detail));
    }
    let start = body.start.as_deref().map_or(Ok(now), |text| time(text, site))?;
    let end = match (body.end.as_deref(), body.valid_days) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("invalid_body", "`end` and `valid_days` say the same; give one."));
        }
        (Some("never"), None) => None,
        (Some(text), None) => Some(time(text, site)?),
        (None, days) => {
            // Where two rules differ, the one that ends sooner: a grant that ends too early costs nothing.
            let days = days.unwrap_or_else(|| model.validity_days.min(site.validity_days));
            Some(start.plus(u64::from(days) * when::DAY_MS))
        }
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
