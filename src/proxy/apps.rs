//! Apps whose models the configuration declares: one call, a hold for each model at its maximum, all of them or none.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::catalogue::Model;
use crate::dialect::{Api, DialectError, Facts, Route, Watch};
use crate::ledger::{HoldId, ModelCode, Resolution, Unit};
use crate::store::Caller;

use super::admission::Admission;
use super::bound;
use super::forward;
use super::handler::{Prepared, beside_the_quota, shown};
use super::headers::AdmissionHeaders;
use super::parts::Proxy;
use super::record::Record;
use super::rejection::Rejection;
use super::send::Ready;
use super::settings::{App, Shared};

/// What an app of several models is called where one model is named: in logs, metrics and traces.
const SEVERAL: &str = "app";

impl Proxy {
    /// Admits a call of a declared app.
    pub(super) async fn app(
        &self,
        shared: &Arc<Shared>,
        (route, app): (Route, &App),
        caller: &Caller,
        client: HeaderMap,
        body: Bytes,
        record: &mut Record,
    ) -> Result<Prepared, Rejection> {
        let mut facts = Facts::read(Api::App, &body).map_err(Rejection::InvalidRequest)?;
        facts.heed(&client);
        let models = declared(shared, app, &facts)?;
        record.model = Some(match models.as_slice() {
            [(only, _)] => only.code.clone(),
            _ => SEVERAL.into(),
        });
        record.stream = facts.stream;
        for thing in &facts.references {
            forward::may_refer(&*self.parts.store, &caller.account, thing).await?;
        }
        // An app is served where whatever names no upstream of its own is.
        let upstream = Arc::clone(&shared.upstreams.default);
        self.check_upstream(&upstream, shared.settings.quota.breaker_pause)?;
        let beside = beside_the_quota(&facts, shared.sites.get(&*caller.site), &upstream);
        record.decision.upstream = Some(upstream.name().into());
        record.decision.beside.clone_from(&beside);
        let admitted = self.admit_each(shared, caller, &facts, &models, &beside, record).await;
        let admissions = admitted.inspect_err(|rejection| {
            upstream.breaker.not_sent();
            record.decision.refused(rejection);
        })?;
        let told = AdmissionHeaders::of_app(record.id, &admissions);
        let (mut admissions, stream) = (admissions.into_iter(), facts.stream);
        // The configuration takes no app without a model.
        let admission = admissions.next().ok_or(Rejection::Internal)?;
        record.decision.admitted = Some(admission.admitted);
        Ok(Prepared::Metered(Box::new(Ready {
            watch: Watch { api: Api::App, unit: Unit::Tokens },
            route,
            client,
            stream,
            task: false,
            strip_usage: false,
            body,
            told,
            admission,
            further: admissions.collect(),
            upstream,
        })))
    }

    /// A hold for each of the models, always in the same order, so that two calls never wait for each other. What was admitted before
    /// one is refused is given back: nothing was sent.
    async fn admit_each(
        &self,
        shared: &Shared,
        caller: &Caller,
        facts: &Facts,
        models: &[(Arc<Model>, u64)],
        beside: &[String],
        record: &mut Record,
    ) -> Result<Vec<Admission>, Rejection> {
        let mut admissions: Vec<Admission> = Vec::with_capacity(models.len());
        for (model, calls) in models {
            let hold = if admissions.is_empty() { record.id } else { HoldId(uuid::Uuid::now_v7().as_u128()) };
            let call_bound = bound::at_most(model, *calls);
            let counted = self.parts.metrics.model(model.code.as_str());
            record.decision.pool = Some(model.pool.clone());
            record.decision.ask = Some(call_bound.ask);
            match self.admit(shared, caller, facts, (model, &call_bound), beside, (hold, record)).await {
                Ok((admission, _)) => {
                    counted.admitted.inc();
                    let held = admission.admitted.input.saturating_add(admission.admitted.output);
                    record.held = record.held.saturating_add(held);
                    admissions.push(admission);
                }
                Err(rejection) => {
                    counted.refused.inc();
                    record.held = 0;
                    for admission in admissions {
                        drop(admission.resolve(Resolution::Release));
                    }
                    return Err(rejection);
                }
            }
        }
        Ok(admissions)
    }
}

/// The app's models, with how often one request calls each. A request may name only one of them.
fn declared(shared: &Shared, app: &App, facts: &Facts) -> Result<Vec<(Arc<Model>, u64)>, Rejection> {
    let unknown = |code: &ModelCode| Rejection::ModelNotFound(shown(code.as_str()));
    if !facts.model.is_empty() && !app.models.contains_key(&ModelCode::from(facts.model.as_str())) {
        let message = "The app's models are declared, and this is none of them.".to_owned();
        let (code, param) = ("invalid_parameter_error", Some("model_id".to_owned()));
        return Err(Rejection::InvalidRequest(DialectError { code, message, param }));
    }
    let found = app.models.iter().map(|(code, calls)| {
        let model = shared.catalogue.model(code.as_str()).ok_or_else(|| unknown(code))?;
        Ok((Arc::clone(model), *calls))
    });
    found.collect()
}
