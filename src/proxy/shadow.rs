//! Shadow mode: nothing is refused for quota; what would have been is counted (E6).
//!
//! Such a call is outside of the free quota and may cost money, so it needs two yeses: the operator's, in the configuration, and
//! that of the account, which must not have `never_pay`. What it uses is booked on the model's grants, below zero where nothing is
//! left, or as billed where the switch is off.

use super::admission::Admission;
use super::bound::CallBound;
use super::parts::Proxy;
use super::record::Record;
use super::rejection::Rejection;
use crate::catalogue::Model;
use crate::ledger::{AccountState, Admitted, BillingMode, HoldId, Origin, Refusal};
use crate::store::Caller;

fn is_shadowed(refusal: Refusal) -> bool {
    match refusal {
        Refusal::NoGrant
        | Refusal::Ended
        | Refusal::UsedUp
        | Refusal::Busy
        | Refusal::ClosedByProvider
        | Refusal::Unbounded
        | Refusal::NotCovered => true,
        Refusal::KeyNotActive
        | Refusal::AccountNotActivated
        | Refusal::AccountClosed
        | Refusal::Arrearage
        | Refusal::ModelNotAllowed
        | Refusal::NotPayable
        | Refusal::TooLarge => false,
    }
}

impl Proxy {
    /// The admission of a call that would have been refused; the rejection where it has to be.
    pub(super) async fn in_shadow(
        &self,
        rejection: Rejection,
        caller: &Caller,
        (model, call_bound): (&Model, &CallBound),
        (hold, record): (HoldId, &mut Record),
    ) -> Result<Admission, Rejection> {
        if !rejection.refusal().is_some_and(is_shadowed) {
            return Err(rejection);
        }
        let book = self.parts.store.book(&caller.account).await.map_err(Rejection::Store)?;
        if book.never_pay || book.state == AccountState::Unverified || model.prices.is_empty() {
            return Err(rejection);
        }
        let ask = call_bound.ask;
        let admitted = Admitted {
            input: ask.input,
            output: ask.named.saturating_add(ask.silent),
            mode: BillingMode::PayAsYouGo,
            may_cost: true,
            available: 0,
            expires: None,
            deadline: self.parts.clock.now(),
        };
        let origin = Origin { key: caller.key.id.clone(), model: model.code.clone(), pool: model.pool.clone() };
        let admission = self.parts.gate.in_shadow(&caller.account, (hold, origin), admitted, &record.span)?;
        record.decision.refused(&rejection);
        record.decision.shadow = true;
        Ok(admission)
    }
}
