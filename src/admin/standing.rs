//! What happened to an account, and the state that follows from it: activation, verification, top-ups, unpaid bills.
//!
//! The ledger knows the state alone, because that decides about calls. What led to it is kept beside the book, so that a top-up
//! of an unverified account does not make it a verified one.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{known_site, operate, time};
use super::body::{Body, Named};
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::catalogue::Site;
use crate::ledger::{AccountId, AccountState, Book, Operation, Timestamp};
use crate::store::Shelf;

/// What is known of an account beside its book.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) activated: bool,
    pub(super) activated_at: Option<Timestamp>,
    pub(super) verified: bool,
    pub(super) topped_up: bool,
    pub(super) unpaid_since: Option<Timestamp>,
    pub(super) closed: bool,
}

impl Standing {
    /// What a state says by itself.
    fn implied(state: AccountState, activated_at: Option<Timestamp>) -> Self {
        let good = |verified| Self {
            activated: true,
            activated_at,
            verified,
            topped_up: verified,
            unpaid_since: None,
            closed: false,
        };
        match state {
            AccountState::NotActivated => Self { activated: false, activated_at: None, ..good(false) },
            AccountState::Active => good(true),
            AccountState::Unverified => good(false),
            AccountState::Overdue { grace_until } => Self { unpaid_since: Some(grace_until), ..good(true) },
            AccountState::Closed => Self { closed: true, ..good(true) },
        }
    }

    /// The state that follows (B5 to B8). An unpaid bill counts before a missing verification: it blocks more.
    fn state(self, site: &Site) -> AccountState {
        if self.closed {
            AccountState::Closed
        } else if !self.activated {
            AccountState::NotActivated
        } else if let Some(since) = self.unpaid_since {
            AccountState::Overdue { grace_until: site.grace_until(since) }
        } else if site.unverified_is_free_only && !(self.verified && self.topped_up) {
            AccountState::Unverified
        } else {
            AccountState::Active
        }
    }

    fn after(self, event: &Event, at: Timestamp) -> Answer<Self> {
        if self.closed {
            return Err(Problem::conflict(
                "account_closed",
                "The account is closed for good; nothing happens to it any more.",
            ));
        }
        if !self.activated && !matches!(event.kind, Kind::Activated | Kind::Closed) {
            return Err(Problem::conflict(
                "not_activated",
                "The account was never activated, so this cannot have happened. Activate it first.",
            ));
        }
        Ok(match event.kind {
            Kind::Activated => Self { activated: true, activated_at: self.activated_at.or(Some(at)), ..self },
            Kind::Verified => Self { verified: true, ..self },
            Kind::ToppedUp => {
                let unpaid_since = self.unpaid_since.filter(|_| event.still_unpaid);
                Self { topped_up: true, unpaid_since, ..self }
            }
            Kind::BillUnpaid => Self { unpaid_since: self.unpaid_since.or(Some(at)), ..self },
            Kind::Closed => Self { closed: true, ..self },
        })
    }
}

/// What is known of an account; where nothing was written down, what its state says.
pub(super) async fn of(state: &AdminState, book: &Book) -> Answer<Standing> {
    let kept = match state.notes.get(Shelf::Standing, book.account.as_str()).await {
        Ok(kept) => kept.and_then(|kept| serde_json::from_str(&kept).ok()),
        Err(error) => return Err(error.into()),
    };
    Ok(kept.unwrap_or_else(|| Standing::implied(book.state, None)))
}

/// An operator set the state by hand: what was known before of how it came about holds no longer.
pub(super) async fn set_by_hand(state: &AdminState, book: &Book, set: AccountState) -> Answer<()> {
    let activated_at = of(state, book).await?.activated_at;
    keep(state, &book.account, Standing::implied(set, activated_at)).await
}

async fn keep(state: &AdminState, account: &AccountId, standing: Standing) -> Answer<()> {
    let value = serde_json::to_string(&standing).unwrap_or_default();
    Ok(state.notes.put(Shelf::Standing, vec![(account.to_string(), value)]).await?)
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
    let standing = of(&state, &book).await?.after(&event, at)?;
    // The state first: it decides about calls, and a repeat of the event puts the rest right.
    operate(state.store.as_ref(), &account, Operation::SetState(standing.state(site))).await?;
    keep(&state, &account, standing).await?;
    shown(&state, &account).await
}
