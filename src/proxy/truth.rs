//! What a refusal of the provider's sets off (C10): the closure begins when the refusal is read, and the end of the refusal waits
//! for it, so that who has read it finds the next call refused on every replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::headers;
use super::parts::ProxyParts;
use super::settings::Shared;
use super::upstream::Upstream;
use crate::catalogue::Site;
use crate::dialect::UpstreamSignal;
use crate::ledger::{AccountId, HoldId, PoolId};
use crate::provider::{Overdue, Provider, Trial};
use crate::store::{NoteStore, StoreError};

/// How long the end of a refusal waits for what it closes.
pub(super) const CLOSING_WAIT: Duration = Duration::from_secs(2);

/// The call that the provider refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// Its request.
    pub(super) request: HoldId,
    /// Whose it is.
    pub(super) account: AccountId,
    /// Whether it tried a closed upstream.
    pub(super) tried: bool,
    /// What the provider said.
    pub(super) code: String,
}

/// What an upstream's refusal means for the calls after this one; fires when it is so. `pool` = what the call drew on.
pub(super) fn heed(
    parts: &Arc<ProxyParts>,
    shared: &Arc<Shared>,
    upstream: &Arc<Upstream>,
    (signal, refused, pool): (UpstreamSignal, Refused, Option<PoolId>),
) -> Option<oneshot::Receiver<()>> {
    match signal {
        UpstreamSignal::FreeTierOnly => Some(used_up(parts, refused, pool?)),
        UpstreamSignal::Arrearage => Some(overdue(parts, shared, upstream, refused)),
        UpstreamSignal::RateLimited | UpstreamSignal::Other => None,
    }
}

/// The provider says that the pool's free quota is used up: it is closed in every account.
fn used_up(parts: &ProxyParts, refused: Refused, pool: PoolId) -> oneshot::Receiver<()> {
    let Refused { request, account, .. } = refused;
    tracing::error!(request_id = headers::request_id(request), pool = %pool, "the provider says that the free quota is used up: the counters here were too high");
    let store = Arc::clone(&parts.store);
    begin(parts, async move {
        if let Err(error) = Provider::used_up(&*store, &account, &pool).await {
            tracing::error!(pool = %pool, error = %error, "a pool that the provider closed could not be closed everywhere");
        }
    })
}

/// The provider says that the upstream's account is overdue: everything that it serves is closed, and the account that owns it.
fn overdue(
    parts: &Arc<ProxyParts>,
    shared: &Arc<Shared>,
    upstream: &Arc<Upstream>,
    refused: Refused,
) -> oneshot::Receiver<()> {
    tracing::error!(
        request_id = headers::request_id(refused.request),
        upstream = upstream.name(),
        code = refused.code,
        "the upstream says that its account is overdue"
    );
    let (owned, shared, upstream) = (Arc::clone(parts), Arc::clone(shared), Arc::clone(upstream));
    begin(parts, async move {
        let closed = match owned.notes() {
            Some(notes) => close(&owned, &**notes, &shared, &upstream, &refused).await,
            None => Ok(false),
        };
        if let Err(error) = &closed {
            tracing::error!(upstream = upstream.name(), error = %error, "an overdue upstream could not be closed everywhere");
        }
        // Where the store does not hold the closure, this process at least leaves the upstream alone for a while.
        if !closed.unwrap_or_default() {
            upstream.breaker.overdue(owned.clock.now(), shared.settings.quota.breaker_pause);
        }
    })
}

async fn close(
    parts: &ProxyParts,
    notes: &dyn NoteStore,
    shared: &Shared,
    upstream: &Arc<Upstream>,
    refused: &Refused,
) -> Result<bool, StoreError> {
    let served = shared.catalogue.models().filter(|model| Arc::ptr_eq(shared.upstreams.of(&model.code), upstream));
    let overdue = Overdue {
        upstream: upstream.name(),
        owner: upstream.owner(),
        pools: served.map(|model| model.pool.clone()).collect(),
        caller: &refused.account,
        tried: refused.tried,
        code: &refused.code,
        request: &super::headers::request_id(refused.request),
    };
    let sites = |name: &str| site_of(shared, name);
    Provider { store: &*parts.store, notes, sites: &sites }.overdue(overdue).await?;
    Ok(true)
}

fn site_of(shared: &Shared, name: &str) -> Option<Arc<Site>> {
    shared.sites.get(name).cloned()
}

/// Whether this call may try an upstream that is closed; what is in its way is then open.
pub(super) async fn may_try(
    parts: &ProxyParts,
    shared: &Shared,
    upstream: &Upstream,
    (account, pool): (&AccountId, &PoolId),
) -> Result<bool, StoreError> {
    let Some(notes) = parts.notes() else { return Ok(false) };
    let sites = |name: &str| site_of(shared, name);
    let trial = Trial { upstream: upstream.name(), account, pool, pause: shared.settings.quota.breaker_pause };
    Provider { store: &*parts.store, notes: &**notes, sites: &sites }.may_try(trial).await
}

/// A call that tried a closed upstream was served: what was closed for it is opened.
pub(super) fn serves_again(parts: &Arc<ProxyParts>, shared: &Arc<Shared>, upstream: &Arc<Upstream>) {
    let (owned, shared, upstream) = (Arc::clone(parts), Arc::clone(shared), Arc::clone(upstream));
    parts.drainer.tasks().spawn(async move {
        let Some(notes) = owned.notes() else { return };
        let sites = |name: &str| site_of(&shared, name);
        let provider = Provider { store: &*owned.store, notes: &**notes, sites: &sites };
        match provider.serves(upstream.name(), "a call that tried it was served").await {
            Ok(_) => tracing::info!(upstream = upstream.name(), "the upstream serves again; what was closed for it is open"),
            Err(error) => {
                tracing::error!(upstream = upstream.name(), error = %error, "what was closed for an upstream could not be opened");
            }
        }
    });
}

/// Work that outlives its request; the receiver fires when it is done.
fn begin(parts: &ProxyParts, work: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
    let (done, wait) = oneshot::channel();
    parts.drainer.tasks().spawn(async move {
        work.await;
        // Whoever waited may have gone on.
        let _ = done.send(());
    });
    wait
}
