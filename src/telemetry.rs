//! What Gratis says of itself: metrics, and log lines.
//!
//! Knows no domain type: labels and fields are text that the caller took from configuration, never from the wire.

#[cfg(feature = "otlp")]
mod export;
mod line;
mod log;
mod memory;
mod metrics;
mod spans;
mod store;

pub use log::{LogFormat, LogGuard, LogSettings, TraceSettings, install};
pub use memory::{Memory, MemoryMetrics};
pub use metrics::{Counter, Gauge, Metrics, ModelMetrics, Seconds};
pub use spans::{Ended, Span};
pub use store::StoreMetrics;
