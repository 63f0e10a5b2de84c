//! One request, in a straight line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body;

use crate::catalogue::{Model, Site};
use crate::dialect::{Api, DialectError, ErrorShape, Facts, Kind, Metering, Route, RouteMatch, Watch, route, socket};
use crate::ledger::{BillingMode, HoldId, Overrun, Refusal, Reserve, ReserveRules};
use crate::store::{Caller, Resource, StoreErrorKind};

use super::admission::{Admission, Patience};
use super::authenticate::authenticate;
use super::body;
use super::bound::{self, CallBound};
use super::breaker::Paused;
use super::forward::{self, Beside, Then};
use super::headers::{self, AdmissionHeaders};
use super::metered_body::ReplyBody;
use super::parts::Proxy;
use super::record::Record;
use super::rejection::{Rejection, UpstreamTrouble};
use super::send::{self, Ready};
use super::settings::Shared;
use super::upstream::Upstream;
use super::websocket::Opening;
use super::{strict, tasks, websocket};

/// A request that may go upstream.
pub(super) enum Prepared {
    /// It costs nothing.
    Beside(Box<Beside>),
    /// It is admitted.
    Metered(Box<Ready>),
    /// It begins a WebSocket.
    Socket(Box<Opening>),
}

impl Proxy {
    /// Answers one request. Never fails: every failure is a response.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let shared = self.shared.load_full();
        let id = HoldId(uuid::Uuid::now_v7().as_u128());
        let mut record = Box::new(Record::new(id, &self.parts.metrics, shared.settings.log_requests));
        if shared.settings.accept_traceparent {
            record.span.go_on_from(request.headers());
        }
        // An error of ours has the shape of the path's family, also where the path does not exist.
        let shape = ErrorShape::of(request.uri().path(), request.headers());
        record.traces = self.parts.beside.get().and_then(|beside| beside.traces.clone());
        // By itself, so that its future is gone before the next one begins.
        let prepared = self.prepare(request, &shared, &mut record).await;
        match prepared {
            // What is rare is put aside, so that the future of a metered call, which is moved when it begins, stays small.
            Ok(Prepared::Beside(beside)) => match Box::pin(forward::send(&self.parts, *beside, &mut record)).await {
                Ok(response) => response,
                Err(rejection) => self.reject(&rejection, shape, id, Some(record)),
            },
            Ok(Prepared::Metered(ready)) => match send::send(&self.parts, shared, ready, record).await {
                Ok(response) => response,
                Err((rejection, record)) => self.reject(&rejection, shape, id, record),
            },
            Ok(Prepared::Socket(opening)) => {
                match Box::pin(websocket::open(&self.parts, &self.shared, *opening, record)).await {
                    Ok(response) => response,
                    Err((rejection, record)) => self.reject(&rejection, shape, id, record),
                }
            }
            Err(rejection) => self.reject(&rejection, shape, id, Some(record)),
        }
    }

    fn reject(
        &self,
        rejection: &Rejection,
        shape: ErrorShape,
        id: HoldId,
        record: Option<Box<Record>>,
    ) -> Response<ReplyBody> {
        let mut response = rejection.response(shape, &headers::request_id(id));
        headers::add_request_id(response.headers_mut(), id);
        self.parts.metrics.rejection(rejection.code());
        if let Some(mut record) = record {
            record.status = response.status().as_u16();
            if record.body_left {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            record.code = Some(rejection.code().to_owned());
        }
        // Without a ledger the request's own line says enough: nothing has failed.
        if let Rejection::Store(error) = rejection
            && error.kind != StoreErrorKind::NotInitialised
        {
            tracing::error!(request_id = headers::request_id(id), error = %error, "the store could not answer");
        }
        response
    }

    async fn prepare<B>(
        &self,
        request: Request<B>,
        shared: &Arc<Shared>,
        record: &mut Record,
    ) -> Result<Prepared, Rejection>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        record.body_left = head.version <= Version::HTTP_11 && !body.is_end_stream();
        if let Err(rejection) = strict::check(&head) {
            // Whatever follows on the connection may be meant otherwise as well.
            record.body_left = head.version <= Version::HTTP_11;
            return Err(rejection);
        }
        if let Some(socket) = socket(&head.method, head.uri.path(), head.uri.query()) {
            let caller = self.caller(&head.headers, record).await?;
            return Ok(Prepared::Socket(Box::new(Opening { socket, head, caller })));
        }
        let route = match route(&head.method, head.uri.path(), head.uri.query()) {
            RouteMatch::Found(route) => route,
            RouteMatch::MethodNotAllowed { allow } => return Err(Rejection::MethodNotAllowed { allow }),
            RouteMatch::NotMetered => return Err(Rejection::NotMetered),
        };
        record.operation = route.operation;
        let caller = match self.caller(&head.headers, record).await {
            // Without a ledger there are no keys either; what costs nothing is answered all the same.
            Err(Rejection::Store(error))
                if error.kind == StoreErrorKind::NotInitialised && route.metering == Metering::Free =>
            {
                return Ok(beside(head, route, Bytes::new(), &shared.upstreams.default, Then::Pass));
            }
            caller => caller?,
        };
        if matches!(route.metering, Metering::Call(_) | Metering::App) {
            record.place = Some(self.parts.place(&caller.key.id, shared.settings.key_in_flight)?);
        }
        let mut read = async |head: &Parts, body| {
            let (body, kept) = body::read(&head.headers, body, &shared.settings, &self.parts.room).await?;
            (record.body_left, record.kept) = (false, kept);
            Ok::<_, Rejection>(body)
        };
        match route.metering {
            Metering::Free => Ok(beside(head, route, Bytes::new(), &shared.upstreams.default, Then::Pass)),
            Metering::Call(api) => {
                let body = read(&head, body).await?;
                self.metered_or_instead(shared, (route, api), caller, head.headers, body, record).await
            }
            Metering::Creates(kind) => {
                let body = read(&head, body).await?;
                Ok(beside(head, route, body, &shared.upstreams.default, Then::Remember(kind, caller.account)))
            }
            Metering::Owned(kind) => {
                let thing = forward::owned(&*self.parts.store, &caller.account, kind, &route.id).await?;
                let body = read(&head, body).await?;
                Ok(beside(head, route, body, upstream_of(shared, &thing), Then::Pass))
            }
            Metering::Task => {
                let task = forward::owned(&*self.parts.store, &caller.account, Kind::Task, &route.id).await?;
                Ok(beside(head, route, Bytes::new(), upstream_of(shared, &task), Then::Settle(Box::new(task))))
            }
            Metering::App => {
                let Some(app) = shared.apps.get(&route.id) else {
                    Box::pin(self.check_not_covered(shared, &caller, Kind::App, record.id)).await?;
                    let body = read(&head, body).await?;
                    return Ok(beside(head, route, body, &shared.upstreams.default, Then::Pass));
                };
                let body = read(&head, body).await?;
                Box::pin(self.app(shared, (route, app), &caller, head.headers, body, record)).await
            }
            Metering::NotCovered(kind) => {
                Box::pin(self.check_not_covered(shared, &caller, kind, record.id)).await?;
                let body = read(&head, body).await?;
                self.check_input_file(&caller, &body).await?;
                Ok(beside(head, route, body, &shared.upstreams.default, Then::Remember(kind, caller.account)))
            }
        }
    }

    /// Who calls, for the record too.
    async fn caller(&self, headers: &HeaderMap, record: &mut Record) -> Result<Caller, Rejection> {
        let caller = authenticate(headers, &self.parts.pepper, &*self.parts.store).await?;
        record.account = Some(caller.account.clone());
        record.key = Some(caller.key.id.clone());
        Ok(caller)
    }

    pub(super) async fn metered(
        &self,
        shared: &Arc<Shared>,
        (route, api): (&Route, Api),
        caller: &Caller,
        client: &HeaderMap,
        body: &Bytes,
        record: &mut Record,
    ) -> Result<Prepared, Rejection> {
        let mut facts = Facts::read(api, body).map_err(Rejection::InvalidRequest)?;
        facts.heed(client);
        // A model whose unit no reply to such a call counts cannot be metered by it.
        let model = shared.catalogue.model(&facts.model).filter(|model| api.counts(model.unit));
        let model = model.ok_or_else(|| Rejection::ModelNotFound(shown(&facts.model)))?;
        record.model = Some(model.code.clone());
        record.stream = facts.stream;
        record.metrics = Arc::clone(self.parts.metrics.model(&facts.model));
        for thing in &facts.references {
            forward::may_refer(&*self.parts.store, &caller.account, thing).await?;
        }
        let call_bound = bounds_of(&facts, model, shared)?;
        let upstream = Arc::clone(shared.upstreams.of(&model.code));
        self.check_upstream(&upstream, shared.settings.quota.breaker_pause)?;
        let beside = beside_the_quota(&facts, shared.sites.get(&*caller.site), &upstream);
        record.decision.pool = Some(model.pool.clone());
        record.decision.upstream = Some(upstream.name().into());
        record.decision.ask = Some(call_bound.ask);
        record.decision.beside.clone_from(&beside);
        let hold = record.id;
        let decided = self.admit(shared, caller, &facts, (model, &call_bound), &beside, (hold, record)).await;
        let (admission, overrun) = decided.inspect_err(|rejection| {
            upstream.breaker.not_sent();
            record.metrics.refused.inc();
            record.decision.refused(rejection);
        })?;
        if !record.decision.shadow {
            (record.decision.refusal, record.decision.shortfall) = (None, None);
        }
        record.decision.admitted = Some(admission.admitted);
        record.metrics.admitted.inc();
        record.held = admission.admitted.input.saturating_add(admission.admitted.output);
        let bounded = admission.admitted.mode == BillingMode::FreeQuotaOnly && overrun == Overrun::Never;
        let strip_usage = facts.adds_usage();
        let clamp = call_bound.clamp(&admission.admitted, bounded, strip_usage);
        let lowered = call_bound.lowered(&facts, &clamp);
        (record.decision.sent_answer, record.decision.sent_thinking) = (clamp.answer, clamp.thinking_budget);
        record.decision.lowered = lowered;
        let body = facts.splice(body, &clamp);
        let told = AdmissionHeaders::of(&admission, model, lowered.then_some(clamp), &record.decision.stripped);
        Ok(Prepared::Metered(Box::new(Ready {
            watch: Watch { api, unit: model.unit },
            route: route.clone(),
            client: client.clone(),
            stream: facts.stream,
            task: facts.task,
            strip_usage,
            body,
            told,
            admission,
            further: Vec::new(),
            upstream,
        })))
    }

    pub(super) fn check_upstream(&self, upstream: &Upstream, pause: Duration) -> Result<(), Rejection> {
        upstream.breaker.check(self.parts.clock.now(), pause).map_err(|paused| match paused {
            Paused::Unreadable => Rejection::Upstream(UpstreamTrouble::Paused),
            Paused::Overdue => Rejection::Upstream(UpstreamTrouble::Overdue),
        })
    }

    /// Takes the hold; in shadow mode the call goes on without one.
    pub(super) async fn admit(
        &self,
        shared: &Shared,
        caller: &Caller,
        facts: &Facts,
        (model, call_bound): (&Model, &CallBound),
        beside: &[String],
        (hold, record): (HoldId, &mut Record),
    ) -> Result<(Admission, Overrun), Rejection> {
        let quota = &shared.settings.quota;
        let site = shared.sites.get(&*caller.site);
        let overrun = quota.overrun.or(site.map(|site| site.overrun)).unwrap_or_default();
        let (lease, max_call) = match (facts.task, facts.stream) {
            (true, _) => (tasks::LIFE, tasks::LIFE),
            (false, true) => (quota.lease, quota.max_call_stream),
            (false, false) => (quota.lease, quota.max_call_plain),
        };
        let reserve = Reserve {
            hold,
            key: caller.key.id.clone(),
            model: model.code.clone(),
            pool: model.pool.clone(),
            ask: call_bound.ask,
            lease_ms: ms(lease),
            max_call_ms: ms(max_call),
            caller_now: self.parts.clock.now(),
            rules: ReserveRules {
                overrun,
                switch_default_on: site.is_none_or(|site| site.switch_default_on),
                priced: !model.prices.is_empty(),
                bounded: call_bound.sound,
                covered: beside.is_empty(),
            },
        };
        let patience = Patience { wait: quota.busy_wait, most: quota.busy_queue };
        let rejection = match self.parts.gate.admit(&caller.account, reserve, patience, &record.span).await {
            Ok(admission) => return Ok((admission, overrun)),
            Err(Rejection::Refused(Refusal::NotCovered, _)) => Rejection::NotCovered(beside.to_vec()),
            Err(Rejection::Refused(Refusal::ModelNotAllowed, _)) => Rejection::ModelNotFound(shown(&facts.model)),
            Err(rejection) => rejection,
        };
        if !quota.shadow {
            return Err(rejection);
        }
        let in_shadow = Box::pin(self.in_shadow(rejection, caller, (model, call_bound), (hold, record))).await;
        in_shadow.map(|admission| (admission, Overrun::default()))
    }
}

fn beside(head: Parts, route: Route, body: Bytes, upstream: &Arc<Upstream>, then: Then) -> Prepared {
    Prepared::Beside(Box::new(Beside { head, route, body, upstream: Arc::clone(upstream), then }))
}

/// Where a thing is kept: a task at its model's upstream, everything else at the default one.
fn upstream_of<'s>(shared: &'s Shared, thing: &Resource) -> &'s Arc<Upstream> {
    match &thing.task {
        Some(hold) => shared.upstreams.of(&hold.origin.model),
        None => &shared.upstreams.default,
    }
}

/// What the call would be billed for beside the quota, by the parameter or the setting that says so (C2, C3, C11).
pub(super) fn beside_the_quota(facts: &Facts, site: Option<&Arc<Site>>, upstream: &Upstream) -> Vec<String> {
    let covers = site.map(|site| site.covers).unwrap_or_default();
    let billed = |name: &&String| !(covers.explicit_cache && *name == "cache_control");
    let mut beside: Vec<String> = facts.surcharges.iter().filter(billed).cloned().collect();
    let Some(site) = site else { return beside };
    if let Some(why) = site.uncovered_host(upstream.host()) {
        beside.push(format!("upstream.{}.base_url ({why})", upstream.name()));
    }
    if upstream.key().is_some_and(|key| site.is_other_key(key)) {
        beside.push(format!("upstream.{}.api_key (a key of another product)", upstream.name()));
    }
    beside
}

fn bounds_of(facts: &Facts, model: &Model, shared: &Shared) -> Result<CallBound, Rejection> {
    if let Some(bounds) = model.bounds.as_ref().filter(|bounds| facts.choices > bounds.max_n) {
        return Err(Rejection::InvalidRequest(DialectError {
            code: "invalid_parameter_error",
            message: format!("The parameter `n` must be at most {} for this model.", bounds.max_n),
            param: Some("n".to_owned()),
        }));
    }
    Ok(bound::bound(facts, model, &shared.settings.quota))
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A model's name as it may stand in a message: bounded, and without control characters.
pub(super) fn shown(model: &str) -> String {
    model.chars().filter(|c| !c.is_control()).take(64).collect()
}
