//! Reading on when the client has gone, so that the usage is known (LEDGER 1.6), under caps.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::telemetry::Metrics;

use super::exchange::{Call, Meter};
use super::settings::OnDisconnect;
use super::upstream::{Sent, UpstreamBody};

/// The caps of one drained response.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainCaps {
    pub(super) on_disconnect: OnDisconnect,
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// Takes over what a client left behind.
pub(super) struct Drainer {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Drainer {
    pub(super) fn new(places: usize, metrics: Arc<Metrics>) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), tasks: TaskTracker::new(), metrics }
    }

    /// A place for what is read on, where there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// What runs here outlives its request, and is waited for when the process goes down.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The client left, or gave up, before the head of the response came.
    pub(super) fn adopt_head(&self, head: Sent, call: Box<Call>) {
        let caps = call.drain_caps();
        self.adopt(caps, move || async move {
            // A time-out or a failure drops the call, and a dropped call is presumed at its hold.
            match tokio::time::timeout(caps.time, head).await {
                Ok(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    let meter = call.meter(parts.status, &parts.headers);
                    read_on(body, meter, caps).await;
                }
                Ok(Err(error)) => drop(call.failed(&error)),
                Err(_) => drop(call.unreadable()),
            }
        });
    }

    /// The client left in the middle of the response.
    pub(super) fn adopt_body(&self, body: UpstreamBody, meter: Meter) {
        let caps = meter.drain_caps();
        self.adopt(caps, move || read_on(body, meter, caps));
    }

    fn adopt<F, T>(&self, caps: DrainCaps, work: F)
    where
        F: FnOnce() -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let place = match caps.on_disconnect {
            OnDisconnect::Drain => self.place(),
            OnDisconnect::Cancel => None,
        };
        let Some(place) = place else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let work = work();
        let draining = self.metrics.draining.clone();
        draining.inc();
        self.tasks.spawn(async move {
            work.await;
            draining.dec();
            drop(place);
        });
    }
}

async fn read_on(mut body: UpstreamBody, mut meter: Meter, caps: DrainCaps) {
    let mut left = caps.bytes;
    let reading = async {
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    left = left.saturating_sub(data.len() as u64);
                    meter.observe(data);
                    if meter.is_resolved() || left == 0 {
                        return;
                    }
                }
                Some(Err(_)) => {
                    meter.end(false);
                    return;
                }
                None => {
                    meter.end(true);
                    return;
                }
            }
        }
    };
    // Past the cap the meter is dropped, and with it the call: presumed at its hold.
    let _ = tokio::time::timeout(caps.time, reading).await;
}
