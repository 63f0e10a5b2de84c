//! What the request path is made of, and how it is put together.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ledger::{HoldId, KeyId};
use crate::store::{NoteStore, Pepper, Store};
use crate::telemetry::Metrics;

use super::admission::Gate;
use super::crowd::{Crowd, KeyPlace};
use super::drain::Drainer;
use super::rejection::Rejection;
use super::room::Room;
use super::settings::Shared;
use super::settlement::SettlementQueue;
use super::tasks;
use super::trace::{Explain, Traces};

/// What every request needs and a reload does not replace.
pub(super) struct ProxyParts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drainer: Drainer,
    /// Calls in progress by key.
    pub(super) crowd: Arc<Crowd>,
    /// The room for request bodies.
    pub(super) room: Arc<Room>,
    pub(super) gate: Gate,
    /// WebSocket connections that may be open at once.
    pub(super) sockets: Arc<Semaphore>,
    /// Fires when the process goes down.
    pub(super) stop: CancellationToken,
    pub(super) pepper: Arc<Pepper>,
    pub(super) beside: OnceLock<Notes>,
}

/// What the request path reads and keeps beside the books; without it there is no fallback and no explanation.
pub(super) struct Notes {
    pub(super) notes: Arc<dyn NoteStore>,
    pub(super) traces: Option<Traces>,
}

impl ProxyParts {
    /// The way to settle what is resolved outside of its call.
    pub(super) fn queue(&self) -> &Arc<SettlementQueue> {
        self.gate.queue()
    }

    /// A place for one more call of the key, where it has fewer than `most` and there is memory for it.
    pub(super) fn place(&self, key: &KeyId, most: usize) -> Result<KeyPlace, Rejection> {
        if self.room.is_short() {
            return Err(Rejection::Overloaded);
        }
        self.crowd.enter(key, most).ok_or(Rejection::TooManyOfKey)
    }

    /// The notes, where they were given.
    pub(super) fn notes(&self) -> Option<&Arc<dyn NoteStore>> {
        self.beside.get().map(|beside| &beside.notes)
    }
}

/// The request path.
#[derive(Clone)]
pub struct Proxy {
    pub(super) parts: Arc<ProxyParts>,
    pub(super) shared: Arc<ArcSwap<Shared>>,
    /// With the last clone tasks are no longer watched.
    _watching: Arc<DropGuard>,
}

impl Proxy {
    /// Puts the request path together. `settlements` is how many calls can be between admission and settlement at once.
    /// The future is the settlement worker and the watch over tasks: it ends when the last clone is gone and everything is settled.
    pub fn new(
        shared: Arc<ArcSwap<Shared>>,
        store: Arc<dyn Store>,
        pepper: Arc<Pepper>,
        clock: Clock,
        metrics: Arc<Metrics>,
        settlements: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, worker) = SettlementQueue::new(Arc::clone(&store), Arc::clone(&metrics), settlements);
        let gate = Gate::new(Arc::clone(&store), queue);
        let drains = shared.load().settings.quota.drain_streams;
        let drainer = Drainer::new(drains, Arc::clone(&metrics));
        let sockets = Arc::new(Semaphore::new(shared.load().settings.sockets.connections));
        let (stop, crowd) = (CancellationToken::new(), Arc::default());
        let room = Arc::new(Room::new(metrics.memory.bodies.clone()));
        let parts = Arc::new(ProxyParts {
            store,
            clock,
            metrics,
            drainer,
            crowd,
            room,
            gate,
            sockets,
            stop,
            pepper,
            beside: OnceLock::new(),
        });
        let watching = CancellationToken::new();
        let watch = tasks::watch(Arc::downgrade(&parts), Arc::clone(&shared), watching.clone());
        let both = async move {
            tokio::join!(worker, watch);
        };
        (Self { parts, shared, _watching: Arc::new(watching.drop_guard()) }, both)
    }

    /// Gives the request path its notes, once. The future is the writer of traces: it ends as the settlement worker does.
    pub fn keep_beside(
        &self,
        notes: Arc<dyn NoteStore>,
        explain: Explain,
    ) -> impl Future<Output = ()> + Send + 'static {
        let parts = &self.parts;
        let (store, metrics) = (Arc::clone(&parts.store), Arc::clone(&parts.metrics));
        let (traces, writer) = Traces::new(store, Arc::clone(&notes), parts.clock.clone(), metrics, explain);
        let traces = (explain != Explain::Off).then_some(traces);
        // A second time changes nothing: whoever came first is kept.
        let _ = parts.beside.set(Notes { notes, traces });
        writer
    }

    /// What explains a call that is in memory alone, by its request id.
    /// It keeps the request path no longer than its own clones do.
    pub fn recall(&self) -> impl Fn(&str) -> Option<serde_json::Value> + Send + Sync + 'static {
        let parts = Arc::downgrade(&self.parts);
        move |request| {
            let id = uuid::Uuid::parse_str(request).ok()?;
            parts.upgrade()?.beside.get()?.traces.as_ref()?.recent(HoldId(id.as_u128()))
        }
    }

    /// Work that outlives its request: to be waited for at shutdown.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        self.parts.drainer.tasks()
    }

    /// Says how the memory is looked at: the bytes that are used, and those that may be. From 9 tenths of them on, calls are refused.
    /// The answer looks once; it keeps the request path no longer than its own clones do.
    pub fn heed_memory(
        &self,
        look: impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static,
    ) -> impl Fn() + Send + Sync + 'static {
        let room = Arc::clone(&self.parts.room);
        room.look_by(look);
        move || room.look()
    }

    /// Says that the process goes down: connections that outlive their handshake end once their calls have.
    pub fn go_down(&self) {
        self.parts.stop.cancel();
    }
}
