//! What happened to an account, and the state that follows from it: activation, verification, top-ups, unpaid bills.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{known_site, operate, time};
use super::body::{Body, Named};
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::ledger::{AccountId, AccountState, Book, Operation};
use crate::provider::{self, EventKind, Impossible, Standing};

/// What is known of an account; where nothing was written down, what its state says.
pub(super) async fn of(state: &AdminState, book: &Book) -> Answer<Standing> {
    let rules = state.rules();
    let sites = rules.sites();
    Ok(state.provider(&sites).standing(book).await?)
}

/// An operator set the state by hand: what was known before of how it came about holds no longer.
pub(super) async fn set_by_hand(state: &AdminState, book: &Book, set: AccountState) -> Answer<()> {
    let rules = state.rules();
    let sites = rules.sites();
    let by_hand = |before: Standing| Ok::<_, Problem>(Standing::implied(set, before.activated_at));
    state.provider(&sites).change(book, by_hand).await?.map(drop)
}

/// Something that happened to an account at the provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountEvent)]
pub(super) struct Event {
    kind: Kind,
    /// When; now where absent.
    at: Option<String>,
    /// With `topped_up`: a bill is unpaid all the same.
    #[serde(default)]
    still_unpaid: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountEventKind)]
enum Kind {
    /// The service was activated: grants begin.
    Activated,
    /// The identity was verified.
    Verified,
    /// Money was paid in.
    ToppedUp,
    /// A bill could not be settled: the grace begins.
    BillUnpaid,
    /// The account was closed.
    Closed,
}

/// How an account stands, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountStanding)]
pub(super) struct Shown {
    account: String,
    /// What decides about calls.
    #[schema(value_type = Object)]
    state: AccountState,
    activated_at: Option<String>,
    verified: bool,
    topped_up: bool,
    unpaid_since: Option<String>,
    /// The upstream of its own that said that it is overdue; `gratis upstream reopen` or a top-up ends that.
    refused_by: Option<String>,
    /// From when on every call is refused.
    refused_from: Option<String>,
}

async fn shown(state: &AdminState, account: &AccountId) -> Answer<Json<Shown>> {
    let book = state.store.book(account).await?;
    let standing = of(state, &book).await?;
    let refused_from = match book.state {
        AccountState::Overdue { grace_until } => Some(when::show(grace_until)),
        AccountState::NotActivated | AccountState::Active | AccountState::Unverified | AccountState::Closed => None,
    };
    Ok(Json(Shown {
        account: account.to_string(),
        state: book.state,
        activated_at: standing.activated_at.map(when::show),
        verified: standing.verified,
        topped_up: standing.topped_up,
        unpaid_since: standing.unpaid_since.map(when::show),
        refused_by: standing.refused_by.map(|refused| refused.upstream),
        refused_from,
    }))
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/standing",
    tag = "accounts",
    params(("account" = String, Path, description = "The account")),
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn show(State(state): State<AdminState>, Named(account): Named<AccountId>) -> Answer<Json<Shown>> {
    shown(&state, &account).await
}

/// Something happened to the account: its state follows, for the very next call.
#[utoipa::path(
    post,
    path = "/accounts/{account}/events",
    tag = "accounts",
    params(("account" = String, Path, description = "The account")),
    request_body = Event,
    responses((status = 200, description = "Done", body = Shown))
)]
pub(super) async fn happened(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(event): Body<Event>,
) -> Answer<Json<Shown>> {
    if event.still_unpaid && event.kind != Kind::ToppedUp {
        return Err(Problem::invalid("invalid_body", "`still_unpaid` goes with \"kind\": \"topped_up\"."));
    }
    let rules = state.rules();
    let book = state.store.book(&account).await?;
    let site = known_site(&rules, &book.site)?;
    let now = state.store.now();
    let at = event.at.as_deref().map_or(Ok(now), |text| time(text, site))?;
    if at > now {
        return Err(Problem::invalid("invalid_time", "`at` is in the future; what has not happened changes nothing."));
    }
    let sites = rules.sites();
    let provider = state.provider(&sites);
    let event = provider::Event { kind: event.kind.into(), at, still_unpaid: event.still_unpaid };
    let (before, after) = provider.change(&book, |before| before.after(event)).await??;
    // A repeat of the event puts this right where it breaks off here.
    operate(state.store.as_ref(), &account, Operation::SetState(after.state(site))).await?;
    if let Some(refused) = before.refused_by.filter(|_| after.refused_by.is_none()) {
        provider.serves(&refused.upstream, "the account was topped up").await?;
    }
    shown(&state, &account).await
}

impl From<Kind> for EventKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Activated => Self::Activated,
            Kind::Verified => Self::Verified,
            Kind::ToppedUp => Self::ToppedUp,
            Kind::BillUnpaid => Self::BillUnpaid,
            Kind::Closed => Self::Closed,
        }
    }
}

impl From<Impossible> for Problem {
    fn from(impossible: Impossible) -> Self {
        match impossible {
            Impossible::AccountClosed => {
                Self::conflict("account_closed", "The account is closed for good; nothing happens to it any more.")
            }
            Impossible::NotActivated => Self::conflict(
                "not_activated",
                "The account was never activated, so this cannot have happened. Activate it first.",
            ),
        }
    }
}
