//! Why a call was decided as it was: kept for a while beside the books, off the call's path (E7).
//!
//! A trace is made when the call's record ends, and written in batches. Where more come than can be written they are dropped and
//! counted: a call never waits to be explained. What a refusal's counters were is read just after it, once a batch.
//!
//! Most calls are served and settled, and nobody asks why: unless the operator wants all of them kept, the newest of those stay in
//! memory alone, so that the usual call costs no write of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rejection::Rejection;
use crate::clock::Clock;
use crate::ledger::{AccountId, Admitted, Ask, Book, HoldId, KeyId, ModelCode, PoolId, Refusal, Shortfall, Usage};
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
    /// What of that was left out of the request, which was then decided anew (C11).
    pub(super) stripped: Vec<String>,
    /// The ledger's yes.
    pub(super) admitted: Option<Admitted>,
    /// The ledger's no.
    pub(super) refusal: Option<Refusal>,
    /// What was missing, where the call did not fit.
    pub(super) shortfall: Option<Shortfall>,
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
    pub(super) id: HoldId,
    pub(super) operation: &'static str,
    pub(super) account: Option<AccountId>,
    pub(super) key: Option<KeyId>,
    pub(super) model: Option<ModelCode>,
    pub(super) stream: bool,
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) decision: Decision,
    pub(super) usage: Option<Usage>,
    pub(super) ending: &'static str,
    pub(super) ms: u64,
}

impl Decision {
    /// Notes the ledger's no with its figures; a rejection of another kind is none.
    pub(super) fn refused(&mut self, rejection: &Rejection) {
        (self.refusal, self.shortfall) = (rejection.refusal(), rejection.shortfall());
    }
}

impl Trace {
    /// Whether it is one of the many: served as it was asked, and settled.
    fn is_usual(&self) -> bool {
        let Decision { refusal, shadow, instead_of, stripped, .. } = &self.decision;
        self.ending == "settled" && refusal.is_none() && !shadow && instead_of.is_none() && stripped.is_empty()
    }
}

/// Which traces are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explain {
    /// None.
    Off,
    /// Those that somebody may ask about; of the usual ones the newest, in memory.
    Unusual,
    /// All.
    All,
}

/// How many usual traces stay in memory.
const RECENT: usize = 10_000;

/// The newest of the usual traces, by id, with the time at which each ended.
type Recent = Arc<Mutex<VecDeque<(u64, Trace)>>>;

/// The way to the writer of traces.
#[derive(Clone)]
pub(super) struct Traces {
    sender: mpsc::Sender<Trace>,
    metrics: Arc<Metrics>,
    recent: Recent,
}

impl Traces {
    /// The way, and the writer, which ends when nobody can send any more and everything is written.
    pub(super) fn new(
        store: Arc<dyn Store>,
        notes: Arc<dyn NoteStore>,
        clock: Clock,
        metrics: Arc<Metrics>,
        explain: Explain,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let recent = Recent::default();
        let writer = Writer { store, notes, clock, recent: Arc::clone(&recent), all: explain == Explain::All };
        (Self { sender, metrics, recent }, writer.run(receiver))
    }

    /// A trace that is in memory alone.
    pub(super) fn recent(&self, id: HoldId) -> Option<Value> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().find(|(_, trace)| trace.id == id).map(|(at, trace)| told(trace, None, *at))
    }

    pub(super) fn send(&self, trace: Trace) {
        if self.sender.try_send(trace).is_err() {
            self.metrics.traces_dropped.inc();
        }
    }
}

/// Writes traces until nobody can send any more.
struct Writer {
    store: Arc<dyn Store>,
    notes: Arc<dyn NoteStore>,
    clock: Clock,
    recent: Recent,
    all: bool,
}

impl Writer {
    async fn run(self, mut receiver: mpsc::Receiver<Trace>) {
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
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    async fn write(&self, batch: Vec<Trace>) {
        let now = self.clock.now().0;
        let (usual, kept): (Vec<_>, Vec<_>) = batch.into_iter().partition(|trace| !self.all && trace.is_usual());
        self.remember(usual, now);
        let mut books: BTreeMap<AccountId, Option<Book>> = BTreeMap::new();
        let mut values = Vec::with_capacity(kept.len());
        let mut shadowed = Shadowed::default();
        for trace in kept {
            shadowed.count(&trace);
            let book = match trace.account.as_ref().filter(|_| trace.decision.refusal.is_some()) {
                Some(account) => {
                    if !books.contains_key(account) {
                        books.insert(account.clone(), self.store.book(account).await.ok());
                    }
                    books.get(account).and_then(Option::as_ref)
                }
                None => None,
            };
            values.push((super::headers::request_id(trace.id), told(&trace, book, now).to_string()));
        }
        if let Err(error) = shadowed.add(&*self.notes, now).await {
            tracing::warn!(error = %error, "what would have been refused could not be counted");
        }
        if !values.is_empty()
            && let Err(error) = self.notes.put(Shelf::Traces, values).await
        {
            tracing::warn!(error = %error, "traces could not be written");
        }
    }

    fn remember(&self, usual: Vec<Trace>, now: u64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(usual.into_iter().map(|trace| (now, trace)));
        let over = recent.len().saturating_sub(RECENT);
        recent.drain(..over);
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
fn told(trace: &Trace, book: Option<&Book>, now: u64) -> Value {
    let Trace { decision, usage, ending, ms, .. } = trace;
    let Decision { pool, instead_of, upstream, ask, beside, admitted, refusal, .. } = decision;
    let stamp = i64::try_from(now.saturating_sub(*ms)).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    json!({
        "request_id": super::headers::request_id(trace.id),
        "operation": trace.operation,
        "account": trace.account,
        "key": trace.key,
        "model": trace.model,
        "stream": trace.stream,
        "status": trace.status,
        "code": trace.code,
        "at": stamp.map(|stamp| stamp.to_string()),
        "ms": ms,
        "pool": pool,
        "instead_of": instead_of,
        "upstream": upstream.as_deref(),
        "refusal": refusal,
        "shortfall": decision.shortfall,
        "shadow": decision.shadow,
        "beside_the_quota": beside,
        "stripped": decision.stripped,
        "bound": ask.map(|ask| json!({ "input": ask.input, "output": ask.named.saturating_add(ask.silent), "least_output": ask.least })),
        "hold": admitted.map(held),
        "counters": admitted.map(|admitted| counters(&admitted, *usage, ending)),
        "sent": { "max_tokens": decision.sent_answer, "thinking_budget": decision.sent_thinking, "lowered": decision.lowered },
        "usage": usage.map(|usage| json!({ "input": usage.input, "output": usage.output })),
        "usage_from": decision.reading,
        "ending": ending,
        "grants_after_refusal": grants(book, pool.as_ref()),
    })
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
