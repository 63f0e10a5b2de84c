//! Calls that the free quota never covers and whose models are not known before: batches and apps (W 0.14).

use crate::dialect::Kind;
use crate::ledger::{Ask, BillingMode, HoldId, Overrun, Reserve, ReserveRules, Resolution};
use crate::store::Caller;
use crate::telemetry::Span;

use super::admission::Patience;
use super::forward;
use super::handler::ms;
use super::parts::Proxy;
use super::rejection::Rejection;
use super::settings::Shared;

impl Proxy {
    /// Whether calls may be made that no quota covers and nobody can bound: only where no pool is in free quota only. The ledger
    /// says what it says of every call, by a hold of nothing.
    pub(super) async fn check_not_covered(
        &self,
        shared: &Shared,
        caller: &Caller,
        kind: Kind,
        hold: HoldId,
    ) -> Result<(), Rejection> {
        let site = shared.sites.get(&*caller.site);
        let default_on = site.is_none_or(|site| site.switch_default_on);
        let book = self.parts.store.book(&caller.account).await.map_err(Rejection::Store)?;
        let free_only = |pool| book.mode(pool, default_on) == BillingMode::FreeQuotaOnly;
        if free_only(None) || book.pools.values().any(|pool| free_only(Some(pool))) {
            return Err(Rejection::KindNotCovered(kind));
        }
        let quota = &shared.settings.quota;
        let name = if kind == Kind::Batch { "batch" } else { "app" };
        let reserve = Reserve {
            hold,
            key: caller.key.id.clone(),
            model: name.into(),
            pool: name.into(),
            ask: Ask::default(),
            lease_ms: ms(quota.lease),
            max_call_ms: ms(quota.max_call_plain),
            caller_now: self.parts.clock.now(),
            rules: ReserveRules {
                overrun: Overrun::Never,
                switch_default_on: default_on,
                priced: true,
                bounded: false,
                covered: false,
            },
        };
        let patience = Patience { wait: quota.busy_wait, most: quota.busy_queue };
        let admission = self.parts.gate.admit(&caller.account, reserve, patience, &Span::default()).await?;
        // What it will cost is billed by the provider and not known here.
        drop(admission.resolve(Resolution::Release));
        Ok(())
    }

    /// Whether the file with a batch's requests is the account's; a body that names it twice names none.
    pub(super) async fn check_input_file(&self, caller: &Caller, body: &[u8]) -> Result<(), Rejection> {
        #[derive(serde::Deserialize)]
        struct Batch {
            input_file_id: String,
        }
        let batch: Batch = serde_json::from_slice(body).map_err(|_| Rejection::NotOwned)?;
        forward::owned(&*self.parts.store, &caller.account, Kind::File, &batch.input_file_id).await.map(drop)
    }
}
