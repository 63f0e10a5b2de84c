//! On whose account a connection's calls are, and what admitting one of them takes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;

use crate::catalogue::Model;
use crate::dialect::{Protocol, Reference};
use crate::ledger::{Amount, Ask, HoldId, Refusal, Reserve, ReserveRules};
use crate::proxy::admission::{Admission, Patience};
use crate::proxy::breaker::Paused;
use crate::proxy::crowd::KeyPlace;
use crate::proxy::forward;
use crate::proxy::parts::ProxyParts;
use crate::proxy::rejection::{Rejection, UpstreamTrouble};
use crate::proxy::settings::Shared;
use crate::proxy::truth::CLOSING_WAIT;
use crate::proxy::upstream::Upstream;
use crate::store::Caller;
use crate::telemetry::Span;

use super::connect::{self, Io};
use super::fault::Fault;
use super::tab;

/// What all calls of one connection share.
pub(super) struct Line {
    pub(super) parts: Arc<ProxyParts>,
    pub(super) caller: Caller,
    pub(super) protocol: Protocol,
    /// The client's headers.
    pub(super) client: HeaderMap,
    shared: Arc<ArcSwap<Shared>>,
}

/// A call, or a further part of one, that has to be admitted.
pub(super) struct CallAsk {
    pub(super) hold: HoldId,
    pub(super) model: Arc<Model>,
    pub(super) ask: Ask,
    /// Whether the ask is a sound bound.
    pub(super) bounded: bool,
    /// What it turns on that is billed beside the quota.
    pub(super) surcharge: Option<&'static str>,
    /// Things kept at the provider that it refers to.
    pub(super) references: Vec<Reference>,
}

/// An admitted call, and what it was admitted under.
pub(super) struct Granted {
    pub(super) admission: Admission,
    pub(super) model: Arc<Model>,
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Arc<Upstream>,
    /// The connection to its upstream, where there was none yet.
    pub(super) connected: Option<Io>,
    /// The key's place among its calls.
    pub(super) place: Option<KeyPlace>,
}

impl CallAsk {
    /// A call whose bound is one figure: `need` of it is certain, `slack` saves asking again for each further piece.
    pub(super) fn units(model: Arc<Model>, need: Amount, slack: Amount, bounded: bool) -> Self {
        let ask = Ask {
            named: need,
            silent: slack,
            least: need,
            share_of: SLACK_SHARE,
            // Once the model has used more than was held, its bound is not trusted any more.
            ceiling_output: model.max_units.unwrap_or(need.saturating_add(slack)),
            ..Ask::default()
        };
        Self { hold: new_hold(), model, ask, bounded, surcharge: None, references: Vec::new() }
    }
}

/// Slack is at most this share of what is left, so that the last units of a grant can be used.
const SLACK_SHARE: u64 = 8;

pub(super) fn new_hold() -> HoldId {
    HoldId(uuid::Uuid::now_v7().as_u128())
}

impl Line {
    pub(super) fn new(
        parts: Arc<ProxyParts>,
        shared: Arc<ArcSwap<Shared>>,
        caller: Caller,
        protocol: Protocol,
        client: HeaderMap,
    ) -> Self {
        Self { parts, caller, protocol, client, shared }
    }

    /// What is configured now: a connection outlives a reload, the calls on it do not.
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.load_full()
    }

    /// Admits a call and, where `connected` names no upstream yet, connects to the model's. Nothing is left held where either fails.
    pub(super) async fn grant(
        self: Arc<Self>,
        call: CallAsk,
        connected: Option<Arc<Upstream>>,
    ) -> Result<Granted, Fault> {
        let shared = self.shared();
        let of_model = shared.upstreams.of(&call.model.code);
        let upstream = match &connected {
            // A reload makes new ones of the same name; this connection goes on with the one that it has.
            Some(upstream) if upstream.name() == of_model.name() => Arc::clone(upstream),
            Some(_) => {
                return Err(Fault::invalid(
                    "The tasks of one connection must be of models that are served in one place.",
                ));
            }
            None => Arc::clone(of_model),
        };
        self.may_refer(&call.references).await?;
        self.check_upstream(&upstream, shared.settings.quota.breaker_pause)?;
        let place = self.parts.place(&self.caller.key.id, shared.settings.key_in_flight);
        let place = Some(place.map_err(Fault::Ours)?);
        let model = Arc::clone(&call.model);
        let metrics = self.parts.metrics.model(model.code.as_str());
        let admission = self.admit(&shared, call).await.inspect_err(|_| {
            upstream.breaker.not_sent();
            metrics.refused.inc();
        })?;
        metrics.admitted.inc();
        let mut granted = Granted { admission, model, shared, upstream, connected: None, place };
        if connected.is_none() {
            match connect::connect(&granted.upstream, &self.protocol, &self.client).await {
                Ok(io) => granted.connected = Some(io),
                Err(fault) => {
                    if let Fault::Upstream(refused) = &fault {
                        let closing = tab::signal(&self, &granted, &refused.code, refused.signal);
                        if let Some(closing) = closing {
                            // A time-out here is the end of the client's patience, not of the closing.
                            let _ = tokio::time::timeout(CLOSING_WAIT, closing).await;
                        }
                    }
                    // A refused handshake is no call: nothing was asked of a model.
                    granted.upstream.breaker.not_sent();
                    granted.admission.resolve(crate::ledger::Resolution::Release);
                    return Err(fault);
                }
            }
        }
        Ok(granted)
    }

    /// Whether the account may refer to these things.
    pub(super) async fn may_refer(&self, things: &[Reference]) -> Result<(), Fault> {
        for thing in things {
            forward::may_refer(&*self.parts.store, &self.caller.account, thing).await.map_err(Fault::Ours)?;
        }
        Ok(())
    }

    fn check_upstream(&self, upstream: &Upstream, pause: Duration) -> Result<(), Fault> {
        upstream.breaker.check(self.parts.clock.now(), pause).map_err(|paused| {
            Fault::Ours(Rejection::Upstream(match paused {
                Paused::Unreadable => UpstreamTrouble::Paused,
                Paused::Overdue => UpstreamTrouble::Overdue,
            }))
        })
    }

    async fn admit(&self, shared: &Shared, call: CallAsk) -> Result<Admission, Fault> {
        let (quota, model) = (&shared.settings.quota, &call.model);
        let site = shared.sites.get(&*self.caller.site);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let reserve = Reserve {
            hold: call.hold,
            key: self.caller.key.id.clone(),
            model: model.code.clone(),
            pool: model.pool.clone(),
            ask: call.ask,
            lease_ms: ms(quota.lease),
            max_call_ms: ms(quota.max_call_stream),
            caller_now: self.parts.clock.now(),
            rules: ReserveRules {
                overrun: quota.overrun.or(site.map(|site| site.overrun)).unwrap_or_default(),
                switch_default_on: site.is_none_or(|site| site.switch_default_on),
                priced: model.is_priced(),
                bounded: call.bounded,
                covered: call.surcharge.is_none(),
            },
        };
        let patience = Patience { wait: quota.busy_wait, most: quota.busy_queue };
        let admitted = self.parts.gate.admit(&self.caller.account, reserve, patience, &Span::default()).await;
        admitted.map_err(|rejection| {
            if matches!(rejection, Rejection::Refused(Refusal::NotCovered, _)) {
                return Fault::Ours(Rejection::NotCovered(
                    call.surcharge.iter().map(|name| (*name).to_owned()).collect(),
                ));
            }
            if matches!(rejection, Rejection::Refused(Refusal::ModelNotAllowed, _)) {
                return Fault::Ours(Rejection::ModelNotFound(model.code.to_string()));
            }
            Fault::Ours(rejection)
        })
    }
}
