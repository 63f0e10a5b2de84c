//! Every metric's name, help and handle. No other room spells one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::memory::MemoryMetrics;
use super::store::StoreMetrics;

/// A number that only grows.
pub type Counter = prometheus_client::metrics::counter::Counter<u64, AtomicU64>;
/// A number that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;
/// A distribution of seconds.
pub type Seconds = Histogram;

type Labels = Vec<(&'static str, String)>;

/// The handles of one model; made once, so that a request looks nothing up.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    /// Requests that were admitted.
    pub admitted: Counter,
    /// Requests that were refused.
    pub refused: Counter,
    /// Units that grants paid for.
    pub units_free: Counter,
    /// Units that no grant covered.
    pub units_paid: Counter,
    /// Calls whose usage never came.
    pub usage_missing: Counter,
    /// Calls whose usage was lower than their text.
    pub usage_low: Counter,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    models: HashMap<String, Arc<ModelMetrics>>,
    other: Arc<ModelMetrics>,
    responses: [Counter; 6],
    rejections: Family<Labels, Counter>,
    /// Time from the whole request to the first byte sent upstream.
    pub admission_seconds: Seconds,
    /// Time from the first byte sent upstream to its head.
    pub upstream_head_seconds: Seconds,
    /// Requests in progress.
    pub in_flight: Gauge,
    /// Responses that are still read although their client has gone.
    pub draining: Gauge,
    /// Connections that are open.
    pub connections: Gauge,
    /// What is counted of the process's memory.
    pub memory: MemoryMetrics,
    /// Units by which usage exceeded its hold.
    pub over_hold: Counter,
    /// Units by which usage exceeded a grant in free quota only.
    pub overspent: Counter,
    /// Calls presumed at their hold.
    pub presumed: Counter,
    /// End marks that were sent before their settlement was known to be done.
    pub settled_late: Counter,
    /// Settlements that could not be stored.
    pub settle_failed: Counter,
    /// Calls that waited for a hold of another call.
    pub waited: Counter,
    /// Panics that became a 500.
    pub panics: Counter,
    /// Log lines that were dropped because nobody took them.
    pub log_dropped: Counter,
    /// Configuration reloads that were taken over.
    pub reloads: Counter,
    /// Configuration reloads that were refused.
    pub reloads_failed: Counter,
    /// What is counted of a shared store.
    pub store: StoreMetrics,
    /// Traces dropped because more came than could be written.
    pub traces_dropped: Counter,
}

impl Metrics {
    /// Registers everything; `models` are the codes that get labels of their own, all others share `other`.
    pub fn new<'a>(version: &str, models: impl IntoIterator<Item = &'a str>) -> Self {
        let mut registry = Registry::with_prefix("gratis");
        let build = Info::new(vec![("version", version.to_owned())]);
        registry.register("build", "The running version", build);
        let families = ModelFamilies::register(&mut registry);
        let (store, memory) = (StoreMetrics::register(&mut registry), MemoryMetrics::register(&mut registry));
        let models: HashMap<_, _> =
            models.into_iter().map(|model| (model.to_owned(), families.handles(model))).collect();
        let responses: Family<Labels, Counter> = Family::default();
        registry.register("responses", "Responses sent, by status class", responses.clone());
        let rejections: Family<Labels, Counter> = Family::default();
        registry.register("rejections", "Requests answered by Gratis itself, by code", rejections.clone());
        let mut with = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let over_hold = with("over_hold_units", "Units by which usage exceeded its hold");
        let overspent = with("overspent", "Units by which usage exceeded a grant in free quota only");
        let presumed = with("presumed_calls", "Calls that were taken as used in full because nobody knows");
        let settled_late = with("settled_late", "End marks sent before the settlement was known to be done");
        let settle_failed = with("settle_failed", "Settlements that could not be stored; their holds become presumed");
        let waited = with("waited_calls", "Calls that waited for the hold of another call");
        let panics = with("panics", "Panics that became a response of 500");
        let log_dropped = with("log_lines_dropped", "Log lines dropped because the sink was too slow");
        let reloads = with("config_reloads", "Configuration reloads taken over");
        let reloads_failed = with("config_reloads_failed", "Configuration reloads refused; the old one stays");
        let traces_dropped =
            with("traces_dropped", "Explanations of calls dropped because more came than could be written");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge("requests_in_flight", "Requests in progress");
        let draining = gauge("draining", "Responses read on although their client has gone");
        let connections = gauge("connections", "Client connections that are open");
        let mut seconds = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::new(buckets.iter().copied());
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        let admission_seconds =
            seconds("admission", "From the whole request to the first byte sent upstream", &FAST_BUCKETS);
        let upstream_head_seconds =
            seconds("upstream_head", "From the first byte sent upstream to its head", &SLOW_BUCKETS);
        Self {
            other: families.handles("other"),
            models,
            responses: CLASSES.map(|class| responses.get_or_create_owned(&vec![("class", class.to_owned())])),
            rejections,
            registry,
            admission_seconds,
            upstream_head_seconds,
            in_flight,
            draining,
            connections,
            memory,
            over_hold,
            overspent,
            presumed,
            settled_late,
            settle_failed,
            waited,
            panics,
            log_dropped,
            reloads,
            reloads_failed,
            store,
            traces_dropped,
        }
    }

    /// The handles of a model; one that is not in the catalogue counts as `other`.
    #[must_use]
    pub fn model(&self, code: &str) -> &Arc<ModelMetrics> {
        self.models.get(code).unwrap_or(&self.other)
    }

    /// Counts a response of this status.
    pub fn response(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1).min(5);
        if let Some(counter) = self.responses.get(class) {
            counter.inc();
        }
    }

    /// Counts an answer of Gratis itself; the codes are a fixed list.
    pub fn rejection(&self, code: &'static str) {
        self.rejections.get_or_create_owned(&vec![("code", code.to_owned())]).inc();
    }

    /// The text that a scraper reads (OpenMetrics).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder's error would leave the page short, which a scraper reports.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The classes of a response's status.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
const FAST_BUCKETS: [f64; 10] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 50e-3, 0.25, 2.0];
const SLOW_BUCKETS: [f64; 12] = [1e-3, 5e-3, 25e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];

struct ModelFamilies {
    admitted: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    units: Family<Labels, Counter>,
    usage_missing: Family<Labels, Counter>,
    usage_low: Family<Labels, Counter>,
}

impl ModelFamilies {
    fn register(registry: &mut Registry) -> Self {
        let families = Self {
            admitted: Family::default(),
            refused: Family::default(),
            units: Family::default(),
            usage_missing: Family::default(),
            usage_low: Family::default(),
        };
        registry.register("admitted", "Requests that were admitted, by model", families.admitted.clone());
        registry.register("refused", "Requests that the ledger refused, by model", families.refused.clone());
        registry.register("units", "Units used, by model and by who pays", families.units.clone());
        registry.register("usage_missing", "Calls whose usage never came, by model", families.usage_missing.clone());
        let help = "Calls whose usage was lower than their text can have, by model";
        registry.register("usage_low", help, families.usage_low.clone());
        families
    }

    fn handles(&self, model: &str) -> Arc<ModelMetrics> {
        let label = || vec![("model", model.to_owned())];
        let billing = |billing: &str| vec![("model", model.to_owned()), ("billing", billing.to_owned())];
        Arc::new(ModelMetrics {
            admitted: self.admitted.get_or_create_owned(&label()),
            refused: self.refused.get_or_create_owned(&label()),
            units_free: self.units.get_or_create_owned(&billing("free")),
            units_paid: self.units.get_or_create_owned(&billing("paid")),
            usage_missing: self.usage_missing.get_or_create_owned(&label()),
            usage_low: self.usage_low.get_or_create_owned(&label()),
        })
    }
}
