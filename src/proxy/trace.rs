//! Why a call was decided as it was: kept for a while beside the books, off the call's path (E7).
//!
//! A trace is made when the call's record ends, and written in batches. Where more come than can be written they are dropped and
//! counted: a call never waits to be explained. What a refusal's counters were is read just after it, once a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::ledger::{AccountId, Admitted, Ask, Book, ModelCode, PoolId, Refusal, Usage};
use crate::store::{NoteStore, Shelf, Store, StoreError};
use crate::telemetry::Metrics;

/// How many traces wait to be written at most.
const WAITING: usize = 4_096;
/// How many are written at once.
const AT_ONCE: usize = 512;
/// How long a batch is collected.
const COLLECTED: Duration = Duration::from_millis(100);

/// What was decided of a call, as its record carries it.
#[derive(Clone, Default)]
pub(super) struct Decision {
    /// The pool that it draws on.
    pub(super) pool: Option<PoolId>,
    /// The model that was asked for first, where another served.
    pub(super) instead_of: Option<ModelCode>,
    /// Where it went.
    pub(super) upstream: Option<Arc<str>>,
    /// What it could cost at most.
    pub(super) ask: Option<Ask>,
    /// What would be billed beside the quota.
    pub(super) beside: Vec<String>,
    /// The ledger's yes.
    pub(super) admitted: Option<Admitted>,
    /// The ledger's no.
    pub(super) refusal: Option<Refusal>,
    /// The ledger said no, and the call went on all the same (E6).
    pub(super) shadow: bool,
    /// The bounds that went upstream.
    pub(super) sent_answer: Option<u64>,
    pub(super) sent_thinking: Option<u64>,
    /// Whether they are below what was asked.
    pub(super) lowered: bool,
    /// How far the usage can be trusted: `exact`, `at_least`, `none`.
    pub(super) reading: Option<&'static str>,
}

/// One call that is over.
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) account: Option<AccountId>,
    pub(super) model: Option<ModelCode>,
    pub(super) facts: Value,
    pub(super) decision: Decision,
    pub(super) usage: Option<Usage>,
    pub(super) ending: &'static str,
    pub(super) ms: u64,
}

/// The way to the writer of traces.
#[derive(Clone)]
pub(super) struct Traces {
    sender: mpsc::Sender<Trace>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// The way, and the writer, which ends when nobody can send any more and everything is written.
    pub(super) fn new(
        store: Arc<dyn Store>,
        notes: Arc<dyn NoteStore>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender, metrics }, write(store, notes, clock, receiver))
    }

    pub(super) fn send(&self, trace: Trace) {
        if self.sender.try_send(trace).is_err() {
            self.metrics.traces_dropped.inc();
        }
    }
}

async fn write(store: Arc<dyn Store>, notes: Arc<dyn NoteStore>, clock: Clock, mut receiver: mpsc::Receiver<Trace>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while receiver.recv_many(&mut batch, AT_ONCE).await > 0 {
        if batch.len() < AT_ONCE {
            tokio::time::sleep(COLLECTED).await;
            while batch.len() < AT_ONCE
                && let Ok(trace) = receiver.try_recv()
            {
                batch.push(trace);
            }
        }
        let now = clock.now().0;
        let mut books: BTreeMap<AccountId, Option<Book>> = BTreeMap::new();
        let mut values = Vec::with_capacity(batch.len());
        let mut shadowed = Shadowed::default();
        for trace in batch.drain(..) {
            shadowed.count(&trace);
            let refused = trace.decision.refusal.is_some();
            let book = match trace.account.as_ref().filter(|_| refused) {
                Some(account) if !books.contains_key(account) => {
                    books.insert(account.clone(), store.book(account).await.ok());
                    books.get(account).and_then(Option::as_ref)
                }
                Some(account) => books.get(account).and_then(Option::as_ref),
                None => None,
            };
            values.push((trace.id.clone(), told(trace, book, now).to_string()));
        }
        if let Err(error) = shadowed.add(&*notes, now).await {
            tracing::warn!(error = %error, "what would have been refused could not be counted");
        }
        if let Err(error) = notes.put(Shelf::Traces, values).await {
            tracing::warn!(error = %error, "traces could not be written");
        }
    }
}

/// What went on although it would have been refused, by account, model and reason.
#[derive(Default)]
struct Shadowed(BTreeMap<String, ShadowCount>);

/// How much that was, over all time.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct ShadowCount {
    calls: u64,
    input: u64,
    output: u64,
    first: u64,
    last: u64,
}

impl Shadowed {
    fn count(&mut self, trace: &Trace) {
        let (Some(account), Some(model), true) = (&trace.account, &trace.model, trace.decision.shadow) else { return };
        let reason = trace.decision.refusal.and_then(|refusal| serde_json::to_value(refusal).ok());
        let reason = reason.as_ref().and_then(Value::as_str).unwrap_or_default();
        let count = self.0.entry(format!("{account}/{reason}/{model}")).or_default();
        let usage = trace.usage.unwrap_or_default();
        count.calls += 1;
        count.input = count.input.saturating_add(usage.input);
        count.output = count.output.saturating_add(usage.output);
    }

    /// Adds the batch to what was counted before. One writer a process does this.
    async fn add(self, notes: &dyn NoteStore, now: u64) -> Result<(), StoreError> {
        let mut values = Vec::new();
        for (name, count) in self.0 {
            let kept = notes.get(Shelf::Shadow, &name).await?;
            let before: ShadowCount = kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default();
            let sum = ShadowCount {
                calls: before.calls.saturating_add(count.calls),
                input: before.input.saturating_add(count.input),
                output: before.output.saturating_add(count.output),
                first: if before.calls == 0 { now } else { before.first },
                last: now,
            };
            values.push((name, serde_json::to_string(&sum).unwrap_or_default()));
        }
        if values.is_empty() { Ok(()) } else { notes.put(Shelf::Shadow, values).await }
    }
}

/// The trace as `gratis why` reads it.
fn told(trace: Trace, book: Option<&Book>, now: u64) -> Value {
    let Trace { id, facts, decision, usage, ending, ms, .. } = trace;
    let Decision { pool, instead_of, upstream, ask, beside, admitted, refusal, .. } = &decision;
    let stamp = i64::try_from(now.saturating_sub(ms)).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let mut told = json!({
        "request_id": id,
        "at": stamp.map(|stamp| stamp.to_string()),
        "ms": ms,
        "pool": pool,
        "instead_of": instead_of,
        "upstream": upstream.as_deref(),
        "refusal": refusal,
        "shadow": decision.shadow,
        "beside_the_quota": beside,
        "bound": ask.map(|ask| json!({ "input": ask.input, "output": ask.named.saturating_add(ask.silent), "least_output": ask.least })),
        "hold": admitted.map(held),
        "counters": admitted.map(|admitted| counters(&admitted, usage, ending)),
        "sent": { "max_tokens": decision.sent_answer, "thinking_budget": decision.sent_thinking, "lowered": decision.lowered },
        "usage": usage.map(|usage| json!({ "input": usage.input, "output": usage.output })),
        "usage_from": decision.reading,
        "ending": ending,
        "grants_after_refusal": grants(book, pool.as_ref()),
    });
    if let (Value::Object(told), Value::Object(facts)) = (&mut told, facts) {
        told.extend(facts);
    }
    told
}

fn held(admitted: Admitted) -> Value {
    json!({
        "input": admitted.input,
        "output": admitted.output,
        "mode": admitted.mode,
        "may_cost": admitted.may_cost,
        "deadline": admitted.deadline,
        "expires": admitted.expires,
    })
}

/// What was available before the hold, beside it, and with what this call alone used taken off.
fn counters(admitted: &Admitted, usage: Option<Usage>, ending: &str) -> Value {
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let held = if admitted.may_cost { 0 } else { signed(admitted.input.saturating_add(admitted.output)) };
    let used = match ending {
        "settled" => signed(usage.unwrap_or_default().total()),
        "released" => 0,
        _ => held,
    };
    let before = admitted.available.saturating_add(held);
    json!({ "available_before": before, "available_beside_hold": admitted.available, "available_after": before.saturating_sub(used) })
}

fn grants(book: Option<&Book>, pool: Option<&PoolId>) -> Value {
    let Some((book, pool)) = book.zip(pool) else { return Value::Null };
    let funds = book.pools.get(pool).map(|pool| pool.grants.as_slice()).unwrap_or_default();
    let shown = funds.iter().map(|fund| {
        json!({
            "grant": fund.grant.id,
            "start": fund.grant.start,
            "end": fund.grant.end,
            "granted": fund.balance.granted,
            "held": fund.balance.held,
            "spent": fund.balance.spent,
            "presumed": fund.balance.presumed,
            "available": fund.balance.available(),
        })
    });
    Value::Array(shown.collect())
}
