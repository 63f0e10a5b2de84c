//! Log lines: structured, batched, bounded. A slow sink loses lines and counts them; it never slows a request.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
#[cfg(feature = "otlp")]
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::line::{JsonLines, Lines};
use super::metrics::Counter;

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// JSON unless standard error is a terminal.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For a person.
    Text,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines: a level, or targets with levels (`info,gratis::request=off`).
    pub filter: String,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The whole address of the collector.
    pub endpoint: String,
    /// What sends them.
    pub runtime: tokio::runtime::Handle,
}

/// The most that waits for a slow sink, in bytes.
const QUEUE_BYTES: usize = 8 << 20;
/// How long a line waits for others before it is written.
const BATCH: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: Counter,
}

/// Writes what is left when it is dropped, and sends what is left of the spans.
pub struct LogGuard {
    #[cfg(feature = "otlp")]
    export: Option<super::export::Export>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// Installs the process's logger. Lines go to standard error; what is dropped is counted in `dropped`. Spans are exported where
/// somebody takes them.
///
/// # Errors
/// The filter does not parse, the writing thread cannot be started, the export cannot be begun, or a logger is installed already.
pub fn install(settings: &LogSettings, traces: Option<TraceSettings>, dropped: Counter) -> Result<LogGuard, String> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|e| format!("log.filter {:?}: {e}", settings.filter))?;
    let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), dropped });
    let theirs = Arc::clone(&shared);
    let writer = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_batches(&theirs))
        .map_err(|e| format!("cannot start the log's thread: {e}"))?;
    let json = match settings.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let sink = Sink(Arc::clone(&shared));
    let guard = LogGuard {
        #[cfg(feature = "otlp")]
        export: traces.map(|traces| super::export::Export::begin(&traces.endpoint, traces.runtime)).transpose()?,
        shared,
        writer: Some(writer),
    };
    #[cfg(not(feature = "otlp"))]
    if let Some(traces) = traces {
        return Err(format!("trace.otlp_endpoint {}: this program exports no traces", traces.endpoint));
    }
    let installed = guard.layers(filter, sink, json);
    installed.map_err(|e| format!("cannot install the logger: {e}"))?;
    Ok(guard)
}

impl LogGuard {
    fn layers(&self, filter: EnvFilter, sink: Sink, json: bool) -> Result<(), TryInitError> {
        let ansi = io::stderr().is_terminal();
        // Each layer with a filter of its own costs every line a little, so only where spans are exported.
        #[cfg(feature = "otlp")]
        if let Some(export) = &self.export {
            let registry = tracing_subscriber::registry().with(export.layer());
            return if json {
                registry.with(JsonLines(sink).with_filter(filter)).try_init()
            } else {
                let lines = tracing_subscriber::fmt::layer().with_writer(sink).with_ansi(ansi);
                registry.with(lines.with_filter(filter)).try_init()
            };
        }
        if json {
            tracing_subscriber::registry().with(filter).with(JsonLines(sink)).try_init()
        } else {
            let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(sink);
            builder.with_ansi(ansi).finish().try_init()
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        drop(self.export.take());
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // The thread ends once the queue is empty; a panic in it has nothing left to tell.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_batches(shared: &Shared) {
    let mut batch = Vec::new();
    loop {
        let mut queue = shared.lock();
        while queue.bytes.is_empty() && !queue.closed {
            queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.closed {
            queue = shared.wake.wait_timeout(queue, BATCH).unwrap_or_else(PoisonError::into_inner).0;
        }
        let closed = queue.closed;
        std::mem::swap(&mut queue.bytes, &mut batch);
        drop(queue);
        // A sink that is gone cannot be told so.
        let _ = io::stderr().write_all(&batch);
        if batch.capacity() > (1 << 20) {
            batch = Vec::new();
        }
        batch.clear();
        if closed && shared.lock().bytes.is_empty() {
            return;
        }
    }
}

#[derive(Clone)]
struct Sink(Arc<Shared>);

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines for Sink {
    fn line(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.bytes.len() + line.len() > QUEUE_BYTES {
            self.0.dropped.inc();
        } else {
            let was_empty = queue.bytes.is_empty();
            queue.bytes.extend_from_slice(line);
            drop(queue);
            if was_empty {
                self.0.wake.notify_one();
            }
        }
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
