//! Looking at the memory that is used, so that calls are refused before the process has too much (F-LIF-6).

use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::{Memory, Metrics};

/// How often. What comes between two looks is bounded by the room that is left for request bodies.
const EVERY: Duration = Duration::from_millis(100);

/// Looks until it is dropped. Where nobody knows the limit there is nothing to look for.
pub(super) async fn look(memory: Memory, tell: impl Fn(u64, u64), metrics: Arc<Metrics>) {
    let Some(limit) = memory.limit() else { return };
    let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    metrics.memory.limit.set(shown(limit));
    loop {
        if let Some(used) = memory.used() {
            metrics.memory.used.set(shown(used));
            tell(used, limit);
        }
        tokio::time::sleep(EVERY).await;
    }
}
