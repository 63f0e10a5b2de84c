//! Another model with free quota left serves where the first choice would be refused for quota (C12).
//!
//! Never one that could cost money: a target is used only where its calls are free quota only, so that the ledger refuses rather
//! than bills. The client sees one reply; `x-gratis-model` says which model gave it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::handler::Prepared;
use super::parts::Proxy;
use super::record::Record;
use super::rejection::Rejection;
use super::settings::Shared;
use super::truth;
use crate::catalogue::{Catalogue, Site};
use crate::dialect::{Api, Route, strip};
use crate::ledger::{BillingMode, Book, ModelCode, Overrun, Refusal, Resolution, Timestamp, Unit};
use crate::store::{Caller, NoteStore, Shelf, StoreError};

/// What a key, or an account, may fall back to.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fallback {
    models: Vec<ModelCode>,
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// As they are listed.
    #[default]
    Listed,
    /// The one whose quota ends first.
    SoonestExpiring,
}

/// Whether a refusal is one of quota, where another model may help. A busy pool is not used up.
pub(super) fn is_for_quota(refusal: Refusal) -> bool {
    match refusal {
        Refusal::NoGrant | Refusal::Ended | Refusal::UsedUp | Refusal::ClosedByProvider | Refusal::NotPayable => true,
        Refusal::KeyNotActive
        | Refusal::AccountNotActivated
        | Refusal::AccountClosed
        | Refusal::Arrearage
        | Refusal::ModelNotAllowed
        | Refusal::Busy
        | Refusal::Unbounded
        | Refusal::NotCovered
        | Refusal::TooLarge => false,
    }
}

/// What the caller's key may fall back to, else its account.
pub(super) async fn of(notes: &dyn NoteStore, caller: &Caller) -> Result<Option<Fallback>, StoreError> {
    let account = &caller.account;
    for name in [format!("{account}/{}", caller.key.id), account.to_string()] {
        if let Some(kept) = notes.get(Shelf::Fallbacks, &name).await? {
            return Ok(serde_json::from_str(&kept).ok());
        }
    }
    Ok(None)
}

impl Fallback {
    /// The targets that are worth a try, in their order: known, counted in tokens, free quota only, with quota left.
    pub(super) fn targets(
        &self,
        book: &Book,
        catalogue: &Catalogue,
        (site, asked): (Option<&Site>, &str),
        now: Timestamp,
    ) -> Vec<ModelCode> {
        let default_on = site.is_none_or(|site| site.switch_default_on);
        let end = |code: &ModelCode| {
            let model = catalogue.model(code.as_str()).filter(|model| model.unit == Unit::Tokens)?;
            let pool = book.pools.get(&model.pool)?;
            if code.as_str() == asked || book.mode(Some(pool), default_on) != BillingMode::FreeQuotaOnly {
                return None;
            }
            let usable = pool.grants.iter().filter(|fund| {
                fund.grant.start <= now && fund.grant.end.is_none_or(|end| now < end) && fund.balance.available() > 0
            });
            usable.map(|fund| fund.grant.end.unwrap_or(Timestamp(u64::MAX))).min()
        };
        let mut targets: Vec<(Timestamp, ModelCode)> =
            self.models.iter().filter_map(|code| Some((end(code)?, code.clone()))).collect();
        if self.order == Order::SoonestExpiring {
            targets.sort_by_key(|(end, _)| *end);
        }
        targets.into_iter().map(|(_, code)| code).collect()
    }
}

impl Proxy {
    /// The call as it was asked; where it is refused for quota, the same with a model that has some left (C12).
    pub(super) async fn metered_or_instead(
        &self,
        shared: &Arc<Shared>,
        (route, api): (Route, Api),
        caller: Caller,
        client: HeaderMap,
        body: Bytes,
        record: &mut Record,
    ) -> Result<Prepared, Rejection> {
        let mut body = body;
        let mut decided = self.metered(shared, (&route, api), &caller, &client, &body, record).await;
        if let Err(Rejection::NotCovered(beside)) = &decided
            && let Some(rest) = without(&body, beside, &shared.settings.quota.strip)
        {
            (body, record.decision.stripped) = (rest, beside.clone());
            decided = Box::pin(self.metered(shared, (&route, api), &caller, &client, &body, record)).await;
        }
        let first = match decided {
            Err(Rejection::Refused(Refusal::Arrearage)) if Box::pin(self.may_try(shared, &caller, record)).await => {
                record.tries = true;
                return Box::pin(self.metered(shared, (&route, api), &caller, &client, &body, record)).await;
            }
            Err(rejection @ Rejection::Refused(refusal)) if is_for_quota(refusal) => rejection,
            decided => return decided,
        };
        let (asked, decision) = (record.model.clone(), record.decision.clone());
        for target in Box::pin(self.targets(shared, &caller, record)).await {
            let Some(renamed) = with_model(&body, target.as_str()) else { break };
            match Box::pin(self.metered(shared, (&route, api), &caller, &client, &renamed, record)).await {
                // The switch was turned off meanwhile: its hold is given back, nothing was sent.
                Ok(Prepared::Metered(ready)) if ready.admission.admitted.mode != BillingMode::FreeQuotaOnly => {
                    ready.admission.resolve(Resolution::Release);
                    break;
                }
                Ok(prepared) => {
                    record.decision.instead_of = asked;
                    return Ok(prepared);
                }
                Err(_) => {}
            }
        }
        // What is said is why the model that was asked for cannot serve.
        (record.model, record.decision) = (asked, decision);
        record.held = 0;
        Err(first)
    }

    /// Whether this call may try an upstream that said that its account is overdue (C10).
    async fn may_try(&self, shared: &Shared, caller: &Caller, record: &Record) -> bool {
        let (Some(model), Some(pool)) = (&record.model, &record.decision.pool) else { return false };
        let may = truth::may_try(&self.parts, shared, shared.upstreams.of(model), (&caller.account, pool)).await;
        may.unwrap_or_else(|error| {
            tracing::error!(error = %error, "whether an upstream may be tried again could not be read");
            false
        })
    }

    /// The models that may serve instead. Where nobody can tell, none.
    async fn targets(&self, shared: &Shared, caller: &Caller, record: &Record) -> Vec<ModelCode> {
        let Some(notes) = self.parts.notes() else { return Vec::new() };
        let Ok(Some(policy)) = of(&**notes, caller).await else { return Vec::new() };
        let Ok(book) = self.parts.store.book(&caller.account).await else { return Vec::new() };
        let site = shared.sites.get(&*caller.site).map(AsRef::as_ref);
        let overrun = shared.settings.quota.overrun.or(site.map(|site| site.overrun)).unwrap_or_default();
        // Where a last call may exceed its quota, it could cost money.
        if overrun != Overrun::Never {
            return Vec::new();
        }
        let asked = record.model.as_ref().map(ModelCode::as_str).unwrap_or_default();
        policy.targets(&book, &shared.catalogue, (site, asked), self.parts.clock.now())
    }
}

/// The body without what is billed beside the quota, where the operator's policy names all of it (C11).
fn without(body: &Bytes, beside: &[String], policy: &[String]) -> Option<Bytes> {
    let may_go = !beside.is_empty() && beside.iter().all(|name| policy.contains(name));
    if may_go { strip(body, beside) } else { None }
}

/// The body with another model's code in it; every other byte stays. `None` where the code cannot be found.
pub(super) fn with_model(body: &Bytes, code: &str) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let named: Named<'_> = serde_json::from_slice(body).ok()?;
    let written = named.model.get();
    let start = (written.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let (before, rest) = body.split_at_checked(start)?;
    let after = rest.get(written.len()..)?;
    let code = serde_json::to_string(code).ok()?;
    let mut renamed = BytesMut::with_capacity(before.len() + code.len() + after.len());
    renamed.extend_from_slice(before);
    renamed.extend_from_slice(code.as_bytes());
    renamed.extend_from_slice(after);
    Some(renamed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_models_code_is_replaced() {
        let renamed = |text: &str| with_model(&Bytes::copy_from_slice(text.as_bytes()), "b\"x");
        let text = r#"{ "messages":[{"model":"a"}],  "mod\u0065l" : "a" , "n":1}"#;
        let wanted = r#"{ "messages":[{"model":"a"}],  "mod\u0065l" : "b\"x" , "n":1}"#;
        assert_eq!(renamed(text).unwrap(), wanted.as_bytes());
        assert_eq!(renamed("{}"), None);
        assert_eq!(renamed("nothing"), None);
    }
}
