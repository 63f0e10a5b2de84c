//! What was used although no hold was open for it: written down all the same, below zero where nothing is left.

use std::sync::Arc;

use crate::catalogue::Model;
use crate::dialect::ModelUsage;
use crate::ledger::{AccountId, HoldId, KeyId, Origin, Resolution, Usage};

use super::handler::shown;
use super::headers;
use super::parts::ProxyParts;
use super::record::Record;
use super::settings::Shared;

/// Writes a usage down on the model's grants, and counts it as an incident.
pub(super) fn write_down(parts: &ProxyParts, (account, key): (&AccountId, &KeyId), model: &Model, usage: Usage) {
    tracing::error!(account = %account, model = %model.code, units = usage.total(), "what was used was not held for");
    parts.metrics.over_hold.inc_by(usage.total());
    let origin = Origin { key: key.clone(), model: model.code.clone(), pool: model.pool.clone() };
    let (store, account) = (Arc::clone(&parts.store), account.clone());
    let hold = HoldId(uuid::Uuid::now_v7().as_u128());
    parts.drainer.tasks().spawn(async move {
        if let Err(error) = store.resolve(&account, hold, Resolution::Settle(usage), Some(origin)).await {
            tracing::error!(account = %account, error = %error, "what was used without a hold could not be written down");
        }
    });
}

/// Writes down what an app used of a model that is not declared for it, as far as the model is known.
pub(super) fn of_app(parts: &ProxyParts, shared: &Shared, record: &Record, used: &ModelUsage) {
    let name = shown(&used.model);
    tracing::error!(
        request_id = headers::request_id(record.id),
        model = name,
        units = used.usage.total(),
        "an app used a model that is not declared for it"
    );
    let (Some(account), Some(key)) = (&record.account, &record.key) else { return };
    match shared.catalogue.model(&used.model) {
        Some(model) => write_down(parts, (account, key), model, used.usage),
        None => {
            parts.metrics.over_hold.inc_by(used.usage.total());
        }
    }
}
