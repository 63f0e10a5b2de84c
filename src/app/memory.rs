//! Looking at the memory that is used, so that calls are refused before the process has too much (F-LIF-6).

use std::sync::Arc;
use std::time::Duration;

use crate::proxy::Proxy;
use crate::telemetry::{Memory, Metrics};

/// How often, beside the looks that many calls bring.
const EVERY: Duration = Duration::from_millis(100);

/// Tells the request path how to look, and looks until it is dropped. Where nobody knows the limit there is nothing to look for.
pub(super) fn look(memory: Memory, proxy: &Proxy, metrics: Arc<Metrics>) -> impl Future<Output = ()> + Send + 'static {
    let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    metrics.memory.limit.set(memory.limit().map_or(0, shown));
    let look = proxy.heed_memory(move || {
        let (used, limit) = (memory.used()?, memory.limit()?);
        metrics.memory.used.set(shown(used));
        Some((used, limit))
    });
    async move {
        loop {
            look();
            tokio::time::sleep(EVERY).await;
        }
    }
}
