//! Tasks: calls that go on at the provider after their reply. Whoever polls first after the end settles the hold, once (W 0.12).

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::dialect::{Base, Dialect, Kind, TaskOutcome};
use crate::ledger::{Resolution, Timestamp};
use crate::store::{Resource, StoreError};
use crate::telemetry::Span;

use super::handler::ms;
use super::headers;
use super::parts::ProxyParts;
use super::settings::Shared;
use super::settlement::Settled;

/// How long the provider keeps a task's record; its hold has been posted by then (W 2.2).
pub(super) const LIFE: Duration = Duration::from_secs(86_400);

/// How long it stays known whose a task or a response was. Everything else is known until it is deleted, and longer.
const REMEMBERED: [(Kind, Duration); 2] =
    [(Kind::Task, Duration::from_secs(7 * 86_400)), (Kind::Response, Duration::from_secs(30 * 86_400))];

/// How many tasks are asked about in one round.
const ROUND: usize = 1_000;

/// The pause between two questions: the provider answers 20 a second (W 2.2), and clients ask as well.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest reply that is read whole, in bytes.
pub(super) const MAX_REPLY: usize = 4 << 20;

/// Remembers what was made; fires once that is durable, or will never be. Where it cannot be kept, `lost` is what becomes of it.
pub(super) fn remember(
    parts: &Arc<ProxyParts>,
    made: Resource,
    lost: impl FnOnce() + Send + 'static,
) -> oneshot::Receiver<()> {
    let (done, kept) = oneshot::channel();
    let parts = Arc::clone(parts);
    let tasks = parts.drainer.tasks().clone();
    tasks.spawn(async move {
        let (kind, id) = (made.kind, made.id.clone());
        if let Err(error) = parts.store.remember(made).await {
            tracing::error!(kind = ?kind, id, error = %error, "what a call made could not be remembered: nobody will be let to it");
            lost();
        }
        // Whoever waited may have sent its end mark already.
        let _ = done.send(());
    });
    kept
}

/// Takes what a poll said of a task. A hold is resolved at most once, so that every poll may do this.
pub(super) async fn settle(parts: &ProxyParts, task: &Resource, body: &[u8]) -> Result<(), StoreError> {
    let Some(hold) = task.task.as_ref().filter(|hold| hold.open) else { return Ok(()) };
    let resolution = match TaskOutcome::read(body, hold.unit) {
        TaskOutcome::Running => return Ok(()),
        TaskOutcome::Used(usage) => Resolution::Settle(usage),
        TaskOutcome::Unread => {
            parts.metrics.presumed.inc();
            Resolution::Presume(None)
        }
        TaskOutcome::Failed => Resolution::Release,
    };
    // Without a place in the queue the next poll does it.
    let Ok(permit) = parts.queue().permit() else { return Ok(()) };
    let settled =
        parts.queue().settle(permit, task.account.clone(), hold.hold, resolution, hold.origin.clone(), Span::default());
    if let Settled::Later(settled) = settled {
        // The sender is held until the store has answered.
        let _ = settled.await;
    }
    parts.store.close_task(&task.id).await
}

/// Polls the tasks that nobody polls, until `stop`.
pub(super) async fn watch(parts: Weak<ProxyParts>, shared: Arc<ArcSwap<Shared>>, stop: CancellationToken) {
    loop {
        let pause = shared.load().settings.quota.task_poll;
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let Some(parts) = parts.upgrade() else { return };
        if stop.run_until_cancelled(round(&parts, &shared)).await.is_none() {
            return;
        }
    }
}

async fn round(parts: &ProxyParts, shared: &ArcSwap<Shared>) {
    let tasks = match parts.store.open_tasks(ROUND).await {
        Ok(tasks) => tasks,
        Err(error) => {
            tracing::debug!(error = %error, "the tasks in progress cannot be read");
            return;
        }
    };
    let now = parts.clock.now();
    for task in tasks {
        let ended = ms(LIFE) <= now.0.saturating_sub(task.created.0);
        let done = if ended {
            // Its record is gone, and its hold was posted when its lease ran out.
            parts.store.close_task(&task.id).await
        } else {
            let asked = ask(parts, &shared.load_full(), &task).await;
            tokio::time::sleep(PAUSE).await;
            asked
        };
        if let Err(error) = done {
            tracing::warn!(task = task.id, error = %error, "a task could not be settled yet");
        }
    }
    for (kind, time) in REMEMBERED {
        let before = Timestamp(now.0.saturating_sub(ms(time)));
        if let Err(error) = parts.store.forget(kind, before).await {
            tracing::debug!(error = %error, "old ids cannot be forgotten");
        }
    }
}

/// One poll of our own. What goes wrong on the way is left to the next round.
async fn ask(parts: &ProxyParts, shared: &Shared, task: &Resource) -> Result<(), StoreError> {
    let Some(hold) = &task.task else { return Ok(()) };
    let upstream = shared.upstreams.of(&hold.origin.model);
    let to_upstream = headers::to_upstream(&HeaderMap::new(), upstream.authorization(), Dialect::DashScope, true);
    let path = format!("/api/v1/tasks/{}", task.id);
    let Ok(sent) = upstream.send(Method::GET, Base::Root, &path, to_upstream, Bytes::new()) else { return Ok(()) };
    let reply = tokio::time::timeout(upstream.head_timeout(), async {
        let reply = sent.await.ok().filter(|reply| reply.status().is_success())?;
        Some(Limited::new(reply.into_body(), MAX_REPLY).collect().await.ok()?.to_bytes())
    });
    match reply.await {
        Ok(Some(body)) => settle(parts, task, &body).await,
        Ok(None) | Err(_) => Ok(()),
    }
}
