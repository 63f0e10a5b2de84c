//! The metrics of a store that is reached over a network.

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{Counter, Gauge, Seconds};

type Labels = Vec<(&'static str, &'static str)>;

/// From a store on this machine to one that is about to be given up.
const BUCKETS: [f64; 11] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0];

#[derive(Clone, Copy, Debug)]
struct Distribution;

impl MetricConstructor<Histogram> for Distribution {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// What is counted of a shared store.
#[derive(Debug)]
pub struct StoreMetrics {
    calls: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, Distribution>,
    /// 1 while calls are refused without asking, because the last ones were not answered.
    pub breaker_open: Gauge,
    /// 1 while nothing is admitted until an operator says to go on.
    pub suspended: Gauge,
    /// Settlements that are on this machine's disk and not yet in the store.
    pub parked: Gauge,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(Distribution),
            breaker_open: Gauge::default(),
            suspended: Gauge::default(),
            parked: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("store");
        registry.register("calls", "Calls to the shared store, by verb and result", metrics.calls.clone());
        let help = "How long the shared store took to answer, by verb";
        registry.register_with_unit("call", help, Unit::Seconds, metrics.seconds.clone());
        let help = "1 while the shared store is not asked because the last calls were not answered";
        registry.register("breaker_open", help, metrics.breaker_open.clone());
        let help = "1 while nothing is admitted until an operator says to go on";
        registry.register("suspended", help, metrics.suspended.clone());
        let help = "Settlements on this machine's disk that are not in the shared store yet";
        registry.register("parked_settlements", help, metrics.parked.clone());
        metrics
    }

    /// The counter of a verb's calls that ended in this way; made once, so that a call looks nothing up.
    #[must_use]
    pub fn calls(&self, verb: &'static str, result: &'static str) -> Counter {
        self.calls.get_or_create_owned(&vec![("verb", verb), ("result", result)])
    }

    /// How long the calls of a verb took.
    #[must_use]
    pub fn seconds(&self, verb: &'static str) -> Seconds {
        self.seconds.get_or_create_owned(&vec![("verb", verb)])
    }
}
