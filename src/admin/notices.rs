//! Which notices an account wants, and a trial of the channels. The channels themselves are the configuration's.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::accounts::known_site;
use super::balances::pool_of;
use super::body::{Body, Named};
use super::etag::{IfMatch, etag, tagged};
use super::problem::{Answer, Problem};
use crate::catalogue::Notices;
use crate::ledger::AccountId;
use crate::notify::Choice;
use crate::store::Shelf;

/// The most marks of a kind.
const MARKS_MAX: usize = 16;

/// What an account or one of its models chose; what it leaves out (or `null`) is as above it: model, account, site.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NoticesChoice)]
pub(super) struct ChoiceBody {
    /// Whether it wants any.
    #[serde(default)]
    on: Option<bool>,
    /// At which shares that are left, in percent, at most 99; 0 = used up.
    #[serde(default)]
    remaining_percent: Option<Vec<u8>>,
    /// How many days before the end, at most 365.
    #[serde(default)]
    days_before_end: Option<Vec<u32>>,
}

/// What applies, and what was chosen for it.
#[derive(Serialize, ToSchema)]
#[schema(as = Notices)]
pub(super) struct Shown {
    on: bool,
    remaining_percent: Vec<u8>,
    days_before_end: Vec<u32>,
    /// What was chosen here; the rest comes from above.
    chosen: ChoiceBody,
}

impl Shown {
    fn of(choice: Choice, above: &Notices) -> Self {
        let Notices { on, remaining_percent, days_before_end } = choice.over(above);
        let Choice { on: on_here, remaining_percent: percent_here, days_before_end: days_here } = choice;
        let chosen = ChoiceBody { on: on_here, remaining_percent: percent_here, days_before_end: days_here };
        Self { on, remaining_percent, days_before_end, chosen }
    }
}

async fn chosen(state: &AdminState, name: &str) -> Answer<Choice> {
    Ok(read(state.notes.get(Shelf::Notices, name).await?.as_deref()))
}

fn read(kept: Option<&str>) -> Choice {
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

/// The name under which a choice is kept, and what is above it.
async fn place(state: &AdminState, account: &AccountId, model: Option<&str>) -> Answer<(String, Notices)> {
    let rules = state.rules();
    let book = state.store.book(account).await?;
    let site = known_site(&rules, &book.site)?;
    let Some(model) = model else { return Ok((account.to_string(), site.notices.clone())) };
    let pool = pool_of(&rules, model)?;
    let above = chosen(state, account.as_str()).await?.over(&site.notices);
    Ok((format!("{account}/{pool}"), above))
}

async fn shown(state: &AdminState, account: &AccountId, model: Option<&str>) -> Answer<Response> {
    let (name, above) = place(state, account, model).await?;
    let shown = Shown::of(chosen(state, &name).await?, &above);
    Ok(tagged(&etag(&shown.chosen), shown))
}

async fn set(
    state: &AdminState,
    (account, model): (&AccountId, Option<&str>),
    wanted: &IfMatch,
    body: ChoiceBody,
) -> Answer<Response> {
    let percent = body.remaining_percent.iter().flatten().all(|percent| *percent <= 99);
    let days = body.days_before_end.iter().flatten().all(|days| *days <= 365);
    let few = body.remaining_percent.as_ref().is_none_or(|marks| marks.len() <= MARKS_MAX)
        && body.days_before_end.as_ref().is_none_or(|marks| marks.len() <= MARKS_MAX);
    if !(percent && days && few) {
        let detail = format!("Shares are 0 to 99 percent, days 0 to 365, and at most {MARKS_MAX} of each.");
        return Err(Problem::invalid("invalid_body", detail));
    }
    let (name, above) = place(state, account, model).await?;
    let kept = state.notes.get(Shelf::Notices, &name).await?;
    wanted.check(&etag(&Shown::of(read(kept.as_deref()), &above).chosen))?;
    let choice =
        Choice { on: body.on, remaining_percent: body.remaining_percent, days_before_end: body.days_before_end };
    let value = (choice != Choice::default()).then(|| serde_json::to_string(&choice).unwrap_or_default());
    wanted.put(state, (Shelf::Notices, &name), kept.as_deref(), value).await?;
    shown(state, account, model).await
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/notices",
    tag = "notices",
    params(("account" = String, Path)),
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn of_account(State(state): State<AdminState>, Named(account): Named<AccountId>) -> Answer<Response> {
    shown(&state, &account, None).await
}

#[utoipa::path(
    put,
    path = "/accounts/{account}/notices",
    tag = "notices",
    params(("account" = String, Path), ("if-match" = Option<String>, Header)),
    request_body = ChoiceBody,
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn set_of_account(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    wanted: IfMatch,
    Body(body): Body<ChoiceBody>,
) -> Answer<Response> {
    set(&state, (&account, None), &wanted, body).await
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/models/{model}/notices",
    tag = "notices",
    params(("account" = String, Path), ("model" = String, Path)),
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn of_model(
    State(state): State<AdminState>,
    Named((account, model)): Named<(AccountId, String)>,
) -> Answer<Response> {
    shown(&state, &account, Some(&model)).await
}

#[utoipa::path(
    put,
    path = "/accounts/{account}/models/{model}/notices",
    tag = "notices",
    params(("account" = String, Path), ("model" = String, Path), ("if-match" = Option<String>, Header)),
    request_body = ChoiceBody,
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn set_of_model(
    State(state): State<AdminState>,
    Named((account, model)): Named<(AccountId, String)>,
    wanted: IfMatch,
    Body(body): Body<ChoiceBody>,
) -> Answer<Response> {
    set(&state, (&account, Some(&model)), &wanted, body).await
}

/// A channel that the configuration sets up.
#[derive(Serialize, ToSchema)]
#[schema(as = Channel)]
pub(super) struct ChannelView {
    channel: String,
    /// Where it goes, without a secret.
    place: String,
}

/// What became of a trial.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelTrial)]
pub(super) struct Trial {
    channel: String,
    place: String,
    taken: bool,
    /// Why it was not.
    error: Option<String>,
}

#[utoipa::path(get, path = "/notify/channels", tag = "notices", responses((status = 200, description = "Done", body = Vec<ChannelView>)))]
pub(super) async fn channels(State(state): State<AdminState>) -> Json<Vec<ChannelView>> {
    let channels = state.notifier.channels().iter();
    Json(channels.map(|channel| ChannelView { channel: channel.name().to_owned(), place: channel.place() }).collect())
}

#[utoipa::path(patch, path = "/notify/channels", tag = "notices", request_body = Object, responses((status = 409, description = "The configuration owns it")))]
pub(super) async fn change_channels() -> Problem {
    super::owned::owned("Mail server and webhook", "[notify.mail], [notify.webhook]")
}

/// Sends a trial by every channel, now.
#[utoipa::path(post, path = "/notify/test", tag = "notices", responses((status = 200, description = "Tried; each line says what became of it", body = Vec<Trial>)))]
pub(super) async fn test(State(state): State<AdminState>) -> Answer<Json<Vec<Trial>>> {
    let results = state.notifier.test().await;
    if results.is_empty() {
        return Err(Problem::conflict(
            "no_channel",
            "No channel is set up, so nobody is told anything. Name a mail server in [notify.mail] or an address in \
             [notify.webhook], and start again.",
        ));
    }
    let trial = |(channel, place, result): (&'static str, String, Result<(), String>)| Trial {
        channel: channel.to_owned(),
        place,
        taken: result.is_ok(),
        error: result.err(),
    };
    Ok(Json(results.into_iter().map(trial).collect()))
}
